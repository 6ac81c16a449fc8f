-- Later loads that found rows as they were, and where their clean rows are.
SELECT
    later.load_id,
    kept.load_id AS kept_id,
    kept.clean_parts,
    -- A load of the rows that were gone of a file: what it left to newer files is not what it brought.
    CASE WHEN
        EXISTS (
            SELECT 1
            FROM ops.loads AS first
            WHERE
                first.arrival_id = later.arrival_id
                AND first.table_name = later.table_name
                AND first.mode = 'upsert'
                AND first.verdict IN ('loaded', 'duplicate')
                AND first.undone_by IS NULL
                AND first.commit_seq < later.commit_seq
        ) THEN later.commit_seq
    END AS left_seq
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
