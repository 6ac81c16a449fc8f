INSERT INTO {target} ({columns}, _load_id)
SELECT
    {staging_columns},
    staging._load_id
FROM {staging} AS staging
