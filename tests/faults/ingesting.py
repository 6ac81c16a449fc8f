"""Batches of landed files, each worked off by a process of its own: what tasks do, without Airflow around them.

The processes are forked from one that has the slow imports already, as Airflow's executor does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import boto3

from datamart.batches import Batch, arrivals_of
from datamart.fetching import FetchingStore
from datamart.ingest import Ingest, Sessions
from datamart.load import Loader
from datamart.loads import Arrival
from datamart.settings import load_settings
from datamart.warehouse.postgres import PostgresWarehouse
from tests.faults.mart import Mart
from tests.faults.wire import Connection, Fate
from tests.stack import REPOSITORY

Job = dict[str, Any]


@dataclass
class Crew:
    """One process a job, as far as they got: exit codes by job, verdicts by job and key."""

    pids: dict[str, int] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, dict[str, str]] = field(default_factory=dict)
    said: str = ""
    _started: Event = field(default_factory=Event)

    def work(self, mart: Mart, jobs: dict[str, Job]) -> Crew:
        """Start a process a job, and wait for all of them."""
        process = subprocess.Popen(
            [sys.executable, "-c", "from tests.faults.ingesting import main; main()"],
            cwd=REPOSITORY,
            env={"PYTHONPATH": f"{REPOSITORY / 'include'}:{REPOSITORY}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({name: job | _access(mart) for name, job in jobs.items()}))
        process.stdin.close()
        for line in process.stdout:
            self._hear(line)
        assert process.wait(60) == 0, self.said
        return self

    def _hear(self, line: str) -> None:
        self.said += line
        if line.startswith("pids "):
            self.pids = json.loads(line[5:])
            self._started.set()
        elif line.startswith("codes "):
            self.codes = json.loads(line[6:])
        elif line.startswith("file "):
            job, key, verdict = json.loads(line[5:])
            self.verdicts.setdefault(job, {})[key] = verdict

    def killer_of(self, job: str) -> Any:
        """A fault: kill -9 of the job's process, the message in hand being lost."""

        def kill(_connection: Connection) -> Fate:
            assert self._started.wait(60)
            os.kill(self.pids[job], signal.SIGKILL)
            return Fate.SWALLOW

        return kill


def job_of(batch: Batch, run: str, *, careful: bool = False, deadly: str = "") -> Job:
    """What a try of a task is given; ``deadly`` is the key of a file that ends whatever process reads it."""
    return {"batch": batch, "run": run, "careful": careful, "deadly": deadly}


def _access(mart: Mart) -> Job:
    return {"uri": mart.uri, "s3": mart.s3_url, "bucket": mart.store.bucket, "access": mart.access}


def main() -> None:
    """Fork a process for each job of standard input; tell their ids, and their exit codes when all have ended."""
    jobs = json.load(sys.stdin)
    pids = {name: _forked(name, job) for name, job in jobs.items()}
    print("pids", json.dumps(pids), flush=True)
    codes = {name: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for name, pid in pids.items()}
    print("codes", json.dumps(codes), flush=True)


def _forked(name: str, job: Job) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _work(name, job)
        code = 0
    except Exception:  # noqa: BLE001 - told; the process must not go on as its parent
        traceback.print_exc()
    finally:
        os._exit(code)


def _work(name: str, job: Job) -> None:
    @contextmanager
    def loader() -> Iterator[Loader]:
        client = boto3.client(
            "s3",
            endpoint_url=job["s3"],
            region_name="us-east-1",
            aws_access_key_id=job["access"][0],
            aws_secret_access_key=job["access"][1],
        )
        warehouse = PostgresWarehouse(job["uri"])
        try:
            run = {"dag_id": "ingest_landing", "run_id": job["run"]}
            yield Loader(warehouse, _Deadly(client, job["bucket"], deadly=job["deadly"]), load_settings({}), run)
        finally:
            warehouse.close()

    with Sessions(loader) as sessions:
        for outcome in Ingest(sessions, job["careful"]).files(arrivals_of(job["batch"])):
            # One write, so that the lines of several processes do not mix.
            os.write(1, f"file {json.dumps([name, outcome.key, outcome.verdict.value])}\n".encode())


@dataclass(frozen=True)
class _Deadly(FetchingStore):
    """One file needs more memory than there is."""

    deadly: str = ""

    def read(self, arrival: Arrival) -> Any:
        if arrival.key == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(arrival)
