"""Very large files: cleaned in ranges of bytes by tasks beside each other, and loaded as if one had read them whole.

``plan`` reads the file once and notes where between two records each range begins, ``cleaning`` does what can be done
of a range alone, ``joining`` puts the ranges together, where it only remains to see which keys came before. Nothing
here decides what becomes of a file: whatever stands in the way of ranges, the file is read whole by one task.
"""
