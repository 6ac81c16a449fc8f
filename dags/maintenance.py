"""
### Remove what has outlived its use

Every night, as long as the settings say (`DATAMART_..._KEEP_DAYS`; an empty one keeps for ever):

- **expire_clean** removes clean parquet that no backup needs, and what tries that did not end have left;
- **expire_rejects** removes rejected rows, which hold personal data, from `rejected/` and `ops.rejected_rows`;
- **expire_quarantine** removes refused files and the notes beside them;
- **expire_uploads** removes uploads that a fault kept from being loaded, and answers of dry runs;
- **forget_holds** ends holds of files that are not in the landing folder any more;
- **clean_metadata** removes old runs from Airflow's database, where the connection `airflow_metadata` is defined;
- **clean_task_logs** removes old log files of tasks on the machine it runs on.

The ledger `ops.loads` is never shortened: it says what was removed, and when. A *dry run* only counts.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, dag, task

from datamart_airflow.alerts import TaskFailed
from datamart_airflow.dag_defaults import DEFAULT_ARGS


@dag(
    # By default a new Dag would also run at its first start, if that comes within hours of the time of day.
    schedule=CronTriggerTimetable("30 4 * * *", timezone="UTC", run_immediately=timedelta(0)),
    catchup=False,
    max_active_runs=1,
    max_active_tasks=1,
    doc_md=__doc__,
    tags=["maintenance"],
    default_args={
        **DEFAULT_ARGS,
        "retries": 3,
        "retry_delay": timedelta(seconds=30),
        "on_failure_callback": TaskFailed(),
    },
    params={
        "dry_run": Param(
            False, type="boolean", description="Only count what would be removed; each task's result says how much."
        ),
    },
)
def maintenance():
    @task
    def expire(kind: str, params: dict | None = None) -> dict[str, int]:
        """Loads, rows, objects, orphans and bytes that were removed."""
        from datamart_airflow import maintenance_tasks

        return maintenance_tasks.expire(kind, params["dry_run"])

    @task(execution_timeout=timedelta(hours=1))
    def clean_metadata(params: dict | None = None) -> dict[str, int]:
        """Rows that were removed, by table of Airflow's database."""
        from datamart_airflow import maintenance_tasks

        return maintenance_tasks.clean_metadata(params["dry_run"])

    @task
    def clean_task_logs(params: dict | None = None) -> dict[str, int]:
        """Files and bytes that were removed."""
        from datamart_airflow import maintenance_tasks

        return maintenance_tasks.clean_task_logs(params["dry_run"])

    for kind in ("clean", "rejects", "quarantine", "uploads"):
        expire.override(task_id=f"expire_{kind}")(kind)
    expire.override(task_id="forget_holds")("holds")
    clean_metadata()
    clean_task_logs()


maintenance()
