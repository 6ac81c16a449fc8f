"""Texts that differ in blanks at their end: other values here, equal in comparisons on Redshift.

Neither the stand-in nor PostgreSQL's VARCHAR compares so; PostgreSQL's type ``bpchar`` without a length does, and keeps
the blanks. The statements that Redshift is sent run on tables of that type.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from datamart.statements import WORDS, statement, table_names
from datamart.tables import table_named
from tests.databases import own_database
from tests.stack import Stack

JOBS = table_named("jobs")


@pytest.fixture(scope="module")
def cursor(warehouse_and_s3: Stack) -> Iterator[Any]:
    """Tables as the statements name them, with texts that compare as on Redshift."""
    with own_database(warehouse_and_s3, "blanks") as own, closing(psycopg2.connect(own.dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("CREATE SCHEMA ops; CREATE TABLE ops.loads (load_id bigint, commit_seq bigint)")
            for name in ("public.jobs", "public.departments", "staging"):
                column = "department" if "departments" in name else "job"
                cursor.execute(f"CREATE TABLE {name} (id integer, {column} bpchar, _load_id bigint)")
            cursor.execute(
                "CREATE TABLE ops.jobs_history (id integer, job bpchar, _load_id bigint, _commit_seq bigint,"
                " _replaced_by bigint, _replaced_seq bigint)"
            )
            cursor.execute(
                "CREATE TABLE public.hired_employees (id integer, name bpchar, datetime timestamp,"
                " department_id integer, job_id integer, _load_id bigint)"
            )
            yield cursor


def run(cursor: Any, name: str, *, blanks_count: bool, **names: str) -> int:
    """Rows that a statement has changed or found."""
    filled = table_names(JOBS, "staging", blanks_count=blanks_count) | WORDS["redshift"] | names
    values = {"load_id": 2, "commit_seq": 2, "change_id": 3}
    cursor.execute(statement("redshift", name).format(**filled), values)
    return int(cursor.rowcount)


@pytest.mark.parametrize("name", ["merge_history", "merge_update", "restore_difference"])
def test_what_differs_in_blanks_alone_is_another_value(cursor: Any, name: str) -> None:
    for blanks_count, rows in ((False, 1), (True, 0)):
        cursor.execute("TRUNCATE public.jobs, staging; DROP TABLE IF EXISTS difference")
        cursor.execute("INSERT INTO public.jobs VALUES (1, 'a', 1), (2, 'b', 1)")
        cursor.execute("INSERT INTO staging VALUES (1, 'a ', 1), (2, 'b', 1)")
        assert run(cursor, name, blanks_count=blanks_count, difference="difference") == rows


def test_names_that_differ_in_blanks_alone_are_two_groups(cursor: Any) -> None:
    cursor.execute("TRUNCATE public.jobs, public.departments, public.hired_employees")
    cursor.execute("INSERT INTO public.jobs VALUES (1, 'a', 1), (2, 'a ', 1), (3, 'a', 1)")
    cursor.execute("INSERT INTO public.departments VALUES (1, 'x', 1), (2, 'x  ', 1)")
    cursor.execute(
        "INSERT INTO public.hired_employees SELECT n, 'n', '2021-02-03', 1 + n % 2, 1 + n % 3, 1"
        " FROM generate_series(1, 12) AS n"
    )
    assert run(cursor, "hires_department_job", blanks_count=False) == 4
    cursor.execute(statement("postgres", "hires_department_job"))
    assert cursor.rowcount == 1, "the server finds them equal"
