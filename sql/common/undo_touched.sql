-- Rows that a load put or removed and that what came later has changed, by what it was.
SELECT
    touched.change_id,
    COUNT(DISTINCT touched.{key}) AS rows_touched
FROM (
    SELECT
        put.{key},
        put._replaced_by AS change_id
    FROM ops.{history} AS put
    LEFT JOIN {target} AS target ON put.{key} = target.{key} AND target._load_id = %(load_id)s
    WHERE put._load_id = %(load_id)s AND target.{key} IS NULL
    UNION ALL
    SELECT
        was.{key},
        target._load_id AS change_id
    FROM ops.{history} AS was
    INNER JOIN {target} AS target ON was.{key} = target.{key}
    LEFT JOIN ops.{history} AS put ON was.{key} = put.{key} AND put._load_id = %(load_id)s
    WHERE
        was._replaced_by = %(load_id)s
        AND was._replaced_seq = %(commit_seq)s
        AND target._load_id <> %(load_id)s
        AND put.{key} IS NULL
) AS touched
GROUP BY touched.change_id
ORDER BY touched.change_id
