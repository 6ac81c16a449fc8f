"""The session at PostgreSQL that stands behind a client's."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import psycopg2

from tests.redshift.failure import Failure
from tests.redshift.wire import Channel, as_failure, message, text, values

_SETTINGS = (
    "SET standard_conforming_strings = off",  # on Redshift a backslash in a string is an escape
    "SET escape_string_warning = off",
    "SET backslash_quote = on",
    "SET timezone = 'UTC'",
)


class Backend:
    """One connection: psycopg2 logs in and keeps it open, its messages are exchanged here."""

    def __init__(self, host: str, port: int, login: dict[str, str], client: socket.socket, isolation: str) -> None:
        try:
            self._opened = psycopg2.connect(
                host=host, port=port, sslmode="disable", gssencmode="disable", client_encoding="utf8", **login
            )
        except psycopg2.OperationalError as error:
            code = "28000" if "authentication failed" in str(error) else "08004"
            raise Failure(code, str(error).strip()) from error
        self.pid = self._opened.get_backend_pid()
        own = socket.socket(fileno=os.dup(self._opened.fileno()))
        own.setblocking(True)
        self.channel = Channel(own)
        self._client = client
        self.status = b"I"
        for setting in (*_SETTINGS, f"SET default_transaction_isolation = '{isolation}'"):
            self.run(setting)

    @property
    def in_transaction(self) -> bool:
        return self.status != b"I"

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        self.channel.send(kind, payload)

    def receive(self) -> tuple[bytes, bytes]:
        """The next message; the state of the transaction is noted on its way."""
        kind, payload = self.channel.receive(self._client)
        if kind == b"Z":
            self.status = payload
        return kind, payload

    def query(self, sql: str) -> Iterator[tuple[bytes, bytes]]:
        """Every answer to a simple query but that it is over."""
        self.send(b"Q", text(sql))
        self.channel.flush()
        while (answer := self.receive())[0] != b"Z":
            yield answer

    def run(self, sql: str) -> list[tuple[str | None, ...]]:
        """The rows of a query.

        Raises:
            Failure: it failed.
        """
        rows, failure = [], None
        for kind, payload in self.query(sql):
            if kind == b"E":
                failure = as_failure(payload)
            elif kind == b"D":
                rows.append(tuple(None if value is None else value.decode() for value in values(payload)))
        if failure is not None:
            raise failure
        return rows

    def describe(self, sql: str) -> bytes:
        """The RowDescription of a query that is not run."""
        failure, found = None, b""
        self.send(b"P", text("") + text(sql) + b"\0\0")
        self.send(b"D", b"S" + text(""))
        self.send(b"S")
        self.channel.flush()
        while (answer := self.receive())[0] != b"Z":
            if answer[0] == b"E":
                failure = as_failure(answer[1])
            elif answer[0] == b"T":
                found = answer[1]
        if failure is not None:
            raise failure
        return found

    def abort(self) -> None:
        """Make the transaction one that can only be rolled back."""
        with suppress(Failure):
            self.run("SELECT 1 / 0")

    def copy_in(self, table: str, data: Iterator[memoryview]) -> None:
        """Rows as CSV go into a table.

        Raises:
            Failure: a row was not taken, and so none is.
        """
        failure = None
        for kind, payload in self.query(f"COPY {table} FROM STDIN (FORMAT csv)"):
            if kind == b"G":
                for part in data:
                    self.channel.socket.sendall(message(b"d", bytes(part)))
                self.channel.socket.sendall(message(b"c"))
            elif kind == b"E":
                failure = as_failure(payload)
        if failure is not None:
            raise failure

    def copy_out(self, query: str) -> bytes:
        """A query's rows as CSV, in which every value that is not NULL has quotes."""
        parts, failure = [], None
        for kind, payload in self.query(f"COPY ({query}) TO STDOUT (FORMAT csv, FORCE_QUOTE *)"):
            if kind == b"d":
                parts.append(payload)
            elif kind == b"E":
                failure = as_failure(payload)
        if failure is not None:
            raise failure
        return b"".join(parts)

    def close(self) -> None:
        """End it; what it is busy with is cancelled, so that its locks are gone at once."""
        if self.channel.socket.fileno() >= 0:
            with suppress(psycopg2.Error):
                self._opened.cancel()
        self.channel.close()
        with suppress(psycopg2.Error):
            self._opened.close()
