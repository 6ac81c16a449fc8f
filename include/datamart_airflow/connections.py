"""Connections as they were last read from Airflow's database, lent to hooks until they are read again.

So a process that watches can tell that this database is away, and no hook waits for it while it stays silent. They
stay in the memory of this process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException

_PREFIX = "AIRFLOW_CONN_"


class Remembered:
    """Some connections by id; an environment variable that the process was started with stays as it is."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._variables = {one: f"{_PREFIX}{one.upper()}" for one in ids if f"{_PREFIX}{one.upper()}" not in os.environ}
        self._known: dict[str, str] = {}
        self._missed: set[str] = set()

    def read(self) -> None:
        """Read the connections anew. What is missing twice in a row is forgotten: once may be a database that went."""
        for variable in self._variables.values():
            os.environ.pop(variable, None)
        missed = set()
        for one in self._variables:
            try:
                self._known[one] = BaseHook.get_connection(one).as_json()
            except AirflowException:
                missed.add(one)
        for one in missed & self._missed:
            self._known.pop(one, None)
        self._missed = missed

    def lend(self) -> set[str]:
        """Let hooks find the connections in the environment of this process; those that there are none of."""
        for one, variable in self._variables.items():
            if one in self._known:
                os.environ[variable] = self._known[one]
        return set(self._variables) - set(self._known)
