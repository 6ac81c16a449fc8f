SELECT
    restore_id,
    kind,
    commit_seq,
    target_seq,
    undone_load_id
FROM ops.restores
WHERE table_name = %(table)s AND kind <> 'copy'
ORDER BY commit_seq
