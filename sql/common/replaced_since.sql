-- Replacements after a file's load, or after its place in the order, that were made without the file.
SELECT COUNT(*)
FROM ops.loads AS later
WHERE
    later.table_name = %(table)s
    AND later.mode = 'replace'
    AND later.verdict IN ('loaded', 'duplicate')
    AND later.undone_by IS NULL
    AND (later.commit_seq > %(commit_seq)s OR later.listed_at > %(listed_at)s)
    AND NOT EXISTS (
        SELECT 1
        FROM ops.loads AS same
        WHERE
            same.table_name = later.table_name
            AND same.mode = 'replace'
            AND same.verdict IN ('loaded', 'duplicate')
            AND same.undone_by IS NULL
            AND same.run_id = later.run_id
            AND same.sha256 = %(sha256)s
    )
