"""What has outlived its use goes, and nothing else: never what a backup needs, and a run that broke off is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from datamart import load
from datamart.errors import BalanceError, TerminalFault, TransientFault
from datamart.holds import Holds
from datamart.loads import Mode, Outcome, Verdict
from datamart.objects import ObjectStore, clean_key, quarantine_key, rejected_key
from datamart.retention import ORPHAN_AGE, SLACK, Removed, Retention
from datamart.settings import load_settings
from datamart.warehouse.postgres import PostgresWarehouse
from tests.bucket import own_bucket
from tests.integration.world import Database, World
from tests.stack import Stack

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
AFTER_ORPHANS = NOW + ORPHAN_AGE + DAY
GOOD, SOME_BAD = b"1,a\n2,b\n", b"1,a\nx,bad\nragged\n"
EVERY_TABLE = '{"departments": 1, "jobs": 1, "hired_employees": 1}'
KINDS: dict[str, Callable[[Retention], Removed]] = {
    "clean": Retention.clean,
    "rejects": Retention.rejects,
    "quarantine": Retention.quarantine,
    "holds": Retention.holds,
}


@pytest.fixture(scope="module")
def bucket(warehouse_and_s3: Stack) -> Iterator[ObjectStore]:
    """A bucket for this module: retention looks at everything that lies there."""
    client = warehouse_and_s3.s3
    with own_bucket(client, "retention") as name:
        yield ObjectStore(client, name)


@pytest.fixture
def object_store(bucket: ObjectStore) -> ObjectStore:
    bucket.remove(one.key for one in bucket.list(""))
    return bucket


@pytest.fixture(autouse=True)
def old_ledger(database: Database) -> None:
    """A ledger that was there, and has counted parts, long before the objects of a test."""
    migrated(database, 1000)


def migrated(database: Database, days_ago: float, name: str = "%") -> None:
    database.sql("UPDATE ops.migrations SET applied_at = %s WHERE name LIKE %s", NOW - days_ago * DAY, name)


def retention(world: World, now: datetime = NOW, kind: type[Retention] = Retention, **changes: Any) -> Retention:
    return kind(world.warehouse, world.store, changes.pop("settings", load_settings({})), now, **changes)


def settings(**values: object) -> Any:
    return load_settings({f"DATAMART_{name.upper()}": str(value) for name, value in values.items()})


def finished(world: World, outcome: Outcome, moment: datetime) -> None:
    """Let a load have ended in the past."""
    world.sql("UPDATE ops.loads SET finished_at = %s WHERE load_id = %s", moment, outcome.load_id)


def aged(world: World, outcome: Outcome, days: float) -> None:
    finished(world, outcome, NOW - days * DAY)


def backed_up(world: World, days_ago: float, tables: str = EVERY_TABLE, expired: bool = False) -> None:
    taken = NOW - days_ago * DAY
    world.sql(
        "INSERT INTO ops.backups (backup_id, manifest_key, taken_at, finished_at, tables, rows_total, bytes_total,"
        " expired_at) VALUES (%s, 'm', %s, %s, %s, 0, 0, %s)",
        uuid4().hex, taken, taken, tables, NOW if expired else None,
    )  # fmt: skip


def parts(world: World, outcome: Outcome) -> list[str]:
    return world.keys(f"clean/{outcome.table}/{outcome.load_id}/")


def rejects_files(world: World, outcome: Outcome) -> list[str]:
    return world.keys(f"rejected/{outcome.table}/{outcome.table}_rejected_{outcome.load_id}.")


def everything(world: World) -> tuple[Any, ...]:
    """All rows that a load or a maintenance may change, and all objects."""
    holds = world.sql("SELECT h::text FROM ops.holds AS h ORDER BY 1")
    return world.snapshot(), holds, [(one.key, one.etag) for one in world.store.list("")]


class Refusing:
    """A client whose deletes are refused from one call on: whole, or object by object in the answer."""

    def __init__(self, client: Any, after: int, code: str, in_the_answer: bool = False) -> None:
        self._client, self._left, self._code, self._in_the_answer = client, after, code, in_the_answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def delete_objects(self, **request: Any) -> Any:
        self._left -= 1
        if self._left >= 0:
            return self._client.delete_objects(**request)
        if self._in_the_answer:
            return {"Errors": [{"Key": one["Key"], "Code": self._code} for one in request["Delete"]["Objects"]]}
        raise ClientError({"Error": {"Code": self._code}}, "DeleteObjects")


def refusing(world: World, after: int = 0, code: str = "SlowDown", **how: Any) -> ObjectStore:
    return replace(world.store, client=Refusing(world.store.client, after, code, **how))


class Unwilling(PostgresWarehouse):
    """A warehouse that goes away when it is to write into the ledger, or to delete from it."""

    def execute(self, text: str, values: Any = None) -> int:
        if "expired_at" in text:
            raise TransientFault("The warehouse did not answer.")
        return super().execute(text, values)


# Never what a backup needs

NEEDED = {
    "no backup at all": ([], 1000),
    "only a backup that has expired": ([(100, EVERY_TABLE, True)], 1000),
    "only a backup of another table": ([(100, '["departments"]', False)], 1000),
    "only a backup of a table whose name is longer": ([(100, "jobs_archive,my_jobs", False)], 1000),
    "it finished after the backup": ([(100, EVERY_TABLE, False)], 99),
    "it may have committed after the backup": ([(100, EVERY_TABLE, False)], 100 + SLACK / DAY / 2),
    "an older backup needs it": ([(300, EVERY_TABLE, False), (100, EVERY_TABLE, False)], 200),
    "an older backup of this table needs it": ([(300, "jobs", False), (100, EVERY_TABLE, False)], 200),
    "its time is not over": ([(10, EVERY_TABLE, False)], 89),
}
FREE = {
    "it finished before the backup": ([(100, EVERY_TABLE, False)], 102),
    "it finished before the oldest backup": ([(300, EVERY_TABLE, False), (100, EVERY_TABLE, False)], 302),
    "the older backup has expired": ([(300, EVERY_TABLE, True), (100, EVERY_TABLE, False)], 200),
    "the older backup is of another table": ([(300, "hired_employees", False), (100, EVERY_TABLE, False)], 200),
    "its time is over": ([(10, EVERY_TABLE, False)], 91),
}


@pytest.mark.parametrize(("backups", "days_ago"), NEEDED.values(), ids=NEEDED)
def test_clean_parquet_that_may_be_needed_stays(world: World, backups: list[Any], days_ago: float) -> None:
    outcome = world.load("jobs.csv", GOOD)
    aged(world, outcome, days_ago)
    for backup in backups:
        backed_up(world, *backup)
    before = everything(world)
    assert retention(world).clean() == Removed()
    assert everything(world) == before
    assert_brought_forward(world)


@pytest.mark.parametrize(("backups", "days_ago"), FREE.values(), ids=FREE)
def test_clean_parquet_that_no_backup_needs_goes(world: World, backups: list[Any], days_ago: float) -> None:
    outcome, young = world.load("jobs.csv", GOOD, part_rows=1, chunk_bytes=1024), world.load("jobs_2.csv", b"3,c\n")
    aged(world, outcome, days_ago)
    for backup in backups:
        backed_up(world, *backup)
    sizes = sum(one.size for one in world.store.list(f"clean/jobs/{outcome.load_id}/"))
    removed = retention(world).clean()
    assert removed == Removed(loads=1, objects=outcome.clean_parts, bytes=sizes)
    assert (parts(world, outcome), len(parts(world, young))) == ([], 1)
    assert world.ledger(outcome.load_id, "clean_expired_at") == (NOW,)
    assert world.ledger(young.load_id, "clean_expired_at") == (None,)
    assert_brought_forward(world)


@pytest.mark.parametrize(("moment", "gone"), [(NOW - 100 * DAY - SLACK, False), (NOW - 100 * DAY - SLACK - TICK, True)])
def test_the_boundary_of_a_backup(world: World, moment: datetime, gone: bool) -> None:
    outcome = world.load("jobs.csv", GOOD)
    finished(world, outcome, moment)
    backed_up(world, 100)
    assert (retention(world).clean().loads, not parts(world, outcome)) == (gone, gone)


@pytest.mark.parametrize(("moment", "gone"), [(NOW - 90 * DAY, False), (NOW - 90 * DAY - TICK, True)])
def test_the_boundary_of_the_time_to_keep(world: World, moment: datetime, gone: bool) -> None:
    outcome = world.load("jobs.csv", SOME_BAD)
    finished(world, outcome, moment)
    backed_up(world, 10)
    now = retention(world)
    assert (now.clean().loads, now.rejects().loads) == (gone, gone)
    assert (not parts(world, outcome), not rejects_files(world, outcome)) == (gone, gone)


def test_empty_settings_keep_for_ever(world: World) -> None:
    outcome = world.load("jobs.csv", SOME_BAD)
    aged(world, outcome, 9000)
    backed_up(world, 1)
    quarantined(world, "notes.txt")
    before = everything(world)
    for_ever = settings(clean_keep_days="", rejects_keep_days="", quarantine_keep_days="")
    assert [act(retention(world, settings=for_ever)) for act in KINDS.values()] == [Removed()] * len(KINDS)
    assert everything(world) == before


def test_a_refused_file_s_clean_parquet_is_needed_by_no_backup(world: World) -> None:
    outcome = world.load("jobs.csv", SOME_BAD, reject_threshold=0)
    assert (outcome.verdict, len(parts(world, outcome))) == (Verdict.REJECTED, 1)
    aged(world, outcome, 89)
    assert retention(world).clean() == Removed()
    aged(world, outcome, 91)
    assert retention(world).clean().loads == 1
    assert parts(world, outcome) == []


def test_a_duplicate_that_was_merged_is_treated_as_one_that_is_loaded(world: World) -> None:
    world.load("jobs.csv", GOOD)
    world.load("jobs_other.csv", b"9,other\n")
    copy = world.load("jobs copy.csv", GOOD)
    assert (copy.verdict, len(parts(world, copy))) == (Verdict.DUPLICATE, 1)
    aged(world, copy, 1000)
    assert retention(world).clean() == Removed()
    backed_up(world, 900)
    assert (retention(world).clean().loads, parts(world, copy)) == (1, [])


@pytest.mark.usefixtures("known_copies")
def test_loads_without_clean_parquet_are_not_marked(world: World) -> None:
    world.load("jobs.csv", GOOD)
    copy = world.load("jobs copy.csv", GOOD)
    aged(world, copy, 1000)
    backed_up(world, 500)
    assert retention(world).clean() == Removed()
    assert world.ledger(copy.load_id, "clean_parts", "clean_expired_at") == (0, None)


def test_loads_from_before_parts_were_counted_expire_too(world: World) -> None:
    outcome = world.load("jobs.csv", GOOD, part_rows=1, chunk_bytes=1024)
    world.sql("UPDATE ops.loads SET clean_parts = 0, started_at = %s", NOW - 200 * DAY)
    aged(world, outcome, 200)
    migrated(world.database, 150, "migrate_0002%")
    backed_up(world, 100)
    assert retention(world).clean().loads == 1
    assert parts(world, outcome) == []
    assert world.ledger(outcome.load_id, "clean_expired_at") == (NOW,)


def assert_brought_forward(world: World) -> None:
    """Every load that a backup which has not expired may need to be brought forward still has all its parts."""
    needed = world.sql(
        "SELECT load_id, table_name, clean_parts FROM ops.loads WHERE verdict IN ('loaded', 'duplicate') AND NOT EXISTS"
        " (SELECT FROM ops.backups WHERE expired_at IS NULL AND tables ~ ('\\m' || table_name || '\\M')"
        "  HAVING min(taken_at) > loads.finished_at)"
    )
    keys = {clean_key(table, load_id, part) for load_id, table, count in needed for part in range(count)}
    lost = keys - set(world.keys("clean/"))
    assert not lost, f"a backup needs {sorted(lost)}"


class IgnoringBackups(Retention):
    def _needed_since(self) -> dict[str, datetime]:
        return {"jobs": self.now + DAY}


class TakingTheNewest(Retention):
    def _needed_since(self) -> dict[str, datetime]:
        ((taken_at,),) = self.warehouse.query("SELECT max(taken_at) FROM ops.backups WHERE expired_at IS NULL")
        return {"jobs": taken_at + SLACK}


class CountingExpired(Retention):
    def _needed_since(self) -> dict[str, datetime]:
        ((taken_at,),) = self.warehouse.query("SELECT min(taken_at) FROM ops.backups")
        return {"jobs": taken_at + SLACK}


@pytest.mark.parametrize(
    ("kind", "backups"),
    [(IgnoringBackups, []), (IgnoringBackups, [(300, EVERY_TABLE, False)]),
     (TakingTheNewest, [(300, EVERY_TABLE, False), (100, EVERY_TABLE, False)]),
     (CountingExpired, [(100, EVERY_TABLE, True)])],
)  # fmt: skip
def test_a_retention_that_takes_what_a_backup_needs_is_seen(
    spoiled: World, kind: type[Retention], backups: list[Any]
) -> None:
    aged(spoiled, spoiled.load("jobs.csv", GOOD), 200)
    for backup in backups:
        backed_up(spoiled, *backup)
    retention(spoiled).clean()
    assert_brought_forward(spoiled)
    retention(spoiled, kind=kind).clean()
    with pytest.raises(AssertionError, match="a backup needs"):
        assert_brought_forward(spoiled)


# Orphans

NO_LOAD = 4711


def stray_part(world: World) -> str:
    return written(world, clean_key("jobs", NO_LOAD, 0))


def stray_rejects(world: World) -> str:
    return written(world, rejected_key("jobs", NO_LOAD, "raw"))


def failed_try(world: World) -> str:
    arrival = world.put("jobs.csv", GOOD)
    world.loader().fail(arrival, Mode.UPSERT, "S3 did not answer.")
    return written(world, clean_key("jobs", arrival.arrival_id, 0))


def surplus_part(world: World) -> str:
    outcome = world.load("jobs.csv", GOOD)
    return written(world, clean_key("jobs", outcome.load_id, outcome.clean_parts))


def rejects_of_none(world: World) -> str:
    return written(world, rejected_key("jobs", world.load("jobs.csv", GOOD).load_id))


def written(world: World, key: str) -> str:
    world.store.write(key, b"orphan")
    return key


ORPHANS = [stray_part, stray_rejects, failed_try, surplus_part, rejects_of_none]


@pytest.mark.parametrize("plant", ORPHANS)
def test_what_is_of_no_load_goes_once_no_load_can_be_about_to_claim_it(
    world: World, plant: Callable[[World], str]
) -> None:
    key = plant(world)
    others = [one for one in world.keys("") if one != key]
    for act in KINDS.values():
        assert act(retention(world, NOW + ORPHAN_AGE - DAY)) == Removed()
    kind = Retention.clean if key.startswith("clean/") else Retention.rejects
    assert kind(retention(world, AFTER_ORPHANS)) == Removed(orphans=1, bytes=len(b"orphan"))
    assert world.keys("") == others


def test_orphans_go_although_everything_else_is_kept_for_ever(world: World) -> None:
    stray_part(world)
    stray_rejects(world)
    now = retention(world, AFTER_ORPHANS, settings=settings(clean_keep_days="", rejects_keep_days=""))
    assert (now.clean().orphans, now.rejects().orphans) == (1, 1)


@pytest.mark.parametrize("days_after_its_start", [-1, SLACK / DAY / 2])
def test_parts_are_kept_of_a_load_from_before_they_were_counted(world: World, days_after_its_start: float) -> None:
    outcome = world.load("jobs.csv", GOOD)
    world.sql("UPDATE ops.loads SET clean_parts = 0")
    migrated(world.database, days_after_its_start, "migrate_0002%")
    assert retention(world, AFTER_ORPHANS).clean() == Removed()
    assert len(parts(world, outcome)) == 1
    migrated(world.database, 10, "migrate_0002%")
    assert retention(world, AFTER_ORPHANS).clean().orphans == 1


def test_a_try_that_failed_before_parts_were_counted_is_no_load_either(world: World) -> None:
    key = failed_try(world)
    migrated(world.database, -1, "migrate_0002%")
    assert retention(world, AFTER_ORPHANS).clean().orphans == 1
    assert key not in world.keys("clean/")


def test_a_new_ledger_takes_nothing_that_another_may_have_known(world: World) -> None:
    """As after the loss of a warehouse: the clean parquet in S3 is what its successor is filled from."""
    keys = [stray_part(world), stray_rejects(world)]
    migrated(world.database, 0)
    now = retention(world, AFTER_ORPHANS)
    assert (now.clean(), now.rejects()) == (Removed(), Removed())
    late = retention(world, NOW + 1000 * DAY)
    assert (late.clean(), late.rejects().orphans) == (Removed(), 1)
    assert world.keys("") == keys[:1]


def test_files_of_others_are_left_alone(world: World) -> None:
    theirs = "clean/jobs/README.txt", "clean/jobs/x/part-00000.parquet", "rejected/jobs/jobs_rejected_x.csv"
    for key in (*theirs, "clean/notes/1/part-00000.parquet", "rejected/jobs/1/note.csv", "other/quarantine/1-x.csv"):
        written(world, key)
    before = everything(world)
    assert [act(retention(world, NOW + 9000 * DAY)) for act in KINDS.values()] == [Removed()] * len(KINDS)
    assert everything(world) == before


# Rejected rows


def test_rejected_rows_go_with_their_files_and_the_ledger_keeps_their_counts(world: World) -> None:
    old, young = world.load("jobs.csv", SOME_BAD), world.load("jobs_2.csv", b"2,b\ny,bad\n")
    refused, none = world.load("jobs_3.csv", b"z,bad\n"), world.load("jobs_4.csv", b"7,c\n")
    for outcome in (old, refused, none):
        aged(world, outcome, 91)
    sizes = sum(one.size for one in world.store.list("rejected/")) - len(world.read(*rejects_files(world, young)))
    removed = retention(world).rejects()
    assert removed == Removed(loads=2, rows=3, objects=3, bytes=sizes)
    for outcome in (old, refused):
        assert (rejects_files(world, outcome), world.rejected(outcome.load_id)) == ([], [])
        counts = outcome.counts.read, outcome.counts.rejected
        assert world.ledger(outcome.load_id, "rejects_expired_at", "rows_read", "rows_rejected") == (NOW, *counts)
    assert (len(rejects_files(world, young)), len(world.rejected(young.load_id))) == (1, 1)
    for outcome in (young, none):
        assert world.ledger(outcome.load_id, "rejects_expired_at") == (None,)


def test_the_rejected_rows_of_a_copy_expire_on_their_own(world: World) -> None:
    first, copy = world.load("jobs.csv", SOME_BAD), world.load("jobs copy.csv", SOME_BAD)
    assert (copy.verdict, copy.duplicate_of) == (Verdict.DUPLICATE, first.load_id)
    aged(world, first, 91)
    assert retention(world).rejects().loads == 1
    assert (world.rejected(first.load_id), len(world.rejected(copy.load_id))) == ([], 2)
    assert (rejects_files(world, first), len(rejects_files(world, copy))) == ([], 2)
    aged(world, copy, 91)
    assert retention(world).rejects().loads == 1
    assert (world.rejected(copy.load_id), rejects_files(world, copy)) == ([], [])


@pytest.fixture
def known_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies are known by evidence, as those of large files are, though loads were made older by hand."""
    monkeypatch.setattr(load, "FEW_ROWS", 0)
    monkeypatch.setattr(load, "all_there", lambda *_: True)


def assert_copied_right(world: World) -> None:
    """One more copy of the file says duplicate, and has its rejected rows."""
    copy = world.load("jobs again.csv", SOME_BAD)
    assert (copy.verdict, copy.counts.read, copy.counts.rejected) == (Verdict.DUPLICATE, 3, 2)
    assert [raw for _, raw, _ in world.rejected(copy.load_id)] == [b"x,bad", b"ragged"]
    assert len(rejects_files(world, copy)) == 2


@pytest.mark.usefixtures("known_copies")
def test_a_copy_of_a_file_whose_rejected_rows_have_expired_loads_right(world: World) -> None:
    aged(world, world.load("jobs.csv", SOME_BAD), 91)
    retention(world).rejects()
    assert_copied_right(world)


@pytest.mark.usefixtures("known_copies")
def test_a_copy_loads_right_between_the_files_end_and_that_of_the_rows(world: World) -> None:
    outcome = world.load("jobs.csv", SOME_BAD)
    aged(world, outcome, 91)
    with world.connected(Unwilling) as unwilling, pytest.raises(TransientFault):
        replace(retention(world), warehouse=unwilling).rejects()
    assert (rejects_files(world, outcome), len(world.rejected(outcome.load_id))) == ([], 2)
    assert_copied_right(world)
    assert retention(world).rejects() == Removed(loads=1, rows=2)


class RowsFirst(Retention):
    def _sweep(self, prefix: str, *rest: Any) -> Removed:
        self._forget_rows("jobs", rest[2], rest[3])
        return super()._sweep(prefix, *rest)


@pytest.mark.usefixtures("known_copies")
def test_a_retention_that_removes_rows_before_their_files_is_seen(spoiled: World) -> None:
    aged(spoiled, spoiled.load("jobs.csv", SOME_BAD), 91)
    with pytest.raises(TransientFault):
        replace(retention(spoiled, kind=RowsFirst), store=refusing(spoiled)).rejects()
    with pytest.raises(BalanceError):
        assert_copied_right(spoiled)


class Waiting(PostgresWarehouse):
    """A warehouse that lets a copy wait between its look at the file of rejects and at the rows."""

    saw_the_file: Event
    go_on: Event

    def rejects_of(self, load_id: int, at_once: int = 2000) -> Iterator[tuple[int, str, bytes]]:
        self.saw_the_file.set()
        assert self.go_on.wait(20)
        return super().rejects_of(load_id, at_once)


class Impatient(Retention):
    def _let_copies_end(self, table: str) -> None:
        pass


def copied_meanwhile(world: World, kind: type[Retention]) -> tuple[Outcome, Removed]:
    """A copy that has seen its first load's file, and a retention that takes file and rows while it waits."""
    aged(world, world.load("jobs.csv", SOME_BAD), 91)
    arrival = world.put("jobs copy.csv", SOME_BAD)
    with ThreadPoolExecutor(2) as pool, world.connected(Waiting) as waiting, world.connected() as other:
        waiting.saw_the_file, waiting.go_on = Event(), Event()
        copy = pool.submit(world.loader(warehouse=waiting).load, arrival)
        assert waiting.saw_the_file.wait(20)
        expiry = pool.submit(replace(retention(world, kind=kind), warehouse=other).rejects)
        with suppress(TimeoutError):
            expiry.result(timeout=1)
        waiting.go_on.set()
        return copy.result(20), expiry.result(20)


@pytest.mark.usefixtures("known_copies")
def test_a_copy_that_has_seen_the_file_finds_the_rows(world: World) -> None:
    copy, removed = copied_meanwhile(world, Retention)
    assert (copy.verdict, copy.counts.rejected, len(world.rejected(copy.load_id))) == (Verdict.DUPLICATE, 2, 2)
    assert (removed.loads, removed.rows) == (1, 2)


@pytest.mark.usefixtures("known_copies")
def test_a_retention_that_does_not_wait_for_copies_is_seen(spoiled: World) -> None:
    with pytest.raises(BalanceError):
        copied_meanwhile(spoiled, Impatient)


# What breaks off is finished by the next run, and a run that finds nothing changes nothing


def quarantined(world: World, name: str) -> tuple[str, str]:
    """A refused file and its note, where the ingestion puts them."""
    key = quarantine_key(replace(world.put(name, b"x"), last_modified=NOW), NO_LOAD)
    return written(world, f"{key}.json"), written(world, key)


@pytest.fixture
def crowded(world: World) -> World:
    """Something of every kind that is over, among much that is not."""
    with_rejects = [world.load(f"jobs_{number}.csv", SOME_BAD + b"%d,more\n" % number) for number in range(10, 14)]
    for outcome in with_rejects[:3]:
        aged(world, outcome, 200)
    backed_up(world, 100)
    world.load("departments.csv", SOME_BAD)
    stray_part(world)
    stray_rejects(world)
    quarantined(world, "notes.txt")
    gone, held = world.put("jobs_gone.csv", GOOD), world.put("jobs_held.csv", GOOD)
    for arrival in (gone, held):
        Holds(world.warehouse, load_settings({})).put(arrival, "S3 did not answer.")
    world.store.remove([gone.key])
    return world


MUCH_LATER = NOW + 89 * DAY
"""Orphans are old then, and what was loaded today is not; quarantined files are when they are kept for less."""


def run_all(world: World, dry_run: bool = False) -> dict[str, Removed]:
    keep = settings(quarantine_keep_days=80)
    now = retention(world, MUCH_LATER, settings=keep, dry_run=dry_run)
    return {name: act(now) for name, act in KINDS.items()}


def test_a_dry_run_counts_what_a_run_removes_and_a_second_run_changes_nothing(crowded: World) -> None:
    before = everything(crowded)
    counted = run_all(crowded, dry_run=True)
    assert everything(crowded) == before
    done = run_all(crowded)
    assert done == counted
    assert {name: astuple(removed)[:4] for name, removed in done.items()} == {
        "clean": (3, 0, 3, 1), "rejects": (3, 6, 6, 1), "quarantine": (0, 0, 2, 0), "holds": (0, 1, 0, 0)
    }  # fmt: skip
    after = everything(crowded)
    assert set(run_all(crowded).values()) == {Removed()}
    assert everything(crowded) == after


BROKEN = {
    "S3 busy": ({"code": "SlowDown"}, TransientFault),
    "S3 refusing": ({"code": "AccessDenied"}, TerminalFault),
    "S3 busy with some objects": ({"code": "InternalError", "in_the_answer": True}, TransientFault),
    "S3 refusing some objects": ({"code": "AccessDenied", "in_the_answer": True}, TerminalFault),
}


@pytest.mark.parametrize("kind", ["clean", "rejects"])
@pytest.mark.parametrize(("how", "fault"), BROKEN.values(), ids=BROKEN)
def test_nothing_is_marked_while_an_object_may_be_left(
    crowded: World, kind: str, how: dict[str, Any], fault: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamart.retention._PAGE", 2)
    before = crowded.snapshot()
    with pytest.raises(fault, match=r"S3"):
        KINDS[kind](replace(retention(crowded, MUCH_LATER), store=refusing(crowded, after=1, **how)))
    assert crowded.snapshot() == before
    run_all(crowded)
    assert_as_if_nothing_had_broken_off(crowded)


@pytest.mark.parametrize("kind", ["clean", "rejects"])
def test_files_that_are_gone_are_marked_by_the_next_run(crowded: World, kind: str) -> None:
    with crowded.connected(Unwilling) as unwilling, pytest.raises(TransientFault):
        KINDS[kind](replace(retention(crowded, MUCH_LATER), warehouse=unwilling))
    assert crowded.sql("SELECT 1 FROM ops.loads WHERE clean_expired_at IS NOT NULL") == []
    assert crowded.sql("SELECT 1 FROM ops.loads WHERE rejects_expired_at IS NOT NULL") == []
    run_all(crowded)
    assert_as_if_nothing_had_broken_off(crowded)


def assert_as_if_nothing_had_broken_off(world: World) -> None:
    """As the run leaves it that nothing has disturbed."""
    expired = world.sql("SELECT count(clean_expired_at), count(rejects_expired_at), sum(rows_rejected) FROM ops.loads"
                        " WHERE finished_at < %s", NOW - DAY)  # fmt: skip
    assert expired == [(3, 3, 6)]
    (kept,) = world.sql("SELECT count(*), count(DISTINCT load_id) FROM ops.rejected_rows")
    assert kept == (4, 2)
    assert (len(world.keys("clean/")), len(world.keys("rejected/")), world.keys("quarantine/")) == (2, 4, [])


def test_many_pages(world: World) -> None:
    """Objects of loads that stay lie between orphans: each page is judged by itself."""
    stay = [world.load(f"jobs_{number}.csv", b"%d,a\n" % number) for number in range(5)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: written(world, clean_key("jobs", number * 10**15, 0)), range(1, 2201)))
    assert retention(world, AFTER_ORPHANS, dry_run=True).clean().orphans == 2200
    assert retention(world, AFTER_ORPHANS).clean() == Removed(orphans=2200, bytes=2200 * len(b"orphan"))
    assert world.keys("clean/") == sorted(clean_key("jobs", outcome.load_id, 0) for outcome in stay)


# Quarantine and holds


def test_refused_files_go_when_their_time_is_over_and_their_notes_a_day_later(world: World) -> None:
    note, file = quarantined(world, "notes.txt")
    assert retention(world, NOW + 89 * DAY).quarantine() == Removed()
    assert world.keys("quarantine/") == sorted([file, note])
    assert retention(world, NOW + 90.5 * DAY).quarantine() == Removed(objects=1, bytes=len(b"orphan"))
    assert world.keys("quarantine/") == [note]
    assert retention(world, NOW + 91.5 * DAY).quarantine().objects == 1
    assert world.keys("quarantine/") == []


def test_holds_end_when_their_file_is_gone_or_has_been_replaced(world: World) -> None:
    stays, gone, replaced = (world.put(name, GOOD) for name in ("jobs_1.csv", "jobs_2.csv", "jobs_3.csv"))
    holds = Holds(world.warehouse, load_settings({}))
    for arrival in (stays, gone, replaced):
        holds.put(arrival, "S3 did not answer.")
    assert retention(world).holds() == Removed()
    world.store.remove([gone.key])
    world.put_later("jobs_3.csv", b"1,other\n", replaced)
    assert retention(world, dry_run=True).holds() == Removed(rows=2)
    assert len(holds.all()) == 3
    assert retention(world).holds() == Removed(rows=2)
    assert set(holds.all()) == {stays.arrival_id}


def test_what_a_process_that_was_ended_left_on_its_way_goes_after_a_day(
    world: World, object_store: ObjectStore
) -> None:
    object_store.write("exchange/ended/part-00000.parquet", b"left")
    assert retained(world, object_store, NOW + SLACK - DAY / 24) == Removed()
    assert object_store.list("exchange/")
    assert retained(world, object_store, NOW + SLACK + DAY) == Removed(orphans=1, bytes=4)
    assert not object_store.list("exchange/")


def retained(world: World, store: ObjectStore, now: datetime) -> Removed:
    """What is cleaned at that time."""
    return Retention(world.warehouse, store, load_settings({}), now).clean()
