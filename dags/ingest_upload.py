"""
### Load one file

Loads one object of the data bucket: what programs send to `POST /data-api/upload` comes this way, and any other file
may, by its key. It is judged row by row and loaded in one transaction; the verdict is the task's result and is in
`ops.loads`. Bad rows are kept with their reasons in `ops.rejected_rows` and, ready to be repaired and sent again, under
`rejected/<table>/`. An upload is moved to `archive/` afterwards, or to `quarantine/` with a note; other files stay
where they are. The task fails when a fault kept the file from being judged, and says why. A file that is rejected is a
verdict: the run succeeds and alerts report the file (`DATAMART_FAIL_RUNS_ON_REJECTED_FILES=true` makes the run fail).
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
    max_active_runs=64,
    doc_md=__doc__,
    tags=["load"],
    default_args={**DEFAULT_ARGS, "retries": 3, "retry_delay": timedelta(seconds=2)},
    params={
        "key": Param(
            "historic/jobs.csv",
            type="string",
            minLength=1,
            description="The object's key in the data bucket, or s3://<data bucket>/<key>; its name starts with its "
            "table's name and ends in .csv.",
        ),
        "dry_run": Param(
            False, type="boolean", description="Only judge the file: say what would be loaded, change no table."
        ),
        "repairs": Param(
            None,
            type=["null", "string"],
            pattern="^[0-9]{1,19}$",
            description="Id of the load whose rejected rows these are, repaired; a rejects file says so itself.",
        ),
        "upload_id": Param(
            None, type=["null", "string"], pattern="^[0-9a-f]{32}$", description="Set by the API; leave it empty."
        ),
        "sha256": Param(None, type=["null", "string"], description="Set by the API; leave it empty."),
        "received_at": Param(
            None, type=["null", "string"], format="date-time", description="Set by the API; leave it empty."
        ),
    },
)
def ingest_upload():
    @task(outlets=[AssetAlias(CHANGED)], on_failure_callback=TaskFailed())
    def load(params: dict | None = None) -> dict:
        """The file's verdict; fails with a sentence when a fault kept the file from being judged."""
        from datamart_airflow.upload_tasks import load_file

        return load_file(params)

    load()


ingest_upload()
