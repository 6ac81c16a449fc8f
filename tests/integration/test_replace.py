"""A replacement: the files become the table in one step, or nothing changes; what it removes is in the history."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from datamart.errors import ConfigurationError, SourceChanged
from datamart.loads import Mode, Verdict
from datamart.tables import table_named
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.world import World, upserted

JOBS = table_named("jobs")
OLD = b"1,kept\n2,changed\n3,removed\n4,removed\n"


def test_the_files_become_the_table(world: World) -> None:
    world.load("jobs_old.csv", OLD)
    files = [b"1,kept\n2,by the first\nx,bad\n", b"5,new\n6,new\n"]
    outcomes = world.replace("jobs", *(world.put(f"jobs_{n}.csv", body) for n, body in enumerate(files)))
    assert world.rows("jobs") == upserted("jobs", *files)
    assert [outcome.verdict for outcome in outcomes] == [Verdict.LOADED] * 2
    columns = "mode", "rows_inserted", "rows_updated", "rows_unchanged", "rows_rejected", "commit_seq"
    assert [world.ledger(outcome.load_id, *columns) for outcome in outcomes] == [
        ("replace", 0, 1, 1, 1, 2), ("replace", 2, 0, 0, 0, 3)
    ]  # fmt: skip
    assert sum(outcome.counts.removed for outcome in outcomes) == 2
    history = "SELECT id, job, _commit_seq FROM ops.jobs_history ORDER BY id"
    assert world.sql(history) == [(2, "changed", 1), (3, "removed", 1), (4, "removed", 1)]


def test_a_later_file_wins_over_an_earlier_one(world: World) -> None:
    world.load("jobs_old.csv", OLD)
    files = [b"1,first\n2,first\n", b"2,second\n3,second\n", b"3,third\n"]
    world.replace("jobs", *(world.put(f"jobs_{n}.csv", body) for n, body in enumerate(files)))
    assert world.rows("jobs") == upserted("jobs", *files)
    kept = world.sql("SELECT id, job, _commit_seq, _replaced_seq FROM ops.jobs_history ORDER BY _replaced_seq, id")
    assert kept == [
        (1, "kept", 1, 2), (2, "changed", 1, 2), (2, "first", 2, 3), (3, "removed", 1, 3), (3, "second", 3, 4),
        (4, "removed", 1, 4),
    ]  # fmt: skip


def test_an_empty_table_is_filled(world: World) -> None:
    (outcome,) = world.replace("jobs", world.put("jobs.csv", OLD))
    assert (outcome.verdict, outcome.counts.inserted, outcome.counts.removed) == (Verdict.LOADED, 4, 0)
    assert world.rows("jobs") == upserted("jobs", OLD)


def test_bytes_that_were_loaded_before_remove_what_came_since(world: World) -> None:
    arrival = world.put("jobs_old.csv", OLD)
    world.judge(arrival)
    world.load("jobs_since.csv", b"9,since\n")
    (outcome,) = world.replace("jobs", arrival)
    assert (outcome.verdict, outcome.counts.unchanged, outcome.counts.removed) == (Verdict.LOADED, 4, 1)
    assert world.rows("jobs") == upserted("jobs", OLD)


def test_a_second_replacement_by_the_same_files_changes_nothing(world: World) -> None:
    arrivals = [world.put("jobs_1.csv", OLD), world.put("jobs_2.csv", b"5,more\nx,bad\n")]
    first = world.replace("jobs", *arrivals)
    rows = world.sql("SELECT t::text FROM jobs AS t ORDER BY id")
    again = world.replace("jobs", *arrivals)
    assert [(outcome.verdict, outcome.duplicate_of) for outcome in again] == [
        (Verdict.DUPLICATE, outcome.load_id) for outcome in first
    ]
    assert world.sql("SELECT t::text FROM jobs AS t ORDER BY id") == rows
    assert world.sql("SELECT * FROM ops.jobs_history") == []


def test_a_retry_of_the_same_run_gets_the_same_answers(world: World) -> None:
    world.load("jobs_old.csv", OLD)
    arrivals = [world.put("jobs_1.csv", b"1,one\n"), world.put("jobs_2.csv", b"2,two\n")]
    first = world.replace("jobs", *arrivals, run="tonight")
    before = world.snapshot()
    assert world.replace("jobs", *arrivals, run="tonight") == first
    assert world.snapshot() == before


def test_another_run_replaces_again_what_came_since(world: World) -> None:
    arrival = world.put("jobs_1.csv", OLD)
    world.replace("jobs", arrival)
    world.load("jobs_since.csv", b"1,since\n9,since\n")
    (again,) = world.replace("jobs", arrival)
    assert (again.verdict, again.counts.updated, again.counts.removed) == (Verdict.LOADED, 1, 1)
    assert world.rows("jobs") == upserted("jobs", OLD)


BAD = {
    "all rows bad": (b"x,bad\n", "all_rows_bad", {}),
    "empty": (b"", "empty", {}),
    "header only": (b"id,job\n", "header_only", {}),
    "wrong header": (b"id,title\n1,a\n", "wrong_header", {}),
    "over the threshold": (b"1,a\nx,b\n", "over_threshold", {"reject_threshold": 0.4}),
}


@pytest.mark.parametrize(("body", "code", "settings"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("others", [0, 1], ids=["alone", "beside a good file"])
def test_one_bad_file_refuses_the_replacement(
    world: World, body: bytes, code: str, settings: dict[str, Any], others: int
) -> None:
    world.load("jobs_old.csv", OLD)
    before = world.sql("SELECT t::text FROM jobs AS t ORDER BY id")
    good = [world.put("jobs_good.csv", b"1,good\n") for _ in range(others)]
    outcomes = world.replace("jobs", *good, world.put("jobs_bad.csv", body), **settings)
    codes = [*["replacement_refused"] * others, code]
    assert [(outcome.verdict, outcome.code) for outcome in outcomes] == [(Verdict.REJECTED, one) for one in codes]
    assert [world.ledger(outcome.load_id, "verdict", "code") for outcome in outcomes] == [
        ("rejected", one) for one in codes
    ]
    assert world.sql("SELECT t::text FROM jobs AS t ORDER BY id") == before
    assert world.sql("SELECT * FROM ops.jobs_history") == []


def test_a_replacement_by_no_files_leaves_the_table(world: World) -> None:
    world.load("jobs_old.csv", OLD)
    with suppress(ConfigurationError):
        assert world.replace("jobs") == []
    assert world.rows("jobs") == upserted("jobs", OLD)


def test_a_refused_replacement_is_done_by_another_run_once_its_file_is_good(world: World) -> None:
    world.load("jobs_old.csv", OLD)
    good, bad = world.put("jobs_1.csv", b"1,good\n"), world.put("jobs_2.csv", b"x,bad\n")
    world.replace("jobs", good, bad)
    outcomes = world.replace("jobs", good, world.put("jobs_2.csv", b"2,repaired\n"))
    assert [outcome.verdict for outcome in outcomes] == [Verdict.LOADED] * 2
    assert world.rows("jobs") == [(1, "good"), (2, "repaired")]


def test_readers_see_the_old_table_until_the_new_one_is_whole(world: World) -> None:
    world.load("jobs_old.csv", OLD)
    files = [world.put("jobs_1.csv", b"1,new\n"), world.put("jobs_2.csv", b"9,new\n")]
    seen: list[object] = []

    class Watched(PostgresWarehouse):
        def set_sequence(self, *numbers: object) -> None:
            super().set_sequence(*numbers)  # type: ignore[arg-type]
            seen.append(world.rows("jobs"))

    with world.connected(Watched) as warehouse:
        world.loader(warehouse=warehouse).replace(files, JOBS)
    assert seen == [upserted("jobs", OLD)]
    assert world.rows("jobs") == [(1, "new"), (9, "new")]


def test_a_fault_in_its_last_step_leaves_everything_as_it_was(world: World) -> None:
    world.load("jobs_old.csv", OLD)
    files = [world.put("jobs_1.csv", b"1,new\n"), world.put("jobs_2.csv", b"9,new\nx,bad\n")]
    before = world.snapshot()

    class Failing(PostgresWarehouse):
        def set_sequence(self, *_: object) -> None:
            raise ConnectionAbortedError

    with world.connected(Failing) as warehouse, pytest.raises(ConnectionAbortedError):
        world.loader(warehouse=warehouse).replace(files, JOBS)
    assert world.snapshot() == before


def test_a_file_that_changed_after_its_listing_leaves_everything_as_it_was(world: World) -> None:
    world.load("jobs_old.csv", OLD)
    good, changed = world.put("jobs_1.csv", b"1,new\n"), world.put("jobs_2.csv", b"2,listed\n")
    world.store.write(changed.key, b"2,overwritten\n")
    before = world.snapshot()
    with pytest.raises(SourceChanged, match=r"jobs_2\.csv"):
        world.replace("jobs", good, changed)
    assert world.snapshot() == before


def test_a_fault_is_told_in_the_ledger_until_a_retry_takes_its_place(world: World) -> None:
    arrival = world.put("jobs.csv", OLD)
    failed = world.loader("tonight").fail(arrival, Mode.REPLACE, "The warehouse did not answer.")
    assert world.ledger(failed.load_id, "verdict", "mode", "commit_seq") == ("failed", "replace", None)
    (loaded,) = world.replace("jobs", arrival, run="tonight")
    assert (loaded.verdict, world.rows("jobs")) == (Verdict.LOADED, upserted("jobs", OLD))
    assert world.sql("SELECT verdict FROM ops.loads") == [("loaded",)]


@pytest.mark.parametrize("body", [b"1,kept\n2,new\n9,new\nx,bad\n", OLD, b"x,bad\n"], ids=["changes", "same", "bad"])
def test_a_dry_run_counts_what_the_replacement_would_and_writes_nothing(world: World, body: bytes) -> None:
    world.load("jobs_old.csv", OLD)
    arrival = world.put("jobs.csv", body, "replace/")
    before = world.snapshot()
    (dry,) = world.loader().replace([arrival], JOBS, dry_run=True)
    assert (dry.verdict, world.snapshot()) == (Verdict.DRY_RUN, before)
    (real,) = world.replace("jobs", arrival)
    assert (dry.forecast, dry.counts, dry.code) == (real.verdict, real.counts, real.code)


def test_a_dry_run_of_several_files_counts_what_the_replacement_would(world: World) -> None:
    world.load("jobs_old.csv", OLD)
    files = [world.put("jobs_1.csv", b"1,kept\n2,new\n"), world.put("jobs_2.csv", b"3,new\n9,new\n,\n")]
    dry = world.loader().replace(files, JOBS, dry_run=True)
    real = world.replace("jobs", *files)
    assert [(one.forecast, one.counts) for one in dry] == [(one.verdict, one.counts) for one in real]


def test_what_a_replacement_removed_comes_back_when_it_is_sent_again(world: World) -> None:
    world.load("jobs_old.csv", OLD)
    world.replace("jobs", world.put("jobs_1.csv", b"1,only\n"))
    again = world.load("jobs_old copy.csv", OLD)
    assert (again.verdict, again.counts.inserted, again.counts.updated) == (Verdict.LOADED, 3, 1)
    assert world.rows("jobs") == upserted("jobs", OLD)
