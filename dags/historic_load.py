"""
### Load the history

Loads every file of a prefix in the data bucket: departments and jobs first, then hires. Each file is validated
row by row; bad rows are kept with their reasons and can be repaired and sent again. A file that was loaded before
is a `duplicate` and changes nothing. The last task fails when a file was not loaded, and lists each with its reason.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import AssetAlias, Param, dag, task

from datamart.tables import TABLES, load_order
from datamart_airflow.assets import CHANGED

TABLE_NAMES = [table.name for table in TABLES]


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["load"],
    default_args={"owner": "datamart", "retries": 3, "retry_delay": timedelta(seconds=5)},
    params={
        "prefix": Param("historic/", type="string", minLength=1, description="Folder in the data bucket."),
        "tables": Param(
            TABLE_NAMES,
            type="array",
            items={"type": "string", "enum": TABLE_NAMES},
            examples=TABLE_NAMES,
            minItems=1,
            description="Which tables to load; files of other tables are left alone.",
        ),
        "mode": Param(
            "upsert",
            enum=["upsert", "replace"],
            description="upsert: add and update by id. replace: the files become the table, in one step.",
        ),
        "dry_run": Param(False, type="boolean", description="Judge the files and write nothing."),
    },
)
def historic_load():
    @task
    def plan(params: dict | None = None) -> list[list[dict]]:
        """Batches of files by wave; fails at once, with a sentence, when there is nothing to load."""
        from datamart_airflow.tasks import plan_batches

        return plan_batches(params["prefix"], params["tables"], params["mode"])

    @task
    def batches(planned: list[list[dict]], wave: int) -> list[dict]:
        """The batches of one wave."""
        return planned[wave]

    @task(map_index_template="{{ label }}", outlets=[AssetAlias(CHANGED)], trigger_rule="none_failed")
    def load(batch: dict, params: dict | None = None) -> list[dict]:
        """One verdict for each file of a batch."""
        from datamart_airflow.tasks import load_batch

        return load_batch(batch, params["mode"], params["dry_run"])

    @task(trigger_rule="all_done", retries=0)
    def gate(planned: list[list[dict]], *waves: list[list[dict]]) -> dict[str, int]:
        """Files by verdict; fails, naming the files, when one was not loaded."""
        from datamart_airflow.tasks import judge_run

        return judge_run(planned, [verdict for wave in waves for batch in wave or [] for verdict in batch or []])

    planned = plan()
    loaded = []
    for wave in range(len(load_order(TABLES))):
        chosen = batches.override(task_id=f"batches_{wave + 1}", trigger_rule="none_failed")(planned, wave)
        loads = load.override(task_id=f"load_{wave + 1}").expand(batch=chosen)
        if loaded:
            loaded[-1] >> chosen
        loaded.append(loads)
    gate(planned, *loaded)


historic_load()
