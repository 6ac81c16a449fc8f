INSERT INTO {target} ({columns}, _load_id)
SELECT
    {staging_columns},
    %(load_id)s
FROM {staging} AS staging
LEFT JOIN {target} AS target ON staging.{key} = target.{key}
WHERE target.{key} IS NULL
