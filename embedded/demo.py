"""The first look: load the sample data through S3 and Airflow, then show what the warehouse answers."""

import time
import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedded import environment, objectstore, provision
from embedded.airflow_api import AirflowApi, ApiError
from embedded.console import Console, table
from embedded.errors import StackError
from embedded.settings import DATA_BUCKET, REPOSITORY, Settings
from embedded.stacksecrets import Secrets

LOAD_DAG = "historic_load"
REFRESH_DAG = "refresh_insights"
HISTORIC = "historic/"
YEAR = 2021
SHOWN = 10
MOST = 1000
DONE = ("success", "failed")
INSIGHTS = {
    f"Hires by department and job, per quarter of {YEAR}": "HIRES_DEPARTMENT_JOB",
    f"Departments that hired more than the mean in {YEAR}": "DEPARTMENTS_HIRED_ABOVE_MEAN",
}


class Demo:
    """Runs on a started stack; `check` raises when one of its processes has died."""

    def __init__(
        self, settings: Settings, secrets: Secrets, api: AirflowApi, console: Console, check: Callable[[], None]
    ) -> None:
        self.settings = settings
        self.secrets = secrets
        self.api = api
        self.console = console
        self.check = check

    def run(self) -> None:
        """Load the sample data into a new stack; print the insights of any."""
        self._wait_for_dag(LOAD_DAG)
        if environment.names_own_warehouse(self.settings) and not self.settings.samples_anywhere:
            self.console.say("No sample data is loaded into a warehouse of your own; NO_DEMO=0 make run loads it")
        elif self._pending.exists() or self._is_new():
            self._load_samples()
        else:
            self.console.say("The sample data is not loaded again: this stack has data already")
        self._print_insights()

    @property
    def _pending(self) -> Path:
        """Is there while the sample data is being loaded, so that a start that was ended meanwhile is continued."""
        return self.settings.stack_dir / "samples.pending"

    def _is_new(self) -> bool:
        """Whether no data has come yet: no object in historic/, no load in the ledger, no row in a table.

        A sample that is sent again is a new arrival, whose rows replace what people have corrected since.
        """
        s3 = objectstore.client(self.settings, self.secrets)
        if s3.list_objects_v2(Bucket=DATA_BUCKET, Prefix=HISTORIC, MaxKeys=1).get("KeyCount"):
            return False
        return not self.api.loads(limit=1)["loads"] and not provision.has_rows(self.settings, self.secrets)

    def _load_samples(self) -> None:
        self._pending.touch()
        self._upload()
        run_id = self._trigger()
        self._follow(run_id)
        self._pending.unlink()
        self._wait_for_refresh(run_id)

    def _upload(self) -> None:
        """Put the samples into historic/, except those that an earlier start that was ended has put there."""
        files = sorted((REPOSITORY / "data").glob("*.csv"))
        if not files:
            raise StackError("There is no data/*.csv to load; NO_DEMO=1 make run starts the stack without it.")
        s3 = objectstore.client(self.settings, self.secrets)
        known = {one["Key"] for one in s3.list_objects_v2(Bucket=DATA_BUCKET, Prefix=HISTORIC).get("Contents", [])}
        new = [file for file in files if f"{HISTORIC}{file.name}" not in known]
        for file in new:
            s3.upload_file(str(file), DATA_BUCKET, f"{HISTORIC}{file.name}")
        if new:
            names = ", ".join(file.name for file in new)
            self.console.say(f"Uploaded {names} to s3://{DATA_BUCKET}/{HISTORIC}")

    def _wait_for_dag(self, dag_id: str) -> None:
        if not (REPOSITORY / "dags" / f"{dag_id}.py").exists():
            raise StackError(
                f"There is no Dag {dag_id} (dags/{dag_id}.py), so the sample data cannot be loaded; "
                "NO_DEMO=1 make run starts the stack without it."
            )

        def there() -> bool:
            try:
                self.api.get(f"/dags/{dag_id}")
            except ApiError as error:
                if error.status != 404:
                    raise
                return False
            return True

        self._wait(there, 90, lambda: f"Airflow did not accept the Dag {dag_id}. {self._import_errors()}")

    def _import_errors(self) -> str:
        errors = self.api.get("/importErrors")["import_errors"]
        return "\n".join(f"{e['filename']}:\n{e['stack_trace']}" for e in errors) or "It reports no import error."

    def _trigger(self) -> str:
        run_id = f"demo__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"
        run = self.api.post(f"/dags/{LOAD_DAG}/dagRuns", {"dag_run_id": run_id, "logical_date": None})
        self.console.say(f"Triggered {LOAD_DAG}")
        return str(run["dag_run_id"])

    def _follow(self, run_id: str) -> None:
        path = f"/dags/{LOAD_DAG}/dagRuns/{urllib.parse.quote(run_id)}"
        shown: dict[tuple[str, int], str] = {}

        def finished() -> bool:
            state = self.api.get(path)["state"]
            for task in self.api.get(f"{path}/taskInstances", limit=100)["task_instances"]:
                self._show(task, shown)
            return state in DONE

        self._wait(finished, 600, lambda: f"{LOAD_DAG} did not end within 10 minutes")
        if self.api.get(path)["state"] != "success":
            url = f"{self.settings.airflow_url}/dags/{LOAD_DAG}/runs/{urllib.parse.quote(run_id)}"
            self.console.say(f"{LOAD_DAG} ended failed: not every file was loaded, see {url}")
        else:
            self.console.say(f"{LOAD_DAG} ended well")

    def _show(self, task: dict[str, Any], shown: dict[tuple[str, int], str]) -> None:
        key = (task["task_id"], task["map_index"])
        state = task["state"]
        if state in (None, "scheduled", "queued", shown.get(key)):
            return
        mapped = task["map_index"] >= 0
        label = task.get("rendered_map_index") or ""
        label = "" if label == str(task["map_index"]) else label
        if mapped and not label and state not in DONE:
            return  # the task names itself when it has begun
        shown[key] = state
        seconds = f" ({task['duration']:.1f} s)" if task.get("duration") and state in DONE else ""
        place = f" [{label or task['map_index']}]" if mapped else ""
        self.console.say(f"  {task['task_id']}{place}: {state}{seconds}")

    def _wait_for_refresh(self, run_id: str) -> None:
        events = self._events(run_id)
        if not events:
            self.console.say("Nothing has changed, so the insights are as they were")
            return
        self.console.say(f"Waiting for {REFRESH_DAG}, which the changed tables trigger")
        failed: list[str] = []

        def consumed() -> bool:
            left = set(events)
            query = {"order_by": "-run_after", "limit": 20, "run_type": "asset_triggered"}
            for run in self.api.get(f"/dags/{REFRESH_DAG}/dagRuns", **query)["dag_runs"]:
                if run["state"] in DONE:
                    name = urllib.parse.quote(run["dag_run_id"])
                    path = f"/dags/{REFRESH_DAG}/dagRuns/{name}/upstreamAssetEvents"
                    used = {event["id"] for event in self.api.get(path)["asset_events"]}
                    if used & left and run["state"] == "failed":
                        failed.append(run["dag_run_id"])
                    left -= used
            return not left or bool(failed)

        self._wait(consumed, 120, lambda: f"{REFRESH_DAG} was not run within 2 minutes")
        if failed:
            raise StackError(f"{REFRESH_DAG} failed: see {self.settings.airflow_url}/dags/{REFRESH_DAG}")
        self.console.say(f"{REFRESH_DAG} ended well")

    def _events(self, run_id: str) -> set[int]:
        answer = self.api.get("/assets/events", source_dag_id=LOAD_DAG, source_run_id=run_id, limit=100)
        return {event["id"] for event in answer["asset_events"]}

    def _print_insights(self) -> None:
        for title, insight in INSIGHTS.items():
            records = self.api.insights(table=insight, year=YEAR, limit=MOST)
            if not records:
                self.console.plain(f"\n{title}\n  nobody")
                continue
            rows = [tuple(record.values()) for record in records[:SHOWN]]
            self.console.plain(f"\n{title}\n{table(tuple(records[0]), rows)}")
            if len(records) > SHOWN:
                self.console.plain(f"  ... and {len(records) - SHOWN} more")
        self.console.plain()

    def _wait(self, ready: Callable[[], bool], seconds: float, complaint: Callable[[], str]) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise StackError(complaint())
            time.sleep(0.5)
