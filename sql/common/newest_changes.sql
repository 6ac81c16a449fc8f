-- When rows of each table last changed, by a load or by a restore.
SELECT
    table_name,
    MAX(finished_at) AS finished_at
FROM (
    SELECT
        known.table_name,
        loads.finished_at
    FROM ops.tables AS known
    INNER JOIN ops.loads AS loads
        ON known.table_name = loads.table_name AND known.changed_seq = loads.commit_seq
    UNION ALL
    SELECT
        known.table_name,
        restores.finished_at
    FROM ops.tables AS known
    INNER JOIN ops.restores AS restores
        ON known.table_name = restores.table_name AND known.changed_seq = restores.commit_seq
) AS changes
GROUP BY table_name
ORDER BY table_name
