SELECT
    complete_up_to,
    refreshed_at
FROM ops.insight_refreshes
WHERE insight = %(insight)s
ORDER BY refreshed_at DESC
LIMIT 1
