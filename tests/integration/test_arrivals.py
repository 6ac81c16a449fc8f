"""Faults 5-9, arrivals: each is honoured once, whatever its name and bytes; what changed on the way is not loaded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from datamart.errors import SourceChanged
from datamart.loads import Arrival, Mode, Verdict
from datamart.objects import archive_key
from datamart.tables import Table
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.world import World, upserted

X, Y = b"1,x\n2,same\n", b"1,y\n2,same\n3,new\n"


def test_a_retry_of_the_same_run_gets_the_same_answer(world: World) -> None:
    arrival = world.put("jobs.csv", X)
    first = world.judge(arrival, run="tonight")
    before = world.snapshot()
    assert world.judge(arrival, run="tonight") == first
    assert world.snapshot() == before


def test_another_run_hears_that_the_arrival_was_loaded(world: World) -> None:
    arrival = world.put("jobs.csv", X)
    first = world.judge(arrival)
    before = world.snapshot()
    again = world.judge(arrival)
    assert (again.verdict, again.duplicate_of, again.changed) == (Verdict.DUPLICATE, first.load_id, False)
    assert (again.counts.read, again.counts.unchanged) == (2, 2)
    assert str(first.load_id) in again.message
    assert world.snapshot() == before


def test_7_the_same_bytes_under_a_new_name_are_a_duplicate(world: World) -> None:
    first = world.load("jobs.csv", X)
    copies = [world.load(name, X) for name in ("jobs copy.csv", "JOBS-2.CSV")]
    assert [(o.verdict, o.duplicate_of, o.changed) for o in copies] == [(Verdict.DUPLICATE, first.load_id, False)] * 2
    columns = "verdict", "duplicate_of", "rows_read", "rows_unchanged", "commit_seq"
    assert [world.ledger(o.load_id, *columns) for o in copies] == [
        ("duplicate", first.load_id, 2, 2, 2), ("duplicate", first.load_id, 2, 2, 3)
    ]  # fmt: skip
    assert world.rows("jobs") == upserted("jobs", X)


@pytest.mark.parametrize("before", [b"", b"9,there\n", X + b"\n"], ids=["empty", "other rows", "the same rows"])
def test_7_the_same_bytes_for_another_table_are_no_duplicate(world: World, before: bytes) -> None:
    if before:
        world.load("departments_before.csv", before)
    assert world.load("jobs.csv", X).verdict is Verdict.LOADED
    assert world.load("departments.csv", X).verdict is Verdict.LOADED
    assert world.rows("departments") == upserted("departments", before, X)


def test_7_other_bytes_of_the_same_rows_are_loaded_and_change_nothing(world: World) -> None:
    world.load("jobs.csv", X)
    outcome = world.load("jobs_crlf.csv", X.replace(b"\n", b"\r\n"))
    assert (outcome.verdict, outcome.counts.unchanged, outcome.changed) == (Verdict.LOADED, 2, False)


def test_8_the_same_name_with_new_bytes_is_loaded(world: World) -> None:
    first, second = world.load("jobs.csv", X), world.load("jobs.csv", Y)
    assert (first.load_id != second.load_id, second.verdict) == (True, Verdict.LOADED)
    counts = second.counts
    assert (counts.inserted, counts.updated, counts.unchanged) == (1, 1, 1)
    assert world.rows("jobs") == upserted("jobs", X, Y)


def test_8_the_same_name_with_the_same_bytes_later_is_a_copy(world: World) -> None:
    arrival = world.put("jobs.csv", X)
    first = world.judge(arrival)
    copy = world.judge(world.put_later("jobs.csv", X, arrival))
    assert (copy.load_id != first.load_id, copy.verdict, copy.duplicate_of) == (True, Verdict.DUPLICATE, first.load_id)


def test_8_x_then_y_then_x_again_takes_effect(world: World) -> None:
    arrival = world.put("jobs.csv", X)
    world.judge(arrival)
    world.load("jobs.csv", Y)
    third = world.judge(world.put_later("jobs.csv", X, arrival))
    assert (third.verdict, third.counts.updated, third.counts.unchanged) == (Verdict.LOADED, 1, 1)
    assert world.rows("jobs") == upserted("jobs", X, Y, X)
    fourth = world.load("jobs copy.csv", X)
    assert (fourth.verdict, fourth.changed) == (Verdict.DUPLICATE, False)


def test_8_x_then_y_then_x_again_under_other_names(world: World) -> None:
    files = [X, Y, X, Y, Y, X, X]
    verdicts = [world.load(f"jobs_{number}.csv", body).verdict for number, body in enumerate(files)]
    loaded, duplicate = Verdict.LOADED, Verdict.DUPLICATE
    assert verdicts == [loaded, loaded, loaded, loaded, duplicate, loaded, duplicate]
    assert world.rows("jobs") == upserted("jobs", *files)


def test_x_again_after_another_file_changed_only_other_rows_is_a_duplicate(world: World) -> None:
    first = world.load("jobs.csv", X)
    world.load("jobs_other.csv", b"9,other\n")
    again = world.load("jobs copy.csv", X)
    assert (again.verdict, again.duplicate_of) == (Verdict.DUPLICATE, first.load_id)


HIRES = b"1,Ann,2021-01-02T03:04:05Z,1,1\n2,Bo,2021-01-02T03:04:05Z,2,1\n"


def test_a_copy_whose_references_became_known_brings_the_rows_that_were_rejected(world: World) -> None:
    world.load("departments.csv", b"1,Engineering\n")
    world.load("jobs.csv", b"1,Developer\n")
    first = world.load("hired_employees.csv", HIRES, unknown_reference="reject")
    assert (first.counts.inserted, first.counts.rejected) == (1, 1)
    world.load("departments_late.csv", b"2,Sales\n")
    copy = world.load("hired_employees copy.csv", HIRES, unknown_reference="reject")
    assert (copy.verdict, copy.counts.inserted, copy.counts.rejected) == (Verdict.LOADED, 1, 0)
    assert world.rows("hired_employees") == upserted("hired_employees", HIRES)


def test_a_copy_under_a_milder_setting_brings_the_rows_that_were_rejected(world: World) -> None:
    world.load("departments.csv", b"1,Engineering\n")
    world.load("jobs.csv", b"1,Developer\n")
    world.load("hired_employees.csv", HIRES, unknown_reference="reject")
    copy = world.load("hired_employees copy.csv", HIRES)
    assert (copy.verdict, copy.counts.inserted) == (Verdict.LOADED, 1)
    assert world.rows("hired_employees") == upserted("hired_employees", HIRES)


def test_a_copy_under_a_stricter_setting_does_not_stand_for_the_whole_file(world: World) -> None:
    world.load("departments.csv", b"1,Engineering\n")
    world.load("jobs.csv", b"1,Developer\n")
    changed = HIRES.splitlines(keepends=True)[1].replace(b"Bo", b"Bob")
    world.load("hired_employees.csv", HIRES)
    world.load("hired_employees_changed.csv", changed)
    world.load("hired_employees_strict.csv", HIRES, unknown_reference="reject")
    assert world.rows("hired_employees") == upserted("hired_employees", HIRES, changed)
    last = world.load("hired_employees_again.csv", HIRES)
    assert (last.verdict, last.counts.updated) == (Verdict.LOADED, 1)
    assert world.rows("hired_employees") == upserted("hired_employees", HIRES, changed, HIRES)


def test_a_copy_of_a_refused_file_is_judged_for_itself(world: World) -> None:
    refused = world.load("jobs.csv", b"1,a\nx,b\n", reject_threshold=0)
    assert refused.verdict is Verdict.REJECTED
    copy = world.load("jobs copy.csv", b"1,a\nx,b\n")
    assert (copy.verdict, copy.duplicate_of) == (Verdict.LOADED, None)


def test_a_refused_arrival_is_judged_again_by_another_run_under_other_settings(world: World) -> None:
    arrival = world.put("jobs.csv", b"1,a\nx,b\n")
    refused = world.judge(arrival, reject_threshold=0)
    loaded = world.judge(arrival)
    assert (refused.verdict, loaded.verdict) == (Verdict.REJECTED, Verdict.LOADED)
    assert world.ledger(refused.load_id, "verdict") == ("rejected",)
    assert world.rows("jobs") == [(1, "a")]


def test_a_refused_arrival_is_judged_again_when_its_references_became_known(world: World) -> None:
    arrival = world.put("hired_employees.csv", HIRES)
    refused = world.judge(arrival, unknown_reference="reject")
    assert (refused.verdict, refused.code) == (Verdict.REJECTED, "all_rows_bad")
    world.load("departments.csv", b"1,Engineering\n2,Sales\n")
    world.load("jobs.csv", b"1,Developer\n")
    assert world.judge(arrival, unknown_reference="reject").verdict is Verdict.LOADED
    assert world.rows("hired_employees") == upserted("hired_employees", HIRES)


def test_a_refused_arrival_stays_refused_under_the_same_rules(world: World) -> None:
    arrival = world.put("jobs.csv", b"x,a\n")
    first, again = world.judge(arrival), world.judge(arrival)
    assert (again.verdict, again.code) == (first.verdict, first.code) == (Verdict.REJECTED, "all_rows_bad")
    assert world.rejected(first.load_id) == [(1, b"x,a", frozenset({("id", "not_an_integer")}))]


CHANGES: dict[str, Callable[[World, Arrival], object]] = {
    "5 overwritten": lambda world, _: world.put("jobs.csv", Y),
    "9 deleted": lambda world, arrival: world.store.client.delete_object(Bucket=arrival.bucket, Key=arrival.key),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_object_that_changed_between_listing_and_reading_is_not_loaded(
    world: World, change: Callable[[World, Arrival], object]
) -> None:
    arrival = world.put("jobs.csv", X)
    change(world, arrival)
    with pytest.raises(SourceChanged, match=r"jobs\.csv"):
        world.judge(arrival)
    assert (world.rows("jobs"), world.sql("SELECT * FROM ops.loads")) == ([], [])
    outcome = world.judge(world.put("jobs.csv", Y))
    assert (outcome.verdict, world.rows("jobs")) == (Verdict.LOADED, upserted("jobs", Y))


@pytest.mark.parametrize("before", [b"", b"9,there\n"], ids=["empty table", "table with a row"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_object_that_changed_while_it_was_loaded_is_loaded_as_it_was_listed(
    world: World, before: bytes, change: Callable[[World, Arrival], object]
) -> None:
    """Faults 6."""
    if before:
        world.load("jobs_before.csv", before)
    arrival = world.put("jobs.csv", X)

    class Changing(PostgresWarehouse):
        def record(self, *outcome: object) -> None:
            change(world, arrival)
            super().record(*outcome)  # type: ignore[arg-type]

    with world.connected(Changing) as warehouse:
        outcome = world.loader(warehouse=warehouse).load(arrival)
    assert (outcome.verdict, world.rows("jobs")) == (Verdict.LOADED, upserted("jobs", before, X))
    with pytest.raises(SourceChanged):
        world.store.move(arrival, archive_key("jobs", arrival, outcome.load_id))
    second = world.judge(world.put("jobs.csv", Y))
    assert (second.verdict, world.rows("jobs")) == (Verdict.LOADED, upserted("jobs", before, X, Y))


def test_a_fault_is_told_in_the_ledger_until_a_later_try_takes_its_place(world: World) -> None:
    arrival = world.put("jobs.csv", X)
    failed = world.loader("tonight").fail(arrival, Mode.UPSERT, "The warehouse did not answer.")
    columns = "verdict", "message", "rows_read", "commit_seq"
    assert world.ledger(failed.load_id, *columns) == ("failed", "The warehouse did not answer.", 0, None)
    assert world.judge(arrival, run="tonight").verdict is Verdict.LOADED
    assert world.sql("SELECT verdict FROM ops.loads") == [("loaded",)]
    assert world.loader().fail(arrival, Mode.UPSERT, "Too late.").verdict is Verdict.DUPLICATE
    assert world.sql("SELECT verdict FROM ops.loads") == [("loaded",)]


@pytest.mark.parametrize("run", ["the same run", "another run"])
def test_an_arrival_that_failed_is_tried_again(world: World, run: str) -> None:
    arrival = world.put("jobs.csv", X)
    world.loader("the same run").fail(arrival, Mode.UPSERT, "S3 did not answer.")
    assert world.judge(arrival, run=run).verdict is Verdict.LOADED
    assert world.rows("jobs") == upserted("jobs", X)


FORECASTS = {
    "new rows": (b"", X),
    "changed rows": (X, Y),
    "a copy": (X, X),
    "the same rows in other bytes": (X, X + b"\n"),
    "some rows bad": (X, b"1,z\nx,y\n"),
    "all rows bad": (X, b"x,y\n"),
    "empty": (X, b""),
    "wrong header": (X, b"id,x\n1,a\n"),
}


@pytest.mark.parametrize(("before", "body"), FORECASTS.values(), ids=FORECASTS)
def test_a_dry_run_counts_what_the_load_would_and_writes_nothing(world: World, before: bytes, body: bytes) -> None:
    if before:
        world.load("jobs_before.csv", before)
    arrival = world.put("jobs.csv", body)
    committed, written = world.snapshot(), world.keys("clean/jobs/") + world.keys("rejected/jobs/")
    dry = world.loader().load(arrival, dry_run=True)
    assert (dry.verdict, bool(dry.message)) == (Verdict.DRY_RUN, True)
    assert (world.snapshot(), world.keys("clean/jobs/") + world.keys("rejected/jobs/")) == (committed, written)
    real = world.judge(arrival)
    assert (dry.forecast, dry.counts, dry.code) == (real.verdict, real.counts, real.code)
    assert (dry.warnings, dry.blank_lines, dry.sha256) == (real.warnings, real.blank_lines, real.sha256)


def test_a_dry_run_of_a_name_that_fits_no_table_writes_nothing(world: World) -> None:
    dry = world.loader().load(world.put("myowntable.csv", X), dry_run=True)
    assert (dry.verdict, dry.forecast, dry.code) == (Verdict.DRY_RUN, Verdict.REJECTED, "no_table")
    assert world.sql("SELECT * FROM ops.loads") == []


def test_staging_is_gone_after_a_load_and_after_a_fault(world: World) -> None:
    class Failing(PostgresWarehouse):
        def set_sequence(self, table: Table, *_: object) -> None:
            raise RuntimeError(table.name)

    world.load("jobs_before.csv", b"9,there\n")
    arrival = world.put("jobs.csv", X)
    with world.connected(Failing) as warehouse:
        with pytest.raises(RuntimeError, match="jobs"):
            world.loader(warehouse=warehouse).load(arrival)
        temporary = "SELECT relname FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'"
        assert warehouse.query(temporary) == []
    assert world.rows("jobs") == [(9, "there")]
    assert world.judge(arrival).verdict is Verdict.LOADED
