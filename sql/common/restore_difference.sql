-- What must be done to a table so that it becomes what is staged. Rows of another writer name no load: theirs is 0.
CREATE TEMPORARY TABLE {difference} AS
SELECT
    {coalesced_key} AS {key},
    {staged_values}
    CASE WHEN staging._load_id = 0 THEN %(change_id)s ELSE staging._load_id END AS _load_id,
    CAST(
        CASE
            WHEN target.{key} IS NULL THEN 'added'
            WHEN staging.{key} IS NULL THEN 'removed'
            WHEN {differs} THEN 'changed'
            ELSE 'moved'
        END
        AS VARCHAR(8)
    ) AS _change
FROM {staging} AS staging
FULL JOIN {target} AS target ON staging.{key} = target.{key}
WHERE
    staging.{key} IS NULL
    OR target.{key} IS NULL
    OR (staging._load_id <> 0 AND staging._load_id <> target._load_id)
    OR {differs}
