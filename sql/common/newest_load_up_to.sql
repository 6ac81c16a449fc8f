SELECT
    load_id,
    source_key,
    finished_at
FROM ops.loads
WHERE
    table_name = %(table)s AND commit_seq <= %(commit_seq)s
    AND verdict IN ('loaded', 'duplicate')
    AND (undone_seq IS NULL OR undone_seq > %(commit_seq)s)
ORDER BY commit_seq DESC
LIMIT 1
