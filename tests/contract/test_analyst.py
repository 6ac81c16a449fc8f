"""People who ask the warehouse read tables and insights, and of its ledger what tells nothing of rejected rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from datamart.errors import ConfigurationError, DatamartError
from datamart.insights import INSIGHTS
from datamart.migrations import migrate
from datamart.tables import TABLES
from tests.contract.served import Served, user_of
from tests.integration.world import World

READ = (
    *(f"public.{one.name}" for one in (*TABLES, *INSIGHTS)),
    *(f"ops.{one}" for one in ("loads", "warnings", "backups", "restores", "drills", "insight_refreshes")),
)  # fmt: skip
NOT_READ = (
    *(f"ops.{table.name}_history" for table in TABLES),
    *(f"ops.{one}" for one in ("rejected_rows", "holds", "tables", "migrations")),
    "ops.open_references", "ops.warned_references",
)  # fmt: skip

pytestmark = pytest.mark.served("postgres", "redshift")
"""A real Redshift is given with one login only."""


@pytest.fixture
def analyst(world: World, served: Served) -> Iterator[Any]:
    world.load("jobs.csv", b"1,a\nx,bad\n")
    world.load("hired_employees.csv", b"1,n,2021-02-03T04:05:06Z,9,1\n")
    with closing(psycopg2.connect(served.analyst_dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def test_what_is_meant_for_people_is_read(analyst: Any) -> None:
    for name in READ:
        analyst.execute(f"SELECT * FROM {name}")
    analyst.execute("SELECT id, job FROM public.jobs")
    assert analyst.fetchall() == [(1, "a")]
    analyst.execute("SELECT column_name, rows_open FROM ops.warnings")
    assert analyst.fetchall() == [("department_id", 1)]


@pytest.mark.parametrize("name", NOT_READ)
def test_nothing_else_is(analyst: Any, served: Served, name: str) -> None:
    served.sql(f"SELECT * FROM {name}")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        analyst.execute(f"SELECT * FROM {name}")


@pytest.mark.parametrize("name", [name for name in READ if name != "ops.warnings"])
def test_nothing_is_written(analyst: Any, name: str) -> None:
    with pytest.raises((psycopg2.errors.InsufficientPrivilege, psycopg2.errors.ReadOnlySqlTransaction)):
        analyst.execute(f"DELETE FROM {name}")


def test_who_reads_for_the_product_is_no_analyst(world: World, served: Served) -> None:
    """His rights would be those of both."""
    with pytest.raises(ConfigurationError, match="rejected rows"):
        migrate(world.warehouse, reader_role=user_of(served.reader_dsn), analyst_role=user_of(served.reader_dsn))


def test_a_role_is_a_name_and_no_statement(world: World) -> None:
    with pytest.raises(DatamartError, match="DROP TABLE"):
        migrate(world.warehouse, analyst_role='x"; DROP TABLE public.jobs; --')
    assert world.sql("SELECT COUNT(*) FROM public.jobs") == [(0,)]
