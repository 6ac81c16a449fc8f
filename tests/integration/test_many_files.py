"""Faults 80: very many files, empty ones among them, take no longer than others and no more than a process has."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from datamart import copied_rejects, load, missing_rows
from datamart.loads import Arrival, Verdict
from tests.integration.world import World, upserted

FILES = int(os.environ.get("MANY_FILES", "150"))


def put_all(world: World, bodies: list[bytes]) -> list[Arrival]:
    with ThreadPoolExecutor(4) as pool:
        names = [f"jobs_{number:05}.csv" for number in range(len(bodies))]
        list(
            pool.map(lambda one: world.store.write(f"{world.prefix}{one[0]}", one[1]), zip(names, bodies, strict=True))
        )
    return world.store.list(world.prefix)


@contextmanager
def few_open_files(more: int) -> Iterator[None]:
    """The process may open so many files more than it has."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_replacement_of_more_files_than_may_be_open(world: World) -> None:
    bodies = [b"%d,job %d\nx,bad %d\nragged\n" % (number, number, number) for number in range(FILES)]
    arrivals = put_all(world, bodies)
    with few_open_files(FILES // 3):
        outcomes = world.replace("jobs", *arrivals)
    assert [(one.verdict, one.counts.inserted, one.counts.rejected) for one in outcomes] == [("loaded", 1, 2)] * FILES
    assert world.rows("jobs") == upserted("jobs", *bodies)
    for outcome in outcomes:
        number = int(outcome.key[-9:-4])
        assert [raw for _, raw, _ in world.rejected(outcome.load_id)] == [b"x,bad %d" % number, b"ragged"]


@pytest.mark.parametrize("body", [b"", b"id,job\n", b"\n\n"], ids=["empty", "header only", "blank lines"])
def test_files_without_rows_are_as_quick_as_others(world: World, body: bytes) -> None:
    loader, times = world.loader("many"), {}
    for name, bodies in (("others", [b"%d,a\n" % number for number in range(20)]), ("without rows", [body] * 20)):
        world.prefix += f"{name.split()[0]}/"
        arrivals = put_all(world, bodies)
        began = time.monotonic()
        verdicts = {loader.load(arrival).verdict for arrival in arrivals}
        times[name] = time.monotonic() - began
        assert verdicts == {Verdict.LOADED if name == "others" else Verdict.REJECTED}
    assert times["without rows"] < times["others"] + 1  # 4 s, when each waited for 0.2 s


def test_rejects_of_a_copy_are_taken_over_some_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"1,a\n" + b"".join(b"x,%s\n" % (b"%d" % number * 50) for number in range(1, 60)) + b"x\n"
    first = world.load("jobs.csv", body)
    for module in (load, missing_rows):
        monkeypatch.setattr(module, "FEW_ROWS", 0)
    asked: list[int] = []
    right = world.warehouse.rejects_of
    monkeypatch.setattr(
        world.warehouse, "rejects_of", lambda load_id, at_once: (asked.append(at_once), right(load_id, at_once))[1]
    )
    monkeypatch.setattr(copied_rejects, "MAX_BYTES_AT_ONCE", 1000)
    copy = world.load("jobs copy.csv", body)
    assert (copy.verdict, copy.duplicate_of, asked) == ("duplicate", first.load_id, [1000 // 102])
    assert world.rejected(copy.load_id) == world.rejected(first.load_id)
    monkeypatch.setattr(copied_rejects, "MAX_BYTES", 1000)
    judged = world.load("jobs third.csv", body)
    assert (judged.verdict, judged.duplicate_of, len(asked)) == ("duplicate", first.load_id, 1)
    assert world.rejected(judged.load_id) == world.rejected(first.load_id)
