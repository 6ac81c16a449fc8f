-- Rows that a load put there with a reference to nothing, and how many of them are there and still refer to nothing.
CREATE OR REPLACE VIEW ops.warnings AS
SELECT
    loads.load_id,
    loads.source_key,
    loads.table_name,
    warned.key AS column_name,
    CAST(warned.value AS BIGINT) AS rows_warned,
    COALESCE(still.rows_open, 0) AS rows_open,
    COALESCE(still.rows_open, 0) = 0 AS resolved,
    loads.finished_at
FROM ops.loads AS loads
CROSS JOIN LATERAL JSONB_EACH_TEXT(CAST(loads.warnings AS JSONB)) AS warned
LEFT JOIN ops.open_references AS still
    ON
        loads.load_id = still.load_id
        AND loads.table_name = still.table_name
        AND warned.key = still.column_name
WHERE loads.warnings <> '{{}}' AND loads.rows_inserted + loads.rows_updated > 0 AND warned.key <> 'superseded'
