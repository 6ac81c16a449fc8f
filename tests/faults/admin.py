"""What only the database's administrator may do: a session of their own, limits, triggers, ending other sessions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg2
from psycopg2.extensions import connection as Session

from datamart.migrations import migrate
from datamart.warehouse.postgres import PostgresWarehouse
from embedded import stacksecrets
from embedded.postgres import OWNER
from tests.faults.mart import Mart
from tests.faults.runs import until
from tests.faults.wire import Connection, Fate
from tests.stack import Stack


@dataclass(frozen=True)
class Admin:
    """The superuser of one stack's PostgreSQL."""

    uri: str

    @classmethod
    def of(cls, stack: Stack) -> Admin:
        password = stacksecrets.load(stack.directory / "secrets").postgres_superuser
        return cls(f"postgresql://postgres:{password}@127.0.0.1:{stack.variables['POSTGRES_PORT']}/warehouse")

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session without autocommit; rolled back at the end."""
        opened = psycopg2.connect(self.uri)
        try:
            yield opened
        finally:
            opened.close()

    def do(self, *statements: str) -> None:
        """Run statements, each for itself."""
        with self.session() as session, session.cursor() as cursor:
            session.autocommit = True
            for statement in statements:
                cursor.execute(statement)

    def ask(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.session() as session, session.cursor() as cursor:
            cursor.execute(text, values)
            return list(cursor.fetchall())

    @contextmanager
    def database(self, mart: Mart) -> Iterator[Mart]:
        """A fresh warehouse on the same server, without rows."""
        fresh = mart.in_database(f"fresh_{uuid4().hex}")
        self.do(f"CREATE DATABASE {fresh.database} OWNER {OWNER}")
        try:
            with closing(PostgresWarehouse(fresh.uri)) as warehouse:
                migrate(warehouse)
            yield fresh
        finally:
            self.do(f"DROP DATABASE {fresh.database} WITH (FORCE)")

    @contextmanager
    def owner_setting(self, set_it: str, unset_it: str) -> Iterator[None]:
        """A setting of the product's role, for a while."""
        self.do(f"ALTER ROLE {OWNER} {set_it}")
        try:
            yield
        finally:
            self.do(f"ALTER ROLE {OWNER} {unset_it}")

    def end_session(self, connection: Connection) -> Fate:
        """What an administrator, or a failing server, does to a session that is at work."""
        self.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_port = %s", connection.server_port
        )
        return Fate.DELIVER

    def has_session(self, client_port: int) -> bool:
        """Whether the server still keeps the session of a client."""
        return bool(self.ask("SELECT 1 FROM pg_stat_activity WHERE client_port = %s", client_port))

    def wait_for_waiters(self, count: int = 1) -> None:
        """Until so many of the product's sessions wait for a lock."""
        text = "SELECT pid FROM pg_stat_activity WHERE usename = %s AND wait_event_type = 'Lock'"
        until(f"{count} sessions wait for a lock", lambda: len(self.ask(text, OWNER)) >= count)

    @contextmanager
    def refusing(self, table: str, load_id: int, code: str, *, once: bool) -> Iterator[None]:
        """The server answers inserts of one load into an ops table with an error: the first time, or always."""
        name = f"refuse_{load_id}"
        when = f"nextval('public.{name}') = 1" if once else "true"  # a sequence survives the rollback
        self.do(
            f"CREATE SEQUENCE public.{name}; GRANT USAGE ON SEQUENCE public.{name} TO {OWNER}",
            f"CREATE FUNCTION public.{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF NEW.load_id = {load_id} AND {when} THEN RAISE 'refused for a test' USING ERRCODE = '{code}'; END IF;"
            " RETURN NEW; END $$",
            f"CREATE TRIGGER {name} BEFORE INSERT ON ops.{table} FOR EACH ROW EXECUTE FUNCTION public.{name}()",
        )
        try:
            yield
        finally:
            self.do(f"DROP FUNCTION public.{name} CASCADE", f"DROP SEQUENCE public.{name}")
