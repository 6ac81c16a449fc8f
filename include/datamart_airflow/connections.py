"""Connections as they were last read, lent to hooks while Airflow's database, which keeps them, does not answer.

Without them a process that watches could not tell anyone that this database is away. They stay in its memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

_PREFIX = "AIRFLOW_CONN_"


class Remembered:
    """Some connections by id; an environment variable that the process was started with stays as it is."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._variables = {one: f"{_PREFIX}{one.upper()}" for one in ids if f"{_PREFIX}{one.upper()}" not in os.environ}
        self._known: dict[str, str] = {}

    def read(self) -> list[str]:
        """Take back what was lent and read the connections anew, from a database that answers; those not there."""
        for variable in self._variables.values():
            os.environ.pop(variable, None)
        missing = []
        for one in self._variables:
            try:
                self._known[one] = BaseHook.get_connection(one).as_json()
            except AirflowNotFoundException:
                # What was read before is kept: hooks are told the same when the database has just gone away.
                missing.append(one)
        return missing

    def lend(self) -> list[str]:
        """Let hooks find the connections in the environment of this process; those that were never read."""
        for one, variable in self._variables.items():
            if one in self._known:
                os.environ[variable] = self._known[one]
        return [one for one in self._variables if one not in self._known]
