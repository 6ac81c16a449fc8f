"""AVRO files of other programs become a backup: checked first, restored as any other, and left alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from datamart.errors import BackupDamaged, ConfigurationError
from datamart.loads import Verdict
from datamart.recovery.manifest import ADOPTED, manifest_key
from tests.integration.test_restore_fitting import avro, pairs
from tests.integration.vault import Vault

HIRED = [
    {"name": "name", "type": "string"},
    {"name": "id", "type": "long"},
    {"name": "shoe_size", "type": ["null", "double"]},
    {"name": "datetime", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "department_id", "type": "int"},
    {"name": "job_id", "type": "int"},
]


def adopted(vault: Vault, *bodies: bytes) -> str:
    for number, body in enumerate(bodies):
        vault.corrupt(f"from the old system/jobs/{number}.avro", body)
    return vault.adopt("from the old system").backup_id


def test_files_become_a_backup_and_stay_where_they_are(vault: Vault) -> None:
    backup_id = adopted(vault, avro(pairs(1, 2)), avro(pairs(3)))
    manifest = vault.catalogue.read(backup_id)
    assert (manifest.kind, manifest.rows, manifest.ledger) == (ADOPTED, 3, None)
    parts = [part.key for part in manifest.tables["jobs"].parts]
    assert parts == ["from the old system/jobs/0.avro", "from the old system/jobs/1.avro"]
    assert manifest.tables["jobs"].commit_seq is None
    assert vault.keys() == sorted([manifest_key(backup_id), *parts])
    assert vault.world.sql("SELECT backup_id, kind, rows_total FROM ops.backups") == [(backup_id, "adopted", 3)]


def test_they_are_restored_as_rows_of_the_restore(vault: Vault) -> None:
    load = vault.world.load("jobs.csv", b"1,job 1\n2,other\n9,gone\n")
    change = vault.restore("jobs", backup_id=adopted(vault, avro(pairs(1, 2, 3))))
    assert vault.table("jobs") == [
        (1, "job 1", load.load_id), (2, "job 2", change.change_id), (3, "job 3", change.change_id)
    ]  # fmt: skip
    assert (change.added, change.changed, change.removed, change.target_seq) == (1, 1, 1, None)


def test_every_file_counts_as_new_afterwards(vault: Vault) -> None:
    """Nobody knows which loads are in it."""
    arrival = vault.world.put("jobs.csv", b"1,job 1\n2,other\n")
    vault.world.judge(arrival)
    vault.restore("jobs", backup_id=adopted(vault, avro(pairs(1, 2))))
    outcome = vault.world.judge(arrival)
    assert (outcome.verdict, outcome.counts.updated, outcome.counts.unchanged) == (Verdict.LOADED, 1, 1)


def test_moments_after_such_a_restore_are_reached(vault: Vault) -> None:
    vault.world.load("jobs.csv", b"1,a\n7,a\n")
    vault.backup("jobs")
    vault.restore("jobs", backup_id=adopted(vault, avro(pairs(1, 2))))
    at, rows = vault.now(), vault.table("jobs")
    vault.world.load("jobs_2.csv", b"2,z\n8,z\n")
    vault.restore("jobs", at=at)
    assert vault.table("jobs") == rows
    vault.restore("jobs")


def test_strange_files_of_others_are_read(vault: Vault) -> None:
    """Fields in another order, more of them, wider numbers, moments in milliseconds, a name in capitals."""
    moment = datetime(2021, 7, 27, 16, 2, 8)
    row = {"name": "Zoë\n", "id": 5, "shoe_size": None, "datetime": moment, "department_id": 1, "job_id": 2}
    vault.corrupt("x/Hired_Employees.AVRO", avro([row], HIRED))
    vault.restore("hired_employees", backup_id=vault.adopt("x").backup_id)
    assert [row[:-1] for row in vault.table("hired_employees")] == [(5, "Zoë\n", moment, 1, 2)]


def test_their_load_ids_mean_nothing_here(vault: Vault) -> None:
    fields = [{"name": "id", "type": "int"}, {"name": "job", "type": "string"}, {"name": "_load_id", "type": "long"}]
    body = avro([{"id": 1, "job": "a", "_load_id": 77}], fields)
    change = vault.restore("jobs", backup_id=adopted(vault, body))
    assert vault.table("jobs") == [(1, "a", change.change_id)]


def test_our_own_parts_whose_manifest_is_lost_are_adopted(vault: Vault) -> None:
    vault.world.load("jobs.csv", b"1,a\n2,b\n")
    manifest = vault.backup()
    rows = vault.world.rows("jobs")
    vault.store.remove([manifest_key(manifest.backup_id)])
    vault.world.replace("jobs", vault.world.put("jobs_2.csv", b"1,z\n"))
    change = vault.restore("jobs", backup_id=vault.adopt(manifest.backup_id).backup_id)
    assert (vault.world.rows("jobs"), change.added, change.changed) == (rows, 1, 1)


def test_a_drill_proves_it(vault: Vault) -> None:
    backup_id = adopted(vault, avro(pairs(1, 2)), avro(pairs(3)))
    told = vault.drill(backup_id)
    assert told["tables"]["jobs"] | {"seconds": 0} == {
        "rows": 3, "digest": vault.catalogue.read(backup_id).tables["jobs"].digest, "compared": True, "seconds": 0
    }  # fmt: skip
    assert vault.world.sql("SELECT proven_at IS NOT NULL FROM ops.backups") == [(True,)]


def test_a_file_that_is_changed_after_it_was_adopted_is_refused(vault: Vault) -> None:
    backup_id = adopted(vault, avro(pairs(1, 2)))
    vault.corrupt("from the old system/jobs/0.avro", avro(pairs(1, 3)))
    with vault.untouched(), pytest.raises(BackupDamaged, match=r"jobs/0.avro .*(changed after|bytes)"):
        vault.restore("jobs", backup_id=backup_id)


def test_a_folder_without_files_is_told(vault: Vault) -> None:
    vault.corrupt("x/jobs.csv", b"1,a\n")
    for folder in ("x", "/x/", "nothing", ""):
        with vault.untouched(), pytest.raises(ConfigurationError, match=r"There is no \.avro file under s3://"):
            vault.adopt(folder)


@pytest.mark.parametrize("name", ["nobody.avro", "jobsx.avro", "more/jobs.avro"])
def test_a_file_of_no_table_is_told_before_anything_is_written(vault: Vault, name: str) -> None:
    vault.corrupt("x/jobs.avro", avro(pairs(1)))
    vault.corrupt(f"x/{name}", avro(pairs(2)))
    with vault.untouched(), pytest.raises(ConfigurationError, match=f"The file {name} belongs to no table"):
        vault.adopt("x")
    assert vault.catalogue.ids == ()


UNFIT: dict[str, dict[str, Any]] = {
    "a text that is too long": {"id": 1, "job": "x" * 257},
    "a text with a NUL": {"id": 1, "job": "a\0b"},
    "an id that no load accepts": {"id": -1, "job": "a"},
}


@pytest.mark.parametrize("what", UNFIT)
def test_what_no_column_could_hold_is_not_adopted(vault: Vault, what: str) -> None:
    """Each file is checked: a backup that cannot be restored is worse than none."""
    with pytest.raises(BackupDamaged, match="cannot be adopted"):
        adopted(vault, avro([UNFIT[what]]))


def test_it_is_as_old_as_its_newest_file(vault: Vault) -> None:
    manifest = vault.catalogue.read(adopted(vault, avro(pairs(1)), avro(pairs(2))))
    newest = max(one.last_modified for one in vault.store.list("from the old system/"))
    assert abs(manifest.taken_at - newest) < timedelta(seconds=1)


def test_a_moment_outside_the_years_1_to_9999_is_not_adopted(vault: Vault) -> None:
    """Files of plain fields are read quickly, where any number passes for a moment."""
    moment = {"type": "long", "logicalType": "timestamp-micros"}
    numbers = ("department_id", "job_id")
    fields = [{"name": "id", "type": "int"}, {"name": "name", "type": "string"}, {"name": "datetime", "type": moment},
              *({"name": name, "type": "int"} for name in numbers)]  # fmt: skip
    for micros in (253_402_300_800_000_000, -62_135_596_800_000_001, -(2**63)):
        row = {"id": 1, "name": "a", "datetime": micros, "department_id": 1, "job_id": 1}
        vault.corrupt("x/hired_employees.avro", avro([row], fields))
        with pytest.raises(BackupDamaged, match="a value of datetime is out of range"):
            vault.adopt("x")


def test_the_newest_is_one_that_was_taken_here_if_there_is_one(vault: Vault) -> None:
    """An old export that is adopted today is no newer state; who wants it names it."""
    vault.world.load("jobs.csv", b"1,a\n")
    adopted_id = adopted(vault, avro(pairs(1, 2)))
    assert vault.restore("jobs", dry_run=True).backup_id == adopted_id
    taken = vault.backup("jobs")
    adopted(vault, avro(pairs(1, 2, 3)))
    assert vault.restore("jobs", dry_run=True).backup_id == taken.backup_id
    assert vault.drill()["backup_id"] == taken.backup_id
