"""A session by psycopg2, which PostgreSQL and Redshift both answer: statements, transactions, faults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, parse_dsn

from datamart.errors import Conflict, DatamartError, TerminalFault, TransientFault
from datamart.warehouse.base import Warehouse

# Classes of SQLSTATE that another try may mend: connection, resources, rollback, operator, system, lock.
_TRANSIENT = ("08", "40", "53", "55", "57", "58")
# This end notices within about a minute that the other is gone, so that no task waits for ever.
_PATIENCE = {
    "application_name": "datamart",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "client_encoding": "UTF8",
}


class SessionWarehouse(Warehouse):
    """One connection, in autocommit unless a transaction is open."""

    def __init__(self, dsn: str, options: str = "") -> None:
        """Connect with a libpq connection string or URI; ``options`` are the server's own settings.

        Raises:
            TransientFault, TerminalFault: as the server, or its absence, answers.
        """
        with self._faults():
            # Said even where it is empty: what is not said comes from the environment (PGOPTIONS, PGCLIENTENCODING).
            said = {} if not options and "options" in parse_dsn(dsn) else {"options": options}
            self._connection = psycopg2.connect(dsn, **_PATIENCE, **said)
            self._connection.autocommit = True
            self._use_utc()

    def _use_utc(self) -> None:
        """Whatever PGTZ or the server says; without a round trip where it is so already."""
        if self._connection.get_parameter_status("TimeZone") not in ("UTC", "Etc/UTC"):
            with self._connection.cursor() as cursor:
                cursor.execute("SET timezone TO 'UTC'")

    def execute(self, text: str, values: Mapping[str, object] | None = None) -> int:
        with self._faults(), self._connection.cursor() as cursor:
            cursor.execute(text, values)
            return int(cursor.rowcount)

    def query(self, text: str, values: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        with self._faults(), self._connection.cursor() as cursor:
            cursor.execute(text, values)
            return list(cursor.fetchall())

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN .. COMMIT; any error rolls back and goes on."""
        self.execute("BEGIN")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    @property
    def idle(self) -> bool:
        """No transaction is open."""
        return bool(self._connection.info.transaction_status == TRANSACTION_STATUS_IDLE)

    def alive(self) -> bool:
        return not self._connection.closed

    def close(self) -> None:
        self._connection.close()

    def _roll_back(self) -> None:
        if self.alive() and not self.idle:
            with suppress(DatamartError):  # the server rolls back by itself what it cannot be asked to
                self.execute("ROLLBACK")

    def _is_conflict(self, code: str | None, message: str) -> bool:  # noqa: ARG002 - a dialect may know it by its text
        """The server has given up this transaction for another one."""
        return code is not None and code[:2] == "40"

    def _is_transient(self, code: str | None, message: str) -> bool:  # noqa: ARG002 - a dialect may know it by its text
        """Another try may mend it; without a code the connection was lost."""
        return code is None or code[:2] in _TRANSIENT

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Driver errors as faults, without the statement or row contents in the message."""
        try:
            yield
        except psycopg2.Error as error:
            code, text = error.pgcode, str(error).strip()
            message = error.diag.message_primary or (text.splitlines()[0] if text else "no details")
            if self._is_conflict(code, message):
                raise Conflict(f"Another transaction was in the way ({code}): {message}") from None
            if self._is_transient(code, message):
                raise TransientFault(
                    f"The warehouse did not answer or gave up ({code or 'connection'}): {message}"
                ) from None
            raise TerminalFault(f"The warehouse refused ({code}): {message}") from None
