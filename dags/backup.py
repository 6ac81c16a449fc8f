"""
### Back up the tables

Writes the chosen tables as AVRO to the backup bucket, all as they are at one moment, every night and whenever it is
triggered; loads go on meanwhile. The manifest, written last, makes it a backup: it has the SHA-256 of every part and a
digest of every table. A try that breaks off leaves no backup, and the next one takes another.

**expire** then removes backups that are older than `DATAMART_BACKUP_KEEP_DAYS`, but never a table's newest ones, its
last one that was proven restorable, or what a moment within that time is reached from.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, dag, task

from datamart.tables import TABLES
from datamart_airflow.alerts import TaskFailed
from datamart_airflow.dag_defaults import DEFAULT_ARGS

TABLE_NAMES = [table.name for table in TABLES]


@dag(
    schedule=CronTriggerTimetable("0 2 * * *", timezone="UTC", run_immediately=timedelta(0)),
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
        "tables": Param(
            TABLE_NAMES,
            type="array",
            items={"type": "string", "enum": TABLE_NAMES},
            examples=TABLE_NAMES,
            minItems=1,
            description="Tables to back up, all at one moment.",
        ),
    },
)
def backup():
    @task
    def take(params: dict | None = None) -> dict:
        """The new backup's id, rows by table and bytes."""
        from datamart_airflow import recovery_tasks

        return recovery_tasks.take_backup(params["tables"])

    @task
    def expire() -> dict:
        """Backups and objects that were removed."""
        from datamart_airflow import recovery_tasks

        return recovery_tasks.expire_backups()

    take() >> expire()


backup()
