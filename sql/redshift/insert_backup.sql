INSERT INTO ops.backups (
    backup_id, manifest_key, taken_at, finished_at, tables, rows_total, bytes_total, kind
)
SELECT
    CAST(%(backup_id)s AS VARCHAR(64)) AS backup_id,
    CAST(%(manifest_key)s AS VARCHAR(1024)) AS manifest_key,
    CAST(%(taken_at)s AS TIMESTAMPTZ) AS taken_at,
    CAST(%(finished_at)s AS TIMESTAMPTZ) AS finished_at,
    CAST(%(tables)s AS VARCHAR(4096)) AS tables,
    CAST(%(rows_total)s AS BIGINT) AS rows_total,
    CAST(%(bytes_total)s AS BIGINT) AS bytes_total,
    CAST(%(kind)s AS VARCHAR(16)) AS kind
WHERE NOT EXISTS (SELECT 1 FROM ops.backups AS known WHERE known.backup_id = %(backup_id)s)
