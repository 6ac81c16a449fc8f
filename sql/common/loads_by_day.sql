SELECT
    CAST(finished_at AT TIME ZONE 'UTC' AS DATE) AS finished_on,
    COUNT(*) AS loads,
    CAST(SUM(rows_read) AS BIGINT) AS rows_read,
    CAST(SUM(rows_rejected) AS BIGINT) AS rows_rejected
FROM ops.loads
WHERE {conditions}
GROUP BY CAST(finished_at AT TIME ZONE 'UTC' AS DATE)
ORDER BY finished_on DESC
LIMIT %(limit)s
