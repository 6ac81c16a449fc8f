"""A backup of yesterday and the table of today: what fits is restored, what would lose or invent values is refused."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import fastavro
import pytest

from datamart.errors import BackupDamaged, ChangeRefused, ConfigurationError
from datamart.load import Loader
from datamart.recovery.backup import Backup
from datamart.recovery.ledger import Change
from datamart.recovery.manifest import Manifest, manifest_key
from datamart.recovery.point import Wanted
from datamart.tables import TABLES, Column, Table, Type
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.vault import Vault
from tests.integration.world import Row

PAID = Table("jobs", (Column("id", Type.INTEGER), Column("job", Type.TEXT), Column("pay", Type.TEXT)))
NEWER = tuple(PAID if table.name == "jobs" else table for table in TABLES)
NUMBERED = Table("jobs", (Column("id", Type.INTEGER), Column("job", Type.INTEGER)))
ROWS = b"1,Actuary\n2,Baker\n3,Cook\n"


@contextmanager
def altered(vault: Vault, *changes: str, back: str) -> Iterator[None]:
    """Change live tables, and change them back."""
    for change in changes:
        vault.world.sql(change)
    try:
        yield
    finally:
        vault.world.database.empty()
        vault.world.sql(back)


def backed_up(vault: Vault) -> Manifest:
    """A backup of three rows, of which one is changed since; one more has come."""
    vault.world.load("jobs.csv", ROWS)
    manifest = vault.backup("jobs")
    vault.world.load("jobs_2.csv", b"1,Archer\n9,Nurse\n")
    return manifest


def restore(vault: Vault, tables: tuple[Table, ...], **wanted: Any) -> Change:
    return vault.restorer(tables=tables).restore(Wanted("jobs", **wanted))


def column(vault: Vault, names: str) -> list[Row]:
    return vault.world.sql(f"SELECT {names} FROM public.jobs ORDER BY id")


# The live table has more


GAINED = {
    "a nullable one": ("ADD COLUMN note TEXT", None),
    "one with a default": ("ADD COLUMN note TEXT NOT NULL DEFAULT 'none'", "none"),
    "a generated one": ("ADD COLUMN note TEXT GENERATED ALWAYS AS ('x' || 'y') STORED", "xy"),
}


@pytest.mark.parametrize("what", GAINED)
def test_rows_that_stay_keep_a_column_that_only_the_live_table_has(vault: Vault, what: str) -> None:
    alter, default = GAINED[what]
    with altered(vault, f"ALTER TABLE public.jobs {alter}", back="ALTER TABLE public.jobs DROP COLUMN note"):
        backed_up(vault)
        if what != "a generated one":
            vault.world.sql("UPDATE public.jobs SET note = 'kept' WHERE id IN (1, 2)")
        vault.world.replace("jobs", vault.world.put("jobs_3.csv", b"1,Archer\n2,Baker\n"))
        change = vault.restore("jobs")
        kept = default if what == "a generated one" else "kept"
        assert column(vault, "id, job, note") == [(1, "Actuary", kept), (2, "Baker", kept), (3, "Cook", default)]
        assert any("has more columns (note)" in note for note in change.notes)


def test_a_column_that_asks_for_a_value_lets_rows_change_and_go_but_not_come(vault: Vault) -> None:
    with altered(vault, back="ALTER TABLE public.jobs DROP COLUMN note"):
        backed_up(vault)
        vault.world.sql("ALTER TABLE public.jobs ADD COLUMN note TEXT NOT NULL DEFAULT 'x'")
        vault.world.sql("ALTER TABLE public.jobs ALTER COLUMN note DROP DEFAULT")
        change = vault.restore("jobs")
        assert (change.added, change.changed, change.removed) == (0, 1, 1)
        assert column(vault, "id, job") == [(1, "Actuary"), (2, "Baker"), (3, "Cook")]
        vault.world.sql("DELETE FROM public.jobs WHERE id > 1")
        sentence = "2 rows would be added to jobs, whose columns note ask for a value and have no default. Nothing was"
        with vault.untouched(), pytest.raises(ChangeRefused, match=sentence):
            vault.restore("jobs")
        assert vault.restore("jobs", into="jobs_of_then").rows == 3
        vault.world.sql("DROP TABLE jobs_of_then")


# The dictionary has more


def gained(vault: Vault, *more: str) -> Any:
    changes = [
        f"ALTER TABLE {name} ADD COLUMN pay VARCHAR(256) NOT NULL DEFAULT 'old'"
        for name in ("public.jobs", "ops.jobs_history")
    ]
    back = "ALTER TABLE public.jobs DROP COLUMN IF EXISTS pay; ALTER TABLE ops.jobs_history DROP COLUMN IF EXISTS pay"
    return altered(vault, *changes, *more, back=back)


def test_a_column_that_the_backup_lacks_stays_as_the_live_rows_have_it(vault: Vault) -> None:
    with altered(vault, back="SELECT 1"):
        backed_up(vault)
        with gained(vault, "UPDATE public.jobs SET pay = 'pay of ' || id"):
            change = restore(vault, NEWER)
            assert column(vault, "id, job, pay") == [
                (1, "Actuary", "pay of 1"), (2, "Baker", "pay of 2"), (3, "Cook", "pay of 3")
            ]  # fmt: skip
            assert (change.added, change.changed, change.removed) == (0, 1, 1)
            assert "The backup lacks the columns pay: the live rows keep theirs." in change.notes


def test_rows_whose_missing_values_nobody_knows_are_not_invented(vault: Vault) -> None:
    with altered(vault, back="SELECT 1"):
        backed_up(vault)
        with gained(vault):
            vault.world.sql("DELETE FROM public.jobs WHERE id = 3")
            sentence = (
                "The backup is older than the columns pay of jobs, and 1 of its rows are not in the table any more"
            )
            with vault.untouched(), pytest.raises(ChangeRefused, match=sentence):
                restore(vault, NEWER)


def test_another_table_of_an_older_backup_needs_no_live_rows(vault: Vault) -> None:
    """What is refused for the table itself points here."""
    with altered(vault, back="SELECT 1"):
        manifest = backed_up(vault)
        wanted = vault.held(manifest, "jobs")
        with gained(vault):
            vault.world.sql("DELETE FROM public.jobs WHERE id = 3")
            try:
                restore(vault, NEWER, into="jobs_of_then")
                assert vault.world.sql("SELECT id, job, _load_id FROM jobs_of_then ORDER BY id") == wanted
            finally:
                vault.world.sql("DROP TABLE IF EXISTS jobs_of_then")


def test_what_a_load_brings_to_the_new_column_while_a_restore_waits_is_not_lost(vault: Vault) -> None:
    """The live rows keep theirs: as they are when the table is locked, not as they were before."""
    with altered(vault, back="SELECT 1"):
        backed_up(vault)
        with gained(vault):

            class Overtaken(PostgresWarehouse):
                overtaken = False

                def lock(self, table: Table) -> Any:
                    if not self.overtaken:
                        self.overtaken = True
                        arrival = vault.world.put("jobs_3.csv", b"id,job,pay\n2,Baker,raised\n")
                        with vault.world.connected() as other:
                            Loader(other, vault.world.store, vault.settings(), vault.run(), NEWER).load(arrival)
                    return super().lock(table)

            with vault.world.connected(Overtaken) as warehouse:
                vault.restorer(warehouse=warehouse, tables=NEWER).restore(Wanted("jobs"))
            assert column(vault, "id, pay") == [(1, "old"), (2, "raised"), (3, "old")]


def test_a_moment_after_the_column_came_is_reached_from_a_backup_without_it_or_refused(vault: Vault) -> None:
    with altered(vault, back="SELECT 1"):
        backed_up(vault)
        with gained(vault):
            arrival = vault.world.put("jobs_3.csv", b"id,job,pay\n2,Baker,raised\n")
            with vault.world.connected() as warehouse:
                Loader(warehouse, vault.world.store, vault.settings(), vault.run(), NEWER).load(arrival)
            at, rows = vault.now(), column(vault, "id, job, pay")
            vault.world.sql("UPDATE public.jobs SET job = 'by hand'")
            try:
                restore(vault, NEWER, at=at)
            except ChangeRefused:
                return
            assert column(vault, "id, job, pay") == rows


def test_a_live_table_without_a_column_of_the_dictionary_is_told(vault: Vault) -> None:
    backed_up(vault)
    with vault.untouched(), pytest.raises(ConfigurationError, match=r"not what this version expects: pay \(missing\)"):
        restore(vault, NEWER)


@pytest.mark.parametrize(
    ("table", "name", "was", "kind"),
    [
        ("jobs", "job", "VARCHAR(256)", "CHAR(200)"),
        ("jobs", "job", "VARCHAR(256)", "JSONB USING to_jsonb(job)"),
        ("hired_employees", "datetime", "TIMESTAMP", "TIMESTAMPTZ"),
        ("hired_employees", "datetime", "TIMESTAMP", "DATE"),
    ],
)
def test_a_live_column_of_another_type_is_told(vault: Vault, table: str, name: str, was: str, kind: str) -> None:
    alter = f"ALTER TABLE public.{table} ALTER COLUMN {name} TYPE"
    vault.backup()
    with (
        altered(vault, f"{alter} {kind}", back=f"{alter} {was}"),
        vault.untouched(),
        pytest.raises(ConfigurationError, match=f"not what this version expects: {name}"),
    ):
        vault.restore(table)


def test_a_live_column_that_became_wider_fits(vault: Vault) -> None:
    with altered(vault, back="ALTER TABLE public.jobs ALTER COLUMN job TYPE VARCHAR(256)"):
        manifest = backed_up(vault)
        vault.world.sql("ALTER TABLE public.jobs ALTER COLUMN job TYPE TEXT")
        vault.restore("jobs")
        assert vault.table("jobs") == vault.held(manifest, "jobs")


# The backup is of other columns


def test_a_column_that_has_another_type_now_is_refused(vault: Vault) -> None:
    backed_up(vault)
    tables = tuple(NUMBERED if table.name == "jobs" else table for table in TABLES)
    sentence = r"job was string and is int. Nothing was touched. Restore with the version of this project that took"
    with vault.untouched():
        for wanted in ({}, {"into": "jobs_of_then"}, {"dry_run": True}):
            with pytest.raises(ChangeRefused, match=sentence):
                restore(vault, tables, **wanted)


def test_a_column_that_only_the_backup_has_is_left_out(vault: Vault) -> None:
    """The dictionary and the live table have lost one since."""
    with gained(vault):
        arrival = vault.world.put("jobs.csv", b"id,job,pay\n1,Actuary,much\n2,Baker,little\n")
        with vault.world.connected() as warehouse:
            Loader(warehouse, vault.world.store, vault.settings(), vault.run(), NEWER).load(arrival)
            Backup(warehouse, vault.store, vault.settings(), NEWER).take(["jobs"])
        for name in ("public.jobs", "ops.jobs_history"):
            vault.world.sql(f"ALTER TABLE {name} DROP COLUMN pay")
        vault.world.replace("jobs", vault.world.put("jobs_2.csv", b"1,x\n"))
        for into in (None, "jobs_of_then"):
            change = vault.restore("jobs", into=into)
            assert any("columns pay are left out" in note for note in change.notes)
            found = vault.world.sql(f"SELECT id, job FROM {into or 'jobs'} ORDER BY id")
            assert found == [(1, "Actuary"), (2, "Baker")]
        assert vault.drill()["passed"]
        vault.world.sql("DROP TABLE jobs_of_then")


def test_a_backup_without_the_key_is_refused(vault: Vault) -> None:
    manifest = backed_up(vault)
    jobs = manifest.tables["jobs"]
    columns = {name: kind for name, kind in jobs.columns.items() if name != "id"}
    told = replace(manifest, tables={"jobs": replace(jobs, columns=columns)})
    vault.corrupt(manifest_key(manifest.backup_id), told.encoded())
    with vault.untouched(), pytest.raises(ChangeRefused, match="has no column id, which names rows"):
        vault.restore("jobs")


# Files of others


def avro(rows: list[dict[str, Any]], fields: list[dict[str, Any]] | None = None) -> bytes:
    file = io.BytesIO()
    fields = fields or [{"name": "id", "type": "int"}, {"name": "job", "type": "string"}]
    fastavro.writer(file, {"type": "record", "name": "job", "fields": fields}, rows)
    return file.getvalue()


def pairs(*keys: int) -> list[dict[str, Any]]:
    return [{"id": key, "job": f"job {key}"} for key in keys]


JOB = {"name": "job", "type": "string"}


def with_ids(kind: Any, *ids: Any) -> list[bytes]:
    """A file whose ids are of another kind."""
    return [avro([{"id": one, "job": "a"} for one in ids], [{"name": "id", "type": kind}, JOB])]


WRONG: dict[str, tuple[Callable[[], list[bytes]], str]] = {
    "no id": (lambda: [avro([{"job": "a"}], [JOB])], "has no field id"),
    "a null id": (lambda: with_ids(["null", "int"], 1, None), r"Field id of the AVRO file has no value \(null\)"),
    "an id twice in a file": (lambda: [avro(pairs(1, 2, 1))], "1 rows have the id of another row"),
    "an id in two files": (lambda: [avro(pairs(1, 2)), avro(pairs(2, 1))], "2 rows have the id of another row"),
    "an id that is text": (lambda: with_ids("string", "1"), "Field id of the AVRO file has a value that is no int32"),
    "an id that is too large": (
        lambda: with_ids("long", 2**31),
        "Field id of the AVRO file has a value that is no int",
    ),
    "no AVRO": (lambda: [b"1,a\n"], "is no AVRO object container file"),
    "nothing": (lambda: [b""], "is no AVRO object container file"),
    "a file that is cut": (lambda: [avro(pairs(*range(50)))[:-20]], "The AVRO file is damaged"),
}


@pytest.mark.parametrize("what", WRONG)
def test_files_of_others_with_wrong_ids_are_not_adopted(vault: Vault, what: str) -> None:
    make, sentence = WRONG[what]
    for number, body in enumerate(make()):
        vault.corrupt(f"foreign/jobs/{number}.avro", body)
    with vault.untouched(), pytest.raises(BackupDamaged, match=sentence):
        vault.adopt("foreign")
    assert vault.catalogue.ids == ()
    assert vault.world.sql("SELECT count(*) FROM ops.backups") == [(0,)]
