"""Backups whose time is over go, and nothing that a moment within the time of keeping, or a proof, still needs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from datamart.errors import ChangeRefused, ConfigurationError
from datamart.objects import ObjectStore
from datamart.recovery.expiry import ORPHAN_AGE, Expiry, Removed
from datamart.recovery.manifest import ADOPTED, Manifest, manifest_key, new_id
from datamart.recovery.parts import part_key
from datamart.retention import Retention
from tests.integration.test_restore_fitting import avro, pairs
from tests.integration.vault import NAMES, Vault
from tests.integration.world import Row

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
JOBS = b"1,a\n2,b\n"


def expire(vault: Vault, now: datetime = NOW, *, dry_run: bool = False, **settings: Any) -> Removed:
    return Expiry(vault.world.warehouse, vault.store, vault.settings(**settings), now, dry_run).run()


def aged(vault: Vault, manifest: Manifest, days: float) -> Manifest:
    """The backup as if it had been taken in the past, under an id of then."""
    taken_at = NOW - days * DAY
    old_id, backup_id = manifest.backup_id, new_id(taken_at)
    tables = {}
    for name, table in manifest.tables.items():
        parts = []
        for number, part in enumerate(table.parts):
            key = part_key(backup_id, name, number)
            vault.corrupt(key, vault.body(part.key))
            parts.append(replace(part, key=key))
        tables[name] = replace(table, parts=tuple(parts))
    told = replace(manifest, backup_id=backup_id, taken_at=taken_at, finished_at=taken_at, tables=tables)
    vault.store.write_once(manifest_key(backup_id), told.encoded())
    vault.store.remove(
        [manifest_key(old_id), *(part.key for table in manifest.tables.values() for part in table.parts)]
    )
    vault.world.sql(
        "UPDATE ops.backups SET backup_id = %s, manifest_key = %s, taken_at = %s, finished_at = %s"
        " WHERE backup_id = %s",
        backup_id, manifest_key(backup_id), taken_at, taken_at, old_id,
    )  # fmt: skip
    return told


def taken(vault: Vault, days: float, *tables: str) -> str:
    return aged(vault, vault.backup(*(tables or NAMES)), days).backup_id


def prove(vault: Vault, *backup_ids: str) -> None:
    for backup_id in backup_ids:
        vault.world.sql("UPDATE ops.backups SET proven_at = now() WHERE backup_id = %s", backup_id)


def expired(vault: Vault) -> set[str]:
    return {one for (one,) in vault.world.sql("SELECT backup_id FROM ops.backups WHERE expired_at IS NOT NULL")}


def assert_agree(vault: Vault) -> None:
    """The ledger knows of exactly those backups that are there, and nothing is left of the others."""
    known = {one for (one,) in vault.world.sql("SELECT backup_id FROM ops.backups WHERE expired_at IS NULL")}
    there = set(vault.catalogue.ids)
    assert known == there, f"the ledger has {known}, the bucket {there}"
    named = {part.key for one in vault.catalogue.all() for table in one.tables.values() for part in table.parts}
    lying = {one.key for one in vault.store.walk("")}
    assert named <= lying, f"parts are missing: {named - lying}"


def test_age_and_number(vault: Vault) -> None:
    ids = [taken(vault, days) for days in (1, 5, 9, 12, 20)]
    removed = expire(vault, backup_keep_days=10, backup_keep_count=1)
    # The newest of those before the time of keeping is where its oldest moment is reached from.
    assert set(vault.catalogue.ids) == set(ids[:4])
    assert (removed.backups, removed.objects, removed.orphans) == (1, 4, 0)
    assert expired(vault) == {ids[4]}
    assert_agree(vault)


def test_so_many_of_the_newest_stay_however_old(vault: Vault) -> None:
    ids = [taken(vault, days) for days in (100, 110, 120, 130, 140)]
    expire(vault, backup_keep_days=10, backup_keep_count=3)
    assert set(vault.catalogue.ids) == set(ids[:3])
    assert_agree(vault)


def test_the_newest_that_was_proven_stays(vault: Vault) -> None:
    ids = [taken(vault, days) for days in (1, 20, 30, 40, 50)]
    prove(vault, ids[3], ids[4])
    expire(vault, backup_keep_days=10, backup_keep_count=1)
    assert set(vault.catalogue.ids) == {ids[0], ids[1], ids[3]}


def test_each_table_has_its_own(vault: Vault) -> None:
    only_jobs = [taken(vault, days, "jobs") for days in (1, 20, 21)]
    only_departments = [taken(vault, days, "departments") for days in (60, 70)]
    whole = [taken(vault, days) for days in (80, 90, 100)]
    prove(vault, whole[2])
    expire(vault, backup_keep_days=10, backup_keep_count=1)
    assert set(vault.catalogue.ids) == {*only_jobs[:2], only_departments[0], whole[0], whole[2]}
    assert_agree(vault)


def test_an_empty_time_keeps_all(vault: Vault) -> None:
    ids = [taken(vault, days) for days in (1000, 2000)]
    assert expire(vault, backup_keep_days="", backup_keep_count=1) == Removed()
    assert len(vault.catalogue.ids) == len(ids)


def test_a_dry_run_counts_and_removes_nothing(vault: Vault) -> None:
    for days in (1, 20, 30, 40):
        taken(vault, days)
    before, ledger = vault.keys(), vault.world.sql("SELECT b::text FROM ops.backups AS b ORDER BY 1")
    shown = expire(vault, dry_run=True, backup_keep_days=10, backup_keep_count=1)
    assert (vault.keys(), vault.world.sql("SELECT b::text FROM ops.backups AS b ORDER BY 1")) == (before, ledger)
    assert expire(vault, backup_keep_days=10, backup_keep_count=1) == shown
    assert shown.backups == 2
    assert expire(vault, backup_keep_days=10, backup_keep_count=1) == Removed()


def test_adopted_ones_never_go_and_do_not_keep_others_from_staying(vault: Vault) -> None:
    vault.corrupt("old system/jobs.avro", avro(pairs(1, 2)))
    adopted = vault.adopt("old system")
    assert adopted.kind == ADOPTED
    ids = [taken(vault, days, "jobs") for days in (20, 30, 40)]
    expire(vault, NOW + 4000 * DAY, backup_keep_days=10, backup_keep_count=1)
    assert set(vault.catalogue.ids) == {adopted.backup_id, ids[0]}
    vault.restore("jobs", backup_id=adopted.backup_id)


def test_files_of_ours_that_were_adopted_are_no_orphans(vault: Vault) -> None:
    """The manifest was lost, so somebody adopted the parts: they are of a backup again."""
    vault.world.load("jobs.csv", JOBS)
    manifest = vault.backup("jobs")
    vault.store.remove([manifest_key(manifest.backup_id)])
    adopted = vault.adopt(manifest.backup_id)
    vault.backup("jobs")
    expire(vault, NOW + ORPHAN_AGE + DAY)
    vault.restore("jobs", backup_id=adopted.backup_id)


def test_files_of_a_backup_that_were_adopted_outlive_it(vault: Vault) -> None:
    vault.world.load("jobs.csv", JOBS)
    manifest = vault.backup("jobs")
    adopted = vault.adopt(manifest.backup_id)
    for _ in range(2):
        vault.backup("jobs")
    expire(vault, NOW + 400 * DAY, backup_keep_days=10, backup_keep_count=1)
    vault.restore("jobs", backup_id=adopted.backup_id)


def test_what_a_killed_backup_left_goes_when_it_is_old(vault: Vault) -> None:
    vault.world.load("jobs.csv", JOBS)
    killed = vault.backup()
    vault.store.remove([manifest_key(killed.backup_id)])
    vault.world.sql("DELETE FROM ops.backups")
    whole = vault.backup()
    vault.corrupt("somebody's/notes.txt", b"")
    vault.corrupt("20260101T000000Z/jobs.avro", b"")
    assert expire(vault, NOW + ORPHAN_AGE - DAY) == Removed()
    assert expire(vault, NOW + ORPHAN_AGE + DAY, dry_run=True).orphans == 3
    assert expire(vault, NOW + ORPHAN_AGE + DAY) == Removed(orphans=3)
    assert not vault.keys(killed.backup_id)
    assert len(vault.keys(whole.backup_id)) == 4
    assert {"somebody's/notes.txt", "20260101T000000Z/jobs.avro"} <= set(vault.keys())


def test_a_removal_that_breaks_off_is_finished_by_the_next(vault: Vault) -> None:
    ids = [taken(vault, days) for days in (1, 20, 30)]

    class Failing:
        def __init__(self, client: Any) -> None:
            self._client, self.left = client, 2

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        def delete_object(self, **request: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return self._client.delete_object(**request)

    store = replace(vault.store, client=Failing(vault.store.client))
    kept = vault.settings(backup_keep_days=10, backup_keep_count=1)
    with pytest.raises(KeyboardInterrupt):
        Expiry(vault.world.warehouse, store, kept, NOW).run()
    assert ids[2] not in vault.catalogue.ids
    assert len(vault.keys(ids[2])) == 2
    expire(vault, NOW + ORPHAN_AGE + DAY, backup_keep_days=10, backup_keep_count=1)
    assert vault.keys(ids[2]) == []
    assert expired(vault) == {ids[2]}
    assert_agree(vault)


# Ledger and bucket


def test_a_backup_whose_manifest_somebody_removed_is_over(vault: Vault) -> None:
    manifest = vault.backup()
    vault.store.remove([manifest_key(manifest.backup_id)])
    expire(vault)
    assert expired(vault) == {manifest.backup_id}
    assert_agree(vault)


def test_backups_that_a_lost_ledger_knew_are_noted_anew(vault: Vault) -> None:
    ids = {vault.backup("jobs").backup_id, vault.backup().backup_id}
    vault.world.database.empty()
    expire(vault)
    assert {one for (one,) in vault.world.sql("SELECT backup_id FROM ops.backups")} == ids
    assert_agree(vault)


def test_a_backup_that_is_there_again_is_not_over(vault: Vault) -> None:
    """Its manifest was put back, or the bucket's name was wrong for a day: it needs its clean parquet again."""
    manifest = vault.backup()
    key = manifest_key(manifest.backup_id)
    body = vault.body(key)
    vault.store.remove([key])
    expire(vault)
    vault.corrupt(key, body)
    expire(vault)
    assert_agree(vault)


def test_a_damaged_manifest_does_not_make_a_backup_over(vault: Vault) -> None:
    vault.world.load("jobs.csv", JOBS)
    manifest = vault.backup()
    vault.corrupt(manifest_key(manifest.backup_id), b"{}")
    vault.backup()
    assert expire(vault, NOW + ORPHAN_AGE + DAY) == Removed()
    assert expired(vault) == set()
    assert len(vault.keys(manifest.backup_id)) == 4


# With clean parquet


def cleaned(vault: Vault, now: datetime, **settings: Any) -> Any:
    return Retention(vault.world.warehouse, vault.world.store, vault.settings(**settings), now).clean()


@pytest.fixture
def old_ledger(vault: Vault) -> Any:
    """A ledger that is older than everything in the bucket."""
    (before,) = vault.world.sql("SELECT min(applied_at) FROM ops.migrations")[0]
    shift = "UPDATE ops.migrations SET applied_at = applied_at + %s"
    vault.world.sql(shift, NOW - 1000 * DAY - before)
    yield
    vault.world.sql(shift, before - NOW + 1000 * DAY)


@pytest.mark.usefixtures("old_ledger")
def test_moments_stay_reachable_for_as_long_as_their_backup_is_kept(vault: Vault) -> None:
    """Loads, restores and undos after it keep their clean rows, whatever their own time of keeping is; then they go."""
    world, kept = vault.world, list[tuple[datetime, list[Row]]]()
    oldest = vault.backup("jobs")
    world.load("jobs.csv", JOBS)
    kept.append((vault.now(), vault.table("jobs")))
    undone = world.load("jobs_2.csv", b"2,c\n3,c\n")
    vault.undo(undone.load_id)
    kept.append((vault.now(), vault.table("jobs")))
    vault.restore("jobs", backup_id=oldest.backup_id)
    world.load("jobs_3.csv", b"7,x\n")
    vault.restore("jobs", at=kept[0][0])
    kept.append((vault.now(), vault.table("jobs")))
    before = world.keys("clean/jobs/")
    far = NOW + 300 * DAY
    expire(vault, far, backup_keep_days=10, backup_keep_count=1)
    cleaned(vault, far, clean_keep_days=1)
    own = {f"clean/jobs/{one}/" for (one,) in world.sql(
        "SELECT load_id FROM ops.loads UNION ALL SELECT restore_id FROM ops.restores")}  # fmt: skip
    assert [key for key in before if key.rpartition("/")[0] + "/" in own] == [
        key for key in world.keys("clean/jobs/") if key.rpartition("/")[0] + "/" in own
    ]
    for at, rows in kept:
        vault.restore("jobs", at=at)
        assert vault.table("jobs") == rows
    later = vault.backup("jobs")
    vault.world.sql("UPDATE ops.backups SET taken_at = %s WHERE backup_id = %s", NOW + 50 * DAY, later.backup_id)
    vault.world.sql("UPDATE ops.backups SET expired_at = now() WHERE backup_id = %s", oldest.backup_id)
    vault.store.remove([manifest_key(oldest.backup_id)])
    cleaned(vault, far, clean_keep_days=1)
    assert not [key for key in world.keys("clean/jobs/") if key.rpartition("/")[0] + "/" in own]
    assert world.sql("SELECT count(*) FROM ops.restores WHERE clean_expired_at IS NULL AND clean_parts > 0") == [(0,)]
    with pytest.raises((ChangeRefused, ConfigurationError)):
        vault.restore("jobs", at=kept[0][0])


@pytest.mark.usefixtures("old_ledger")
def test_an_undo_beside_expired_clean_rows_says_so(vault: Vault) -> None:
    load = vault.world.load("jobs.csv", JOBS)
    vault.world.load("jobs_2.csv", b"1,a\n9,z\n")
    cleaned(vault, NOW + 300 * DAY, clean_keep_days=1, backup_keep_days="")
    vault.world.sql(
        "INSERT INTO ops.backups (backup_id, manifest_key, taken_at, finished_at, tables, rows_total, bytes_total)"
        " VALUES ('x', 'x', %s, now(), 'jobs', 0, 0)",
        NOW + 200 * DAY,
    )
    cleaned(vault, NOW + 300 * DAY, clean_keep_days=1)
    assert vault.world.keys("clean/jobs/") == [] or not [
        key for key in vault.world.keys("clean/jobs/") if str(load.load_id) in key
    ]
    with vault.untouched(), pytest.raises(ChangeRefused, match="its clean files are gone"):
        vault.undo(load.load_id)


@pytest.mark.usefixtures("old_ledger")
def test_clean_rows_of_a_restore_that_was_rolled_back_are_orphans_and_those_of_others_are_not(vault: Vault) -> None:
    world = vault.world
    vault.backup("jobs")
    world.load("jobs.csv", JOBS)
    change = vault.restore("jobs")
    stray = "clean/jobs/4611686018427387904/part-00000.parquet"
    world.store.write(stray, b"")
    cleaned(vault, NOW + 30 * DAY)
    assert stray not in world.keys("clean/jobs/")
    assert world.keys(f"clean/jobs/{change.change_id}/")


# Any backups, any settings


def needed(backups: Sequence[tuple[float, tuple[str, ...], bool]], days: int, count: int) -> set[int]:
    """Which of some backups (age, tables, proven) have to stay, by their numbers: as the documents say it."""
    order = sorted(range(len(backups)), key=lambda number: backups[number][0])
    kept = {number for number in order if backups[number][0] <= days}
    for table in NAMES:
        mine = [number for number in order if table in backups[number][1]]
        kept |= set(mine[:count])
        kept |= set([number for number in mine if backups[number][2]][:1])
        kept |= set([number for number in mine if backups[number][0] > days][:1])
    return kept


@pytest.mark.parametrize("seed", range(8))
def test_any_backups_and_any_settings(vault: Vault, seed: int) -> None:
    chance = random.Random(seed)
    days, count = chance.randint(5, 40), chance.randint(1, 3)
    backups = []
    for _ in range(6):
        tables = tuple(chance.sample(NAMES, chance.randint(1, 3)))
        backups.append((round(chance.uniform(0.5, 80), 3), tables, chance.random() < 0.4))
    ids = [taken(vault, age, *tables) for age, tables, _ in backups]
    prove(vault, *(ids[number] for number, one in enumerate(backups) if one[2]))
    expire(vault, backup_keep_days=days, backup_keep_count=count)
    assert set(vault.catalogue.ids) == {ids[number] for number in needed(backups, days, count)}, backups
    assert_agree(vault)


def test_the_check_sees_an_expiry_that_forgets_the_ledger(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: removed backups are not marked."""
    monkeypatch.setattr(Expiry, "_mark", lambda *_: None)
    for days in (1, 20, 30):
        taken(vault, days)
    expire(vault, backup_keep_days=10, backup_keep_count=1)
    with pytest.raises(AssertionError, match="the ledger has"):
        assert_agree(vault)


def test_the_check_sees_an_expiry_that_takes_parts_only(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: manifests stay."""
    honest = ObjectStore.remove
    monkeypatch.setattr(
        ObjectStore, "remove", lambda self, keys: honest(self, [key for key in keys if not key.endswith(".json")])
    )
    for days in (1, 20, 30):
        manifest = vault.backup()
        monkeypatch.undo()
        aged(vault, manifest, days)
        monkeypatch.setattr(
            ObjectStore, "remove", lambda self, keys: honest(self, [key for key in keys if not key.endswith(".json")])
        )
    expire(vault, backup_keep_days=10, backup_keep_count=1)
    with pytest.raises(AssertionError, match=r"the ledger has|parts are missing"):
        assert_agree(vault)
    monkeypatch.undo()
