"""Drills: a backup that was restored to the side and compared is proven, any other is not, and nobody is disturbed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from datamart.errors import BackupDamaged, ConfigurationError, DatamartError, TransientFault
from datamart.recovery.drill import Drill
from datamart.recovery.manifest import Manifest, manifest_key
from datamart.tables import Table
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.landing_zone import ALWAYS, FORBIDDEN, on_requests, s3_says
from tests.integration.vault import NAMES, Everything, Vault
from tests.integration.world import Row

BUSY = s3_says(503, "SlowDown")
HIRED = b'1,Ann,0001-01-01T00:00:00Z,1,1\n2,"B\nob",9999-12-31T23:59:59Z,1,2\n'


@pytest.fixture
def manifest(vault: Vault) -> Manifest:
    vault.world.load("departments.csv", b"1,Engineering\n")
    vault.world.load("jobs.csv", b"1,a\n2,b\n")
    vault.world.load("hired_employees.csv", HIRED)
    return vault.backup()


def drills(vault: Vault) -> list[Row]:
    return vault.world.sql("SELECT backup_id, passed, evidence FROM ops.drills ORDER BY finished_at")


def proven(vault: Vault, manifest: Manifest) -> Any:
    ((at,),) = vault.world.sql("SELECT proven_at FROM ops.backups WHERE backup_id = %s", manifest.backup_id)
    return at


def scratch(vault: Vault) -> list[Row]:
    return vault.world.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'drill%'")


def assert_failed(vault: Vault, manifest: Manifest, sentence: str) -> None:
    """The newest drill says that it failed, and why; it has proven nothing, and left nothing."""
    found = drills(vault)
    assert found, "no drill is noted"
    backup_id, passed, evidence = found[-1]
    assert (backup_id, passed) == (manifest.backup_id, False), "the drill is not told to have failed"
    assert sentence in json.loads(evidence)["fault"], f"not why: {evidence}"
    assert scratch(vault) == [], "a scratch schema was left"


def test_a_backup_that_restores_is_proven(vault: Vault, manifest: Manifest) -> None:
    with vault.untouched():
        told = vault.drill()
    assert (told["backup_id"], told["passed"]) == (manifest.backup_id, True)
    assert {name: (one["rows"], one["digest"], one["compared"]) for name, one in told["tables"].items()} == {
        name: (table.rows, table.digest, True) for name, table in manifest.tables.items()
    }
    ((backup_id, passed, evidence),) = drills(vault)
    assert (backup_id, passed, json.loads(evidence)) == (manifest.backup_id, True, told["tables"])
    assert proven(vault, manifest) is not None
    assert scratch(vault) == []


def test_an_empty_backup_is_proven_too(vault: Vault) -> None:
    vault.backup()
    assert set(vault.drill()["tables"]) == set(NAMES)


def test_one_by_its_id_and_the_newest(vault: Vault, manifest: Manifest) -> None:
    newest = vault.backup("jobs")
    assert vault.drill(manifest.backup_id)["backup_id"] == manifest.backup_id
    assert proven(vault, newest) is None
    assert vault.drill()["backup_id"] == newest.backup_id
    assert proven(vault, newest) is not None


def test_a_backup_that_the_ledger_has_lost_is_noted(vault: Vault, manifest: Manifest) -> None:
    vault.world.sql("DELETE FROM ops.backups")
    vault.drill()
    assert proven(vault, manifest) is not None


def forged(vault: Vault, manifest: Manifest, **changes: Any) -> None:
    """Put a manifest there that is sealed and lies about jobs."""
    told = replace(manifest, tables={**manifest.tables, "jobs": replace(manifest.tables["jobs"], **changes)})
    vault.corrupt(manifest_key(manifest.backup_id), told.encoded())


def damaged_part(vault: Vault, manifest: Manifest) -> None:
    key = manifest.tables["jobs"].parts[0].key
    vault.corrupt(key, vault.body(key)[:-1] + b"\0")


def missing_part(vault: Vault, manifest: Manifest) -> None:
    vault.store.remove([manifest.tables["jobs"].parts[0].key])


def damaged_manifest(vault: Vault, manifest: Manifest) -> None:
    vault.corrupt(manifest_key(manifest.backup_id), b"{}")


FAILURES: dict[str, tuple[Callable[[Vault, Manifest], None], str]] = {
    "a damaged part": (damaged_part, "was changed after it was written"),
    "a missing part": (
        lambda vault, manifest: vault.store.remove([manifest.tables["jobs"].parts[0].key]),
        "is missing",
    ),
    "a digest that lies": (lambda vault, manifest: forged(vault, manifest, digest="0" * 16), "was restored to 2 rows"),
    "a number that lies": (lambda vault, manifest: forged(vault, manifest, rows=3), "was restored to 2 rows"),
    "a damaged manifest": (
        lambda vault, manifest: vault.corrupt(manifest_key(manifest.backup_id), b"{}"),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("by_id", [False, True], ids=["the newest", "by its id"])
def test_a_backup_that_does_not_restore_is_told_and_kept_so(
    vault: Vault, manifest: Manifest, failure: str, by_id: bool
) -> None:
    act, sentence = FAILURES[failure]
    vault.drill()
    act(vault, manifest)
    with vault.untouched(), pytest.raises(BackupDamaged, match=sentence):
        vault.drill(manifest.backup_id if by_id else "latest")
    assert_failed(vault, manifest, sentence)
    assert proven(vault, manifest) is None, "what does not restore any more is not proven any more"


def test_a_warehouse_that_loses_a_row_on_the_way_is_seen(vault: Vault, manifest: Manifest) -> None:
    class Losing(PostgresWarehouse):
        def rows_of(self, table: Table, relation: str, condition: str = "") -> Iterator[pa.RecordBatch]:
            for batch in super().rows_of(table, relation, condition):
                yield batch.slice(1)

    with vault.world.connected(Losing) as warehouse, pytest.raises(BackupDamaged, match="was restored to 0 rows"):
        vault.drill(warehouse=warehouse)
    assert_failed(vault, manifest, "was restored to 0 rows")


def test_a_fault_that_may_pass_proves_nothing_either_way(vault: Vault, manifest: Manifest) -> None:
    with on_requests(vault.store, "GetObject", Everything(), BUSY, ALWAYS), pytest.raises(TransientFault):
        vault.drill()
    assert (drills(vault), scratch(vault), proven(vault, manifest)) == ([], [], None)
    vault.drill()


def test_refused_rights_are_told(vault: Vault, manifest: Manifest) -> None:
    keys = {part.key for table in manifest.tables.values() for part in table.parts}
    with on_requests(vault.store, "GetObject", keys, FORBIDDEN, ALWAYS), pytest.raises(DatamartError, match="refused"):
        vault.drill()
    assert proven(vault, manifest) is None
    assert scratch(vault) == []


def test_there_is_nothing_to_drill_with(vault: Vault) -> None:
    with pytest.raises(ConfigurationError, match="There is no backup to drill with"):
        vault.drill()
    with pytest.raises(ConfigurationError, match="There is no backup 20200101T000000Z-00000000"):
        vault.drill("20200101T000000Z-00000000")


def test_a_retry_takes_the_place_of_the_one_before(vault: Vault, manifest: Manifest) -> None:
    key = manifest.tables["jobs"].parts[0].key
    body = vault.body(key)
    damaged_part(vault, manifest)
    with pytest.raises(BackupDamaged):
        vault.drill(run="a run")
    vault.corrupt(key, body)
    vault.drill(run="a run")
    assert [passed for _, passed, _ in drills(vault)] == [True]


@pytest.mark.usefixtures("manifest")
def test_a_scratch_schema_that_a_killed_drill_left_is_dropped(vault: Vault) -> None:
    vault.world.sql("CREATE SCHEMA drill_12345")
    vault.world.sql("CREATE TABLE drill_12345.jobs (id INTEGER)")
    vault.world.sql("CREATE SCHEMA drill_of_somebody")
    try:
        vault.drill()
        assert scratch(vault) == [("drill_of_somebody",)]
    finally:
        vault.world.sql("DROP SCHEMA drill_of_somebody")


@pytest.mark.usefixtures("manifest")
def test_a_session_that_ends_leaves_a_schema_that_the_retry_drops(vault: Vault) -> None:
    class Ended(PostgresWarehouse):
        def append_kept(self, table: Table, relation: str, batches: Any) -> int:
            vault.world.sql("SELECT pg_terminate_backend(%s)", self._connection.get_backend_pid())
            return super().append_kept(table, relation, batches)

    with vault.world.connected(Ended) as warehouse, pytest.raises(TransientFault):
        vault.drill(run="a run", warehouse=warehouse)
    assert len(scratch(vault)) == 1
    vault.drill(run="a run")
    assert scratch(vault) == []


@pytest.mark.usefixtures("manifest")
def test_loads_and_readers_go_on_meanwhile(vault: Vault) -> None:
    seen: list[list[Row]] = []

    class Watched(PostgresWarehouse):
        def append_kept(self, table: Table, relation: str, batches: Any) -> int:
            found = super().append_kept(table, relation, batches)
            vault.world.load(f"{table.name}_{len(seen)}.csv", BODIES[table.name])
            seen.append(vault.table(table.name))
            return found

    with vault.world.connected(Watched) as warehouse:
        assert vault.drill(warehouse=warehouse)["passed"]
    assert [len(rows) for rows in seen] == [2, 3, 3]


BODIES = {"departments": b"7,x\n", "jobs": b"7,x\n", "hired_employees": b"7,x,2021-01-01T00:00:00Z,1,1\n"}


def test_a_backup_of_no_table_that_is_known_proves_nothing(vault: Vault, manifest: Manifest) -> None:
    """All its tables have left the dictionary: there was nothing to compare."""
    jobs = manifest.tables["jobs"]
    told = replace(manifest, tables={"gone": replace(jobs, parts=())})
    vault.corrupt(manifest_key(manifest.backup_id), told.encoded())
    with pytest.raises(DatamartError):
        vault.drill()
    assert proven(vault, manifest) is None


def test_the_check_sees_a_drill_that_proves_whatever_comes(
    vault: Vault, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: nothing is compared."""

    def trusting(_self: Drill, manifest: Manifest, table: Table, _scratch: str) -> dict[str, Any]:
        return {"rows": manifest.tables[table.name].rows, "digest": None, "compared": True, "seconds": 0}

    monkeypatch.setattr(Drill, "_one", trusting)
    forged(vault, manifest, digest="0" * 16)
    vault.drill()
    with pytest.raises(AssertionError, match="not told to have failed"):
        assert_failed(vault, manifest, "was restored to 2 rows")
