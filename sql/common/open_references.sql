SELECT
    referring._load_id AS load_id,
    CAST('{table_name}' AS VARCHAR(63)) AS table_name,
    CAST('{column_name}' AS VARCHAR(63)) AS column_name,
    COUNT(*) AS rows_open
FROM {target} AS referring
LEFT JOIN {referenced} AS referenced ON referring."{column_name}" = referenced.{referenced_key}
WHERE referenced.{referenced_key} IS NULL
GROUP BY referring._load_id
