"""Airflow's task processes, found by the connections they hold, and what is done to them."""

from __future__ import annotations

import contextlib
import re
import signal
from dataclasses import dataclass, field

import psutil

from tests import alive
from tests.faults.wire import Connection, Fate

_TASK_TITLE = re.compile(r"airflow worker -- [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\s*")
"""How the process that runs a task's code is titled: by the task instance's id. Its parent supervises it."""


def holder_of(ports: tuple[int, int], among: list[psutil.Process]) -> psutil.Process:
    """The process that holds the connection between two local ``ports``; a child that inherited it does not count.

    It takes both: a second connection may start at the same port if it leads elsewhere.
    """
    for process in among:
        with contextlib.suppress(psutil.Error):
            links = [link for link in process.net_connections("tcp4") if link.laddr and link.raddr]
            if any((link.laddr.port, link.raddr.port) == ports for link in links):
                return process
    raise LookupError(f"no process holds the connection between the ports {ports}")


@dataclass
class Tasks:
    """The task processes of one stack; ``killed`` are the titles of those that met their end here."""

    stack_pid: int
    killed: list[str] = field(default_factory=list)

    def behind(self, connection: Connection) -> psutil.Process:
        """The task process at the client's end of a connection."""
        process = holder_of(connection.client_ports, psutil.Process(self.stack_pid).children(recursive=True))
        title = next((title for _, title in alive.ask([process], alive.title)), "it has ended")
        if not _TASK_TITLE.fullmatch(title):
            raise LookupError(f"process {process.pid} is no task of Airflow: {title}")
        return process

    def kill(self, connection: Connection) -> Fate:
        """kill -9; the message in hand is lost."""
        process = self.behind(connection)
        self.killed.append(" ".join(process.cmdline()))
        process.send_signal(signal.SIGKILL)
        return Fate.SWALLOW

    def kill_and_deliver(self, connection: Connection) -> Fate:
        """kill -9, with the message in hand on its way already."""
        self.kill(connection)
        return Fate.DELIVER
