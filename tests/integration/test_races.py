"""Faults 1, 27 and 29 in small: loaders with connections of their own meet at the table's lock, and all is once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from datamart.loads import Outcome, Verdict
from datamart.tables import Table, table_named
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.world import World, upserted

Job = Callable[[PostgresWarehouse], Outcome]
BEFORE = pytest.mark.parametrize("before", [b"", b"900,there before\n"], ids=["empty table", "table with a row"])
DEADLOCKED = 60  # seconds until a barrier that nobody else reaches breaks; never waited for in a run that passes


def at_once(world: World, *jobs: Job) -> list[Outcome]:
    """Run each job on its own connection; none asks for its first lock before all others are about to."""
    barrier = Barrier(len(jobs))

    class Meeting(PostgresWarehouse):
        met = False

        def lock(self, table: Table) -> Any:
            if not self.met:
                self.met = True
                barrier.wait(DEADLOCKED)
            return super().lock(table)

    def run(job: Job) -> Outcome:
        with world.connected(Meeting) as warehouse:
            return job(warehouse)

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def loading(world: World, name: str, body: bytes, run: str | None = None) -> Job:
    arrival = world.put(name, body)
    world.asked.append((arrival, {}))
    return lambda warehouse: world.loader(run, warehouse).load(arrival)


def settle(world: World, before: bytes) -> None:
    if before:
        world.load("jobs_before.csv", before)


def in_order_of_commit(world: World, outcomes: list[Outcome], *bodies: bytes) -> list[bytes]:
    numbers = [world.ledger(outcome.load_id, "commit_seq")[0] for outcome in outcomes]
    return [body for _, body in sorted(zip(numbers, bodies, strict=True))]


@BEFORE
@pytest.mark.parametrize("runs", [("a", "b"), ("a", "a")], ids=["two runs", "a zombie and its retry"])
def test_27_two_loaders_of_one_arrival_load_it_once(world: World, before: bytes, runs: tuple[str, str]) -> None:
    settle(world, before)
    body = b"1,a\n2,b\nx,bad\n"
    arrival = world.put("jobs.csv", body)
    world.asked.append((arrival, {}))
    answers = at_once(world, *(lambda warehouse, run=run: world.loader(run, warehouse).load(arrival) for run in runs))
    winner = next(answer for answer in answers if answer.verdict is Verdict.LOADED)
    loser = answers[1 - answers.index(winner)]
    if runs[0] == runs[1]:
        assert loser == winner
    else:
        assert (loser.verdict, loser.duplicate_of, loser.changed) == (Verdict.DUPLICATE, winner.load_id, False)
    assert (winner.counts.inserted, winner.counts.rejected) == (2, 1)
    assert world.sql("SELECT count(*) FROM ops.loads WHERE rows_inserted = 2") == [(1,)]
    assert world.rows("jobs") == upserted("jobs", before, body)


@BEFORE
def test_two_loaders_of_one_bad_arrival_refuse_it_once(world: World, before: bytes) -> None:
    settle(world, before)
    arrival = world.put("jobs.csv", b"x,bad\n,\n")
    answers = at_once(world, *[lambda warehouse: world.loader(None, warehouse).load(arrival)] * 2)
    assert [answer.code for answer in answers] == ["all_rows_bad"] * 2
    assert world.sql("SELECT count(*) FROM ops.loads WHERE verdict = 'rejected'") == [(1,)]


@BEFORE
def test_the_same_bytes_under_two_names_at_once(world: World, before: bytes) -> None:
    settle(world, before)
    answers = at_once(world, *(loading(world, name, b"1,a\n2,b\n") for name in ("jobs.csv", "jobs copy.csv")))
    assert sorted(answer.verdict for answer in answers) == [Verdict.DUPLICATE, Verdict.LOADED]
    assert world.rows("jobs") == upserted("jobs", before, b"1,a\n2,b\n")


@pytest.mark.parametrize("names", [("jobs copy.csv", "JOBS.CSV"), ("jobs copy.csv",) * 2], ids=["two", "one twice"])
def test_copies_of_a_loaded_file_at_once(world: World, names: tuple[str, str]) -> None:
    body = b"1,a\n2,b\nx,bad\n"
    first = world.load("jobs.csv", body)
    arrivals = {name: world.put(name, body) for name in names}
    world.asked += [(arrival, {}) for arrival in arrivals.values()]
    answers = at_once(
        world, *(lambda warehouse, name=name: world.loader(None, warehouse).load(arrivals[name]) for name in names)
    )
    assert [(answer.verdict, answer.duplicate_of) for answer in answers] == [(Verdict.DUPLICATE, first.load_id)] * 2
    assert world.sql("SELECT count(*) FROM ops.loads WHERE verdict = 'duplicate'") == [(len(arrivals),)]
    assert world.rows("jobs") == upserted("jobs", body)


def test_a_copy_takes_effect_when_its_rows_change_while_it_waits_for_the_lock(world: World) -> None:
    body, changed = b"1,a\n2,b\n", b"2,changed\n"
    world.load("jobs.csv", body)

    class Overtaken(PostgresWarehouse):
        overtaken = False

        def lock(self, table: Table) -> Any:
            if not self.overtaken:
                self.overtaken = True
                world.load("jobs_changed.csv", changed)
            return super().lock(table)

    with world.connected(Overtaken) as warehouse:
        answer = loading(world, "jobs copy.csv", body)(warehouse)
    assert (answer.verdict, answer.counts.updated) == (Verdict.LOADED, 1)
    assert world.rows("jobs") == upserted("jobs", body, changed, body)


@BEFORE
def test_29_two_files_of_one_table_at_once(world: World, before: bytes) -> None:
    settle(world, before)
    bodies = [b"1,a\n2,a\n3,a\n", b"2,b\n3,a\n4,b\n"]
    answers = at_once(world, *(loading(world, f"jobs_{place}.csv", body) for place, body in enumerate(bodies)))
    assert [answer.verdict for answer in answers] == [Verdict.LOADED] * 2
    assert world.rows("jobs") == upserted("jobs", before, *in_order_of_commit(world, answers, *bodies))


@BEFORE
def test_29_many_files_of_one_table_at_once(world: World, before: bytes) -> None:
    settle(world, before)
    bodies = [b"".join(b"%d,by %d\n" % (n, place) for n in range(place, place + 5)) for place in range(6)]
    answers = at_once(world, *(loading(world, f"jobs_{place}.csv", body) for place, body in enumerate(bodies)))
    assert [answer.verdict for answer in answers] == [Verdict.LOADED] * 6
    assert world.rows("jobs") == upserted("jobs", before, *in_order_of_commit(world, answers, *bodies))


def test_a_replacement_and_an_upsert_at_once_are_one_after_the_other(world: World) -> None:
    world.load("jobs_before.csv", b"7,old\n8,old\n")
    added, replacing = b"1,added\n8,added\n", b"1,only\n2,only\n"
    arrival = world.put("jobs_replacing.csv", replacing, "replace/")
    upsert, replacement = at_once(
        world,
        loading(world, "jobs_added.csv", added),
        lambda warehouse: world.loader(None, warehouse).replace([arrival], table_named("jobs"))[0],
    )
    order = in_order_of_commit(world, [upsert, replacement], added, replacing)
    after = order[order.index(replacing) :]
    assert world.rows("jobs") == upserted("jobs", *after)


def test_tables_do_not_wait_for_each_other(world: World) -> None:
    with world.connected() as other, other.transaction():
        other.lock(table_named("jobs"))
        world.warehouse.execute("SET lock_timeout = '20s'")
        assert world.load("departments.csv", b"1,Engineering\n").verdict is Verdict.LOADED


@BEFORE
def test_readers_see_the_old_rows_until_the_commit(world: World, before: bytes) -> None:
    settle(world, before)
    seen: list[object] = []

    class Watched(PostgresWarehouse):
        def record(self, *outcome: object) -> None:
            super().record(*outcome)  # type: ignore[arg-type]
            seen.append(world.rows("jobs"))

    body = b"1,a\n900,changed\n"
    with world.connected(Watched) as warehouse:
        loading(world, "jobs.csv", body)(warehouse)
    assert seen == [upserted("jobs", before)]
    assert world.rows("jobs") == upserted("jobs", before, body)
