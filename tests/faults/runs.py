"""Airflow as its operators use it: runs, their tasks, tries and logs, clears, and connections; all by REST."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from datamart.tables import TABLES, load_order
from embedded.airflow_api import AirflowApi, ApiError
from tests.product import Product

DAG = "historic_load"
LOAD_TASK = f"load_{len(load_order(TABLES))}"
"""The mapped task that loads hires: they refer to the other tables, so theirs is the last wave."""
PATIENCE = 180.0

T = TypeVar("T")


def until(what: str, found: Callable[[], T | None], seconds: float = PATIENCE) -> T:
    """What ``found`` gives once it gives something; fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)


class Api(AirflowApi):
    """The stack's client, with the verb it lacks."""

    def patch(self, path: str, body: object) -> Any:
        return self._call("PATCH", f"/api/v2{path}", body)


@dataclass(frozen=True)
class Run:
    """One run of the historic load."""

    api: Api
    product: Product
    run_id: str

    @property
    def path(self) -> str:
        return f"/dags/{DAG}/dagRuns/{self.run_id}"

    @property
    def state(self) -> str:
        return str(self.api.get(self.path)["state"])

    def ended(self, seconds: float = PATIENCE) -> str:
        """The run's state, once it has ended."""
        until(f"{self.run_id} ends", lambda: self.state in ("success", "failed"), seconds)
        return self.state

    def task(self, place: int = 0, task_id: str = LOAD_TASK) -> dict[str, Any]:
        """A mapped task instance as it is now; empty as long as there is none."""
        try:
            return dict(self.api.get(f"{self.path}/taskInstances/{task_id}/{place}"))
        except ApiError as error:
            if error.status != 404:
                raise
            return {}

    def failed_once(self, place: int, task_id: str = LOAD_TASK) -> bool:
        """The first try of a task has failed."""
        task = self.task(place, task_id)
        return bool(task) and (task["state"] == "up_for_retry" or task["try_number"] > 1)

    def tries(self, place: int = 0, task_id: str = LOAD_TASK) -> dict[int, str]:
        """State by try of a task instance."""
        found = self.api.get(f"{self.path}/taskInstances/{task_id}/{place}/tries")["task_instances"]
        return {one["try_number"]: one["state"] for one in found}

    def log(self, place: int = 0, attempt: int = 1, task_id: str = LOAD_TASK) -> str:
        """What a person reads in the log of one try."""
        answer = self.api.get(
            f"{self.path}/taskInstances/{task_id}/logs/{attempt}", map_index=place, full_content="true"
        )
        return json.dumps(answer["content"], ensure_ascii=False)

    def verdicts(self) -> dict[str, dict[str, Any]]:
        """The run's verdicts by file."""
        return {verdict["file"]: verdict for verdict in self.product._verdicts(self.run_id)}

    def give_up(self, place: int) -> None:
        """What Airflow does to a try it has not heard of for too long, and a person who marks it as failed."""
        self.api.patch(f"{self.path}/taskInstances/{LOAD_TASK}/{place}", {"new_state": "failed"})

    def clear(self, *places: int, only_failed: bool = False) -> None:
        """What the button Clear does to load tasks, and to what follows them."""
        body = {
            "dry_run": False,
            "dag_run_id": self.run_id,
            "task_ids": [[LOAD_TASK, place] for place in places],
            "only_failed": only_failed,
            "include_downstream": True,
        }
        self.api.post(f"/dags/{DAG}/clearTaskInstances", body)


@dataclass(frozen=True)
class Airflow:
    """One stack's Airflow."""

    api: Api
    product: Product

    def dag(self) -> dict[str, Any]:
        """What Airflow knows of the Dag."""
        return dict(self.api.get(f"/dags/{DAG}"))

    def trigger(self, prefix: str, **params: object) -> Run:
        """Start a historic load."""
        body = {"logical_date": None, "conf": {"prefix": prefix, **params}}
        return Run(self.api, self.product, until("the Dag is there", lambda: self._started(body)))

    def _started(self, body: object) -> str:
        try:
            return str(self.api.post(f"/dags/{DAG}/dagRuns", body)["dag_run_id"])
        except ApiError as error:
            if error.status != 404:
                raise
            return ""

    @contextmanager
    def connection(self, name: str, **fields: object) -> Iterator[None]:
        """Change a connection, and change it back."""
        path = f"/connections/{name}"
        before = self.api.get(path)
        old = {field: before[field] for field in fields}
        self._change(name, before["conn_type"], fields)
        try:
            yield
        finally:
            self._change(name, before["conn_type"], old)

    def _change(self, name: str, conn_type: str, fields: dict[str, object]) -> None:
        mask = "&".join(f"update_mask={field}" for field in fields)
        self.api.patch(f"/connections/{name}?{mask}", {"connection_id": name, "conn_type": conn_type, **fields})
