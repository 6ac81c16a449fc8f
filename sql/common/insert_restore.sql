INSERT INTO ops.restores (
    restore_id, table_name, kind, backup_id, target_seq, target_at, undone_load_id, into_table, rows_added,
    rows_changed, rows_removed, rows_total, finished_at, dag_id, run_id, commit_seq, clean_parts, message, notes, rows_moved
)
VALUES (
    %(restore_id)s, %(table_name)s, %(kind)s, %(backup_id)s, %(target_seq)s, %(target_at)s, %(undone_load_id)s,
    %(into_table)s, %(rows_added)s, %(rows_changed)s, %(rows_removed)s, %(rows_total)s, %(finished_at)s, %(dag_id)s,
    %(run_id)s, %(commit_seq)s, %(clean_parts)s, %(message)s,
    %(notes)s,
    %(rows_moved)s
)
