"""Rows out of a warehouse and back into it, on every dialect."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from datamart.tables import table_named
from datamart.warehouse.base import Warehouse
from tests.integration.world import World

HIRED = table_named("hired_employees")
_FIRST, _LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)
_TEXTS = ("Ann", "O'Hara", 'say "hi"', "a\nb\r\nc", "back\\slash", " x ", "", "%s", "Ä😀", "NULL", "\t", "\\N", "{a}")


def rows(count: int, seed: int = 1) -> list[tuple[Any, ...]]:
    """Hires with every kind of text and moment."""
    chance = random.Random(seed)
    span = int((_LAST - _FIRST).total_seconds())
    moments = [_FIRST, _LAST, datetime(1677, 9, 21), datetime(2262, 4, 12), datetime(1970, 1, 1)]
    return [
        (
            key, chance.choice(_TEXTS),
            moments[key] if key < len(moments) else _FIRST + timedelta(seconds=chance.randrange(span)),
            chance.choice((0, 1, 2**31 - 1)), chance.randrange(5), chance.choice((1, 2**62)),
        )
        for key in range(count)
    ]  # fmt: skip


def batches(wanted: list[tuple[Any, ...]], size: int) -> Iterator[pa.RecordBatch]:
    """The rows in batches of that size."""
    for start in range(0, len(wanted), size):
        columns = zip(*wanted[start : start + size], strict=True)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, HIRED.kept_schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=HIRED.kept_schema)


def taken(warehouse: Warehouse, relation: str, condition: str = "") -> list[tuple[Any, ...]]:
    """All rows by key."""
    found = list(warehouse.rows_of(HIRED, relation, condition))
    assert all(batch.schema == HIRED.kept_schema for batch in found)
    return sorted(tuple(row.values()) for batch in found for row in batch.to_pylist())


@pytest.mark.parametrize("count", [0, 1, 2, 5_000])
def test_rows_that_went_in_come_out_the_same(world: World, count: int) -> None:
    wanted = rows(count)
    assert world.warehouse.stage_kept(HIRED, "round_trip", batches(wanted, 700)) == count
    assert taken(world.warehouse, "round_trip") == wanted
    assert world.warehouse.size_of("round_trip") == count
    world.warehouse.drop_staging("round_trip")


def test_only_the_rows_that_are_asked_for_come_out(world: World) -> None:
    world.warehouse.stage_kept(HIRED, "some_rows", batches(rows(50), 50))
    found = taken(world.warehouse, "some_rows", "job_id <> 3 AND name <> '%s'")
    assert found == [row for row in rows(50) if row[4] != 3 and row[1] != "%s"]
    world.warehouse.drop_staging("some_rows")


def test_rows_are_read_as_they_were_at_one_moment(world: World) -> None:
    world.load("jobs.csv", b"1,a\n2,b\n")
    jobs = table_named("jobs")
    with world.warehouse.one_moment(["public.jobs"]):
        before = world.warehouse.size_of("public.jobs")
        with world.connected() as other:
            world.loader(None, other).load(world.put("jobs_2.csv", b"3,c\n1,A\n"))
        found = [row for batch in world.warehouse.rows_of(jobs, "public.jobs") for row in batch.to_pylist()]
        assert (before, world.warehouse.size_of("public.jobs"), len(found)) == (2, 2, 2)
        assert {row["job"] for row in found} == {"a", "b"}
    assert world.warehouse.size_of("public.jobs") == 3


def test_nothing_is_left_in_s3_of_what_was_on_its_way(world: World) -> None:
    world.load("jobs.csv", b"1,a\nx,b\n")
    world.warehouse.stage_kept(HIRED, "some_rows", batches(rows(3), 1))
    taken(world.warehouse, "some_rows")
    world.warehouse.drop_staging("some_rows")
    assert world.keys("exchange/") == []


def test_rows_that_stop_coming_leave_nothing(world: World) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield from batches(rows(10), 10)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        world.warehouse.stage_kept(HIRED, "broken", broken())
    world.warehouse.drop_staging("broken")
    assert world.keys("exchange/") == []
    assert world.load("jobs.csv", b"1,a\n").verdict == "loaded"
