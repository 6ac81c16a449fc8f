"""The reader's role sees everything and changes nothing, even when it asks for a session that may write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import psycopg2.errors
import pytest

from datamart.migrations import migrate
from tests.integration.world import World

REFUSALS = (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.ReadOnlySqlTransaction)


@pytest.fixture
def reader(world: World) -> Iterator[Any]:
    world.load("jobs.csv", b"1,a\nx,bad\n")
    with closing(psycopg2.connect(world.database.reader_dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def tables(world: World) -> list[str]:
    found = world.sql("SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('public', 'ops')")
    return [name for (name,) in found]


def test_the_reader_sees_every_table(world: World, reader: Any) -> None:
    for name in tables(world):
        reader.execute(f"SELECT count(*) FROM {name}")
    reader.execute("SELECT id, job FROM jobs")
    assert reader.fetchall() == [(1, "a")]


@pytest.mark.parametrize("insisting", [False, True], ids=["as it comes", "asking to write"])
@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO {0} SELECT * FROM {0}", "DELETE FROM {0}", "TRUNCATE {0}", "DROP TABLE {0}",
     "ALTER TABLE {0} ADD COLUMN x INTEGER"],
)  # fmt: skip
def test_the_reader_changes_no_table(world: World, reader: Any, statement: str, insisting: bool) -> None:
    before = world.snapshot()
    if insisting:
        reader.execute("SET default_transaction_read_only = off")
    for name in tables(world):
        with pytest.raises(REFUSALS):
            reader.execute(statement.format(name))
    assert world.snapshot() == before


@pytest.mark.parametrize(
    "statement",
    ["UPDATE jobs SET job = 'b'", "UPDATE ops.tables SET commit_seq = 9", "UPDATE ops.loads SET verdict = 'rejected'",
     "SELECT 1 FROM ops.tables FOR UPDATE", "CREATE TABLE public.mine (id INTEGER)", "CREATE SCHEMA mine",
     "CREATE TABLE ops.mine (id INTEGER)", "SET ROLE datamart"],
)  # fmt: skip
def test_the_reader_gets_no_further(world: World, reader: Any, statement: str) -> None:
    before = world.snapshot()
    reader.execute("SET default_transaction_read_only = off")
    with pytest.raises(REFUSALS):
        reader.execute(statement)
    assert world.snapshot() == before


def test_a_second_migration_changes_nothing(world: World) -> None:
    world.load("jobs.csv", b"1,a\nx,bad\n")
    before = world.snapshot()
    assert migrate(world.warehouse, reader_role="datamart_read") == []
    assert world.snapshot() == before
