"""Order holds whatever fails: a file that missed its turn gives way to those whose turn came after it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from datamart import load, missing_rows
from datamart.batches import Batch, arrivals_of
from datamart.history import plan_history
from datamart.loads import Arrival, Mode, Outcome, Verdict
from datamart.objects import archive_key, clean_key
from tests.integration.landing_sound import (
    assert_each_file_once,
    assert_landed,
    assert_order,
    assert_superseded_told,
)
from tests.integration.landing_zone import ALWAYS, EXPIRED, FORBIDDEN, Answer, Zone, on_requests
from tests.integration.sound import assert_sound
from tests.integration.world import upserted


class Killed(BaseException):
    """What SIGKILL is to a process: none of its own code goes on."""


@dataclass(frozen=True)
class File:
    """One file of a history: its rows, its place in a listing, and what happens to it, try by try, until it works."""

    rows: tuple[tuple[int, str], ...]
    rank: int = 0
    at: int = 0
    fate: tuple[str, ...] = ()
    bad: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(b"%d,%s\n" % (key, value.encode()) for key, value in self.rows) + b"x,bad\n" * self.bad


@dataclass(frozen=True)
class Look:
    """What came before one look into the folder, and whether the time of the files on hold is over."""

    files: tuple[File, ...]
    due: bool = True


@dataclass
class Play:
    """Plays a history: drops its files, looks, lets them fail, until none is left."""

    zone: Zone
    fates: dict[str, list[str]] = field(default_factory=dict)

    def play(self, history: list[Look]) -> None:
        numbers = iter(range(1000))
        for look in history:
            for file in look.files:
                arrival = self.zone.drop(f"jobs_{file.rank}_{next(numbers)}.csv", file.body, at=file.at)
                self.fates[arrival.key] = list(file.fate)
            self.look(look.due)
        for _ in range(12):
            if not self.zone.lying():
                return
            self.look(due=True)
        raise AssertionError(f"{self.zone.lying()} are left, although nothing fails any more")

    def look(self, due: bool) -> None:
        if due:
            self.zone.make_due()
        for batch in self.zone.plan():
            self.work_off(batch)

    def work_off(self, batch: Batch) -> None:
        """The tries that Airflow gives a task."""
        for attempt in range(4):
            try:
                self.attempt(batch, f"run-{batch['files'][0]['listed_at']}", careful=attempt > 0)
            except Killed as killed:
                self.fates[str(killed)].pop(0)
            else:
                return

    def attempt(self, batch: Batch, run: str, *, careful: bool) -> None:
        arrivals = arrivals_of(batch)
        now = {one.key: self.fates[one.key][0] for one in arrivals if self.fates[one.key]}
        with ExitStack() as stack:
            for fate, act in {"refused": FORBIDDEN, "expired": EXPIRED, "killed": kill}.items():
                keys = {key for key, its in now.items() if its == fate}
                stack.enter_context(on_requests(self.zone.store, "GetObject", keys, act, ALWAYS))
            outcomes = self.zone.ingest(batch, run=run, careful=careful)
        for arrival, outcome in zip(arrivals, outcomes, strict=True):
            if outcome.verdict is Verdict.FAILED and outcome.code == "fault":
                self.fates[arrival.key].pop(0)


def kill(key: str) -> Answer:
    raise Killed(key)


rows = st.dictionaries(st.integers(1, 4), st.sampled_from("ab"), max_size=3).map(lambda found: tuple(found.items()))


def histories() -> st.SearchStrategy[list[Look]]:
    """A few looks at a few files with few ids and values, so that files meet and bytes repeat."""
    fates = st.lists(st.sampled_from(("refused", "expired", "killed")), max_size=2).map(tuple)
    files = st.builds(File, rows, st.integers(0, 9), st.integers(0, 2), fates, st.booleans())
    looks = st.builds(Look, st.lists(files, min_size=1, max_size=3).map(tuple), st.booleans())
    return st.lists(looks, min_size=1, max_size=3)


EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # a history that fails is short enough to be read as it is
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@EXAMPLES
@given(histories())
def test_whatever_fails_the_table_is_as_if_each_file_had_had_its_turn(spoiled_zone: Zone, history: list[Look]) -> None:
    spoiled_zone.clear()
    Play(spoiled_zone).play(history)
    assert_sound(spoiled_zone.world)
    assert_each_file_once(spoiled_zone)
    assert_order(spoiled_zone)
    assert_superseded_told(spoiled_zone)


def refused(zone: Zone, *late: Arrival) -> None:
    """A look in which these files are refused, and the time that they then wait."""
    with on_requests(zone.store, "GetObject", {one.key for one in late}, FORBIDDEN, ALWAYS):
        outcomes = zone.look()
    failed = {outcome.key for outcome in outcomes.values() if outcome.verdict is Verdict.FAILED}
    assert failed == {one.key for one in late}
    zone.make_due()


def numbers(outcome: Outcome) -> tuple[int, ...]:
    """Rows read, inserted, updated, unchanged, rejected; and how many gave way."""
    c = outcome.counts
    return c.read, c.inserted, c.updated, c.unchanged, c.rejected, outcome.warnings.get("superseded", 0)


def test_rows_that_a_newer_file_brought_stay_and_the_others_are_loaded(zone: Zone) -> None:
    zone.drop("jobs_0.csv", b"1,old\n2,old\n5,old\n", at=0)
    late = zone.drop("jobs_1.csv", b"1,late\n2,late\n3,late\n5,old\nx,bad\n", at=1)
    zone.drop("jobs_2.csv", b"1,new\n4,new\n", at=2)
    refused(zone, late)
    outcome = zone.look()["jobs_1.csv"]
    assert (outcome.verdict, numbers(outcome)) == (Verdict.LOADED, (5, 1, 1, 2, 1, 1))
    assert outcome.message.startswith("1 rows were left")
    assert zone.world.rows("jobs") == [(1, "new"), (2, "late"), (3, "late"), (4, "new"), (5, "old")]
    assert [line for line, _, _ in zone.world.rejected(outcome.load_id)] == [5]


def test_rows_that_a_newer_file_found_as_they_were_stay(zone: Zone) -> None:
    zone.drop("jobs_0.csv", b"1,x\n", at=0)
    late = zone.drop("jobs_1.csv", b"1,y\n2,y\n", at=1)
    zone.drop("jobs_2.csv", b"1,x\n3,x\n", at=2)
    refused(zone, late)
    assert numbers(zone.look()["jobs_1.csv"]) == (2, 1, 0, 1, 0, 1)
    assert zone.world.rows("jobs") == [(1, "x"), (2, "y"), (3, "x")]


@pytest.mark.parametrize("parts", [0, 1], ids=["known by evidence", "merged"])
def test_rows_of_a_newer_copy_stay(zone: Zone, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not parts:
        for module in (load, missing_rows):
            monkeypatch.setattr(module, "FEW_ROWS", 0)
    zone.drop("jobs_0.csv", b"1,x\n", at=0)
    late = zone.drop("jobs_1.csv", b"1,y\n", at=1)
    zone.drop("jobs_2.csv", b"1,x\n", at=2)
    refused(zone, late)
    assert zone.world.sql("SELECT clean_parts FROM ops.loads WHERE verdict = 'duplicate'") == [(parts,)]
    assert numbers(zone.look()["jobs_1.csv"]) == (1, 0, 0, 1, 0, 1)
    assert zone.world.rows("jobs") == [(1, "x")]


def test_a_late_file_all_of_whose_rows_gave_way_has_changed_nothing(zone: Zone) -> None:
    late = zone.drop("jobs_1.csv", b"1,late\n2,late\n", at=1)
    zone.drop("jobs_2.csv", b"2,new\n1,new\n", at=2)
    refused(zone, late)
    outcome = zone.look()["jobs_1.csv"]
    assert (outcome.verdict, outcome.changed, numbers(outcome)) == (Verdict.LOADED, False, (2, 0, 0, 2, 0, 2))


def test_late_files_are_in_order_among_themselves(zone: Zone) -> None:
    late = [zone.drop(f"jobs_{at}.csv", b"1,%d\n%d,own\n" % (at, 10 + at), at=at) for at in range(3)]
    refused(zone, *late)
    assert [numbers(outcome)[-1] for outcome in zone.look().values()] == [0, 0, 0]
    assert zone.world.rows("jobs")[0] == (1, "2")


def test_a_late_file_gives_way_to_a_late_one_whose_turn_came_after_it(zone: Zone) -> None:
    first, second = (zone.drop(f"jobs_{at}.csv", b"1,%d\n" % at, at=at) for at in range(2))
    refused(zone, first, second)
    refused(zone, first)
    assert zone.world.rows("jobs") == [(1, "1")]
    assert numbers(zone.look()["jobs_0.csv"]) == (1, 0, 0, 1, 0, 1)
    assert zone.world.rows("jobs") == [(1, "1")]


def test_a_late_file_does_not_give_way_to_a_late_one_whose_turn_came_before_it(zone: Zone) -> None:
    first, second = (zone.drop(f"jobs_{at}.csv", b"1,%d\n" % at, at=at) for at in range(2))
    refused(zone, first, second)
    refused(zone, second)
    assert numbers(zone.look()["jobs_1.csv"]) == (1, 0, 1, 0, 0, 0)
    assert zone.world.rows("jobs") == [(1, "1")]


@pytest.mark.parametrize("body", [b"1,late\n", b"1,late\n3,late\n"], ids=["all rows gave way", "one row gave way"])
def test_the_bytes_of_a_late_file_sent_again_take_effect(zone: Zone, body: bytes) -> None:
    late = zone.drop("jobs_1.csv", body, at=1)
    zone.drop("jobs_2.csv", b"1,new\n2,new\n", at=2)
    refused(zone, late)
    assert numbers(zone.look()["jobs_1.csv"])[-1] == 1
    zone.drop("jobs_3.csv", body, at=3)
    assert numbers(zone.look()["jobs_3.csv"])[2] == 1
    zone.drop("jobs_4.csv", body, at=4)
    assert zone.look()["jobs_4.csv"].verdict is Verdict.DUPLICATE


def test_a_copy_that_is_late_gives_way_and_the_next_copy_takes_effect(zone: Zone) -> None:
    zone.drop("jobs_0.csv", b"1,x\n", at=0)
    late = zone.drop("jobs_1.csv", b"1,x\n", at=1)
    zone.drop("jobs_2.csv", b"1,y\n", at=2)
    refused(zone, late)
    zone.look()
    assert zone.world.rows("jobs") == [(1, "y")]
    zone.drop("jobs_3.csv", b"1,x\n", at=3)
    zone.look()
    assert zone.world.rows("jobs") == [(1, "x")]


def test_what_came_before_is_of_other_tables_or_was_refused_does_not_count(zone: Zone) -> None:
    zone.drop("jobs_0.csv", b"1,old\n", at=0)
    late = zone.drop("jobs_1.csv", b"1,late\n", at=1)
    zone.drop("departments.csv", b"1,new\n", at=2)
    zone.drop("jobs_2.csv", b"1,\n", at=2)
    refused(zone, late)
    assert numbers(zone.look()["jobs_1.csv"]) == (1, 0, 1, 0, 0, 0)


def test_names_of_one_second_are_in_the_order_of_their_bytes(zone: Zone) -> None:
    """A locale would sort the small letter first."""
    zone.drop("jobs_B.csv", b"1,B\n", at=1)
    late = zone.drop("jobs_a.csv", b"1,a\n", at=1)
    refused(zone, late)
    assert numbers(zone.look()["jobs_a.csv"]) == (1, 0, 1, 0, 0, 0)


def historic(zone: Zone, *bodies: bytes, table: str = "jobs") -> list[Arrival]:
    """Files of a historic load that is planned now."""
    for number, body in enumerate(bodies):
        zone.store.write(f"historic/{table}_{number}.csv", body)
    waves = plan_history(zone.store, "historic/", [table], "upsert", zone.world.warehouse.now())
    return [arrival for wave in waves for batch in wave for arrival in arrivals_of(batch)]


def test_a_late_file_gives_way_to_a_historic_load_that_was_planned_later(spoiled_zone: Zone) -> None:
    zone = spoiled_zone
    late = zone.drop("jobs.csv", b"1,late\n2,late\n", at=1)
    refused(zone, late)
    for arrival in historic(zone, b"1,history\n"):
        zone.world.judge(arrival)
    zone.look()
    assert zone.world.rows("jobs") == [(1, "history"), (2, "late")]
    assert_sound(zone.world)


def test_a_historic_file_that_missed_its_turn_gives_way_to_one_that_landed(spoiled_zone: Zone) -> None:
    zone = spoiled_zone
    (arrival,) = historic(zone, b"1,history\n2,history\n")
    zone.world.loader().fail(arrival, Mode.UPSERT, "a fault")
    zone.drop("jobs.csv", b"1,landed\n", at=-1000)
    zone.look()
    zone.world.judge(arrival)
    assert zone.world.rows("jobs") == [(1, "landed"), (2, "history")]
    assert_sound(zone.world)


def test_a_late_file_does_not_bring_back_what_a_newer_replacement_removed(spoiled_zone: Zone) -> None:
    zone = spoiled_zone
    zone.drop("jobs_0.csv", b"1,old\n2,old\n", at=0)
    late = zone.drop("jobs_1.csv", b"1,late\n2,late\n3,late\n", at=1)
    refused(zone, late)
    zone.world.replace("jobs", *historic(zone, b"1,only\n", b"4,only\n"))
    zone.drop("jobs_2.csv", b"5,new\n", at=2)
    outcomes = zone.look()
    assert zone.world.rows("jobs") == [(1, "only"), (4, "only"), (5, "new")]
    assert numbers(outcomes["jobs_1.csv"]) == (3, 0, 0, 3, 0, 3)
    assert_sound(zone.world)


def test_a_late_file_does_not_give_way_to_an_older_replacement(spoiled_zone: Zone) -> None:
    zone = spoiled_zone
    zone.world.replace("jobs", *historic(zone, b"1,history\n2,history\n"))
    late = zone.drop("jobs.csv", b"1,late\n3,late\n", at=-1000)
    refused(zone, late)
    zone.look()
    assert zone.world.rows("jobs") == [(1, "late"), (2, "history"), (3, "late")]


def newer(zone: Zone) -> tuple[Arrival, int]:
    """A late file that is due, and the load after it, which brought one row and found another as it was."""
    zone.drop("jobs_0.csv", b"1,x\n", at=0)
    late = zone.drop("jobs_1.csv", b"1,late\n2,late\n3,late\n", at=1)
    newer = zone.drop("jobs_2.csv", b"1,x\n2,x\n", at=2)
    refused(zone, late)
    return late, newer.arrival_id


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda _: None,
    "truncated": lambda part: part[: len(part) // 2],
    "empty": lambda _: b"",
    "without its end": lambda part: part[:-1],
    "something else": lambda _: b"1,x\n2,x\n",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_17_a_newer_file_whose_clean_parquet_is_damaged_is_not_overwritten(spoiled_zone: Zone, damage: str) -> None:
    zone = spoiled_zone
    _, load_id = newer(zone)
    key = clean_key("jobs", load_id, 0)
    left = DAMAGES[damage](zone.world.read(key))
    zone.store.remove([key])
    if left is not None:
        zone.store.write(key, left)
    outcome = zone.look()["jobs_1.csv"]
    assert (outcome.verdict, numbers(outcome)) == (Verdict.LOADED, (3, 1, 0, 2, 0, 2))
    assert zone.world.rows("jobs") == [(1, "x"), (2, "x"), (3, "late")]
    assert_landed(zone)


def test_17_one_part_of_several_is_gone(zone: Zone) -> None:
    long = b"x" * 250
    late = zone.drop("jobs_1.csv", b"".join(b"%d,late\n" % key for key in range(12)), at=1)
    last = zone.drop("jobs_2.csv", b"".join(b"%d,%s\n" % (key, long) for key in range(10)), at=2)
    with on_requests(zone.store, "GetObject", {late.key}, FORBIDDEN, ALWAYS):
        zone.look(part_rows=1, chunk_bytes=1024)
    parts = zone.world.keys(f"clean/jobs/{last.arrival_id}/")
    assert len(parts) > 2
    zone.store.remove(parts[1:2])
    zone.make_due()
    assert numbers(zone.look()["jobs_1.csv"]) == (12, 2, 0, 10, 0, 10)


def test_17_clean_parquet_that_cannot_be_fetched_now_puts_the_file_on_hold_again(zone: Zone) -> None:
    late, load_id = newer(zone)
    with on_requests(zone.store, "GetObject", {clean_key("jobs", load_id, 0)}, FORBIDDEN, ALWAYS) as met:
        assert zone.look()["jobs_1.csv"].verdict is Verdict.FAILED
    assert met
    assert zone.held() == {late.name: 2}
    zone.make_due()
    assert numbers(zone.look()["jobs_1.csv"]) == (3, 1, 0, 2, 0, 2)


def test_a_newer_copy_of_a_load_that_is_older_than_the_count_of_parts(zone: Zone) -> None:
    zone.drop("jobs_0.csv", b"1,x\n", at=0)
    zone.look()
    zone.world.sql("UPDATE ops.loads SET clean_parts = 0, listed_at = NULL, arrived_at = NULL")
    late = zone.drop("jobs_1.csv", b"1,late\n2,late\n", at=1)
    zone.drop("jobs_2.csv", b"1,x\n", at=2)
    refused(zone, late)
    assert numbers(zone.look()["jobs_1.csv"]) == (2, 1, 0, 1, 0, 1)
    assert zone.world.rows("jobs") == [(1, "x"), (2, "late")]


def tried(zone: Zone, batch: Batch, attempt: int, *killers: Arrival) -> dict[str, Outcome]:
    """One try of a task; empty when one of the files ends its process."""
    with on_requests(zone.store, "GetObject", {one.key for one in killers}, kill, ALWAYS):
        try:
            outcomes = zone.ingest(batch, run="run", careful=attempt > 1)
        except Killed:
            return {}
    return {outcome.key.removeprefix("landing/"): outcome for outcome in outcomes}


def test_a_file_that_ends_its_process_is_passed_over_and_gives_way_when_it_is_loaded_at_last(zone: Zone) -> None:
    killer = zone.drop("jobs_1.csv", b"1,killer\n2,killer\n", at=1)
    zone.drop("jobs_2.csv", b"1,new\n", at=2)
    (batch,) = zone.plan()
    assert [tried(zone, batch, attempt, killer) for attempt in (1, 2)] == [{}, {}]
    third = tried(zone, batch, 3, killer)
    assert {name: outcome.verdict for name, outcome in third.items()} == {
        "jobs_1.csv": Verdict.FAILED, "jobs_2.csv": Verdict.LOADED
    }  # fmt: skip
    assert set(zone.held()) == {"jobs_1.csv"}
    assert zone.plan() == []
    zone.make_due()
    assert numbers(zone.look()["jobs_1.csv"]) == (2, 1, 0, 1, 0, 1)
    assert zone.world.rows("jobs") == [(1, "new"), (2, "killer")]


def test_what_was_loaded_before_a_process_ended_is_said_to_be_loaded(zone: Zone) -> None:
    """The second try loads one file and ends with the next; the third one answers for both."""
    zone.drop("jobs_0.csv", b"1,a\n", at=0)
    killer = zone.drop("jobs_1.csv", b"2,a\n", at=1)
    zone.drop("jobs_2.csv", b"x\n", at=2)
    (batch,) = zone.plan()
    assert [tried(zone, batch, attempt, killer) for attempt in (1, 2)] == [{}, {}]
    third = tried(zone, batch, 3, killer)
    assert {name: outcome.verdict for name, outcome in third.items()} == {
        "jobs_0.csv": Verdict.LOADED, "jobs_1.csv": Verdict.FAILED, "jobs_2.csv": Verdict.REJECTED
    }  # fmt: skip
    assert set(zone.held()) == {"jobs_1.csv"}
    zone.make_due()
    zone.look()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0), (2, 0, 1)])
def test_tasks_beside_each_other_leave_what_one_after_another_would(
    spoiled_zone: Zone, order: tuple[int, int, int]
) -> None:
    """The tasks of a historic load wait for nobody; the middle file finds its rows as they are."""
    zone = spoiled_zone
    zone.world.load("jobs_before.csv", b"1,first\n2,first\n")
    files = historic(zone, b"1,a\n2,a\n3,a\n", b"1,first\n3,b\n", b"2,c\n4,c\n")
    for number in order:
        zone.world.judge(files[number])
    assert zone.world.rows("jobs") == [(1, "first"), (2, "c"), (3, "b"), (4, "c")]
    assert_sound(zone.world)


@dataclass(frozen=True)
class Beside:
    """A file of a historic load: when its task comes to it, and whether that fails, to be tried again later."""

    rows: tuple[tuple[int, str], ...]
    first: int
    fails: bool
    again: int


@settings(EXAMPLES, max_examples=30)
@given(
    st.lists(st.builds(Beside, rows, st.integers(0, 99), st.booleans(), st.integers(0, 99)), min_size=1, max_size=5),
    rows,
)
def test_tasks_beside_each_other_fail_and_are_tried_again_while_files_land(
    spoiled_zone: Zone, plan: list[Beside], landed: tuple[tuple[int, str], ...]
) -> None:
    zone = spoiled_zone
    zone.clear()
    bodies = [File(one.rows).body for one in plan]
    tasks = list(zip(plan, historic(zone, *bodies), strict=True))
    for one, arrival in sorted(tasks, key=lambda task: task[0].first):
        if one.fails:
            zone.world.loader().fail(arrival, Mode.UPSERT, "a fault")
        else:
            zone.world.judge(arrival)
    zone.drop("jobs.csv", File(landed).body, at=-1000)
    zone.look()
    for one, arrival in sorted(tasks, key=lambda task: task[0].again):
        if one.fails:
            zone.world.judge(arrival)
    assert zone.world.rows("jobs") == upserted("jobs", *bodies, File(landed).body)
    assert_sound(zone.world)


def test_a_careful_try_that_fails_is_one_try(spoiled_zone: Zone) -> None:
    zone = spoiled_zone
    killer = zone.drop("jobs_0.csv", b"1,a\n", at=0)
    late = zone.drop("jobs_1.csv", b"2,a\n", at=1)
    (batch,) = zone.plan()
    tried(zone, batch, 1, killer)
    with on_requests(zone.store, "GetObject", {late.key}, FORBIDDEN, ALWAYS):
        tried(zone, batch, 2)
    assert zone.held() == {"jobs_1.csv": 1}


def test_what_was_loaded_and_could_not_be_moved_before_a_process_ended_is_said_to_be_loaded(spoiled_zone: Zone) -> None:
    zone = spoiled_zone
    stuck = zone.drop("jobs_0.csv", b"1,a\n", at=0)
    killer = zone.drop("jobs_1.csv", b"2,a\n", at=1)
    (batch,) = zone.plan()
    target = archive_key("jobs", stuck, stuck.arrival_id)
    with on_requests(zone.store, "CopyObject", {target}, FORBIDDEN, ALWAYS):
        assert [tried(zone, batch, attempt, killer) for attempt in (1, 2)] == [{}, {}]
        third = tried(zone, batch, 3, killer)
    assert {name: outcome.verdict for name, outcome in third.items()} == {
        "jobs_0.csv": Verdict.LOADED, "jobs_1.csv": Verdict.FAILED
    }  # fmt: skip


def test_a_file_that_ends_its_process_is_passed_over_however_short_a_hold_is(spoiled_zone: Zone) -> None:
    """A hold may be set shorter than Airflow waits between two tries."""
    zone = spoiled_zone
    killer = zone.drop("jobs_0.csv", b"1,a\n", at=0)
    zone.drop("jobs_1.csv", b"2,a\n", at=1)
    (batch,) = zone.plan()
    last: dict[str, Outcome] = {}
    for attempt in (1, 2, 3, 4):
        last = tried(zone, batch, attempt, killer)
        zone.world.sql("UPDATE ops.holds SET next_try_at = now()")
    assert last, "four tries, and not one has come past the first file"
