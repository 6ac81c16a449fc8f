UPDATE ops.loads
SET undone_by = NULL, undone_seq = NULL
WHERE
    table_name = %(table)s
    AND commit_seq > %(after)s
    AND commit_seq <= %(until)s
    AND undone_by IS NOT NULL
