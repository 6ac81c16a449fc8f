"""
### Undo one load

Takes back exactly what one file did: rows it added are removed, rows it changed are what they were before, rows its
replacement removed are there again. The file counts as new when it comes again. With **dry run** on, the result says
what would change, and nothing is touched; trigger it again with it off to do it.

Where later loads have changed the same rows, or brought the same values for them, it is refused, and the result names
those loads: undo them first, or let their rows stay as they are. A load's id is in `ops.loads`, in the verdict of its
run and in the name of its file under `archive/`.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import AssetAlias, Param, dag, task

from datamart_airflow.alerts import TaskFailed
from datamart_airflow.assets import CHANGED
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
        "retry_delay": timedelta(seconds=5),
        "on_failure_callback": TaskFailed(),
    },
    params={
        "load_id": Param(
            "", type="string", pattern="^[0-9]{1,19}$", minLength=1, description="Id of the load to undo."
        ),
        "dry_run": Param(
            True, type="boolean", description="Only say what would change. Switch it off to change the table."
        ),
        "later_rows": Param(
            "refuse",
            type="string",
            enum=["refuse", "keep"],
            values_display={
                "refuse": "refuse: undo nothing when later loads have the same rows",
                "keep": "keep: undo the other rows, leave those as they are",
            },
            description="What to do where later loads have changed or brought the same rows.",
        ),
    },
)
def undo_load():
    @task(outlets=[AssetAlias(CHANGED)])
    def take_back(params: dict | None = None) -> dict:
        """What changed, or would; fails with a sentence, with nothing touched, when it cannot be done."""
        from datamart_airflow import recovery_tasks

        return recovery_tasks.undo_load(params)

    take_back()


undo_load()
