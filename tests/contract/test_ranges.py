"""A file that was cleaned in ranges, on every dialect: all that is kept of it is as when one task has read it whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from datamart.batches import batch_of
from datamart.clean import read_rows
from datamart.load import Loader
from datamart.loads import Arrival, Mode, Outcome
from datamart.objects import EXCHANGE, clean_key
from datamart.ranges.cleaning import clean_range
from datamart.ranges.joining import SplitFiles
from datamart.ranges.splitting import Splitter, listed_ranges, prefixes_of
from datamart.tables import table_named
from tests.integration.world import World
from tests.oracle import rules

TABLE = table_named("hired_employees")
RANGE_BYTES = 64 * 1024
Way = Callable[[Loader, Arrival], Outcome]


def _row(number: int) -> bytes:
    """Every 97th row's key came before, far above; every 31st is bad."""
    key = number - 1500 if number % 97 == 0 and number > 1600 else number
    moment = b"2021-07-27T16:02:08Z" if number % 31 else b"never"
    return b'%d,"Ann, ""%d""\r\nof %s",%s,%d,%d\r\n' % (key, number, b"x" * 20, moment, number % 60, number % 40)


@cache
def large() -> bytes:
    """More than three ranges."""
    return b"id,name,datetime,department_id,job_id\r\n" + b"".join(map(_row, range(1, 3200)))


def upsert(loader: Loader, arrival: Arrival) -> Outcome:
    return loader.load(arrival)


def replacement(loader: Loader, arrival: Arrival) -> Outcome:
    return loader.replace([arrival], TABLE)[0]


def dry_run(loader: Loader, arrival: Arrival) -> Outcome:
    return loader.load(arrival, dry_run=True)


def split(loader: Loader, arrival: Arrival, mode: Mode) -> Loader:
    """The loader of a run whose tasks have cleaned the file's ranges."""
    (plan,) = Splitter(loader).plans([batch_of(TABLE.name, [arrival])], mode)
    assert len(plan.cuts.ranges) == 4
    for number in range(4):
        clean_range(loader.store, loader.settings, plan, number)
    files = SplitFiles(loader.store, loader.settings, prefixes_of(listed_ranges(plan)))
    assert files(arrival) is not None, "it would be read whole"
    return replace(loader, prepared=files)


def all_there_is(world: World, load_id: int, parts: int) -> dict[str, Any]:
    """What a load may have changed, but for when."""
    found = {
        name: world.sql(f"SELECT * FROM {name} ORDER BY id")
        for name in ("hired_employees", "ops.hired_employees_history")
    }
    columns = (
        "load_id, verdict, code, rows_read, rows_inserted, rows_updated, rows_unchanged, rows_rejected, rows_removed"
    )
    found["loads"] = world.sql(
        f"SELECT {columns}, sha256, warnings, blank_lines, commit_seq FROM ops.loads ORDER BY commit_seq, load_id"
    )
    found["rejects"] = list(world.warehouse.rejects_of(load_id))
    keys = [clean_key(TABLE.name, load_id, part) for part in range(parts)]
    rows = [read_rows(world.store, key, TABLE.arrow_schema) or [] for key in keys]
    found["clean"] = [row for part in rows for batch in part for row in batch.to_pylist()]
    found["rejected"] = world.store.fetch(f"rejected/{TABLE.name}/{TABLE.name}_rejected_{load_id}.csv")
    return found


@pytest.mark.parametrize("unknown", ["warn", "reject"])
@pytest.mark.parametrize(
    ("way", "before"),
    [
        pytest.param(upsert, b"", id="into the empty table"),
        pytest.param(upsert, b"7,Other,2020-01-01T00:00:00Z,1,1\n90000,Old,2020-01-01T00:00:00Z,1,1\n", id="upsert"),
        pytest.param(replacement, b"8,Other,2020-01-01T00:00:00Z,1,1\n90000,Gone,2020-01-01T00:00:00Z,1,1\n", id="new"),
        pytest.param(dry_run, b"9,Other,2020-01-01T00:00:00Z,1,1\n", id="dry run"),
    ],
)  # fmt: skip
def test_the_way_of_a_file_does_not_show(world: World, way: Way, before: bytes, unknown: str) -> None:
    settings = {"unknown_reference": unknown, "range_bytes": RANGE_BYTES, "part_rows": 1000}
    arrival, mode = world.put("hired_employees_large.csv", large()), Mode.REPLACE if way is replacement else Mode.UPSERT
    seeds = {"departments.csv": b"1,a\n2,b\n3,c\n", "jobs.csv": b"1,a\n2,b\n3,c\n", "hired_employees.csv": before}
    listed = {name: world.put(name, body) for name, body in seeds.items() if body}

    def told(*, ranges: bool) -> tuple[Outcome, dict[str, Any]]:
        world.database.empty()
        for name, one in listed.items():
            world.loader(f"seed-{name}").load(one)
        loader = world.loader("run", **settings)
        outcome = way(split(loader, arrival, mode) if ranges else loader, arrival)
        parts = outcome.clean_parts
        return replace(outcome, clean_parts=0), all_there_is(world, outcome.load_id, parts)

    whole, joined = told(ranges=False), told(ranges=True)
    assert joined == whole
    if unknown == "warn" and way is not dry_run:
        assert whole[0].counts.inserted == len({row[0] for row in rules.judge(TABLE.name, large()).accepted}) - (
            1 if before.startswith(b"7") else 1 if before.startswith(b"8") else 0
        )


def test_what_needs_no_judgement_is_not_split(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was loaded, one of the same size, a small one, and any when ranges are not wanted.

    A copy is judged where the server cannot prove that the rows of the first are still there, and if it has few rows.
    """
    loaded = world.put("hired_employees_large.csv", large())
    world.loader(range_bytes=RANGE_BYTES).load(loaded)
    same_size = world.put("hired_employees_copy.csv", large())
    small = world.put("hired_employees_small.csv", large()[: RANGE_BYTES * 2 - 1])
    other = world.put("hired_employees_other.csv", large() + b"\n")
    batch = [batch_of(TABLE.name, [loaded, same_size, small, other])]
    before = world.keys(EXCHANGE)
    assert list(Splitter(world.loader()).plans(batch, Mode.UPSERT)) == []
    assert world.keys(EXCHANGE) == before
    wanted = Splitter(world.loader(range_bytes=RANGE_BYTES))
    assert [plan.arrival for plan in wanted.plans(batch, Mode.UPSERT)] == [same_size, other]
    monkeypatch.setattr("datamart.ranges.splitting.FEW_ROWS", 1000)
    copies = [] if world.warehouse.dialect == "postgres" else [same_size]
    assert [plan.arrival for plan in wanted.plans(batch, Mode.UPSERT)] == [*copies, other]
    assert [plan.arrival for plan in wanted.plans(batch, Mode.REPLACE)] == [loaded, same_size, other]


def test_there_are_never_more_ranges_than_tasks_may_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a range is a little smaller than a file, so that each has two."""
    files = [world.put(f"hired_employees_{n}.csv", large() + b"\n" * n) for n in range(3)]
    for most, found in ((5, 0), (7, 6), (11, 6), (24, 12)):
        monkeypatch.setattr("datamart.ranges.splitting.MOST_RANGES", most)
        batch = [batch_of(TABLE.name, files)]
        plans = list(Splitter(world.loader(range_bytes=RANGE_BYTES)).plans(batch, Mode.UPSERT))
        assert sum(len(plan.cuts.ranges) for plan in plans) == found <= most


def test_a_file_that_cannot_be_planned_spoils_no_others(world: World, caplog: pytest.LogCaptureFixture) -> None:
    gone, stays = (world.put(f"hired_employees_{n}.csv", large() + b"\n" * n) for n in range(2))
    world.put("hired_employees_0.csv", b"another")
    with caplog.at_level("WARNING"):
        (plan,) = Splitter(world.loader(range_bytes=RANGE_BYTES)).plans(
            [batch_of(TABLE.name, [gone, stays])], Mode.UPSERT
        )
    assert plan.arrival == stays
    assert f"{gone.key} is read whole: " in caplog.text
