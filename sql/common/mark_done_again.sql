UPDATE ops.loads
SET undone_by = NULL, undone_seq = NULL
WHERE
    table_name = %(table)s
    AND commit_seq <= %(target_seq)s
    AND undone_seq > %(target_seq)s
