-- Later loads that found rows as they were, and where their clean rows are.
SELECT
    later.load_id,
    kept.load_id AS kept_id,
    kept.clean_parts
FROM ops.loads AS later
INNER JOIN ops.loads AS kept
    ON kept.load_id = CASE WHEN later.clean_parts = 0 THEN later.duplicate_of ELSE later.load_id END
WHERE
    later.table_name = %(table)s
    AND later.commit_seq > %(commit_seq)s
    AND later.verdict IN ('loaded', 'duplicate')
    AND later.undone_by IS NULL
    AND later.rows_unchanged > 0
ORDER BY later.commit_seq
