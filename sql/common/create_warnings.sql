-- Rows that a load put there with a reference to nothing, and how many of them are there and still refer to nothing.
CREATE OR REPLACE VIEW ops.warnings AS
SELECT
    warned.load_id,
    warned.source_key,
    warned.table_name,
    warned.column_name,
    warned.rows_warned,
    COALESCE(still.rows_open, 0) AS rows_open,
    COALESCE(still.rows_open, 0) = 0 AS resolved,
    warned.finished_at
FROM ops.warned_references AS warned
LEFT JOIN ops.open_references AS still
    ON
        warned.load_id = still.load_id
        AND warned.table_name = still.table_name
        AND warned.column_name = still.column_name
