"""24, 26 for an empty table, into which rows are copied straight: without Airflow, in a database of its own."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest

from tests.faults import boundaries
from tests.faults.admin import Admin
from tests.faults.files import Sent, held, send
from tests.faults.framing import POSTGRES
from tests.faults.mart import Mart
from tests.faults.processes import holder_of
from tests.faults.sound import assert_nothing_left, assert_sound
from tests.faults.wire import CLIENT, SERVER, Connection, Fate, Proxy, Rule
from tests.stack import Stack

FILL = rb"COPY public\.hired_employees"
KILLED = ("copying", "copied", "recorded", "committing", "committed")


@dataclass
class Victim:
    """A loading process that is to be killed."""

    process: subprocess.Popen[str]

    def kill(self, connection: Connection) -> Fate:
        holder_of(connection.client_ports, [psutil.Process(self.process.pid)])
        self.process.send_signal(signal.SIGKILL)
        return Fate.SWALLOW


def rule(boundary: str, sent: Sent) -> Rule:
    """The boundary, with a fault to be filled in."""

    def nothing(_connection: Connection) -> Fate:
        return Fate.DELIVER

    if boundary == "copying":
        return Rule(CLIENT, rb"\Ad", nothing, after=FILL, skip=1)
    if boundary == "copied":
        return Rule(SERVER, rb"\AC.{4}COPY", nothing, after=FILL)
    steps = {
        "recorded": boundaries.recorded,
        "committing": boundaries.committing,
        "committed": boundaries.committed,
    }
    return steps[boundary](sent, nothing)


@pytest.fixture
def proxy(stack: Stack) -> Iterator[Proxy]:
    opened = Proxy(("127.0.0.1", int(stack.variables["POSTGRES_PORT"])), POSTGRES)
    yield opened
    opened.close()


@pytest.fixture
def empty(mart: Mart, admin: Admin) -> Iterator[Mart]:
    """A warehouse without rows, beside the stack's own."""
    with admin.database(mart) as fresh:
        yield fresh


def test_a_fill_that_is_killed_leaves_the_table_empty_or_full(empty: Mart, proxy: Proxy, prefix: str) -> None:
    files = send(empty, f"{prefix}fill/", *KILLED)
    way = empty.by_way_of(warehouse_port=proxy.port)
    for boundary in KILLED:
        sent = files[boundary]
        placed = proxy.add(rule(boundary, sent))
        process = way.start_loading(sent.arrival)
        placed.fault = Victim(process).kill
        assert process.wait(60) == -signal.SIGKILL
        assert placed.hits == 1
        proxy.clear()
        assert_nothing_left(empty.sql)
        rows = len(sent.expected.accepted) if boundary == "committed" else 0
        assert held(empty, sent)[0] == rows
    for sent in files.values():
        empty.load(sent.arrival)
    for sent in files.values():
        assert_sound(empty, sent)
