SELECT due.load_id
FROM (
    SELECT load_id
    FROM ops.loads
    WHERE
        table_name = %(table)s
        AND (
            (verdict = 'rejected' AND finished_at < %(refused_before)s)
            OR (verdict IN ('loaded', 'duplicate') AND finished_at < %(applied_before)s)
        )
    UNION ALL
    SELECT restore_id AS load_id
    FROM ops.restores
    WHERE table_name = %(table)s AND finished_at < %(applied_before)s
) AS due
WHERE due.load_id IS NOT NULL
