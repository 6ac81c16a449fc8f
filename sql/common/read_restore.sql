SELECT
    table_name,
    kind,
    rows_added,
    rows_changed,
    rows_removed,
    rows_total,
    commit_seq,
    backup_id,
    target_seq,
    target_at,
    undone_load_id,
    into_table,
    clean_parts,
    rows_moved,
    FALSE AS dry_run,
    message,
    notes
FROM ops.restores
WHERE restore_id = %(restore_id)s
