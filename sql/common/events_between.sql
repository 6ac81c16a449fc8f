-- What changed rows of a table, in the order of its commits.
SELECT
    commit_seq,
    load_id AS change_id,
    'load' AS kind,
    clean_parts,
    CASE WHEN warnings LIKE %(gave_way)s THEN 1 ELSE 0 END AS has_left,
    rows_removed,
    rows_inserted + rows_updated AS rows_put,
    CAST(NULL AS BIGINT) AS rows_total
FROM ops.loads
WHERE
    table_name = %(table)s
    AND verdict = 'loaded'
    AND commit_seq > %(after)s
    AND commit_seq <= %(until)s
    AND rows_inserted + rows_updated + rows_removed > 0
UNION ALL
SELECT
    commit_seq,
    restore_id AS change_id,
    kind,
    clean_parts,
    0 AS has_left,
    rows_removed,
    rows_added + rows_changed + rows_moved AS rows_put,
    rows_total
FROM ops.restores
WHERE
    table_name = %(table)s
    AND kind <> 'copy'
    AND commit_seq > %(after)s
    AND commit_seq <= %(until)s
    AND (clean_parts > 0 OR rows_removed > 0)
ORDER BY commit_seq
