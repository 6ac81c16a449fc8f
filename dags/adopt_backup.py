"""
### Make a backup of another program's AVRO files

Put the files into a folder of the backup bucket, each under its table's name: `departments.avro`,
`jobs/part-0.avro`. Every row is checked: all columns there, numbers and moments in range, no id twice. Then the files
get a manifest, and **restore** can bring tables back from them. The files stay where they are; no expiry removes them.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag, task

from datamart_airflow.alerts import TaskFailed
from datamart_airflow.dag_defaults import DEFAULT_ARGS


@dag(
    schedule=None,
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
        "folder": Param(
            "foreign/", type="string", minLength=1, description="Folder in the backup bucket that holds the files."
        ),
    },
)
def adopt_backup():
    @task
    def adopt(params: dict | None = None) -> dict:
        """The new backup's id, rows by table and bytes; fails with a sentence when a file cannot be adopted."""
        from datamart_airflow import recovery_tasks

        return recovery_tasks.adopt_backup(params["folder"])

    adopt()


adopt_backup()
