"""Faults by hand: rows are deleted in the warehouse, then their file comes again, by any way. It is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from datamart import load, missing_rows
from datamart.errors import ChangeRefused, SourceChanged
from datamart.loads import Arrival, Mode, Outcome, Verdict
from datamart.migrations import migrate
from datamart.objects import clean_key
from datamart.tables import Table
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.vault import Vault
from tests.integration.world import World, upserted

BODY = b"1,a\n2,b\n3,c\nx,bad\n"
ROWS = upserted("jobs", BODY)
Way = Callable[[World, Arrival], Outcome]

GONE = {
    "truncated": ("TRUNCATE public.jobs", 3),
    "all deleted": ("DELETE FROM public.jobs", 3),
    "one deleted": ("DELETE FROM public.jobs WHERE id = 2", 1),
    "changed to another key": ("UPDATE public.jobs SET id = 9 WHERE id = 2", 1),
}
WAYS: dict[str, Way] = {
    "the same object, another run": lambda world, arrival: world.judge(arrival),
    "the same bytes, another name": lambda world, _: world.load("jobs copy.csv", BODY),
    "the same name, sent again": lambda world, arrival: world.judge(world.put_later("jobs.csv", BODY, arrival)),
    "by an upload": lambda world, arrival: world.judge(
        Arrival(arrival.bucket, arrival.key, arrival.etag, arrival.last_modified, arrival.size, upload_id="another")
    ),
}


@pytest.fixture(params=[False, True], ids=["few rows", "many rows"])
def world(spoiled: World, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    """With files of few rows, and with such as are known by other evidence."""
    if request.param:
        monkeypatch.setattr(missing_rows, "FEW_ROWS", 0)
        monkeypatch.setattr(load, "FEW_ROWS", 0)
    return spoiled


@pytest.mark.parametrize("fill_from_bytes", [0, 1 << 30], ids=["filled", "merged"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("gone", "rows"), GONE.values(), ids=GONE)
def test_rows_that_are_gone_are_loaded_again(
    world: World, gone: str, rows: int, way: Way, fill_from_bytes: int
) -> None:
    world.fill_from_bytes = fill_from_bytes
    arrival = world.put("jobs.csv", BODY)
    world.judge(arrival)
    world.sql(gone)
    again = way(world, arrival)
    assert (again.verdict, again.counts.read, again.counts.inserted, again.counts.rejected) == ("loaded", 4, rows, 1)
    assert [row for row in world.rows("jobs") if row[0] != 9] == ROWS
    columns = "verdict", "rows_inserted", "rows_unchanged", "rows_rejected"
    assert world.ledger(again.load_id, *columns) == ("loaded", rows, 3 - rows, 1)
    assert len(world.rejected(again.load_id)) == 1
    before = world.snapshot()
    third = world.judge(arrival)
    assert (third.verdict, third.changed) == (Verdict.DUPLICATE, False)
    assert world.snapshot() == before


@pytest.mark.parametrize("way", [way for name, way in WAYS.items() if "object" not in name])
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE public.jobs SET job = 'by hand' WHERE id = 2",
        "UPDATE public.jobs SET job = 'by hand'",
        "CREATE TEMPORARY TABLE was AS SELECT * FROM public.jobs; DELETE FROM public.jobs;"
        " INSERT INTO public.jobs SELECT id, 'new', _load_id FROM was; DROP TABLE was",
    ],
)
def test_a_file_that_is_sent_again_sets_back_what_was_changed_by_hand(world: World, way: Way, change: str) -> None:
    arrival = world.put("jobs.csv", BODY)
    world.judge(arrival)
    with world.database.observer.cursor() as cursor:
        cursor.execute(change)
    again = way(world, arrival)
    assert (again.verdict, again.counts.updated > 0, world.rows("jobs")) == ("loaded", True, ROWS)


def test_the_same_object_leaves_what_was_corrected_by_hand(world: World) -> None:
    """Nobody has sent it again: a run over its folder must not take people's corrections back."""
    arrival = world.put("jobs.csv", BODY)
    first = world.judge(arrival)
    world.sql("UPDATE public.jobs SET job = 'by hand' WHERE id = 2")
    before = world.snapshot()
    assert world.judge(arrival).verdict is Verdict.DUPLICATE
    assert world.snapshot() == before
    world.sql("DELETE FROM public.jobs WHERE id = 1")
    again = world.judge(arrival)
    assert (again.verdict, again.counts.inserted, again.counts.unchanged) == ("loaded", 1, 2)
    assert again.message == (
        f"1 rows of this file (load {first.load_id}) were gone and are loaded again. 1 rows are there with other "
        "values, and stay."
    )
    assert world.rows("jobs") == [(1, "a"), (2, "by hand"), (3, "c")]


class LooksAtNoRow(PostgresWarehouse):
    """Rows of files are not staged."""

    def stage(self, table: Table, staging: str, batches: Iterable[Any]) -> None:
        raise AssertionError(table, staging, batches)


def test_many_rows_that_are_all_there_are_not_read(spoiled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing_rows, "FEW_ROWS", 0)
    monkeypatch.setattr(load, "FEW_ROWS", 0)
    arrival = spoiled.put("jobs.csv", BODY)
    spoiled.judge(arrival)
    for way in WAYS.values():
        with spoiled.connected(LooksAtNoRow) as warehouse, monkeypatch.context() as patch:
            patch.setattr(spoiled, "warehouse", warehouse)
            assert way(spoiled, arrival).verdict is Verdict.DUPLICATE
    for change in ("DELETE FROM public.jobs WHERE id = 3", "UPDATE public.jobs SET job = job"):
        spoiled.sql(change)
        with spoiled.connected(LooksAtNoRow) as warehouse, monkeypatch.context() as patch:
            patch.setattr(spoiled, "warehouse", warehouse)
            for way in list(WAYS.values())[:3]:
                with pytest.raises(AssertionError, match="staging"):
                    way(spoiled, arrival)


def test_an_older_file_leaves_what_newer_ones_hold(world: World) -> None:
    listed = [world.warehouse.now() for _ in range(2)]
    old = world.put("jobs.csv", BODY)
    new = world.put("jobs_new.csv", b"2,B\n4,D\n")
    world.judge(_listed(old, listed[0]))
    world.judge(_listed(new, listed[1]))
    world.sql("DELETE FROM public.jobs WHERE id IN (1, 2)")
    again = world.judge(_listed(old, world.warehouse.now()))
    assert (again.verdict, again.counts.inserted, again.warnings) == ("loaded", 1, {"superseded": 1})
    assert "1 more are gone, but files that came later hold them" in again.message
    assert world.rows("jobs") == [(1, "a"), (3, "c"), (4, "D")]
    assert world.judge(_listed(new, world.warehouse.now())).counts.inserted == 1
    assert world.rows("jobs") == upserted("jobs", BODY, b"2,B\n4,D\n")


def test_rows_that_a_replacement_has_removed_are_not_gone(world: World) -> None:
    arrival = world.put("jobs.csv", BODY)
    world.judge(arrival)
    world.replace("jobs", world.put("jobs_all.csv", b"2,B\n"))
    assert world.judge(arrival).verdict is Verdict.DUPLICATE
    assert world.rows("jobs") == [(2, "B")]


def test_a_retry_finds_its_own_answer_and_two_runs_do_it_once(world: World) -> None:
    arrival = world.put("jobs.csv", BODY)
    first = world.judge(arrival, run="first")
    world.sql("TRUNCATE public.jobs")
    second = world.judge(arrival, run="second")
    before = world.snapshot()
    assert world.judge(arrival, run="second") == second
    assert world.judge(arrival, run="first") == first
    assert world.snapshot() == before
    world.sql("TRUNCATE public.jobs")

    def judge(run: str) -> Outcome:
        with world.connected() as warehouse:
            return world.loader(run, warehouse).load(arrival)

    with ThreadPoolExecutor(4) as pool:
        verdicts = sorted(outcome.verdict for outcome in pool.map(judge, ("a", "b", "c", "d")))
    assert verdicts == ["duplicate", "duplicate", "duplicate", "loaded"]
    assert world.rows("jobs") == ROWS


def test_a_fault_while_it_is_looked_for_is_no_duplicate(world: World) -> None:
    arrival = world.put("jobs.csv", BODY)
    world.judge(arrival, run="first")
    before = world.snapshot()
    answers = [
        world.loader(run).fail(arrival, Mode.UPSERT, "S3 was silent.", recheck=recheck)
        for run, recheck in (("second", True), ("second", False), ("first", True))
    ]
    assert [answer.verdict for answer in answers] == ["failed", "duplicate", "loaded"]
    assert answers[0].message == "S3 was silent."
    assert world.snapshot() == before


def test_a_dry_run_says_what_would_be_loaded_again(world: World) -> None:
    arrival = world.put("jobs.csv", BODY)
    world.judge(arrival)
    world.sql("DELETE FROM public.jobs WHERE id = 2")
    before = world.snapshot()
    dry = world.loader().load(arrival, dry_run=True)
    assert (dry.verdict, dry.forecast, dry.counts.inserted, dry.counts.unchanged) == ("dry_run", "loaded", 1, 2)
    assert world.snapshot() == before


def test_a_table_can_be_brought_back_to_what_was_loaded_again(vault: Vault) -> None:
    world = vault.world
    vault.backup("jobs")
    arrival = world.put("jobs.csv", BODY)
    world.judge(_listed(arrival, world.warehouse.now()))
    world.judge(_listed(world.put("jobs_new.csv", b"2,B\n"), world.warehouse.now()))
    world.sql("DELETE FROM public.jobs WHERE id IN (1, 2)")
    world.judge(arrival)
    world.sql("TRUNCATE public.jobs")
    vault.restore("jobs", at=world.warehouse.now())
    assert world.rows("jobs") == [(1, "a"), (2, "B"), (3, "c")]
    world.database.empty()


def test_a_replacement_that_held_the_file_does_not_excuse_its_rows(world: World) -> None:
    arrival = world.put("jobs.csv", BODY)
    other = world.put("jobs_2.csv", b"2,B\n")
    world.judge(_listed(arrival, world.warehouse.now()))
    at = world.warehouse.now()
    world.replace("jobs", _listed(arrival, at), _listed(other, at))
    world.sql("TRUNCATE public.jobs")
    again = world.judge(_listed(arrival, world.warehouse.now()))
    assert (again.verdict, again.counts.inserted, world.rows("jobs")) == ("loaded", 2, [(1, "a"), (3, "c")])
    world.replace("jobs", _listed(other, world.warehouse.now()))
    world.judge(_listed(arrival, world.warehouse.now()))
    assert world.rows("jobs") == [(2, "B")]


def test_rows_that_a_replacement_with_a_later_turn_did_not_have_stay_away(world: World) -> None:
    """The file was committed after the replacement, and gave way to it."""
    listed = world.warehouse.now()
    late = _listed(world.put("jobs.csv", BODY), listed)
    world.loader("slow").fail(late, Mode.UPSERT, "S3 was away.")
    world.replace("jobs", _listed(world.put("jobs_all.csv", b"2,B\n"), world.warehouse.now()))
    world.judge(late, run="slow")
    assert world.rows("jobs") == [(2, "B")]
    before = world.snapshot()
    assert world.judge(_listed(late, world.warehouse.now())).verdict is Verdict.DUPLICATE
    assert world.snapshot() == before


def test_an_older_file_waits_where_it_is_not_known_what_newer_ones_hold(world: World) -> None:
    at = world.warehouse.now()
    old, new = (_listed(world.put(name, body), at) for name, body in (("jobs_1.csv", BODY), ("jobs_2.csv", b"1,new\n")))
    first = world.judge(old)
    newer = world.judge(new)
    for outcome in (first, newer):
        world.store.remove([clean_key("jobs", outcome.load_id, 0)])
    world.sql("TRUNCATE public.jobs")
    before = world.snapshot()
    loader = world.loader("second")
    for dry_run in (False, True):
        with pytest.raises(ChangeRefused, match=f"load {newer.load_id}.* Restore the table .*newest last") as refused:
            loader.load(_listed(old, world.warehouse.now()), dry_run=dry_run)
    failed = loader.fail(old, Mode.UPSERT, str(refused.value), recheck=True)
    assert (failed.verdict, failed.code, world.snapshot()) == (Verdict.FAILED, "fault", before)
    assert world.judge(_listed(new, world.warehouse.now())).counts.inserted == 1
    # Now the newer file's rows are kept again.
    assert loader.load(_listed(old, world.warehouse.now())).counts.inserted == 2
    assert world.rows("jobs") == [(1, "new"), (2, "b"), (3, "c")]


def test_a_file_that_would_be_refused_today_is_no_duplicate_when_its_rows_are_gone(world: World) -> None:
    arrival = world.put("jobs.csv", BODY)
    world.judge(arrival)
    strict = {"reject_threshold": 0.1}
    before = world.snapshot()
    assert world.judge(arrival, **strict).verdict is Verdict.DUPLICATE
    assert world.snapshot() == before
    world.sql("DELETE FROM public.jobs WHERE id = 2")
    dry = world.loader(None, **strict).load(arrival, dry_run=True)
    assert (dry.verdict, dry.forecast) == ("dry_run", "rejected")
    refused = world.judge(arrival, run="strict", **strict)
    assert (refused.verdict, refused.code) == (Verdict.REJECTED, "over_threshold")
    assert (world.ledger(refused.load_id, "verdict"), len(world.rejected(refused.load_id))) == (("rejected",), 1)
    before = world.snapshot()
    assert world.judge(arrival, run="strict", **strict) == refused
    assert world.snapshot() == before
    assert world.judge(arrival).counts.inserted == 1
    assert world.rows("jobs") == ROWS


def test_rows_that_are_refused_today_are_not_told_to_be_there(spoiled: World) -> None:
    spoiled.load("departments.csv", b"1,A\n2,B\n")
    spoiled.load("jobs.csv", b"1,a\n")
    arrival = spoiled.put("hired_employees.csv", b"1,X,2021-01-01T00:00:00Z,1,1\n2,Y,2021-01-01T00:00:00Z,2,1\n")
    spoiled.judge(arrival)
    spoiled.sql("DELETE FROM public.departments WHERE id = 2")
    told = spoiled.loader(unknown_reference="reject").load(arrival)
    assert told.verdict is Verdict.DUPLICATE
    assert "refuse 1 of the rows" in told.message


def test_an_object_that_was_written_over_is_no_duplicate(spoiled: World) -> None:
    arrival = spoiled.put("jobs.csv", BODY)
    spoiled.judge(arrival)
    spoiled.put("jobs.csv", b"7,z\n")
    with pytest.raises(SourceChanged):
        spoiled.judge(arrival)


def test_nothing_is_written_where_newer_files_hold_all_that_is_gone(world: World) -> None:
    old = world.put("jobs.csv", BODY)
    first = world.judge(_listed(old, world.warehouse.now()))
    new = world.put("jobs_new.csv", b"2,B\n")
    world.judge(_listed(new, world.warehouse.now()))
    world.sql("DELETE FROM public.jobs WHERE id = 2")
    before, kept = world.snapshot(), world.keys("clean/jobs/")
    told = world.judge(_listed(old, world.warehouse.now()))
    assert (told.verdict, told.message) == (
        "duplicate",
        f"This very file was loaded before (load {first.load_id}); nothing changed. 1 of its rows are gone, but files "
        "that came later hold them: send those again.",
    )
    assert (world.snapshot(), world.keys("clean/jobs/")) == (before, kept)
    world.judge(_listed(new, world.warehouse.now()))


@pytest.mark.parametrize(
    "change",
    [
        "BEGIN; CREATE TEMP TABLE a ON COMMIT DROP AS SELECT * FROM public.jobs; DELETE FROM public.jobs;"
        " INSERT INTO public.jobs SELECT id, 'by hand', _load_id FROM a;"
        " CREATE TEMP TABLE b ON COMMIT DROP AS SELECT * FROM ops.loads; DELETE FROM ops.loads;"
        " INSERT INTO ops.loads SELECT * FROM b; UPDATE ops.migrations SET name = name; COMMIT",
        "ALTER TABLE public.jobs DROP COLUMN job; ALTER TABLE public.jobs ADD COLUMN job VARCHAR(256) NOT NULL"
        " DEFAULT 'by hand'",
    ],
    ids=["all was restored in one transaction", "a column was made anew"],
)
def test_what_was_not_written_by_the_load_proves_nothing(
    spoiled: World, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(missing_rows, "FEW_ROWS", 0)
    monkeypatch.setattr(load, "FEW_ROWS", 0)
    spoiled.load("jobs.csv", BODY)
    try:
        with spoiled.database.observer.cursor() as cursor:
            cursor.execute(change)
        again = spoiled.load("jobs copy.csv", BODY)
        assert (again.verdict, again.counts.updated) == ("loaded", 3)
        assert spoiled.sql("SELECT id, job FROM public.jobs ORDER BY id") == ROWS
    finally:
        if "ALTER" in change:
            spoiled.sql("DROP TABLE public.jobs CASCADE")
            migrate(spoiled.warehouse)


@pytest.mark.parametrize("keep_later", [False, True])
def test_a_newer_file_can_be_undone_after_an_older_ones_missing_rows_were_loaded(
    vault: Vault, keep_later: bool
) -> None:
    world = vault.world
    old = world.put("jobs.csv", BODY)
    world.judge(_listed(old, world.warehouse.now()))
    wrong = world.judge(_listed(world.put("jobs_new.csv", b"2,WRONG\n"), world.warehouse.now()))
    world.sql("DELETE FROM public.jobs WHERE id = 1")
    assert world.judge(_listed(old, world.warehouse.now())).warnings == {"superseded": 1}
    undone = vault.undo(wrong.load_id, keep_later=keep_later)
    assert (undone.changed, world.rows("jobs")) == (1, ROWS)
    world.database.empty()


def _listed(arrival: Arrival, at: Any) -> Arrival:
    return Arrival(arrival.bucket, arrival.key, arrival.etag, arrival.last_modified, arrival.size, listed_at=at)
