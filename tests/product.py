"""The product as its users reach it: S3, REST triggers, SQL."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote

import psycopg2

from embedded.airflow_api import AirflowApi, ApiError
from tests.stack import Stack


class Product:
    """One stack's clients."""

    def __init__(self, stack: Stack) -> None:
        env = stack.env
        self.api = AirflowApi(env["AIRFLOW_URL"], env["AIRFLOW_USER"], env["AIRFLOW_PASSWORD"])
        self.bucket = env["DATA_BUCKET"]
        self.s3 = stack.s3
        self._warehouse = env["WAREHOUSE_URI"]

    def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg2.connect(self._warehouse) as connection, connection.cursor() as cursor:
            cursor.execute(text, values)
            return cursor.fetchall()

    def do(self, text: str) -> None:
        """A statement without an answer."""
        with psycopg2.connect(self._warehouse) as connection, connection.cursor() as cursor:
            cursor.execute(text)

    @contextmanager
    def session(self) -> Iterator[Any]:
        """A session of its own, whose transaction stays open."""
        with closing(psycopg2.connect(self._warehouse)) as connection:
            yield connection

    def known(self, dag_id: str, seconds: float = 120) -> None:
        """Wait until Airflow knows a Dag."""
        end = time.monotonic() + seconds
        while True:
            try:
                self.api.get(f"/dags/{dag_id}")
                return
            except ApiError as error:
                if error.status != 404 or time.monotonic() > end:
                    raise
                time.sleep(0.5)

    @contextmanager
    def paused(self, dag_id: str) -> Iterator[None]:
        """No run of a Dag starts meanwhile, nor afterwards for what happened meanwhile."""
        self.known(dag_id)
        self.api.patch(f"/dags/{dag_id}", {"is_paused": True})
        try:
            yield
        finally:
            self.api.patch(f"/dags/{dag_id}", {"is_paused": False})

    def put(self, prefix: str, name: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=f"{prefix}{name}", Body=body)

    def run(self, prefix: str, **params: object) -> tuple[str, list[dict[str, Any]], str]:
        """State, verdicts by file, and run id of one triggered historic load."""
        body = {"logical_date": None, "conf": {"prefix": prefix, **params}}
        deadline = time.monotonic() + 180
        while True:
            try:
                run_id = self.api.post("/dags/historic_load/dagRuns", body)["dag_run_id"]
                break
            except ApiError as error:
                if error.status != 404 or time.monotonic() > deadline:
                    raise
                time.sleep(1)
        while True:
            state = self.api.get(f"/dags/historic_load/dagRuns/{run_id}")["state"]
            if state in ("success", "failed"):
                return state, self._verdicts(run_id), run_id
            assert time.monotonic() < deadline, f"{run_id} did not end"
            time.sleep(0.3)

    def busy(self) -> bool:
        """Is a file in the landing folder, or does a run do more than wait for one?"""
        if self.s3.list_objects_v2(Bucket=self.bucket, Prefix="landing/").get("KeyCount"):
            return True
        runs = self.api.get("/dags/~/dagRuns", state=["queued", "running"], limit=100)["dag_runs"]
        return not all(run["dag_id"] == "ingest_landing" and self._waits(run["dag_run_id"]) for run in runs)

    def _waits(self, run_id: str) -> bool:
        tasks = self.api.get(f"/dags/ingest_landing/dagRuns/{quote(run_id)}/taskInstances")["task_instances"]
        return {task["state"] for task in tasks if task["task_id"] == "wait_for_files"} == {"deferred"}

    def changed_tables(self, run_id: str) -> set[str]:
        """The tables whose assets a run has announced as changed."""
        found = self.api.get("/assets/events", source_dag_id="historic_load", source_run_id=run_id, limit=100)
        return {event["name"] for event in found["asset_events"]}

    def result(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task that is not mapped has handed on."""
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/xcomEntries/return_value"
        value = self.api.get(path, deserialize="true")["value"]
        return json.loads(value) if isinstance(value, str) else value

    def _verdicts(self, run_id: str) -> list[dict[str, Any]]:
        entries = self.api.get(f"/dags/historic_load/dagRuns/{run_id}/taskInstances/~/xcomEntries", limit=100)[
            "xcom_entries"
        ]
        found = []
        for entry in entries:
            if entry["task_id"].startswith("load_") and entry["key"] == "return_value":
                value = self.api.get(
                    f"/dags/historic_load/dagRuns/{run_id}/taskInstances/{entry['task_id']}/xcomEntries/return_value",
                    map_index=entry["map_index"], deserialize="true",
                )["value"]  # fmt: skip
                found += json.loads(value) if isinstance(value, str) else value
        return found
