"""Ports for servers of tests: each test process has its own range, so two that start at once never choose the same."""

import os

from embedded import ports

_FIRST, _EACH = 10_000, 2_000
_NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_RANGE = range(_FIRST + _NUMBER * _EACH, _FIRST + (_NUMBER + 1) * _EACH)
_given: set[int] = set()


def free_ports(wanted: int) -> list[int]:
    """So many that nobody listens on and that this process did not give before."""
    found = ports.free_ports(wanted, _given, _RANGE)
    _given.update(found)
    return found
