SELECT load_id
FROM ops.loads
WHERE
    table_name = %(table)s
    AND rows_rejected > 0
    AND finished_at < %(before)s
