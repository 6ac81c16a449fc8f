"""Airflow's processes stand still, its database is away; and what those are told who are to hear of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg2

from tests import alive
from tests.stack import Stack

PARTS = ("api-server", "scheduler", "dag-processor", "triggerer")


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
    titles = {child.pid: title.replace("_", "-") for child, title in alive.ask(children, alive.title)}
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
