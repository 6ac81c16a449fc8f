"""A session by psycopg2, which PostgreSQL and Redshift both answer: statements, transactions, faults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, parse_dsn

from datamart.errors import Conflict, DatamartError, TerminalFault, TransientFault
from datamart.warehouse.base import Warehouse
from datamart.warehouse.sqlstates import RULES, Action, Rule, code_of_fatal_message, raising_function, rule_for

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

    rules: ClassVar[tuple[Rule, ...]] = RULES
    """What is done about errors of this dialect."""

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

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Driver errors as faults, without the statement or row contents in the message."""
        try:
            yield
        except psycopg2.Error as error:
            raise fault_of(error, self.rules, self._last_words) from None

    @property
    def _last_words(self) -> str:
        """All that the server said before it ended the session; the driver's error holds only the end of it."""
        connection = getattr(self, "_connection", None)
        return str(connection.info.error_message or "") if connection is not None and not self.alive() else ""


_FAULTS: dict[Action, tuple[type[DatamartError], str]] = {
    Action.RETRY_TRANSACTION: (Conflict, "Another transaction was in the way"),
    Action.WAIT: (TransientFault, "The warehouse did not answer or gave up"),
    Action.GIVE_UP: (TerminalFault, "The warehouse refused"),
}


def fault_of(error: psycopg2.Error, rules: tuple[Rule, ...], last_words: str = "") -> DatamartError:
    """The fault to raise for a driver's error: what happened, by the server's words, then cause and remedy.

    ``last_words`` is what the server said before it ended the session, if it did. A message that may quote a row is
    left out: of some codes any message, and of all codes the message of a trigger or function, which is named instead.
    """
    text = (last_words if "FATAL" in last_words else str(error)).strip()
    message = error.diag.message_primary or (text.splitlines()[0] if text else "no details")
    code = error.pgcode or (code_of_fatal_message(message) if "FATAL" in message else None)
    rule = rule_for(code, f"{message}\n{error.diag.message_detail or ''}", rules)
    kind, what = _FAULTS[rule.action]
    function = raising_function(error.diag.context)
    is_named = error.diag.constraint_name or error.diag.column_name
    said = "" if function or (rule.quotes_values and not is_named) else f": {message.rstrip('.')}"
    said = f": the function {function} raised it" if function else said
    return kind(f"{what} ({code or 'connection'}){said}. {rule.remedy}")
