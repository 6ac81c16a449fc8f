"""Faults by hand: rows are deleted in the warehouse, then their file comes again, by any way. It is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from datamart import load, missing_rows
from datamart.loads import Arrival, Mode, Outcome, Verdict
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


def _listed(arrival: Arrival, at: Any) -> Arrival:
    return Arrival(arrival.bucket, arrival.key, arrival.etag, arrival.last_modified, arrival.size, listed_at=at)
