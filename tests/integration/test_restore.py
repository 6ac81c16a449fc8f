"""Restores: the table is as it was, row by row; readers, grants, keys and views do not notice; a run does it once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Barrier, Event
from typing import Any

import psycopg2
import pytest

from datamart.errors import BalanceError, ChangeRefused, ConfigurationError, TerminalFault
from datamart.loads import Verdict
from datamart.recovery.difference import Difference, Sizes
from datamart.recovery.ledger import Change
from datamart.tables import Table
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.vault import Vault
from tests.integration.world import Row

DEADLOCKED = 60


def changed_since(vault: Vault) -> list[Row]:
    """A backup, then a row of each kind of change; the rows that were backed up."""
    world = vault.world
    world.load("jobs.csv", b"1,Actuary\n2,Baker\n3,Cook\n4,Driver\n")
    vault.backup()
    rows = vault.table("jobs")
    world.load("jobs_2.csv", b"1,Archer\n5,Editor\n6,Fisher\n")
    world.replace("jobs", world.put("jobs_3.csv", b"1,Archer\n3,Cook\n4,Driver\n5,Editor\n"))
    return rows


def numbers(change: Change) -> tuple[int, int, int, int]:
    return change.added, change.changed, change.removed, change.rows


def test_the_table_is_as_it_was_with_the_load_of_each_row(vault: Vault) -> None:
    wanted = changed_since(vault)
    change = vault.restore("jobs")
    assert vault.table("jobs") == wanted
    assert numbers(change) == (1, 1, 1, 4)
    assert change.message == "1 rows were added, 1 changed and 1 removed."


def test_what_is_replaced_and_removed_is_in_the_history(vault: Vault) -> None:
    changed_since(vault)
    gone = {row[:2] for row in vault.table("jobs")} - {(3, "Cook"), (4, "Driver")}
    change = vault.restore("jobs")
    kept = vault.world.sql(
        "SELECT id, job, _commit_seq FROM ops.jobs_history WHERE _replaced_by = %s AND _replaced_seq = %s",
        change.change_id, change.commit_seq,
    )  # fmt: skip
    assert {row[:2] for row in kept} == gone
    assert {row[2] for row in kept} == {2}


def test_the_ledger_has_it(vault: Vault) -> None:
    changed_since(vault)
    (manifest,) = vault.catalogue.all()
    change = vault.restore("jobs", run="a run")
    assert vault.world.sql(
        "SELECT restore_id, table_name, kind, backup_id, target_seq, target_at, undone_load_id, into_table, rows_added,"
        " rows_changed, rows_removed, rows_total, dag_id, run_id, commit_seq, message FROM ops.restores"
    ) == [
        (change.change_id, "jobs", "restore", manifest.backup_id, 1, None, None, None, 1, 1, 1, 4, "recovery", "a run",
         4, change.message)
    ]  # fmt: skip


def test_the_numbers_of_the_table_say_that_it_changed(vault: Vault) -> None:
    changed_since(vault)
    vault.restore("jobs")
    read = "SELECT commit_seq, changed_seq FROM ops.tables WHERE table_name = 'jobs'"
    assert vault.world.sql(read) == [(4, 4)]
    again = vault.restore("jobs")
    assert (again.any, again.message) == (False, "jobs is as it was then already; nothing changed.")
    assert vault.world.sql(read) == [(5, 4)]


def test_values_that_another_load_brought_too_name_the_load_of_then(vault: Vault) -> None:
    """Equal values: no row has changed, but whose it is."""
    world = vault.world
    first = world.load("jobs.csv", b"1,a\n2,a\n")
    vault.backup()
    wanted = vault.table("jobs")
    world.load("jobs_2.csv", b"1,b\n")
    second = world.load("jobs_3.csv", b"1,a\n")
    assert vault.table("jobs") == [(1, "a", second.load_id), (2, "a", first.load_id)]
    change = vault.restore("jobs")
    assert (vault.table("jobs"), change.any) == (wanted, False)
    assert vault.flags() == {first.load_id: False, second.load_id: True} | {
        load_id: True for load_id in vault.flags() if load_id not in (first.load_id, second.load_id)
    }


def test_a_dry_run_shows_what_would_be_done_and_changes_nothing(vault: Vault) -> None:
    changed_since(vault)
    with vault.untouched():
        change = vault.restore("jobs", dry_run=True)
    assert (numbers(change), change.dry_run) == ((1, 1, 1, 4), True)
    assert change.message == "1 rows would be added, 1 changed and 1 removed."
    assert set(change.notes) == {"added: ids 2", "changed: ids 1", "removed: ids 5"}
    assert not vault.world.keys(f"clean/jobs/{change.change_id}/")
    with vault.untouched():
        assert vault.restore("jobs", into="jobs_then", dry_run=True).message.startswith("4 rows of jobs would be")
    assert vault.world.sql("SELECT to_regclass('public.jobs_then')") == [(None,)]


def test_a_dry_run_and_the_same_run_that_does_it(vault: Vault) -> None:
    wanted = changed_since(vault)
    vault.restore("jobs", run="a run", dry_run=True)
    vault.restore("jobs", run="a run")
    assert vault.table("jobs") == wanted
    with vault.untouched():
        assert vault.restore("jobs", run="a run", dry_run=True).any is False


def test_a_table_that_lost_all_rows_is_filled_again(vault: Vault) -> None:
    world = vault.world
    world.load("jobs.csv", b"1,a\n2,b\n")
    vault.backup()
    wanted = vault.table("jobs")
    world.sql("TRUNCATE public.jobs")
    assert numbers(vault.restore("jobs")) == (2, 0, 0, 2)
    assert vault.table("jobs") == wanted
    world.database.empty()  # somebody else took rows away, so the sums of the ledger do not add up


# Which backup


def test_the_newest_or_one_by_its_id(vault: Vault) -> None:
    world = vault.world
    kept = []
    for number in range(3):
        world.load(f"jobs_{number}.csv", b"1,%d\n" % number)
        kept.append((vault.backup("jobs").backup_id, vault.table("jobs")))
    vault.backup("departments")
    for backup_id, rows in kept:
        change = vault.restore("jobs", backup_id=backup_id)
        assert (vault.table("jobs"), change.backup_id) == (rows, backup_id)
    assert vault.restore("jobs", backup_id="latest").backup_id == kept[-1][0]
    assert vault.table("jobs") == kept[-1][1]


@pytest.mark.parametrize("backup_id", ["20200101T000000Z-00000000", "x" * 64])
def test_an_unknown_backup_is_refused_with_those_there_are(vault: Vault, backup_id: str) -> None:
    newest = vault.backup().backup_id
    with vault.untouched(), pytest.raises(ConfigurationError, match=f"There is no backup .* newest are: {newest}"):
        vault.restore("jobs", backup_id=backup_id)


@pytest.mark.parametrize("backup_id", ["", "../x", "a/b", "x" * 65, "é", "a\n", "-", "a'; --"])
def test_what_can_be_no_backup_is_refused(vault: Vault, backup_id: str) -> None:
    vault.backup()
    with vault.untouched(), pytest.raises(ConfigurationError):
        vault.restore("jobs", backup_id=backup_id or "-")


def test_an_unknown_table_is_refused(vault: Vault) -> None:
    vault.backup()
    with vault.untouched(), pytest.raises(ConfigurationError, match=r"There is no table 'ops\.loads'"):
        vault.restore("ops.loads")


# Into another table


def test_another_table_is_made_and_the_live_one_stays(vault: Vault) -> None:
    wanted = changed_since(vault)
    before = vault.world.snapshot()
    change = vault.restore("jobs", into="jobs_of_then")
    assert vault.world.sql("SELECT * FROM jobs_of_then ORDER BY id") == wanted
    assert (change.kind, change.into, change.rows) == ("copy", "jobs_of_then", 4)
    assert vault.world.snapshot() == before
    with pytest.raises(psycopg2.errors.UniqueViolation):
        vault.world.sql("INSERT INTO jobs_of_then SELECT * FROM jobs_of_then")
    vault.world.sql("DROP TABLE jobs_of_then")


def test_another_table_of_a_moment(vault: Vault) -> None:
    changed_since(vault)
    at, wanted = vault.now(), vault.table("jobs")
    vault.world.load("jobs_9.csv", b"9,later\n")
    vault.restore("jobs", into="jobs_of_then", at=at)
    assert vault.world.sql("SELECT * FROM jobs_of_then ORDER BY id") == wanted
    vault.world.sql("DROP TABLE jobs_of_then")


LIVE = ["jobs", "departments", "hired_employees"]
ODD = ["", "ops.loads", "public.x", "Jobs", "jobs;", 'x"y', "x y", "1x", "_x", "é", "x" * 52, "x\n", "jobs--"]
TAKEN = ["hires_department_job", "a_view", "a_sequence", "an_index", "a_copy"]


@pytest.mark.parametrize("name", LIVE + ODD + TAKEN)
def test_another_table_takes_no_name_that_is_live_taken_or_odd(vault: Vault, name: str) -> None:
    changed_since(vault)
    sql = vault.world.sql
    sql("CREATE VIEW a_view AS SELECT 1 AS one")
    sql("CREATE SEQUENCE a_sequence")
    sql("CREATE INDEX an_index ON public.jobs (job)")
    sql("CREATE TABLE a_copy (id INTEGER)")
    try:
        for dry_run in (True, False):
            with vault.untouched(), pytest.raises(ConfigurationError):
                vault.restore("jobs", into=name, dry_run=dry_run)
    finally:
        sql("DROP VIEW a_view")
        sql("DROP SEQUENCE a_sequence")
        sql("DROP INDEX an_index")
        sql("DROP TABLE a_copy")


# Once


@pytest.mark.parametrize("wanted", [{}, {"into": "jobs_of_then"}], ids=["the table", "another table"])
def test_a_retry_of_the_same_run_does_nothing_and_says_the_same(vault: Vault, wanted: dict[str, Any]) -> None:
    changed_since(vault)
    first = vault.restore("jobs", run="a run", **wanted)
    vault.world.load("jobs_9.csv", b"9,later\n")
    with vault.untouched():
        assert vault.restore("jobs", run="a run", **wanted) == first
    vault.world.sql("DROP TABLE IF EXISTS jobs_of_then")


def test_a_retry_still_knows_the_notes(vault: Vault) -> None:
    """What a person should know besides is part of the answer."""
    vault.world.sql("ALTER TABLE public.jobs ADD COLUMN note TEXT")
    try:
        changed_since(vault)
        first = vault.restore("jobs", run="a run")
        assert "more columns (note)" in " ".join(first.notes)
        assert vault.restore("jobs", run="a run") == first
    finally:
        vault.world.sql("ALTER TABLE public.jobs DROP COLUMN note")


def at_once(vault: Vault, *jobs: Callable[[PostgresWarehouse], Change]) -> list[Change]:
    """Each on its own connection; none goes on to change anything before all others are about to."""
    barrier = Barrier(len(jobs))

    class Meeting(PostgresWarehouse):
        met = False

        @contextmanager
        def transaction(self) -> Iterator[None]:
            if not self.met:
                self.met = True
                barrier.wait(DEADLOCKED)
            with super().transaction():
                yield

    def run(job: Callable[[PostgresWarehouse], Change]) -> Change:
        with vault.world.connected(Meeting) as warehouse:
            return job(warehouse)

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def test_two_attempts_of_one_run_at_once_do_it_once(vault: Vault) -> None:
    wanted = changed_since(vault)
    first, second = at_once(vault, *[lambda warehouse: vault.restore("jobs", run="a run", warehouse=warehouse)] * 2)
    assert first == second
    assert vault.world.sql("SELECT count(*) FROM ops.restores") == [(1,)]
    assert vault.table("jobs") == wanted


def test_two_attempts_of_one_run_make_another_table_once(vault: Vault) -> None:
    changed_since(vault)

    def copy(warehouse: PostgresWarehouse) -> Change:
        return vault.restore("jobs", run="a run", into="jobs_of_then", warehouse=warehouse)

    try:
        first, second = at_once(vault, copy, copy)
        assert first == second
        assert vault.world.sql("SELECT count(*) FROM ops.restores") == [(1,)]
    finally:
        vault.world.sql("DROP TABLE jobs_of_then")


def test_two_runs_at_once_are_one_after_the_other(vault: Vault) -> None:
    wanted = changed_since(vault)
    changes = at_once(vault, *[lambda warehouse: vault.restore("jobs", warehouse=warehouse)] * 2)
    assert sorted(change.any for change in changes) == [False, True]
    assert vault.table("jobs") == wanted


# Beside loads and readers


class Overtaken(PostgresWarehouse):
    """Another session does something before this one gets its first lock."""

    meanwhile: Callable[[], object]
    overtaken = False

    def lock(self, table: Table) -> Any:
        if not self.overtaken:
            self.overtaken = True
            self.meanwhile()
        return super().lock(table)


def test_what_a_load_did_while_a_restore_waited_is_taken_back_too(vault: Vault) -> None:
    wanted = changed_since(vault)
    with vault.world.connected(Overtaken) as warehouse:
        arrival = vault.world.put("jobs_9.csv", b"1,z\n2,z\n9,z\n")
        warehouse.meanwhile = lambda: vault.world.judge(arrival)  # type: ignore[method-assign]
        change = vault.restore("jobs", warehouse=warehouse)
    assert (vault.table("jobs"), numbers(change)) == (wanted, (0, 2, 2, 4))
    assert vault.world.judge(arrival).verdict is Verdict.LOADED
    assert vault.world.rows("jobs")[-1] == (9, "z")


def test_a_load_that_waits_for_a_restore_comes_after_it(vault: Vault) -> None:
    changed_since(vault)
    world = vault.world
    arrival = world.put("jobs_9.csv", b"1,z\n9,z\n")
    with world.connected(Overtaken) as warehouse:
        warehouse.meanwhile = lambda: vault.restore("jobs")  # type: ignore[method-assign]
        outcome = world.loader(None, warehouse).load(arrival)
    assert (outcome.counts.inserted, outcome.counts.updated) == (1, 1)
    assert world.rows("jobs") == [(1, "z"), (2, "Baker"), (3, "Cook"), (4, "Driver"), (9, "z")]
    assert vault.flags()[outcome.load_id] is False


def test_many_loads_beside_a_restore(vault: Vault) -> None:
    """Whatever the order, the loads after the restore are in the table, and those before it are undone."""
    wanted = changed_since(vault)
    world = vault.world
    arrivals = [world.put(f"jobs_at_{number}.csv", b"%d,x\n" % (100 + number)) for number in range(6)]

    def load(number: int) -> object:
        with world.connected() as warehouse:
            if number == 3:
                return vault.restore("jobs", warehouse=warehouse)
            return world.loader(None, warehouse).load(arrivals[number])

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(load, range(6)))
    live = {load_id for load_id, undone in vault.flags().items() if not undone}
    assert {row for row in vault.table("jobs") if row[0] < 100} == set(wanted)
    assert {row[-1] for row in vault.table("jobs")} <= live
    later = {load_id for load_id in live if load_id in {one.arrival_id for one in arrivals}}
    assert {row[-1] for row in vault.table("jobs") if row[0] >= 100} == later


@contextmanager
def reading(vault: Vault, seen: set[int], waits: list[float]) -> Iterator[None]:
    """A reader who asks for the number of rows again and again."""
    stop, began = Event(), Event()

    def read() -> None:
        with closing(psycopg2.connect(vault.world.database.reader_dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                while not stop.is_set():
                    start = time.monotonic()
                    cursor.execute("SELECT count(*) FROM public.jobs")
                    found = cursor.fetchone()
                    waits.append(time.monotonic() - start)
                    assert found is not None
                    seen.add(found[0])
                    began.set()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(read)
        try:
            assert began.wait(DEADLOCKED)
            yield
        finally:
            stop.set()
            done.result()


def big(vault: Vault) -> None:
    """Twenty thousand rows, of which a replacement leaves a hundred and brings a thousand others."""
    vault.world.load("jobs.csv", b"".join(b"%d,job %d\n" % (key, key) for key in range(1, 20_001)))
    vault.backup("jobs")
    kept = [*range(1, 101), *range(50_001, 51_001)]
    vault.world.replace("jobs", vault.world.put("jobs_2.csv", b"".join(b"%d,x\n" % key for key in kept)))


def test_readers_wait_for_nobody_and_see_all_rows_or_all_rows(vault: Vault) -> None:
    big(vault)
    seen: set[int] = set()
    waits: list[float] = []
    with reading(vault, seen, waits):
        vault.restore("jobs")
    assert_readers(seen, waits)


def assert_readers(seen: set[int], waits: list[float]) -> None:
    assert seen <= {1100, 20_000}, "a reader saw a table that never was"
    assert max(waits) < 1, "a reader had to wait"


def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every statement commits by itself."""

    @contextmanager
    def transaction(_self: PostgresWarehouse) -> Iterator[None]:
        yield

    monkeypatch.setattr(PostgresWarehouse, "transaction", transaction)


def exclusively(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is locked for all, for a while."""
    honest = Difference.apply

    def apply(self: Difference, change_id: int, commit_seq: int) -> Sizes:
        self.warehouse.execute("LOCK TABLE public.jobs IN ACCESS EXCLUSIVE MODE")
        self.warehouse.query("SELECT pg_sleep(1)")
        return honest(self, change_id, commit_seq)

    monkeypatch.setattr(Difference, "apply", apply)


@pytest.mark.parametrize("plant", [in_pieces, exclusively])
def test_readers_see_who_disturbs_them(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    big(vault)
    plant(monkeypatch)
    seen: set[int] = set()
    waits: list[float] = []
    with reading(vault, seen, waits):
        vault.restore("jobs")
    with pytest.raises(AssertionError, match="a reader"):
        assert_readers(seen, waits)


# What depends on the table


def test_grants_views_keys_and_indexes_stay(vault: Vault) -> None:
    world, sql = vault.world, vault.world.sql
    world.load("departments.csv", b"1,One\n2,Two\n3,Three\n")
    vault.backup("departments")
    wanted = vault.table("departments")
    world.load("departments_2.csv", b"2,Zwei\n4,Vier\n")
    sql("CREATE VIEW names AS SELECT department FROM departments WHERE id < 3")
    sql("CREATE UNIQUE INDEX by_name ON departments (department)")
    sql("CREATE INDEX by_lower ON departments (lower(department))")
    sql("ALTER TABLE departments ADD CONSTRAINT no_empty CHECK (department <> '')")
    sql("CREATE TABLE floors (department_id INTEGER REFERENCES departments (id), floor INTEGER)")
    sql("INSERT INTO floors VALUES (1, 7), (2, 8)")
    sql("GRANT SELECT ON departments TO PUBLIC")
    try:
        shape = """
            SELECT c.oid, c.relacl::text,
                (SELECT array_agg(indexrelid ORDER BY 1) FROM pg_index WHERE indrelid = c.oid),
                (SELECT array_agg(oid ORDER BY 1) FROM pg_constraint WHERE conrelid = c.oid OR confrelid = c.oid)
            FROM pg_class AS c WHERE c.oid = 'public.departments'::regclass"""
        before = sql(shape)
        vault.restore("departments")
        assert sql(shape) == before
        assert vault.table("departments") == wanted
        assert sql("SELECT department FROM names ORDER BY 1") == [("One",), ("Two",)]
        with pytest.raises(psycopg2.errors.UniqueViolation):
            sql("INSERT INTO departments VALUES (9, 'One', 0)")
        with pytest.raises(psycopg2.errors.ForeignKeyViolation):
            sql("DELETE FROM departments WHERE id = 1")
    finally:
        sql("DROP TABLE floors")
        sql("DROP VIEW names")
        sql("DROP INDEX by_name, by_lower")
        sql("ALTER TABLE departments DROP CONSTRAINT no_empty")
        sql("REVOKE SELECT ON departments FROM PUBLIC")


def test_a_row_that_another_table_refers_to_is_not_removed(vault: Vault) -> None:
    world, sql = vault.world, vault.world.sql
    world.load("departments.csv", b"1,One\n")
    vault.backup("departments")
    world.load("departments_2.csv", b"4,Vier\n")
    sql("CREATE TABLE floors (department_id INTEGER REFERENCES departments (id), floor INTEGER)")
    sql("INSERT INTO floors VALUES (4, 7)")
    try:
        with vault.untouched(), pytest.raises(TerminalFault, match=r"refused \(23503\)"):
            vault.restore("departments")
    finally:
        sql("DROP TABLE floors")
    vault.restore("departments")


def test_a_table_that_somebody_changes_by_hand_meanwhile_is_not_committed(vault: Vault) -> None:
    """No lock of the product's keeps a person from it, but the counts do not lie."""
    changed_since(vault)

    class Meddled(PostgresWarehouse):
        def execute(self, text: str, values: Any = None) -> int:
            if "DELETE FROM public.jobs" in text:
                vault.world.sql("DELETE FROM public.jobs WHERE id = 5")
            return super().execute(text, values)

    before = [row for row in vault.table("jobs") if row[0] != 5]
    with vault.world.connected(Meddled) as warehouse, pytest.raises(BalanceError, match="Somebody else has changed"):
        vault.restore("jobs", warehouse=warehouse)
    assert vault.table("jobs") == before
    vault.restore("jobs")
    vault.world.database.empty()


def test_what_was_not_seen_is_not_restored_away(vault: Vault) -> None:
    """A dry run tells which change of the table it has seen; after another one the restore is refused."""
    changed_since(vault)
    seen = vault.restore("jobs", dry_run=True).changed_seq
    vault.world.load("jobs_4.csv", b"7,Gardener\n")
    rows = vault.table("jobs")
    with pytest.raises(ChangeRefused, match="jobs has changed since the difference was shown"):
        vault.restore("jobs", seen=seen)
    assert vault.table("jobs") == rows
    again = vault.restore("jobs", dry_run=True).changed_seq
    assert vault.restore("jobs", seen=again).any
