INSERT INTO ops.insight_refreshes (
    insight, refreshed_at, rows_written, seconds, complete_up_to, dag_id, run_id
)
VALUES (
    %(insight)s, %(refreshed_at)s, %(rows_written)s, %(seconds)s, %(complete_up_to)s, %(dag_id)s, %(run_id)s
)
