INSERT INTO {target} AS target ({columns}, _load_id)
SELECT
    {staging_columns},
    staging._load_id
FROM {staging} AS staging
ON CONFLICT ({key}) DO UPDATE
SET {excluded_assignments}, _load_id = excluded._load_id
