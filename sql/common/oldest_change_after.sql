-- When rows of a table changed for the first time after one of its commits, by a load or by a restore.
SELECT MIN(finished_at)
FROM (
    (
        SELECT finished_at
        FROM ops.loads
        WHERE
            table_name = %(table)s
            AND commit_seq > %(covered)s
            AND rows_inserted + rows_updated + rows_removed > 0
        ORDER BY commit_seq
        LIMIT 1
    )
    UNION ALL
    (
        SELECT finished_at
        FROM ops.restores
        WHERE
            table_name = %(table)s
            AND kind <> 'copy'
            AND commit_seq > %(covered)s
            AND rows_added + rows_changed + rows_removed > 0
        ORDER BY commit_seq
        LIMIT 1
    )
) AS changes
