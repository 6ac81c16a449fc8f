-- The same of staged rows that are known to differ, and of keys that are known to be too many.
CREATE TEMPORARY TABLE {difference} AS
SELECT
    staging.{key},
    {staged_values}
    CASE WHEN staging._load_id = 0 THEN %(change_id)s ELSE staging._load_id END AS _load_id,
    CAST(
        CASE
            WHEN target.{key} IS NULL THEN 'added'
            WHEN {differs} THEN 'changed'
            ELSE 'moved'
        END
        AS VARCHAR(8)
    ) AS _change
FROM {staging} AS staging
LEFT JOIN {target} AS target ON staging.{key} = target.{key}
UNION ALL
SELECT
    target.{key},
    {target_values}
    target._load_id,
    CAST('removed' AS VARCHAR(8)) AS _change
FROM {target} AS target
INNER JOIN {newer} AS surplus ON target.{key} = surplus.{key}
