"""Back to any moment: the table is what it was then, whatever happened to it, and files that are gone are new again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from datamart.errors import ChangeRefused, ConfigurationError, TerminalFault
from datamart.history import plan_history
from datamart.loads import Arrival, Mode, Outcome, Verdict
from datamart.moments import moment_of
from datamart.objects import clean_key, left_key, removed_key
from datamart.recovery import moment
from tests.integration.landing_zone import FORBIDDEN, at_request
from tests.integration.vault import Vault
from tests.integration.world import Row

JOBS = b"1,Actuary\n2,Baker\n3,Cook\n"


@dataclass(frozen=True)
class Kept:
    """What the table was at a moment, and which loads were undone then."""

    at: datetime
    rows: list[Row]
    undone: dict[int, bool]
    did: str = ""


@dataclass
class Past:
    """Moments of a table, each with what was true."""

    vault: Vault
    kept: list[Kept] = field(default_factory=list)

    def keep(self, did: str = "") -> None:
        self.kept.append(Kept(self.vault.now(), self.vault.table("jobs"), self.vault.flags(), did))

    @property
    def story(self) -> str:
        return "\n".join(f"{number}: {one.did}" for number, one in enumerate(self.kept))

    def assert_reached(self, one: Kept) -> None:
        """Go there: the rows are those of then, and the files that were in the table then are known, no others."""
        change = self.vault.restore("jobs", at=one.at)
        place = self.kept.index(one)
        assert self.vault.table("jobs") == one.rows, f"moment {place} was not reached:\n{self.story}\n{change}"
        assert change.notes == (), f"moment {place}: {change.notes}\n{self.story}"

    def assert_known(self, one: Kept) -> None:
        """The loads that count as done are those that were then."""
        wanted = {load_id: one.undone.get(load_id, True) for load_id in self.vault.flags()}
        assert self.vault.flags() == wanted, f"moment {self.kept.index(one)}: other loads are undone\n{self.story}"


@pytest.fixture
def past(vault: Vault) -> Past:
    return Past(vault)


def test_each_moment_after_a_backup_can_be_reached(past: Past) -> None:
    vault, world = past.vault, past.vault.world
    world.load("jobs.csv", JOBS)
    vault.backup()
    past.keep()
    world.load("jobs_2.csv", b"2,Barber\n4,Driver\n")
    past.keep()
    world.replace("jobs", world.put("jobs_3.csv", b"4,Driver\n5,Editor\n"))
    past.keep()
    last = world.load("jobs_4.csv", b"5,Eel\n6,Fisher\n")
    past.keep()
    vault.undo(last.load_id)
    past.keep()
    vault.restore("jobs")
    past.keep()
    world.load("jobs_5.csv", b"1,Archer\n")
    past.keep()
    for one in past.kept:
        past.assert_reached(one)
    vault.drill()


def test_a_moment_before_the_first_backup_is_refused(vault: Vault) -> None:
    vault.world.load("jobs.csv", JOBS)
    at = vault.now()
    vault.world.load("jobs_2.csv", b"9,x\n")
    manifest = vault.backup()
    told = f"no backup of jobs from before {at:%Y-%m-%dT%H:%M:%SZ}. The oldest there is was taken at "
    with vault.untouched(), pytest.raises(ConfigurationError, match=f"{told}{manifest.taken_at:%Y-%m-%dT%H:%M:%SZ}"):
        vault.restore("jobs", at=at)


def test_a_moment_before_everything_is_that_of_a_backup_of_the_empty_table(vault: Vault) -> None:
    vault.backup()
    vault.world.load("jobs.csv", JOBS)
    vault.restore("jobs", at=datetime(2001, 1, 1, tzinfo=UTC))
    assert vault.table("jobs") == []


def test_a_moment_that_is_yet_to_come_is_refused(vault: Vault) -> None:
    vault.backup()
    with vault.untouched(), pytest.raises(ConfigurationError, match="is yet to come"):
        vault.restore("jobs", at=vault.now() + timedelta(minutes=1))


def test_a_backup_and_a_moment_are_too_much(vault: Vault) -> None:
    manifest = vault.backup()
    with vault.untouched(), pytest.raises(ConfigurationError, match="Choose a backup or a moment, not both"):
        vault.restore("jobs", at=vault.now(), backup_id=manifest.backup_id)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-13-01",
        "25.11.2026",
        "2026-11-25T14:05:00Q",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-01:00",
    ],
)
def test_what_is_no_moment_is_told(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no moment\. Write it as"):
        moment_of(text)


def test_moments_have_zones_or_are_utc() -> None:
    wanted = datetime(2026, 11, 25, 14, 5, tzinfo=UTC)
    texts = ("2026-11-25T14:05:00Z", " 2026-11-25T16:05:00+02:00", "2026-11-25T14:05", "2026-11-25 14:05:00")
    assert [moment_of(text) for text in texts] == [wanted] * 4


def test_a_commit_is_in_the_moment_that_it_ended_at(vault: Vault) -> None:
    """To the microsecond: the ledger's time of a load is the first moment that has it."""
    vault.backup()
    outcome = vault.world.load("jobs.csv", JOBS)
    rows, (ended,) = vault.table("jobs"), vault.world.ledger(outcome.load_id, "finished_at")
    vault.restore("jobs", at=ended - timedelta(microseconds=1))
    assert vault.table("jobs") == []
    vault.restore("jobs", at=ended)
    assert vault.table("jobs") == rows


# Replacements


def test_a_replacement_by_several_files_is_whole_at_every_moment(past: Past) -> None:
    vault, world = past.vault, past.vault.world
    world.load("jobs.csv", JOBS)
    vault.backup()
    past.keep("before")
    files = [world.put(f"jobs_part_{n}.csv", b"%d,new\n3,by %d\n" % (10 + n, n), "replace/") for n in range(3)]
    outcomes = world.replace("jobs", *files)
    past.keep("after")
    times = [world.ledger(one.load_id, "finished_at")[0] for one in outcomes]
    tick = timedelta(microseconds=1)
    before, after = past.kept
    for at in sorted({*times, *(time - tick for time in times)}):
        vault.restore("jobs", at=at)
        assert vault.table("jobs") == (after.rows if at >= max(times) else before.rows)


def test_a_replacement_that_is_run_again_with_other_files_is_two(past: Past) -> None:
    """Somebody clears the task after the files were changed: the run's name is that of the first time."""
    vault, world = past.vault, past.vault.world
    world.load("jobs.csv", JOBS)
    vault.backup()
    world.replace("jobs", world.put("jobs_a.csv", b"1,first\n2,first\n"), run="a run")
    past.keep("first")
    world.load("jobs_b.csv", b"7,between\n")
    past.keep("between")
    world.replace("jobs", world.put("jobs_c.csv", b"1,second\n"), run="a run")
    past.keep("second")
    for one in past.kept:
        past.assert_reached(one)


def test_a_replacement_that_was_undone_is_done_again_when_its_task_is_cleared(vault: Vault) -> None:
    """As a file is that is loaded again: it counts as new, and nobody says that it was loaded when it was not."""
    world = vault.world
    world.load("jobs.csv", JOBS)
    vault.backup()
    arrival = world.put("jobs_a.csv", b"1,first\n")
    world.replace("jobs", arrival, run="a run")
    vault.restore("jobs")
    (again,) = world.replace("jobs", arrival, run="a run")
    assert (again.verdict, world.rows("jobs")) == (Verdict.LOADED, [(1, "first")])


def test_a_replacement_that_changes_nothing_changes_no_moment(past: Past) -> None:
    vault, world = past.vault, past.vault.world
    vault.backup()
    arrival = world.put("jobs.csv", JOBS)
    world.replace("jobs", arrival)
    past.keep()
    world.replace("jobs", arrival)
    past.keep()
    world.replace("jobs", world.put("jobs_2.csv", b"2,Baker\n"))
    past.keep()
    for one in past.kept:
        past.assert_reached(one)


# Files that a restore undid


def again(vault: Vault, arrival: Arrival, how: str) -> Arrival:
    """The same file once more: as it lies there, under another name, or as an upload."""
    if how == "the same arrival":
        return arrival
    if how == "another name":
        return vault.world.put("jobs_again.csv", vault.world.read(arrival.key))
    return replace(arrival, upload_id="an-upload")


@pytest.mark.parametrize("how", ["the same arrival", "another name", "an upload"])
def test_a_file_that_a_restore_undid_is_new_when_it_comes_again(vault: Vault, how: str) -> None:
    world = vault.world
    world.load("jobs.csv", JOBS)
    vault.backup()
    arrival = world.put("jobs_2.csv", b"2,Barber\n4,Driver\n")
    if how == "an upload":
        arrival = replace(arrival, upload_id="an-upload")
    world.judge(arrival)
    wanted = world.rows("jobs")
    vault.restore("jobs")
    assert world.rows("jobs") != wanted
    outcome = world.judge(again(vault, arrival, how))
    assert (outcome.verdict, outcome.counts.inserted, outcome.counts.updated) == (Verdict.LOADED, 1, 1)
    assert world.rows("jobs") == wanted
    assert world.judge(again(vault, arrival, how)).verdict is Verdict.DUPLICATE


def test_it_is_new_as_often_as_it_is_undone(vault: Vault) -> None:
    """Also for one and the same run, as when a person clears its task each time."""
    world = vault.world
    vault.backup()
    arrival = world.put("jobs.csv", JOBS)
    ids = set()
    for _ in range(3):
        outcome = world.judge(arrival, run="a run")
        assert (outcome.verdict, outcome.counts.inserted) == (Verdict.LOADED, 3)
        ids.add(outcome.load_id)
        vault.restore("jobs")
    assert len(ids) == 3


def test_a_refused_file_that_another_run_loads_after_all_is_new_when_that_is_undone(vault: Vault) -> None:
    world = vault.world
    arrival = world.put("hired_employees.csv", b"1,Ann,2021-01-01T00:00:00Z,7,7\n")
    assert world.judge(arrival, unknown_reference="reject").verdict is Verdict.REJECTED
    vault.backup()
    for _ in range(2):
        outcome = world.judge(arrival, run="a run")
        assert (outcome.verdict, outcome.counts.inserted) == (Verdict.LOADED, 1)
        vault.restore("hired_employees")


def test_files_from_before_the_backup_stay_known(vault: Vault) -> None:
    world = vault.world
    arrival = world.put("jobs.csv", JOBS)
    first = world.judge(arrival)
    vault.backup()
    world.load("jobs_2.csv", b"9,x\n")
    vault.restore("jobs")
    assert world.judge(arrival).duplicate_of == first.load_id
    copy = world.load("jobs_copy.csv", JOBS)
    assert (copy.verdict, copy.duplicate_of) == (Verdict.DUPLICATE, first.load_id)


def test_forward_again_its_files_are_known_again(vault: Vault) -> None:
    world = vault.world
    vault.backup()
    arrival = world.put("jobs.csv", JOBS)
    world.judge(arrival)
    at, wanted = vault.now(), vault.table("jobs")
    vault.restore("jobs")
    change = vault.restore("jobs", at=at)
    assert (change.added, vault.table("jobs")) == (3, wanted)
    assert world.judge(arrival).verdict is Verdict.DUPLICATE


def test_back_to_a_moment_after_a_restore_its_files_are_new_again(past: Past) -> None:
    """There and back: the flags of then belong to the moment as its rows do."""
    vault, world = past.vault, past.vault.world
    vault.backup()
    past.keep("backup")
    arrival = world.put("jobs.csv", JOBS)
    world.judge(arrival)
    past.keep("load")
    vault.restore("jobs")
    past.keep("restore")
    past.assert_reached(past.kept[1])
    past.assert_known(past.kept[1])
    past.assert_reached(past.kept[2])
    outcome = world.judge(arrival)
    assert (outcome.verdict, outcome.counts.inserted) == (Verdict.LOADED, 3), "a file that is not in the table is known"


def test_back_to_a_moment_after_an_undo_its_file_is_new_again(past: Past) -> None:
    vault, world = past.vault, past.vault.world
    vault.backup()
    arrival = world.put("jobs.csv", JOBS)
    first = world.judge(arrival)
    past.keep("load")
    vault.undo(first.load_id)
    past.keep("undo")
    past.assert_reached(past.kept[0])
    past.assert_reached(past.kept[1])
    outcome = world.judge(arrival)
    assert (outcome.verdict, outcome.counts.inserted) == (Verdict.LOADED, 3), "a file that is not in the table is known"


def test_a_copy_that_changed_nothing_is_undone_with_the_rest(vault: Vault) -> None:
    world = vault.world
    world.load("jobs.csv", JOBS)
    vault.backup()
    copy = world.put("jobs_copy.csv", JOBS)
    assert world.judge(copy).verdict is Verdict.DUPLICATE
    world.load("jobs_2.csv", b"1,z\n")
    vault.restore("jobs")
    assert world.judge(copy).verdict is Verdict.DUPLICATE
    assert list(vault.flags().values()).count(True) == 2


# Late files


def historic(vault: Vault, *bodies: bytes) -> list[Arrival]:
    """Files of a historic load that is planned now."""
    prefix = f"{vault.world.prefix}historic-{len(vault.flags())}/"
    for number, body in enumerate(bodies):
        vault.world.store.write(f"{prefix}jobs_{number}.csv", body)
    (wave, *_) = [
        wave
        for wave in plan_history(vault.world.store, prefix, ["jobs"], "upsert", vault.world.warehouse.now())
        if wave
    ]
    found = [vault.world.listed(one["key"]) for batch in wave for one in batch["files"]]
    now = vault.world.warehouse.now()
    return [replace(one, listed_at=now) for one in sorted(found, key=lambda one: one.key)]


def test_a_late_file_whose_rows_gave_way_does_the_same_again(past: Past) -> None:
    vault, world = past.vault, past.vault.world
    world.load("jobs.csv", b"1,old\n2,old\n")
    vault.backup()
    late, newer = historic(vault, b"1,late\n2,late\n3,late\n", b"1,new\n4,new\n")
    world.judge(newer)
    past.keep("newer")
    outcome = world.judge(late)
    assert outcome.warnings == {"superseded": 1}
    past.keep("late")
    assert world.rows("jobs") == [(1, "new"), (2, "late"), (3, "late"), (4, "new")]
    world.load("jobs_9.csv", b"3,x\n")
    for one in past.kept:
        past.assert_reached(one)
    world.store.remove([left_key("jobs", outcome.load_id, outcome.commit_seq or 0)])
    with vault.untouched(), pytest.raises(ChangeRefused, match=f"load {outcome.load_id} did is not kept"):
        vault.restore("jobs", at=past.kept[1].at)


def test_a_late_file_does_not_give_way_to_one_that_was_undone(vault: Vault) -> None:
    world = vault.world
    world.load("jobs.csv", b"1,old\n")
    vault.backup()
    late, newer = historic(vault, b"1,late\n", b"1,new\n")
    world.judge(newer)
    vault.restore("jobs")
    outcome = world.judge(late)
    assert (outcome.warnings, world.rows("jobs")) == ({}, [(1, "late")])


# What is not kept any more


def several(vault: Vault) -> tuple[Outcome, Outcome, datetime]:
    """A load and a replacement after a backup, and a moment after both."""
    vault.backup()
    load = vault.world.load("jobs.csv", JOBS)
    (replacement,) = vault.world.replace("jobs", vault.world.put("jobs_2.csv", b"1,a\n"))
    return load, replacement, vault.now()


@pytest.mark.parametrize("body", [None, b"", b"no parquet"], ids=["gone", "empty", "something else"])
@pytest.mark.parametrize("what", ["part", "removed"])
def test_what_is_not_kept_is_told_and_nothing_is_touched(vault: Vault, what: str, body: bytes | None) -> None:
    load, replacement, at = several(vault)
    named = load if what == "part" else replacement
    key = (
        clean_key("jobs", named.load_id, 0)
        if what == "part"
        else removed_key("jobs", named.load_id, named.commit_seq or 0)
    )
    vault.world.store.remove([key])
    if body is not None:
        vault.world.store.write(key, body)
    sentence = f"jobs cannot be brought to that moment: what load {named.load_id} did is not kept"
    with vault.untouched(), pytest.raises(ChangeRefused, match=sentence):
        vault.restore("jobs", at=at)


def test_what_s3_does_not_give_now_is_told_and_not_taken_for_lost(vault: Vault) -> None:
    load, _, at = several(vault)
    key = clean_key("jobs", load.load_id, 0)
    with (
        vault.untouched(),
        at_request(vault.world.store, "GetObject", key, FORBIDDEN),
        pytest.raises(TerminalFault, match="S3 refused"),
    ):
        vault.restore("jobs", at=at)
    vault.restore("jobs", at=at)
    assert vault.world.rows("jobs") == [(1, "a")]


def test_what_somebody_else_changed_is_noted(vault: Vault) -> None:
    """The replay does what the ledger knows of; that it is not all is told."""
    world = vault.world
    world.load("jobs.csv", JOBS)
    vault.backup()
    world.sql("UPDATE public.jobs SET job = 'by hand' WHERE id = 1")
    load = world.load("jobs_2.csv", b"1,by hand\n2,x\n")
    change = vault.restore("jobs", at=vault.now())
    assert any(f"load {load.load_id} changed 1 rows" in note for note in change.notes), change
    world.database.empty()


# Other ledgers


def test_a_backup_of_another_ledger_is_restored_and_all_files_are_new(vault: Vault) -> None:
    """The warehouse was lost: its commit numbers began anew."""
    world = vault.world
    world.load("jobs.csv", JOBS)
    manifest = vault.backup()
    wanted = world.rows("jobs")
    world.database.empty()
    applied = "UPDATE ops.migrations SET applied_at = applied_at + interval '1 day' * %s"
    world.sql(applied, 1)
    try:
        arrival = world.put("jobs_new.csv", b"7,x\n")
        world.judge(arrival)
        with vault.untouched(), pytest.raises(ConfigurationError, match="There is no backup of jobs from before"):
            vault.restore("jobs", at=vault.now())
        change = vault.restore("jobs")
        assert (change.backup_id, change.target_seq, world.rows("jobs")) == (manifest.backup_id, None, wanted)
        assert world.judge(arrival).verdict is Verdict.LOADED
        vault.backup()
        at, rows = vault.now(), vault.table("jobs")
        world.load("jobs_last.csv", b"8,x\n")
        vault.restore("jobs", at=at)
        assert vault.table("jobs") == rows
    finally:
        world.sql(applied, -1)
        world.database.empty()  # rows name loads of the lost ledger


# Whatever happens, in any order


@dataclass
class Play:
    """A sequence of loads, replacements, undos, restores and backups that a number stands for."""

    past: Past
    chance: random.Random
    files: list[Arrival] = field(default_factory=list)
    steps: int = 0

    @property
    def vault(self) -> Vault:
        return self.past.vault

    def play(self, steps: int) -> None:
        self.vault.backup("jobs")
        self.past.keep("backup of nothing")
        actions: list[tuple[Callable[[], str], int]] = [
            (self.load, 6), (self.again, 2), (self.replace, 2), (self.undo, 3), (self.restore, 3), (self.late, 2),
            (self.backup, 1),
        ]  # fmt: skip
        for _ in range(steps):
            self.steps += 1
            act = self.chance.choices([act for act, _ in actions], [weight for _, weight in actions])[0]
            self.past.keep(act())

    def body(self) -> bytes:
        keys = self.chance.sample(range(1, 7), self.chance.randint(1, 4))
        return b"".join(b"%d,%s\n" % (key, self.chance.choice("ab").encode()) for key in keys)

    def put(self) -> Arrival:
        arrival = self.vault.world.put(f"jobs_{self.steps}_{len(self.files)}.csv", self.body())
        self.files.append(arrival)
        return arrival

    def load(self) -> str:
        outcome = self.vault.world.judge(self.put())
        return f"load {outcome.load_id}: {outcome.verdict} {outcome.counts}"

    def again(self) -> str:
        if not self.files:
            return self.load()
        outcome = self.vault.world.judge(self.chance.choice(self.files))
        return f"load again {outcome.load_id}: {outcome.verdict} {outcome.counts}"

    def late(self) -> str:
        files = historic(self.vault, self.body(), self.body())
        outcomes = [self.vault.world.judge(one) for one in reversed(files)]
        return f"late {[(one.load_id, one.counts, one.warnings) for one in outcomes]}"

    def replace(self) -> str:
        outcomes = self.vault.world.replace("jobs", *(self.put() for _ in range(self.chance.randint(1, 2))))
        return f"replace {[(one.load_id, one.counts) for one in outcomes]}"

    def undo(self) -> str:
        done = sorted(load_id for load_id, undone in self.vault.flags().items() if not undone)
        if not done:
            return self.load()
        load_id, keep = self.chance.choice(done), self.chance.random() < 0.5
        try:
            change = self.vault.undo(load_id, keep_later=keep)
        except ChangeRefused:
            return f"undo of {load_id} refused"
        return f"undo of {load_id}, keep_later={keep}: {change.message}"

    def restore(self) -> str:
        if self.chance.random() < 0.3:
            return f"restore of the newest: {self.vault.restore('jobs').message}"
        chosen = self.chance.choice(self.past.kept)
        self.past.assert_reached(chosen)
        return f"restore to moment {self.past.kept.index(chosen)}"

    def backup(self) -> str:
        return f"backup {self.vault.backup('jobs').tables['jobs'].commit_seq}"


SEEDS = pytest.mark.parametrize("seed", range(4))


@SEEDS
def test_whatever_happened_each_moment_is_reached(past: Past, seed: int) -> None:
    play = Play(past, random.Random(seed))
    play.play(12)
    kept = list(past.kept)
    for one in play.chance.sample(kept, len(kept)):
        past.assert_reached(one)
    past.vault.drill()


@SEEDS
def test_whatever_happened_the_files_of_each_moment_are_known_and_no_others(past: Past, seed: int) -> None:
    play = Play(past, random.Random(100 + seed))
    play.play(9)
    for one in play.chance.sample(past.kept, len(past.kept)):
        past.vault.restore("jobs", at=one.at)
        past.assert_known(one)


def test_the_check_of_moments_sees_a_change_that_is_left_out(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a restore or an undo is not done again."""
    honest = moment.events_between

    def without_restores(*asked: Any) -> list[moment.Event]:
        return [event for event in honest(*asked) if event.kind == "load"]

    vault, world = past.vault, past.vault.world
    vault.backup()
    outcome = world.load("jobs.csv", JOBS)
    vault.undo(outcome.load_id)
    past.keep("undo")
    world.load("jobs_2.csv", b"9,x\n")
    monkeypatch.setattr("datamart.recovery.point.events_between", without_restores)
    with pytest.raises(AssertionError, match="moment 0 was not reached"):
        past.assert_reached(past.kept[0])


def test_the_check_of_known_files_sees_one_that_stays_known(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a restore marks no load."""
    vault, world = past.vault, past.vault.world
    vault.backup()
    past.keep("backup")
    world.load("jobs.csv", JOBS)
    monkeypatch.setattr("datamart.recovery.restore.mark_loads", lambda *_: None)
    past.assert_reached(past.kept[0])
    with pytest.raises(AssertionError, match="other loads are undone"):
        past.assert_known(past.kept[0])


def test_modes_are_those_of_the_ledger(vault: Vault) -> None:
    vault.world.replace("jobs", vault.world.put("jobs.csv", JOBS))
    assert vault.world.sql("SELECT mode FROM ops.loads") == [(Mode.REPLACE.value,)]
