"""The checks of these tests can fail: each defect, planted once, is found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg2
import pytest

from datamart.loads import Arrival, Outcome, Verdict
from datamart.objects import clean_key
from tests.faults.admin import Admin
from tests.faults.files import TABLE, Sent, send
from tests.faults.mart import Mart
from tests.faults.sound import (
    assert_clean_copies,
    assert_converged,
    assert_kept,
    assert_nothing_left,
    assert_sound,
    assert_told,
)

ROW = "id = (SELECT min(id) FROM public.hired_employees WHERE _load_id = {id})"
SECOND = (
    "INSERT INTO ops.loads SELECT (jsonb_populate_record(one, jsonb_build_object('load_id', load_id + 1,"
    " 'commit_seq', NULL))).* FROM ops.loads AS one WHERE load_id = {id}"
)
PLANTED = {
    "a row is lost": ("DELETE FROM public.hired_employees WHERE " + ROW, "rows in the table"),
    "a row is doubled": (
        "INSERT INTO public.hired_employees SELECT 2147483000, name, datetime, department_id, job_id, _load_id"
        " FROM public.hired_employees WHERE " + ROW,
        "rows in the table",
    ),
    "a value is wrong": ("UPDATE public.hired_employees SET name = name || '.' WHERE " + ROW, "not what the file says"),
    "a rejected row is lost": (
        "DELETE FROM ops.rejected_rows WHERE load_id = {id} AND line = (SELECT max(line) FROM ops.rejected_rows"
        " WHERE load_id = {id})",
        "rejected rows kept",
    ),
    "a rejected row is altered": ("UPDATE ops.rejected_rows SET raw = raw || 'x' WHERE load_id = {id}", "they differ"),
    "a reason is lost": ("UPDATE ops.rejected_rows SET reasons = 'id:missing' WHERE load_id = {id}", "they differ"),
    "counts do not balance": ("UPDATE ops.loads SET rows_read = rows_read + 1 WHERE load_id = {id}", "not balance"),
    "counts are not the judge's": (
        "UPDATE ops.loads SET rows_read = rows_read + 1, rows_inserted = rows_inserted + 1 WHERE load_id = {id}",
        "the ledger counts",
    ),
    "rows came without being told of": (
        "UPDATE ops.loads SET rows_inserted = 0, rows_unchanged = rows_inserted WHERE load_id = {id}",
        "the ledger counts",
    ),
    "an update is not in the history": (
        "UPDATE ops.loads SET rows_inserted = rows_inserted - 1, rows_updated = 1 WHERE load_id = {id}",
        "in the history",
    ),
    "a physical line is in no row": (
        """UPDATE ops.loads SET line_counts = replace(line_counts, '"blank": 0', '"blank": 1') WHERE load_id = {id}""",
        "the ledger has the lines",
    ),
    "the ledger forgot": ("DELETE FROM ops.loads WHERE load_id = {id}", "the ledger has"),
    "the ledger counts it twice": (SECOND, "the ledger has"),
    "a commit number is missing": (
        "UPDATE ops.loads SET commit_seq = commit_seq + 1000000 WHERE load_id = {id}",
        "have gaps or are doubled",
    ),
}


@pytest.fixture(scope="module")
def loaded(mart: Mart, prefix: str) -> Sent:
    """A file that was loaded as it must be."""
    sent = send(mart, prefix, "planted")["planted"]
    mart.load(sent.arrival)
    assert_sound(mart, sent)
    return sent


@pytest.fixture
def damaged(mart: Mart) -> Iterator[Any]:
    """Runs statements and queries in a transaction that is rolled back."""
    connection = psycopg2.connect(mart.uri)

    def run(text: str, *values: object) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(text, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    yield run
    connection.rollback()
    connection.close()


@pytest.mark.parametrize("defect", PLANTED)
def test_a_defect_in_the_warehouse_is_found(defect: str, loaded: Sent, damaged: Any) -> None:
    statement, word = PLANTED[defect]
    assert_kept(damaged, loaded)
    damaged(statement.format(id=loaded.load_id))
    with pytest.raises(AssertionError, match=word):
        assert_kept(damaged, loaded)


def test_a_clean_part_too_many_is_found(mart: Mart, loaded: Sent) -> None:
    extra = clean_key(TABLE, loaded.load_id, 7)
    mart.store.write(extra, mart.read(clean_key(TABLE, loaded.load_id, 0)))
    with pytest.raises(AssertionError, match="clean rows in S3"):
        assert_clean_copies(mart, loaded)
    mart.store.client.delete_object(Bucket=mart.store.bucket, Key=extra)


def test_a_staging_that_stays_and_a_lock_that_is_held_are_found(mart: Mart, admin: Admin) -> None:
    with admin.session() as other, other.cursor() as cursor:
        cursor.execute("SELECT * FROM ops.tables FOR UPDATE")
        with pytest.raises(AssertionError, match="locks are free"):
            assert_nothing_left(mart.sql, seconds=0.3)
        other.rollback()
        cursor.execute("CREATE TEMPORARY TABLE staging_1 (id integer)")
        other.commit()
        with pytest.raises(AssertionError, match="staging is gone"):
            assert_nothing_left(mart.sql, seconds=0.3)


def test_a_second_run_that_changes_something_or_claims_the_load_is_found(
    mart: Mart, loaded: Sent, damaged: Any
) -> None:
    def change(arrival: Arrival) -> Outcome:
        damaged("UPDATE ops.loads SET message = 'changed' WHERE load_id = %s", loaded.load_id)
        return mart.load(arrival)

    with pytest.raises(AssertionError, match="changed something"):
        assert_converged(damaged, loaded, change)
    with pytest.raises(AssertionError, match="a second run answered"):
        assert_converged(damaged, loaded, lambda arrival: replace(mart.load(arrival), verdict=Verdict.LOADED))


def test_a_log_that_says_nothing_is_found() -> None:
    with pytest.raises(AssertionError, match="nobody says"):
        assert_told("Task failed with exception", "SlowDown")
