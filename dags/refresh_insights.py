"""
### Refresh the insight tables

Recomputes `hires_department_job` and `departments_hired_above_mean` for every year present, in one transaction:
readers see the old rows until the new ones are complete. Runs whenever rows of a table changed, and every night; a run
goes on until it has every change that was made meanwhile, so that none depends on an event of its own.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag, task

from datamart_airflow.alerts import TaskFailed
from datamart_airflow.assets import TABLE_ASSETS
from datamart_airflow.dag_defaults import DEFAULT_ARGS

departments, *others = TABLE_ASSETS.values()
any_table = departments
for other in others:
    any_table = any_table | other


@dag(
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("15 3 * * *", timezone="UTC"), assets=any_table),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["insights"],
    default_args={
        **DEFAULT_ARGS,
        "retries": 3,
        "retry_delay": timedelta(seconds=10),
        "on_failure_callback": TaskFailed(),
    },
)
def refresh_insights():
    @task
    def refresh() -> dict[str, int]:
        """Rows written by insight."""
        from datamart_airflow import insight_tasks

        return insight_tasks.refresh_insights()

    refresh()


refresh_insights()
