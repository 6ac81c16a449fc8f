SELECT
    line,
    reasons,
    "raw"
FROM ops.rejected_rows
WHERE load_id = %(load_id)s AND line > %(after)s
ORDER BY line
LIMIT %(limit)s
