"""Silence is told: by ``make health`` and by the process that watches, also when it is Airflow that is silent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg2
import pytest

from tests.listeners import Calls, web_server
from tests.product import Product
from tests.stack import REPOSITORY, Stack

# Whether there is a backup is not a matter of these tests.
VARIABLES = {"DATAMART_BACKUP_HOURS": ""}
PARTS = ("api-server", "scheduler", "dag-processor", "triggerer")


def health(stack: Stack, **variables: str) -> tuple[int, str]:
    """Exit code and output of what `make health` runs."""
    done = subprocess.run(
        [sys.executable, "-m", "embedded", "health"],
        cwd=REPOSITORY,
        env=os.environ | stack.variables | VARIABLES | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_paused_dag_is_told_until_it_is_switched_on(stack: Stack, product: Product) -> None:
    assert health(stack) == (0, "All is well.\n")
    product.api.patch("/dags/refresh_insights", {"is_paused": True})
    code, output = health(stack)
    product.api.patch("/dags/refresh_insights", {"is_paused": False})
    assert code == 1
    header, line = output.splitlines()
    assert header.split() == ["SINCE", "WHAT"]
    assert line.split()[:3] == ["warning", "-", "dag_paused"]
    assert "The Dag refresh_insights is paused" in line
    assert header.index("WHAT") == line.index("dag_paused")
    assert health(stack) == (0, "All is well.\n")


def test_settings_that_cannot_work_are_said(stack: Stack) -> None:
    code, output = health(stack, DATAMART_LATE_MINUTES="soon")
    assert code == 2
    assert output.startswith("Settings that cannot work: DATAMART_LATE_MINUTES")
    assert output.count("\n") == 1


def test_a_stack_that_is_not_up_is_said(servers: Stack) -> None:
    code, output = health(servers)
    assert code == 1
    assert output.startswith("No Airflow is up in ")


@pytest.fixture
def web() -> Iterator[Calls]:
    with web_server() as calls:
        yield calls


@pytest.fixture
def watched(web: Calls) -> Iterator[Stack]:
    """A stack of its own, as it is to be mistreated, that watches closely and tells a webhook."""
    with tempfile.TemporaryDirectory(prefix="test-", ignore_cleanup_errors=True) as folder:
        own = Stack(Path(folder).resolve() / "stack")
        own.variables |= VARIABLES | {"DATAMART_ALERT_WEBHOOK": "test_webhook", "DATAMART_WATCH_SECONDS": "1"}
        try:
            own.start()
            connection = {"connection_id": "test_webhook", "conn_type": "http", "host": f"http://127.0.0.1:{web.port}"}
            Product(own).api.post("/connections", connection)
            yield own
        finally:
            if own.process is not None and own.process.poll() is None:
                own.stop()
            own.command("down")


@contextmanager
def frozen(stack: Stack, *names: str) -> Iterator[None]:
    """Processes of the stack, with all that belongs to them, stand still meanwhile."""
    groups = [group_of(stack, name) for name in names]
    for group in groups:
        os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        for group in groups:
            os.killpg(group, signal.SIGCONT)


def group_of(stack: Stack, name: str) -> int:
    """The process group of one of Airflow's processes: the supervisor starts each in a session of its own."""
    assert stack.process is not None
    children = psutil.Process(stack.process.pid).children()
    titles = {child.pid: " ".join(child.cmdline()).replace("_", "-") for child in children}
    return next(os.getpgid(pid) for pid, title in titles.items() if name in title)


@contextmanager
def metadata_away(stack: Stack) -> Iterator[None]:
    """Airflow's database takes no connection and has ended those there were."""
    secrets = json.loads((stack.directory / "secrets" / "secrets.json").read_text())
    at = urlsplit(stack.env["WAREHOUSE_URI"])
    server = {"host": at.hostname, "port": at.port, "dbname": "postgres", "user": "postgres"}
    with closing(psycopg2.connect(**server, password=secrets["postgres_superuser"])) as administration:
        administration.autocommit = True
        with administration.cursor() as cursor:
            cursor.execute("ALTER DATABASE airflow ALLOW_CONNECTIONS false")
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'airflow'")
            try:
                yield
            finally:
                cursor.execute("ALTER DATABASE airflow ALLOW_CONNECTIONS true")


def tells(kind: str, code: str, subject: str = "") -> Any:
    """Is an alert of that kind about this?"""

    def fits(body: dict[str, Any]) -> bool:
        return body["kind"] == kind and (code, subject) in {(one["code"], one["subject"]) for one in body["findings"]}

    return fits


def test_airflow_that_stands_still_is_told_and_that_it_goes_on_too(watched: Stack, web: Calls) -> None:
    with frozen(watched, "triggerer", "scheduler"):
        for part in ("triggerer", "scheduler"):
            alert = web.wait_for(tells("findings", "part_dead", part), 60)
            assert f"Airflow's {part} has given no sign of life since" in alert["text"]
            assert alert["link"] == watched.env["AIRFLOW_URL"]
        code, output = health(watched)
        assert code == 1
        assert [line.split()[0] for line in output.splitlines()[1:]] == ["critical"] * 2
    for part in ("triggerer", "scheduler"):
        web.wait_for(tells("findings_over", "part_dead", part), 60)
    assert health(watched) == (0, "All is well.\n")

    # Who cannot ask Airflow's database for the webhook's address must know it.
    with frozen(watched, *PARTS):
        with metadata_away(watched):
            alert = web.wait_for(tells("findings", "airflow_away"), 60)
            assert "metadata database does not answer" in alert["text"]
            assert {one["code"] for one in alert["findings"]} == {"airflow_away"}, "the warehouse and S3 answer"
        web.wait_for(tells("findings_over", "airflow_away"), 60)
    lines = (watched.directory / "logs" / "watch.log").read_text().splitlines()
    told = [word for line in lines for word in ("FOUND airflow_away", "OVER airflow_away") if word in line]
    assert told == ["FOUND airflow_away", "OVER airflow_away"]
    assert [line for line in lines if "[error" in line] == []
