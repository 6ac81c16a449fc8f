SELECT load_id
FROM ops.loads
WHERE
    table_name = %(table)s
    AND (
        (verdict = 'rejected' AND finished_at < %(refused_before)s)
        OR (verdict IN ('loaded', 'duplicate') AND finished_at < %(applied_before)s)
    )
