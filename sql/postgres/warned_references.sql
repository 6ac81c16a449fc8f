SELECT
    load_id,
    source_key,
    table_name,
    CAST('{column_name}' AS TEXT) AS column_name,
    CAST(NULLIF(JSON_EXTRACT_PATH_TEXT(CAST(warnings AS JSON), '{column_name}'), '') AS BIGINT) AS rows_warned,
    finished_at
FROM ops.loads
WHERE table_name = '{table_name}' AND warnings LIKE '%"{column_name}"%' AND rows_inserted + rows_updated > 0
