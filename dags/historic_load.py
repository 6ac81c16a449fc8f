"""
### Load the history

Loads every file of a folder in the data bucket: departments and jobs first, then hires. A file belongs to the table
that its name starts with, as in `jobs.csv`; others are left alone, and `gate` counts and names them (`left_out`).

Each file is judged row by row. Bad rows are kept with their reasons in `ops.rejected_rows` and, ready to be repaired
and sent again, as CSV under `rejected/<table>/` in the data bucket. A file that was loaded before is a `duplicate` and
changes nothing. The verdicts are in `ops.loads`; the task `gate` fails when a file was not loaded, and lists each such
file with its reason. A dry run succeeds when every file was judged; the log of `gate` lists the files it would reject.

Where `DATAMART_RANGE_BYTES` is set, files of twice as many bytes or more are cleaned in ranges, by tasks beside each
other on as many workers as there are (`ranges_1`, `ranges_2`); a file whose ranges are not all cleaned is read whole.
"""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import AssetAlias, Param, TaskGroup, dag, task

from datamart.tables import TABLES, load_order
from datamart_airflow.alerts import TaskFailed
from datamart_airflow.assets import CHANGED
from datamart_airflow.dag_defaults import DEFAULT_ARGS

TABLE_NAMES = [table.name for table in TABLES]
SPLIT_LARGE_FILES = bool(os.environ.get("DATAMART_RANGE_BYTES"))


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["load"],
    default_args={**DEFAULT_ARGS, "retries": 3, "retry_delay": timedelta(seconds=5)},
    params={
        "prefix": Param(
            "historic/", type="string", minLength=1, description="Folder in the data bucket, with the / at its end."
        ),
        "tables": Param(
            TABLE_NAMES,
            type="array",
            items={"type": "string", "enum": TABLE_NAMES},
            examples=TABLE_NAMES,
            minItems=1,
            description="Tables to load, whatever their order here; files of other tables are left alone.",
        ),
        "mode": Param(
            "upsert",
            type="string",
            enum=["upsert", "replace"],
            values_display={
                "upsert": "upsert: add new rows, update those with a known id",
                "replace": "replace: the files become the whole table, in one step",
            },
            description="Rows that are updated or removed are kept in the table's history.",
        ),
        "dry_run": Param(False, type="boolean", description="Judge the files and report the result; change no table."),
    },
)
def historic_load():
    @task(on_failure_callback=TaskFailed())
    def plan(params: dict | None = None) -> list[list[dict]]:
        """Batches of files by wave; fails at once, with a sentence, when there is nothing to load."""
        from datamart_airflow.history_tasks import plan_batches

        return plan_batches(params["prefix"], params["tables"], params["mode"])

    @task
    def batches(planned: list[list[dict]] | None, wave: int) -> list[dict]:
        """The batches of one wave."""
        from datamart_airflow.upstream import required

        return required(planned, "plan")[wave]

    @task
    def split(planned: list[list[dict]] | None, wave: int, params: dict | None = None) -> list[dict]:
        """Ranges of the files of a wave that are very large."""
        from datamart_airflow.range_tasks import split_files

        return split_files(planned, wave, params["mode"])

    @task(map_index_template="{{ label }}")
    def clean(listed: dict) -> dict[str, int]:
        """Rows read and rejected in one range of a very large file."""
        from datamart_airflow.range_tasks import clean_one

        return clean_one(listed)

    @task(map_index_template="{{ label }}", outlets=[AssetAlias(CHANGED)], trigger_rule="none_failed")
    def load(batch: dict, ranges_of: str | None, params: dict | None = None) -> list[dict]:
        """One verdict for each file of a batch."""
        from datamart_airflow.history_tasks import load_batch

        return load_batch(batch, params["mode"], params["dry_run"], ranges_of)

    @task(trigger_rule="all_done", retries=0)
    def gate(planned: list[list[dict]] | None, *waves: list[list[dict]] | None) -> dict:
        """Files by verdict; fails when a file was not loaded and lists each, or repeats what `plan` refused."""
        from datamart_airflow.history_tasks import report_run

        return report_run(planned, [verdict for wave in waves for batch in wave or [] for verdict in batch or []])

    planned = plan()
    loaded = []
    for wave in range(len(load_order(TABLES))):
        chosen = batches.override(task_id=f"batches_{wave + 1}", trigger_rule="none_failed")(planned, wave)
        # Its name, not the ranges themselves: a load that was given them would not run where they failed.
        split_id = f"ranges_{wave + 1}.split" if SPLIT_LARGE_FILES else None
        loads = load.override(task_id=f"load_{wave + 1}").partial(ranges_of=split_id).expand(batch=chosen)
        first = [chosen]
        if SPLIT_LARGE_FILES:
            with TaskGroup(f"ranges_{wave + 1}", tooltip="Only for files that are very large"):
                ranges = split.override(trigger_rule="none_failed")(planned, wave)
                # Whatever became of them: a file whose ranges are not all there is read whole.
                over = EmptyOperator(task_id="over", trigger_rule="all_done")
                clean.expand(listed=ranges) >> over >> loads
            first.append(ranges)
        if loaded:
            loaded[-1] >> first
        loaded.append(loads)
    gate(planned, *loaded)


historic_load()
