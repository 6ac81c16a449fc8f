"""Airflow seen from outside, through its REST API: what runs, what a run's tasks did when, start and end of runs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bench.measure import require
from embedded.airflow_api import AirflowApi, ApiError

ACTIVE = ("scheduled", "queued", "running", "restarting", "up_for_retry", "up_for_reschedule")
PAGE = 100
QUIET_LOOKS = 3


@dataclass(frozen=True)
class Task:
    """When a task was queued, started and ended; seconds since the epoch, None for what has not happened."""

    name: str
    queued: float | None
    started: float | None
    ended: float | None


class Airflow(AirflowApi):
    """Airflow's API as the administrator."""

    def wait_until_known(self, dag_id: str, limit: float = 120) -> None:
        """Wait until a Dag's file was read."""
        end = time.monotonic() + limit
        while True:
            try:
                self.get(f"/dags/{dag_id}")
                return
            except ApiError as error:
                if error.status != 404 or time.monotonic() > end:
                    raise
            time.sleep(0.5)

    def wait_until_quiet(self, limit: float = 300) -> None:
        """Wait until nothing runs but the sensor that waits for files."""
        end, quiet = time.monotonic() + limit, 0
        while quiet < QUIET_LOOKS:
            quiet = 0 if self._busy() else quiet + 1
            require(time.monotonic() < end, f"Airflow was not quiet after {limit:.0f} s")
            time.sleep(0.5)

    def _busy(self) -> bool:
        everywhere = "/dags/~/dagRuns/~/taskInstances"
        waiting = self.get(everywhere, state="deferred", limit=1)["total_entries"]
        active = self.get(everywhere, state=ACTIVE, limit=1)["total_entries"]
        queued = self.get("/dags/~/dagRuns", state="queued", limit=1)["total_entries"]
        return bool(waiting != 1 or active or queued)

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run; its id."""
        return str(self.post(f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"])

    def state(self, dag_id: str, run_id: str) -> str:
        """The state of a run."""
        return str(self.get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def end(self, dag_id: str, run_id: str) -> None:
        """End a run that takes too long, as a person does who marks it as failed."""
        self.patch(f"/dags/{dag_id}/dagRuns/{run_id}", {"state": "failed"})

    def failed_runs(self, dag_id: str) -> int:
        """How many runs of a Dag have failed."""
        return int(self.get(f"/dags/{dag_id}/dagRuns", state="failed", limit=1)["total_entries"])

    def tasks(self, dag_id: str, run_ids: Iterable[str]) -> list[Task]:
        """The tasks of a few runs in the order in which they started."""
        found = []
        for run_id in run_ids:
            answer = self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=PAGE)
            for one in answer["task_instances"]:
                moments = (_moment(one[name]) for name in ("queued_when", "start_date", "end_date"))
                found.append(Task(one["task_id"], *moments))
        return sorted(found, key=lambda task: task.started or float("inf"))


def _moment(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


def steps(moments: Sequence[tuple[str, float | None]]) -> dict[str, float]:
    """Seconds that passed until each moment since the one before it; moments that are not known are passed over."""
    found: dict[str, float] = {}
    before: float | None = None
    for name, moment in moments:
        if moment is None:
            continue
        if before is not None:
            found[name] = moment - before
        before = moment
    return found
