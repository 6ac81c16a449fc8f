UPDATE ops.loads
SET undone_by = %(change_id)s, undone_seq = %(commit_seq)s
WHERE
    table_name = %(table)s
    AND commit_seq > %(after)s
    AND commit_seq <= %(until)s
    AND verdict IN ('loaded', 'duplicate')
    AND undone_by IS NULL
