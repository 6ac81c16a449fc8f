SELECT
    load_id,
    table_name,
    source_key,
    source_version,
    sha256,
    bytes,
    mode,
    verdict,
    code,
    message,
    rows_read,
    rows_inserted,
    rows_updated,
    rows_unchanged,
    rows_rejected,
    rows_removed,
    blank_lines,
    line_counts,
    warnings,
    started_at,
    finished_at,
    dag_id,
    run_id,
    repairs,
    duplicate_of,
    commit_seq,
    rejects_expired_at,
    undone_by
FROM ops.loads
WHERE {conditions}
ORDER BY finished_at DESC, load_id DESC
LIMIT %(limit)s
