INSERT INTO ops.backups (
    backup_id, manifest_key, taken_at, finished_at, tables, rows_total, bytes_total, kind
)
VALUES (
    %(backup_id)s,
    %(manifest_key)s,
    %(taken_at)s,
    %(finished_at)s,
    %(tables)s,
    %(rows_total)s,
    %(bytes_total)s,
    %(kind)s
)
ON CONFLICT (backup_id) DO NOTHING
