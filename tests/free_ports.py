"""Ports for servers of tests: no two test processes of this machine are given the same."""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import TextIO

from embedded import ports

_FIRST, _EACH = 10_000, 2_000
_NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_RANGE = range(_FIRST + _NUMBER * _EACH, _FIRST + (_NUMBER + 1) * _EACH)
_LOCKS = Path(tempfile.gettempdir()) / f"test-ports-{os.geteuid()}"
"""One lock file for each port: two runs of the tests at once must not choose a port that is free for both."""
_reserved: dict[int, TextIO] = {}


def free_ports(wanted: int) -> list[int]:
    """So many that nobody listens on and that no test process has been given while it lives."""
    found: list[int] = []
    refused: set[int] = set()
    while len(found) < wanted:
        (port,) = ports.free_ports(1, {*_reserved, *refused}, _RANGE)
        if _reserve(port):
            found.append(port)
        else:
            refused.add(port)
    return found


def _reserve(port: int) -> bool:
    """Whether the port is this process's own from now on; the lock goes with the process."""
    _LOCKS.mkdir(mode=0o700, exist_ok=True)
    stream = (_LOCKS / str(port)).open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return False
    _reserved[port] = stream
    return True
