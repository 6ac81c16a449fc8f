"""``rest``: what a client of the REST API waits for, by real HTTP, on the whole stack.

An upload of 1,000 rows until its full answer, and - in turn - a run of a Dag with one empty task, started and awaited
through the same server. Fifty clients at once. The insights, and - in turn - Airflow's own answer about one Dag.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from statistics import median
from typing import Any

import httpx

from bench import REPOSITORY
from bench.dagruns import Airflow
from bench.measure import Contender, Goal, Result, Run, interleave, require, require_equal
from bench.options import Bench
from bench.report import say
from bench.servers import Servers

UPLOAD, EMPTY = "upload of 1,000 rows", "run of one empty task"
INSIGHTS, DAG = "insights, 100 records", "Airflow's answer about a Dag"
ROWS = 1_000
ROUNDS, READS, CLIENTS = 11, 300, 50
QUICK_ROUNDS, QUICK_READS, QUICK_CLIENTS = 2, 20, 5
UPLOAD_GOAL, READ_GOAL, RATE_GOAL = 1.3, 1.5, 2.0
LOOK_SECONDS, LIMIT = 0.1, 120.0
WARM = 3


@dataclass
class Client:
    """One user of the API, by his token."""

    servers: Servers
    airflow: Airflow
    http: httpx.Client
    _ids: Any = field(default_factory=lambda: count(1))

    @classmethod
    def of(cls, servers: Servers) -> Client:
        env = servers.stack.env
        login = {"username": env["AIRFLOW_USER"], "password": env["AIRFLOW_PASSWORD"]}
        http = httpx.Client(base_url=env["AIRFLOW_URL"], trust_env=False, timeout=LIMIT)
        token = http.post("/auth/token", json=login).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        return cls(servers, Airflow(env["AIRFLOW_URL"], login["username"], login["password"]), http)

    def upload(self) -> float:
        """Seconds until the full answer for new rows."""
        body = "".join(f"{next(self._ids)},Job {n}\n" for n in range(ROWS)).encode()
        started = time.perf_counter()
        answer = self.http.post(
            "/data-api/upload", files={"file": ("jobs.csv", body, "text/csv")}, params={"wait": 120}
        )
        seconds = time.perf_counter() - started
        told = answer.json()
        found = answer.status_code, told.get("verdict"), told.get("nrows_inserted")
        require_equal("status, verdict, rows", found, (200, "loaded", ROWS))
        return seconds

    def empty_run(self) -> float:
        """Seconds until a run of one empty task is known to have ended."""
        started = time.perf_counter()
        run = self.http.post("/api/v2/dags/empty_task/dagRuns", json={"logical_date": None}).json()["dag_run_id"]
        while (state := self.http.get(f"/api/v2/dags/empty_task/dagRuns/{run}").json()["state"]) != "success":
            require(state != "failed" and time.perf_counter() < started + LIMIT, f"the empty run: {state}")
            time.sleep(LOOK_SECONDS)
        return time.perf_counter() - started

    def read(self, path: str, times: int, **query: Any) -> float:
        """Median seconds of an answer."""
        found = []
        for _ in range(times):
            started = time.perf_counter()
            answer = self.http.get(path, params=query)
            found.append(time.perf_counter() - started)
            require_equal("status", answer.status_code, 200)
        return median(found)


def run(bench: Bench) -> Result:
    """Measure."""
    rounds, reads, clients = (QUICK_ROUNDS, QUICK_READS, QUICK_CLIENTS) if bench.quick else (ROUNDS, READS, CLIENTS)
    client = prepared(bench.with_airflow)
    say(f"rest: {UPLOAD}")
    contenders = [
        Contender(UPLOAD, _quiet(client, client.upload, ROWS), "POST /data-api/upload until its answer"),
        Contender(EMPTY, _quiet(client, client.empty_run, 1), f"started by REST, looked at every {LOOK_SECONDS:g} s"),
    ]
    runs = interleave(contenders, bench.runs or rounds)
    result = Result("rest", "One upload of 1,000 rows while nothing else goes on.", ROWS, EMPTY, runs, contenders)
    say("rest: reading")
    reading = _reading(client, reads, bench.runs or 5)
    say(f"rest: {clients} clients")
    many = _many(client, clients, 1 if bench.quick else 3)
    result.parts, result.goals = [reading, many], _goals(result, reading, many, clients)
    return result


def prepared(servers: Servers) -> Client:
    """The stack with the samples, and Airflow's processes warm."""
    client = Client.of(servers)
    for name in ("departments", "jobs", "hired_employees"):
        servers.put(REPOSITORY / "data" / f"{name}.csv", f"historic/{name}.csv")
    for dag_id in ("ingest_upload", "historic_load", "refresh_insights", "empty_task"):
        client.airflow.wait_until_known(dag_id)
    client.airflow.trigger("historic_load", {"prefix": "historic/"})
    time.sleep(2)
    client.airflow.wait_until_quiet()
    client._ids = count(100_000)
    for _ in range(WARM):
        client.upload()
        client.empty_run()
    client.airflow.wait_until_quiet()
    return client


def _quiet(client: Client, seconds: Callable[[], float], rows: int) -> Callable[[], Run]:
    def measured() -> Run:
        client.airflow.wait_until_quiet()
        time.sleep(1)
        return Run(seconds(), rows)

    return measured


def _reading(client: Client, times: int, rounds: int) -> Result:
    contenders = [
        Contender(
            INSIGHTS,
            lambda: Run(client.read("/data-api/insights", times, table="HIRES_DEPARTMENT_JOB", limit=100), 1),
            f"GET /data-api/insights?limit=100, median of {times}",
        ),
        Contender(
            DAG,
            lambda: Run(client.read("/api/v2/dags/historic_load", times), 1),
            f"GET /api/v2/dags/historic_load, median of {times}",
        ),
    ]
    return Result("reading", "One answer after another.", 1, DAG, interleave(contenders, rounds), contenders)


def _many(client: Client, clients: int, rounds: int) -> Result:
    """All clients at once; every answer is a file that was loaded, and no row is there twice."""

    def at_once() -> Run:
        client.airflow.wait_until_quiet()
        before = client.servers.sql("SELECT count(*) FROM jobs", {})[0][0]
        started = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            each = sorted(pool.map(lambda _: client.upload(), range(clients)))
        seconds = time.perf_counter() - started
        rows = client.servers.sql("SELECT count(*), count(DISTINCT id) FROM jobs", {})[0]
        require_equal("rows", tuple(rows), (before + clients * ROWS,) * 2)
        return Run(seconds, clients * ROWS, numbers={"median answer, s": median(each), "slowest, s": each[-1]})

    name = f"{clients} clients"
    contenders = [Contender(name, at_once, "each sends 1,000 rows and waits for the answer")]
    return Result(name, "Sent at the same moment.", clients * ROWS, name, interleave(contenders, rounds), contenders)


def _goals(result: Result, reading: Result, many: Result, clients: int) -> list[Goal]:
    upload, read = median(result.ratios(UPLOAD)), median(reading.ratios(INSIGHTS))
    seconds = result.median(UPLOAD, lambda one: one.seconds)
    rate = clients / many.median(many.base, lambda one: one.seconds)
    milliseconds = reading.median(INSIGHTS, lambda one: one.seconds) * 1000
    return [
        Goal(UPLOAD, f"{UPLOAD_GOAL} x {EMPTY}", f"{upload:.2f} x, {seconds:.2f} s", upload <= UPLOAD_GOAL),
        Goal(INSIGHTS, f"{READ_GOAL} x {DAG}", f"{read:.2f} x, {milliseconds:.1f} ms", read <= READ_GOAL),
        Goal(f"{clients} clients at once", f"{RATE_GOAL:g} a second", f"{rate:.2f} a second", rate >= RATE_GOAL),
    ]
