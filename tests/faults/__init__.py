"""Faults provoked from outside on the real stack: on the wire, by signals, by the servers' own limits."""
