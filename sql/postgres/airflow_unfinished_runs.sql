-- Of Airflow's own database. A run that was cleared has tasks that are older than its start.
SELECT
    runs.dag_id,
    runs.run_id,
    LEAST(runs.start_date, MIN(tasks.start_date)) AS began_at
FROM dag_run AS runs
LEFT JOIN task_instance AS tasks ON runs.dag_id = tasks.dag_id AND runs.run_id = tasks.run_id
WHERE runs.state NOT IN ('success', 'failed')
GROUP BY runs.dag_id, runs.run_id, runs.start_date
HAVING LEAST(runs.start_date, MIN(tasks.start_date)) < %(before)s
ORDER BY began_at
