"""
### Bring a table back

To a backup, or - with **at** - to any moment after the oldest one: the last backup before it, then everything that was
loaded, replaced, undone or restored since, in that order. Every byte is checked first. With **dry run** on, the result
says how many rows would be added, changed and removed, and nothing is touched; trigger it again with it off to do it.

The rows are changed in one transaction: readers see the table as it was until then, its grants, views and keys stay,
and what is replaced is in its history. Files that were loaded after that point count as new when they come again.
**into** makes another table of it instead, to look at or to copy rows from.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import AssetAlias, Param, dag, task

from datamart.tables import TABLES
from datamart_airflow.alerts import TaskFailed
from datamart_airflow.assets import CHANGED
from datamart_airflow.dag_defaults import DEFAULT_ARGS

TABLE_NAMES = [table.name for table in TABLES]


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
        "table": Param(TABLE_NAMES[0], type="string", enum=TABLE_NAMES, description="The table to bring back."),
        "dry_run": Param(
            True, type="boolean", description="Only say what would change. Switch it off to change the table."
        ),
        "backup_id": Param(
            "latest",
            type=["null", "string"],
            pattern="^[0-9A-Za-z_-]{2,64}$",
            description="Which backup: its id (the folder in the backup bucket), or latest.",
        ),
        "at": Param(
            None,
            type=["null", "string"],
            format="date-time",
            description="Or which moment, in place of a backup. UTC, if it has no offset.",
        ),
        "into": Param(
            None,
            type=["null", "string"],
            pattern="^[a-z][a-z0-9_]{0,50}$",
            description="Leave empty to change the table itself; or the name of a new table to make of it.",
        ),
        "seen": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            description="Leave empty; or changed_seq of a dry run: refused if the table has changed since.",
        ),
    },
)
def restore():
    @task(outlets=[AssetAlias(CHANGED)])
    def bring_back(params: dict | None = None) -> dict:
        """What changed, or would; fails with a sentence, with nothing touched, when it cannot be done."""
        from datamart_airflow import recovery_tasks

        return recovery_tasks.restore_table(params)

    bring_back()


restore()
