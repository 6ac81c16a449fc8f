SELECT
    line,
    reasons,
    "raw"
FROM ops.rejected_rows
WHERE load_id = %(load_id)s
ORDER BY line
