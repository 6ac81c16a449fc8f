"""The analysts' role on the stack's own server: each relation is theirs or not, and nothing lets them do more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import psycopg2.errors
import pytest

from tests.contract.test_analyst import READ
from tests.integration.world import World
from tests.stack import Stack

REFUSALS = (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.ReadOnlySqlTransaction)


@pytest.fixture
def analyst(world: World) -> Iterator[Any]:
    world.load("jobs.csv", b"1,a\nx,bad\n")
    with closing(psycopg2.connect(world.database.analyst_dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def relations(world: World) -> set[str]:
    """Everything with rows in it, whatever its schema, that is not the server's own."""
    found = world.sql(
        "SELECT nspname || '.' || relname FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace"
        " WHERE relkind IN ('r', 'v', 'm', 'p', 'f', 'S') AND nspname NOT IN ('pg_catalog', 'information_schema')"
        " AND nspname NOT LIKE 'pg\\_%%'"
    )
    return {name for (name,) in found}


def test_each_relation_is_read_or_not_as_is_written_down(world: World, analyst: Any) -> None:
    """A relation that is new is refused, until somebody has thought about it."""
    world.sql("CREATE TABLE public.new_one (id INTEGER)")
    try:
        found = relations(world)
        assert found > set(READ)
        assert {name for name in found if may_read(analyst, name)} == set(READ)
    finally:
        world.sql("DROP TABLE public.new_one")


def may_read(analyst: Any, name: str) -> bool:
    try:
        analyst.execute(f"SELECT * FROM {name}")
    except psycopg2.errors.InsufficientPrivilege:
        return False
    return True


@pytest.mark.parametrize("insisting", [False, True], ids=["as it comes", "asking to write"])
@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO {0} SELECT * FROM {0}", "DELETE FROM {0}", "TRUNCATE {0}", "DROP TABLE {0}",
     "LOCK TABLE {0} IN ROW EXCLUSIVE MODE", "ALTER TABLE {0} ADD COLUMN x INTEGER"],
)  # fmt: skip
def test_no_table_is_changed(world: World, analyst: Any, statement: str, insisting: bool) -> None:
    before = world.snapshot()
    if insisting:
        analyst.execute("SET default_transaction_read_only = off")
    for name in set(READ) - {"ops.warnings"}:
        analyst.execute("BEGIN")
        with pytest.raises(REFUSALS):
            analyst.execute(statement.format(name))
        analyst.execute("ROLLBACK")
    assert world.snapshot() == before


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE public.mine (id INTEGER)", "CREATE TEMPORARY TABLE mine (id INTEGER)", "CREATE SCHEMA mine",
     "CREATE VIEW ops.mine AS SELECT 1 AS one", "CREATE FUNCTION public.mine() RETURNS INT LANGUAGE sql AS 'SELECT 1'",
     "UPDATE jobs SET job = 'b'", "SELECT 1 FROM ops.loads FOR UPDATE", "SET ROLE datamart", "SET ROLE datamart_read",
     "SET SESSION AUTHORIZATION datamart", "CREATE ROLE mine", "GRANT SELECT ON public.jobs TO PUBLIC",
     "COPY public.jobs TO PROGRAM 'cat'", "COPY public.jobs TO '/dev/null'", "SELECT pg_read_file('/etc/hostname')",
     "SELECT pg_ls_dir('.')", "SET temp_file_limit = -1", "ALTER ROLE datamart_analyst CONNECTION LIMIT -1"],
)  # fmt: skip
def test_they_get_no_further(world: World, analyst: Any, statement: str) -> None:
    before = world.snapshot()
    analyst.execute("SET default_transaction_read_only = off")
    try:
        analyst.execute(statement)
    except REFUSALS:
        pass
    else:
        # GRANT without the right to is a warning.
        assert statement.startswith("GRANT")
        assert any("no privileges were granted" in notice for notice in analyst.connection.notices)
    assert world.snapshot() == before


@pytest.mark.parametrize("role", ["ANALYST", "READ"])
def test_no_large_object_fills_the_disk(warehouse_and_s3: Stack, role: str) -> None:
    """Anybody may make them by default."""
    with closing(psycopg2.connect(warehouse_and_s3.env[f"WAREHOUSE_{role}_URI"])) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
            for call in ("lo_create(0)", "lo_creat(-1)", "lo_from_bytea(0, 'x')"):
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cursor.execute(f"SELECT {call}")


def test_limits_are_those_of_the_role(warehouse_and_s3: Stack) -> None:
    address = warehouse_and_s3.env["WAREHOUSE_ANALYST_URI"]
    with closing(psycopg2.connect(address)) as connection, connection.cursor() as cursor:
        found = []
        for name in ("statement_timeout", "idle_in_transaction_session_timeout", "temp_file_limit"):
            cursor.execute(f"SHOW {name}")
            found += cursor.fetchone()
        assert found == ["1min", "1min", "1GB"]
        cursor.execute("SELECT rolconnlimit, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles"
                       " WHERE rolname = current_user")  # fmt: skip
        assert cursor.fetchone() == (10, False, False, False, False)


def test_a_statement_that_takes_too_long_is_ended(warehouse_and_s3: Stack) -> None:
    """Not after the minute here, which would be too long for a test too."""
    address = warehouse_and_s3.env["WAREHOUSE_ANALYST_URI"]
    with closing(psycopg2.connect(address)) as connection, connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '50ms'")
        with pytest.raises(psycopg2.errors.QueryCanceled):
            cursor.execute("SELECT pg_sleep(30)")


@pytest.mark.parametrize("role", ["ANALYST", "READ"])
@pytest.mark.parametrize("database", ["airflow", "postgres", "template1"])
def test_other_databases_of_the_server_are_not_theirs(warehouse_and_s3: Stack, role: str, database: str) -> None:
    address = warehouse_and_s3.env[f"WAREHOUSE_{role}_URI"].replace("/warehouse", f"/{database}")
    with pytest.raises(psycopg2.OperationalError, match="permission denied"):
        psycopg2.connect(address)
