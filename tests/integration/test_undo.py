"""Undo: exactly what one load did is taken back, or nothing, with the reason; then its file is new again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from datamart.errors import BalanceError, ChangeRefused, ConfigurationError
from datamart.loads import Arrival, Mode, Outcome, Verdict
from datamart.objects import clean_key
from datamart.recovery.ledger import Change
from datamart.recovery.undo import Undo
from datamart.tables import Table
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.vault import Vault
from tests.integration.world import Row, upserted

BEFORE = b"1,Actuary\n2,Baker\n3,Cook\n"
DEADLOCKED = 60


def numbers(change: Change) -> tuple[int, int, int, int]:
    return change.added, change.changed, change.removed, change.rows


def replaced(vault: Vault, name: str, body: bytes) -> Outcome:
    return vault.world.replace("jobs", vault.world.put(name, body))[-1]


DOES: dict[str, tuple[bytes, bool, tuple[int, int, int, int]]] = {
    "inserted": (b"8,x\n9,x\n", False, (0, 0, 2, 3)),
    "updated": (b"1,x\n3,x\n", False, (0, 2, 0, 3)),
    "both, and found one as it was": (b"1,x\n2,Baker\n9,x\n", False, (0, 1, 1, 3)),
    "nothing": (b"2,Baker\n", False, (0, 0, 0, 3)),
    "a replacement": (b"1,x\n2,Baker\n9,x\n", True, (1, 1, 1, 3)),
    "a replacement by one row": (b"9,x\n", True, (3, 0, 1, 3)),
    "with rejected rows": (b"1,x\nbad\n9,x\n", False, (0, 1, 1, 3)),
}


@pytest.mark.parametrize("what", DOES)
def test_exactly_what_the_load_did_is_taken_back(vault: Vault, what: str) -> None:
    body, as_replacement, wanted = DOES[what]
    vault.world.load("jobs.csv", BEFORE)
    rows = vault.table("jobs")
    load = replaced(vault, "jobs_2.csv", body) if as_replacement else vault.world.load("jobs_2.csv", body)
    with vault.untouched():
        shown = vault.undo(load.load_id, dry_run=True)
    change = vault.undo(load.load_id)
    assert (vault.table("jobs"), numbers(change)) == (rows, wanted)
    assert (shown.added, shown.changed, shown.removed) == wanted[:3]
    assert vault.flags()[load.load_id] is True


def test_a_load_into_the_empty_table_is_undone(vault: Vault) -> None:
    load = vault.world.load("jobs.csv", BEFORE)
    vault.undo(load.load_id)
    assert vault.table("jobs") == []


def test_the_ledger_and_the_numbers_have_it(vault: Vault) -> None:
    vault.world.load("jobs.csv", BEFORE)
    load = vault.world.load("jobs_2.csv", b"1,x\n9,x\n")
    change = vault.undo(load.load_id, run="a run")
    assert vault.world.sql(
        "SELECT restore_id, kind, undone_load_id, backup_id, target_seq, rows_added, rows_changed, rows_removed,"
        " rows_total, run_id, commit_seq FROM ops.restores"
    ) == [(change.change_id, "undo", load.load_id, None, None, 0, 1, 1, 3, "a run", 3)]
    assert vault.world.ledger(load.load_id, "undone_by", "undone_seq") == (change.change_id, 3)
    assert vault.world.sql("SELECT commit_seq, changed_seq FROM ops.tables WHERE table_name = 'jobs'") == [(3, 3)]


def test_the_last_is_undone_and_then_the_one_before(vault: Vault) -> None:
    kept: list[tuple[Outcome, list[Row]]] = []
    bodies = [BEFORE, b"1,a\n4,a\n", b"1,b\n4,b\n5,b\n", b"1,c\n5,b\n"]
    for number, body in enumerate(bodies):
        before = vault.table("jobs")
        kept.append((vault.world.load(f"jobs_{number}.csv", body), before))
    before = vault.table("jobs")
    kept.append((replaced(vault, "jobs_9.csv", b"1,d\n7,d\n"), before))
    for load, rows in reversed(kept):
        vault.undo(load.load_id)
        assert vault.table("jobs") == rows
    assert all(vault.flags().values())


def test_loads_of_other_rows_do_not_matter(vault: Vault) -> None:
    first = vault.world.load("jobs.csv", BEFORE)
    vault.world.load("jobs_2.csv", b"7,x\n")
    vault.undo(first.load_id)
    assert vault.world.rows("jobs") == [(7, "x")]


def test_an_undo_of_an_undone_change_between_does_not_matter(vault: Vault) -> None:
    first = vault.world.load("jobs.csv", BEFORE)
    second = vault.world.load("jobs_2.csv", b"1,x\n")
    vault.undo(second.load_id)
    vault.undo(first.load_id)
    assert vault.table("jobs") == []


# What is in the way


IN_THE_WAY: dict[str, tuple[Callable[[Vault], Outcome], str, int]] = {
    "changed": (lambda vault: vault.world.load("jobs_3.csv", b"4,later\n9,z\n"), "changed or removed 1 of them", 1),
    "removed": (lambda vault: replaced(vault, "jobs_3.csv", BEFORE + b"5,x\n"), "changed or removed 1 of them", 2),
    "brought the same": (
        lambda vault: vault.world.load("jobs_3.csv", b"4,x\n9,z\n"),
        "the same values for 1 of them",
        1,
    ),
    "is a copy": (lambda vault: vault.world.load("jobs copy.csv", b"4,x\n5,x\n"), "the same values for 2 of them", 2),
    "replaced by the same": (lambda vault: replaced(vault, "jobs_3.csv", b"4,x\n"), "of them", 2),
}


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_it_is_refused_where_something_later_touched_its_rows(vault: Vault, what: str) -> None:
    act, sentence, _ = IN_THE_WAY[what]
    vault.world.load("jobs.csv", BEFORE)
    load = vault.world.load("jobs_2.csv", b"4,x\n5,x\n")
    later = act(vault)
    with vault.untouched(), pytest.raises(ChangeRefused, match="cannot be undone as a whole") as told:
        vault.undo(load.load_id)
    assert sentence in str(told.value)
    assert str(later.load_id) in str(told.value)
    with vault.untouched():
        shown = vault.undo(load.load_id, dry_run=True)
    assert shown.message.startswith("It would be refused unless later rows are to stay.")


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_the_rows_that_something_later_touched_may_stay(vault: Vault, what: str) -> None:
    act, _, touched = IN_THE_WAY[what]
    vault.world.load("jobs.csv", BEFORE)
    load = vault.world.load("jobs_2.csv", b"4,x\n5,x\n")
    act(vault)
    after = vault.table("jobs")
    own = {row[0] for row in after if row[-1] == load.load_id}
    change = vault.undo(load.load_id, keep_later=True)
    gone = {row[0] for row in after} - {row[0] for row in vault.table("jobs")}
    assert (gone <= own, len(gone), change.removed) == (True, 2 - touched, 2 - touched)
    assert [row for row in after if row[0] not in gone] == vault.table("jobs")


def test_a_row_that_a_later_replacement_would_have_removed_too_does_not_come_back(vault: Vault) -> None:
    """The later one is the whole table: had the first not been, it would have removed the row."""
    vault.world.load("jobs.csv", b"1,a\n5,a\n")
    first = replaced(vault, "jobs_2.csv", b"1,a\n")
    replaced(vault, "jobs_3.csv", b"1,a\n2,b\n")
    with vault.untouched(), pytest.raises(ChangeRefused, match="cannot be undone"):
        vault.undo(first.load_id)
    vault.undo(first.load_id, keep_later=True)
    assert vault.world.rows("jobs") == [(1, "a"), (2, "b")]


def test_a_removed_row_that_came_and_went_since_does_not_come_back(vault: Vault) -> None:
    vault.world.load("jobs.csv", b"1,a\n5,a\n")
    first = replaced(vault, "jobs_2.csv", b"1,a\n")
    vault.world.load("jobs_3.csv", b"5,again\n")
    replaced(vault, "jobs_4.csv", b"2,b\n")
    with vault.untouched(), pytest.raises(ChangeRefused):
        vault.undo(first.load_id)


def test_a_removed_row_that_came_again_is_in_the_way(vault: Vault) -> None:
    vault.world.load("jobs.csv", b"1,a\n5,a\n")
    first = replaced(vault, "jobs_2.csv", b"1,a\n")
    later = vault.world.load("jobs_3.csv", b"5,again\n")
    with vault.untouched(), pytest.raises(ChangeRefused, match=f"Load {later.load_id} .* changed or removed 1 of them"):
        vault.undo(first.load_id)
    change = vault.undo(first.load_id, keep_later=True)
    assert (numbers(change)[:3], vault.world.rows("jobs")) == ((0, 0, 0), [(1, "a"), (5, "again")])


def test_what_was_undone_meanwhile_is_not_in_the_way(vault: Vault) -> None:
    """A row that was removed came again by a load that is undone: "undo those first" leads somewhere."""
    vault.world.load("jobs.csv", b"1,a\n5,a\n")
    first = replaced(vault, "jobs_2.csv", b"1,a\n")
    later = vault.world.load("jobs_3.csv", b"5,again\n")
    vault.undo(later.load_id)
    change = vault.undo(first.load_id)
    assert (numbers(change)[0], vault.world.rows("jobs")) == (1, [(1, "a"), (5, "a")])


@pytest.mark.parametrize("before", [b"1,a\n", b"2,other\n"], ids=["it was there", "it was not"])
def test_a_row_does_not_become_what_an_undone_load_brought(vault: Vault, before: bytes) -> None:
    vault.world.load("jobs.csv", before)
    bad = vault.world.load("jobs_2.csv", b"1,bad\n")
    later = vault.world.load("jobs_3.csv", b"1,later\n")
    vault.undo(bad.load_id, keep_later=True)
    assert (1, "later") in vault.world.rows("jobs")
    vault.undo(later.load_id)
    assert vault.world.rows("jobs") == upserted("jobs", before)


def test_a_restore_that_changed_its_rows_is_in_the_way(vault: Vault) -> None:
    vault.world.load("jobs.csv", BEFORE)
    adopted = b"1,foreign\n"
    load = vault.world.load("jobs_2.csv", b"1,x\n9,x\n")
    vault.backup("jobs")
    later = vault.world.load("jobs_3.csv", adopted)
    vault.undo(later.load_id)
    vault.undo(load.load_id)
    assert vault.world.rows("jobs") == upserted("jobs", BEFORE)
    vault.restore("jobs")
    assert vault.world.rows("jobs") == upserted("jobs", BEFORE, b"1,x\n9,x\n")


def test_several_later_changes_are_all_told(vault: Vault) -> None:
    load = vault.world.load("jobs.csv", b"1,a\n2,a\n3,a\n4,a\n")
    later = [
        vault.world.load("jobs_2.csv", b"1,b\n"),
        vault.world.load("jobs_3.csv", b"2,a\n"),
        replaced(vault, "jobs_4.csv", b"1,b\n2,a\n3,a\n"),
    ]
    with vault.untouched(), pytest.raises(ChangeRefused) as told:
        vault.undo(load.load_id)
    assert all(str(one.load_id) in str(told.value) for one in later)
    vault.undo(load.load_id, keep_later=True)
    assert vault.world.rows("jobs") == [(1, "b"), (2, "a"), (3, "a")]


@pytest.mark.parametrize("keep_later", [False, True])
def test_a_later_load_whose_clean_files_are_gone_is_told(vault: Vault, keep_later: bool) -> None:
    load = vault.world.load("jobs.csv", BEFORE)
    later = vault.world.load("jobs_2.csv", b"1,Actuary\n9,x\n")
    vault.world.store.remove([clean_key("jobs", later.load_id, 0)])
    sentence = (
        f"may be those of load {later.load_id} too.*its clean files are gone. Nothing was touched. Restore the table"
    )
    with vault.untouched(), pytest.raises(ChangeRefused, match=sentence):
        vault.undo(load.load_id, keep_later=keep_later)


# What cannot be undone


def test_it_is_undone_once(vault: Vault) -> None:
    load = vault.world.load("jobs.csv", BEFORE)
    change = vault.undo(load.load_id)
    with vault.untouched(), pytest.raises(ConfigurationError, match=f"is undone already, by {change.change_id}"):
        vault.undo(load.load_id)


def test_what_a_restore_took_back_is_undone_already(vault: Vault) -> None:
    vault.backup()
    load = vault.world.load("jobs.csv", BEFORE)
    vault.restore("jobs")
    with vault.untouched(), pytest.raises(ConfigurationError, match="is undone already"):
        vault.undo(load.load_id)


def test_what_was_refused_failed_or_never_was_cannot_be_undone(vault: Vault) -> None:
    world = vault.world
    refused = world.load("jobs.csv", b"x,bad\n")
    failed = world.loader().fail(world.put("jobs_2.csv", BEFORE), Mode.UPSERT, "a fault")
    nameless = world.load("nobody.csv", BEFORE)
    for load_id, sentence in (
        (refused.load_id, "was rejected: there is nothing to undo"),
        (failed.load_id, "There is no load"),
        (nameless.load_id, "was rejected"),
        (1, "There is no load 1 in the ledger"),
        (0, "There is no load 0"),
        (-1, "There is no load -1"),
    ):
        with vault.untouched(), pytest.raises(ConfigurationError, match=sentence):
            vault.undo(load_id)


# Once


def test_a_retry_of_the_same_run_says_the_same(vault: Vault) -> None:
    load = vault.world.load("jobs.csv", BEFORE)
    first = vault.undo(load.load_id, run="a run")
    with vault.untouched():
        assert vault.undo(load.load_id, run="a run") == first


@pytest.mark.parametrize("runs", [("a", "a"), ("a", "b")], ids=["a zombie and its retry", "two runs"])
def test_two_at_once_undo_it_once(vault: Vault, runs: tuple[str, str]) -> None:
    vault.world.load("jobs.csv", BEFORE)
    rows = vault.table("jobs")
    load = vault.world.load("jobs_2.csv", b"1,x\n9,x\n")
    barrier = Barrier(2)

    class Meeting(PostgresWarehouse):
        @contextmanager
        def transaction(self) -> Iterator[None]:
            barrier.wait(DEADLOCKED)
            with super().transaction():
                yield

    def undo(run: str) -> Change | ConfigurationError:
        with vault.world.connected(Meeting) as warehouse:
            try:
                return vault.undo(load.load_id, run=run, warehouse=warehouse)
            except ConfigurationError as error:
                return error

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(undo, runs))
    assert vault.table("jobs") == rows
    assert vault.world.sql("SELECT count(*) FROM ops.restores") == [(1,)]
    if runs[0] == runs[1]:
        assert answers[0] == answers[1]
    else:
        assert [isinstance(answer, ConfigurationError) for answer in answers].count(True) == 1


def test_a_load_that_overtakes_an_undo_is_in_its_way(vault: Vault) -> None:
    load = vault.world.load("jobs.csv", BEFORE)

    class Overtaken(PostgresWarehouse):
        overtaken = False

        def lock(self, table: Table) -> Any:
            if not self.overtaken:
                self.overtaken = True
                vault.world.load("jobs_2.csv", b"1,x\n")
            return super().lock(table)

    with vault.world.connected(Overtaken) as warehouse, pytest.raises(ChangeRefused, match="changed or removed 1"):
        vault.undo(load.load_id, warehouse=warehouse)
    assert vault.world.rows("jobs") == upserted("jobs", BEFORE, b"1,x\n")


def test_a_table_that_somebody_changes_meanwhile_is_not_committed(vault: Vault) -> None:
    load = vault.world.load("jobs.csv", BEFORE)

    class Meddled(PostgresWarehouse):
        def execute(self, text: str, values: Any = None) -> int:
            if "DELETE FROM public.jobs" in text:
                vault.world.sql("DELETE FROM public.jobs WHERE id = 2")
            return super().execute(text, values)

    with vault.world.connected(Meddled) as warehouse, pytest.raises(BalanceError, match="Somebody else has changed"):
        vault.undo(load.load_id, warehouse=warehouse)
    assert len(vault.table("jobs")) == 2
    vault.world.database.empty()


# The file afterwards


@pytest.mark.parametrize("copy", [False, True], ids=["the same arrival", "under another name"])
def test_its_file_loads_anew(vault: Vault, copy: bool) -> None:
    world = vault.world
    world.load("jobs.csv", BEFORE)
    arrival = world.put("jobs_2.csv", b"1,x\n9,x\n")
    first = world.judge(arrival)
    wanted = world.rows("jobs")
    vault.undo(first.load_id)
    outcome = world.judge(world.put("jobs_3.csv", world.read(arrival.key)) if copy else arrival)
    assert (outcome.verdict, outcome.counts.inserted, outcome.counts.updated) == (Verdict.LOADED, 1, 1)
    assert (world.rows("jobs"), outcome.load_id != first.load_id) == (wanted, True)
    vault.undo(outcome.load_id)
    assert world.rows("jobs") == upserted("jobs", BEFORE)


def test_a_copy_of_an_undone_load_that_stayed_is_still_known(vault: Vault) -> None:
    """The rows stay for the copy's sake, so its arrival is not new; the first one's is, and changes nothing."""
    world = vault.world
    first, copy = world.put("jobs.csv", BEFORE), world.put("jobs_copy.csv", BEFORE)
    load = world.judge(first)
    world.judge(copy)
    rows = vault.table("jobs")
    vault.undo(load.load_id, keep_later=True)
    assert vault.table("jobs") == rows
    assert world.judge(copy).verdict is Verdict.DUPLICATE
    assert world.judge(first).counts.unchanged == 3
    assert vault.table("jobs") == rows


# As if it had never been


@dataclass
class Histories:
    """Loads and replacements, and what the table would be without some of them."""

    vault: Vault
    done: dict[int, tuple[bool, bytes]] = field(default_factory=dict)
    without: set[int] = field(default_factory=set)

    def do(self, chance: random.Random, number: int) -> None:
        keys = chance.sample(range(1, 6), chance.randint(1, 3))
        body = b"".join(b"%d,%s\n" % (key, chance.choice("ab").encode()) for key in keys)
        arrival: Arrival = self.vault.world.put(f"jobs_{number}.csv", body)
        if chance.random() < 0.3:
            (outcome,) = self.vault.world.replace("jobs", arrival)
            self.done[outcome.load_id] = True, body
        else:
            outcome = self.vault.world.judge(arrival)
            self.done[outcome.load_id] = False, body

    def assert_as_if_never_been(self) -> None:
        rows: list[Row] = []
        left: list[bytes] = []
        for load_id, (whole, body) in self.done.items():
            if load_id not in self.without:
                left = [body] if whole else [*left, body]
        rows = upserted("jobs", *left)
        story = "\n".join(
            f"{load_id}: {'replace by' if whole else 'load'} {body!r}{' undone' * (load_id in self.without)}"
            for load_id, (whole, body) in self.done.items()
        )
        assert self.vault.world.rows("jobs") == rows, f"not as if it had never been:\n{story}"


@pytest.mark.parametrize("seed", range(12))
def test_after_an_undo_the_table_is_as_if_the_load_had_never_been(vault: Vault, seed: int) -> None:
    chance, histories = random.Random(seed), Histories(vault)
    for number in range(7):
        histories.do(chance, number)
    undone = 0
    for load_id in chance.sample(list(histories.done), len(histories.done)):
        try:
            vault.undo(load_id)
        except ChangeRefused:
            continue
        undone += 1
        histories.without.add(load_id)
        histories.assert_as_if_never_been()
    assert undone


def test_the_check_sees_an_undo_that_overlooks_copies(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: that a later load brought the same rows is not looked for."""
    monkeypatch.setattr(Undo, "_found_equal", lambda *_: ([], np.empty(0, np.int64)))
    histories = Histories(vault)
    load = vault.world.load("jobs.csv", BEFORE)
    copy = vault.world.load("jobs_copy.csv", BEFORE)
    histories.done = {load.load_id: (False, BEFORE), copy.load_id: (False, BEFORE)}
    vault.undo(load.load_id)
    histories.without.add(load.load_id)
    with pytest.raises(AssertionError, match="not as if it had never been"):
        histories.assert_as_if_never_been()
