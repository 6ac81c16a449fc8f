"""
### Ingest what lands in S3

Drop a file into `landing/` in the data bucket: within seconds it is judged row by row, loaded in a transaction of its
own and moved to `archive/<table>/`. Nothing needs to be triggered: a run waits for files all the time, loads those that
came in the order of their arrival, and the next run begins. Where a queue tells of files (`DATAMART_LANDING_QUEUE`), a
run begins when it does, and every five minutes. Files that are no data by their names (`.DS_Store`, `_SUCCESS`,
`*.md5`, ...) are ignored, and those that are not complete (`*.part`, `*.tmp`, ...) are left alone for a time; the
result of `gate` counts them (`left_out`).

A file that is not fit to load goes to `quarantine/` with a `.json` beside it that says why and what to do. Bad rows of
a file that is loaded are kept with their reasons in `ops.rejected_rows` and, ready to be repaired and sent again, under
`rejected/<table>/`. A file that a fault keeps from being loaded is on hold (`ops.holds`) and tried again, each time a
little later; the files after it are loaded meanwhile. The log of the task `gate` lists the files that were rejected,
and alerts report them; `gate` fails when a fault kept a file from being loaded. With
`DATAMART_FAIL_RUNS_ON_REJECTED_FILES=true` it fails for rejected files too.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import AssetAlias, dag, task

from datamart_airflow.assets import CHANGED
from datamart_airflow.dag_defaults import DEFAULT_ARGS
from datamart_airflow.landing_queue import landing_schedule, landing_wait
from datamart_airflow.landing_sensor import LandingSensor


@dag(
    schedule=landing_schedule(),
    # Without it the first two runs have one logical date, and Airflow makes no more of them.
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["load"],
    default_args={
        **DEFAULT_ARGS,
        "retries": 3,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": 2,
    },
)
def ingest_landing():
    wait_for_files = LandingSensor(task_id="wait_for_files", wait=landing_wait())

    @task(map_index_template="{{ label }}", outlets=[AssetAlias(CHANGED)])
    def load(batch: dict) -> dict:
        """What became of the files of a batch."""
        from datamart_airflow.landing_tasks import ingest_batch

        return ingest_batch(batch)

    @task(trigger_rule="none_skipped", retries=0)
    def gate(planned: list[dict] | None, results: list[dict] | None) -> dict:
        """Files by verdict; fails, naming the files, when a fault kept one from being loaded."""
        from datamart_airflow.landing_tasks import report_landing

        return report_landing(planned, results)

    gate(wait_for_files.output, load.expand(batch=wait_for_files.output))


ingest_landing()
