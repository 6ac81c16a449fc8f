"""A stand-in for Amazon Redshift: its protocol, its COPY and UNLOAD, and its refusals, before a real PostgreSQL.

What it does not know it refuses, so that what passes here was written for what is known of Redshift. Nothing is
translated from one dialect into another but definitions of tables, whose keys Redshift does not enforce.
"""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from tests.redshift.session import Session, Warehouse

_END_SECONDS = 10

_FUNCTIONS = (
    """
    CREATE OR REPLACE FUNCTION public.len(varchar) RETURNS integer LANGUAGE sql IMMUTABLE STRICT
    RETURN length($1)
    """,
    """
    CREATE OR REPLACE FUNCTION public.json_extract_path_text(text, text) RETURNS varchar
    LANGUAGE sql IMMUTABLE STRICT
    RETURN ($1::json) ->> $2
    """,
    """
    CREATE OR REPLACE FUNCTION public.pg_last_copy_count() RETURNS bigint LANGUAGE sql STABLE
    RETURN coalesce(nullif(current_setting('standin.copied', true), ''), '0')::bigint
    """,
    """
    CREATE OR REPLACE FUNCTION public.pg_last_unload_count() RETURNS bigint LANGUAGE sql STABLE
    RETURN coalesce(nullif(current_setting('standin.unloaded', true), ''), '0')::bigint
    """,
    """
    CREATE OR REPLACE FUNCTION public.standin_settle(made varchar, laid_out varchar[]) RETURNS void
    LANGUAGE plpgsql AS $settle$
    DECLARE
        col record;
        missing varchar;
    BEGIN
        SELECT one INTO missing FROM unnest(laid_out) AS one
        WHERE one IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(made) AND attnum > 0 AND attname = one
        );
        IF missing IS NOT NULL THEN
            RAISE EXCEPTION 'column "%" named in DISTKEY or SORTKEY does not exist', missing USING ERRCODE = '42703';
        END IF;
        FOR col IN
            SELECT attname, attnum, atttypmod - 4 AS size FROM pg_attribute
            WHERE attrelid = to_regclass(made) AND attnum > 0 AND atttypmod > 4
                AND atttypid IN ('varchar'::regtype, 'bpchar'::regtype)
        LOOP
            EXECUTE format(
                'ALTER TABLE %s ADD CONSTRAINT standin_bytes_%s CHECK (octet_length(%I) <= %s)',
                made, col.attnum, col.attname, col.size
            );
        END LOOP;
    END
    $settle$
    """,
)


def prepare(connection: Any) -> None:
    """Make the functions that PostgreSQL lacks, by a superuser's connection to the database that will be used."""
    with connection.cursor() as cursor:
        for function in _FUNCTIONS:
            cursor.execute(function)
    if not connection.autocommit:
        connection.commit()


Fate = Literal["conflict", "drop", "drop_after"]


@dataclass
class _Fault:
    matching: re.Pattern[str]
    times: int
    kind: str


class Standin:
    """The server; a context manager, whose threads and connections end with it."""

    def __init__(self, host: str, port: int, s3: Any, role: str) -> None:
        self.statements: list[str] = []
        """Every statement that clients sent, in order."""
        self.slices = 2
        """How many files a parallel UNLOAD writes when it has the rows."""
        self.port = 0
        self.isolation = "repeatable read"
        """Of sessions that begin from now on: that is what Redshift calls SNAPSHOT, its default; or serializable."""
        self._lock = threading.Lock()
        self._faults: list[_Fault] = []
        self._sessions: set[Session] = set()
        self._threads: list[threading.Thread] = []
        self._warehouse = Warehouse(
            host, port, s3, role, lambda: self.slices, self._heard, self._due, lambda: self.isolation
        )

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ended = False
        self._begin(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            open_now = list(self._sessions)
        for session in open_now:
            session.close()
        for thread in self._threads:
            thread.join(_END_SECONDS)

    def fail_next(self, matching: str, times: int = 1, kind: Fate = "conflict") -> None:
        """Let the next statements that match fail: by a serialization conflict, or by a connection that is lost before
        they are run, or after."""
        with self._lock:
            self._faults.append(_Fault(re.compile(matching, re.IGNORECASE), times, kind))

    def forgive(self) -> None:
        """Let no more statements fail."""
        with self._lock:
            self._faults.clear()

    def _begin(self, target: Any, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._begin(self._serve, Session(self._warehouse, client))

    def _serve(self, session: Session) -> None:
        with self._lock:
            self._sessions.add(session)
        if self._ended:
            session.close()
        try:
            session.serve()
        finally:
            with self._lock:
                self._sessions.discard(session)

    def _heard(self, statement: str) -> None:
        with self._lock:
            self.statements.append(statement)

    def _due(self, statement: str) -> str | None:
        with self._lock:
            for fault in self._faults:
                if fault.times > 0 and fault.matching.search(statement):
                    fault.times -= 1
                    return fault.kind
        return None
