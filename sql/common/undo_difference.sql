-- What must be done to a table so that one load's rows are again what they were before it. A row that it removed comes
-- back unless something later had it - what was undone since does not count - or made the table anew without it.
CREATE TEMPORARY TABLE {difference} AS
WITH other AS (
    SELECT kept.{key}
    FROM ops.{history} AS kept
    LEFT JOIN ops.loads AS gone ON kept._load_id = gone.load_id AND kept._replaced_by = gone.undone_by
    WHERE kept._load_id = %(load_id)s OR (kept._replaced_seq > %(commit_seq)s AND gone.load_id IS NULL)
)

SELECT
    target.{key},
    {before_values}
    was._load_id,
    CAST(CASE WHEN was.{key} IS NULL THEN 'removed' ELSE 'changed' END AS VARCHAR(8)) AS _change
FROM {target} AS target
LEFT JOIN ops.{history} AS was
    ON
        target.{key} = was.{key}
        AND was._replaced_by = %(load_id)s
        AND was._replaced_seq = %(commit_seq)s
WHERE target._load_id = %(load_id)s
UNION ALL
SELECT
    was.{key},
    {before_values}
    was._load_id,
    CAST('added' AS VARCHAR(8)) AS _change
FROM ops.{history} AS was
LEFT JOIN {target} AS target ON was.{key} = target.{key}
LEFT JOIN other ON was.{key} = other.{key}
WHERE
    was._replaced_by = %(load_id)s
    AND was._replaced_seq = %(commit_seq)s
    AND target.{key} IS NULL
    AND other.{key} IS NULL
    AND NOT EXISTS (
        SELECT 1
        FROM ops.loads AS anew
        WHERE
            anew.table_name = %(table)s
            AND anew.mode = 'replace'
            AND anew.commit_seq > %(commit_seq)s
            AND anew.verdict IN ('loaded', 'duplicate')
            AND anew.undone_by IS NULL
    )
