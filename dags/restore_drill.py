"""
### Prove that a backup can be restored

Every week, and whenever it is triggered: the newest backup is restored into a scratch schema and read back, and rows
and digests are compared with what was backed up. The evidence is in `ops.drills`; a backup that passed is proven, which
the list of backups shows, and the last proven one is never removed. A drill that fails alerts. Live tables are not
touched, and the scratch schema is dropped at the end.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, dag, task

from datamart_airflow.alerts import TaskFailed
from datamart_airflow.dag_defaults import DEFAULT_ARGS


@dag(
    schedule=CronTriggerTimetable("0 5 * * 0", timezone="UTC", run_immediately=timedelta(0)),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["recovery"],
    default_args={
        **DEFAULT_ARGS,
        "retries": 3,
        "retry_delay": timedelta(seconds=10),
        "on_failure_callback": TaskFailed(),
    },
    params={
        "backup_id": Param(
            "latest",
            type="string",
            pattern="^[0-9A-Za-z_-]{2,64}$",
            description="Which backup: its id (the folder in the backup bucket), or latest.",
        ),
    },
)
def restore_drill():
    @task
    def prove(params: dict | None = None) -> dict:
        """Rows, digest and seconds by table; fails when they are not what was backed up."""
        from datamart_airflow import recovery_tasks

        return recovery_tasks.drill(params["backup_id"])

    prove()


restore_drill()
