"""Backups, restores, undos, drills and any moment, on every dialect."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from datamart.errors import BackupDamaged, ChangeRefused
from datamart.retention import Retention
from datamart.settings import load_settings
from tests.integration.vault import Vault

HIRES = (
    b"1,Ann,2021-01-01T00:00:00Z,1,1\n"
    b'2,"O\'Hara, ""Bo""\\ and\nline",2021-12-31T23:59:59Z,2,2\n'
    b"3,\xc3\x84\xf0\x9f\x98\x80 ,0001-01-01T00:00:00Z,3,1\n"
    b"4, x ,9999-12-31T23:59:59Z,1,2\n"
    b"5,last,9999-12-31T23:59:59Z,9,9\n"
)
Row = tuple[Any, ...]


def filled(vault: Vault) -> None:
    """Tables with two loads each."""
    world = vault.world
    world.load("departments.csv", b"1,a\n2,b\n")
    world.load("jobs.csv", b"1,a\n2,b\n3,c\n")
    world.load("jobs_2.csv", b"2,B\n4,d\n")
    world.load("hired_employees.csv", HIRES)


def history(vault: Vault, table: str = "jobs") -> list[Row]:
    """What has been replaced or removed."""
    return vault.world.sql(f"SELECT id, _load_id, _replaced_seq FROM ops.{table}_history ORDER BY id, _replaced_seq")


def test_a_backup_holds_every_row_with_its_load(vault: Vault) -> None:
    filled(vault)
    manifest = vault.backup()
    for table in ("departments", "jobs", "hired_employees"):
        assert vault.held(manifest, table) == vault.table(table)
    assert vault.world.sql("SELECT backup_id, kind FROM ops.backups") == [(manifest.backup_id, "taken")]
    assert manifest.tables["jobs"].commit_seq == 2


def test_an_empty_table_is_backed_up_and_comes_back_empty(vault: Vault) -> None:
    manifest = vault.backup("jobs")
    vault.world.load("jobs.csv", b"1,a\n")
    vault.restore("jobs", backup_id=manifest.backup_id)
    assert vault.table("jobs") == []


@pytest.mark.parametrize("table", ["jobs", "hired_employees"])
def test_a_restore_brings_back_what_was_changed_by_others_and_nothing_else(vault: Vault, table: str) -> None:
    filled(vault)
    before, past = vault.table(table), history(vault, table)
    manifest = vault.backup()
    name = {"jobs": "job", "hired_employees": "name"}[table]
    vault.world.sql(f"UPDATE public.{table} SET {name} = 'spoiled' WHERE id = 1")
    vault.world.sql(f"DELETE FROM public.{table} WHERE id = 2")
    vault.world.sql(f"INSERT INTO public.{table} SELECT * FROM public.{table} WHERE 1 = 0")
    told = vault.restore(table, backup_id=manifest.backup_id, dry_run=True)
    change = vault.restore(table, backup_id=manifest.backup_id)
    assert (told.added, told.changed, told.removed) == (change.added, change.changed, change.removed) == (1, 1, 0)
    assert vault.table(table) == before
    assert len(history(vault, table)) == len(past) + 1


def test_a_restore_of_what_is_there_changes_nothing(vault: Vault) -> None:
    filled(vault)
    manifest = vault.backup()
    assert not vault.restore("jobs", backup_id=manifest.backup_id).any
    done = vault.world.sql("SELECT table_name, rows_added + rows_changed + rows_removed FROM ops.restores")
    assert done == [("jobs", 0)]


def test_a_restore_takes_later_loads_back_and_their_files_count_as_new(vault: Vault) -> None:
    filled(vault)
    before = vault.table("jobs")
    manifest = vault.backup("jobs")
    later = vault.world.put("jobs_3.csv", b"1,z\n9,y\n")
    vault.world.judge(later)
    change = vault.restore("jobs", backup_id=manifest.backup_id)
    assert (vault.table("jobs"), change.changed, change.removed) == (before, 1, 1)
    assert vault.world.judge(later).counts.changed


def test_a_damaged_backup_touches_nothing(vault: Vault) -> None:
    filled(vault)
    manifest = vault.backup("jobs")
    part = manifest.tables["jobs"].parts[0].key
    body = vault.body(part)
    vault.corrupt(part, body[:-20] + bytes(20))
    vault.world.sql("DELETE FROM public.jobs WHERE id = 1")
    before = vault.table("jobs")
    with pytest.raises(BackupDamaged):
        vault.restore("jobs", backup_id=manifest.backup_id)
    assert vault.table("jobs") == before


def test_another_table_can_be_made_of_a_backup(vault: Vault) -> None:
    filled(vault)
    manifest = vault.backup("jobs")
    try:
        change = vault.restore("jobs", backup_id=manifest.backup_id, into="jobs_then")
        assert change.rows == 4
        found = vault.world.sql("SELECT id, job, _load_id FROM public.jobs_then ORDER BY id")
        assert found == vault.table("jobs")
    finally:
        vault.world.sql("DROP TABLE IF EXISTS public.jobs_then")


def test_an_undo_brings_back_what_a_load_replaced(vault: Vault) -> None:
    world = vault.world
    world.load("jobs.csv", b"1,a\n2,b\n")
    before = vault.table("jobs")
    arrival = world.put("jobs_2.csv", b"2,B\n3,c\n")
    wrong = world.judge(arrival)
    told = vault.undo(wrong.load_id, dry_run=True)
    change = vault.undo(wrong.load_id)
    assert (told.changed, told.removed) == (change.changed, change.removed) == (1, 1)
    assert vault.table("jobs") == before
    assert world.judge(arrival).counts.changed


def test_an_undo_is_refused_when_later_loads_touched_its_rows(vault: Vault) -> None:
    world = vault.world
    wrong = world.load("jobs.csv", b"1,a\n2,b\n")
    world.load("jobs_2.csv", b"2,B\n")
    before = vault.table("jobs")
    with pytest.raises(ChangeRefused, match="jobs_2"):
        vault.undo(wrong.load_id)
    assert vault.table("jobs") == before
    vault.undo(wrong.load_id, keep_later=True)
    assert [row[:2] for row in vault.table("jobs")] == [(2, "B")]


def test_a_drill_proves_a_backup_and_leaves_no_scratch(vault: Vault) -> None:
    filled(vault)
    vault.backup()
    evidence = vault.drill()
    assert (evidence["passed"], evidence["tables"]["hired_employees"]["rows"]) == (True, 5)
    assert vault.world.sql("SELECT passed FROM ops.drills") == [(True,)]
    left = "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'drill%'"
    assert vault.world.warehouse.query(left) == []
    assert vault.world.sql("SELECT COUNT(*) FROM ops.backups WHERE proven_at IS NOT NULL") == [(1,)]


def test_files_of_another_writer_are_adopted_and_restored(vault: Vault) -> None:
    filled(vault)
    manifest = vault.backup("jobs")
    vault.store.write("old/jobs/part.avro", vault.body(manifest.tables["jobs"].parts[0].key))
    adopted = vault.adopt("old")
    vault.world.sql("DELETE FROM public.jobs WHERE id IN (1, 3)")
    assert vault.restore("jobs", backup_id=adopted.backup_id).added == 2
    assert [row[:2] for row in vault.table("jobs")] == [(1, "a"), (2, "B"), (3, "c"), (4, "d")]


@pytest.mark.parametrize("seed", [1, 2])
def test_every_moment_after_a_backup_can_be_reached(vault: Vault, seed: int) -> None:
    chance, world = random.Random(seed), vault.world
    world.load("jobs.csv", b"1,a\n2,b\n3,c\n4,d\n")
    vault.backup("jobs")
    moments: list[tuple[datetime, list[Row]]] = []
    loads: list[int] = []

    def keep() -> None:
        moments.append((vault.now(), vault.table("jobs")))

    keep()
    for step in range(8):
        action = chance.choice(("upsert", "upsert", "replace", "undo", "restore"))
        keys = chance.sample(range(1, 9), 3)
        body = "".join(f"{key},s{step}-{chance.randrange(2)}\n" for key in keys).encode()
        if action == "replace":
            world.replace("jobs", world.put(f"jobs_{step}.csv", body))
        elif action == "undo" and loads:
            vault.undo(loads.pop(), keep_later=True)
        elif action == "restore":
            vault.restore("jobs", at=chance.choice(moments)[0])
        else:
            loads.append(world.load(f"jobs_{step}.csv", body).load_id)
        keep()
    for at, rows in chance.sample(moments, len(moments)):
        change = vault.restore("jobs", at=at)
        assert (vault.table("jobs"), change.notes) == (rows, ())


def test_expired_files_and_rows_are_removed_and_counted(vault: Vault) -> None:
    world = vault.world
    outcome = world.load("jobs.csv", b"1,a\nx,b\ny,c\n")
    later = datetime.now(UTC) + timedelta(days=400)
    retention = Retention(world.warehouse, world.store, load_settings({}), later)
    assert retention.rejects().rows == 2
    assert list(world.warehouse.rejects_of(outcome.load_id)) == []
    assert world.ledger(outcome.load_id, "rows_rejected", "rejects_expired_at IS NULL") == (2, False)
    assert retention.clean().loads == 0, "no backup holds the rows, so their files stay"
