"""Backups: all tables at one moment, every row, told truly; a backup that failed is none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from botocore.exceptions import ClientError

from datamart.errors import ConfigurationError, SourceChanged, TerminalFault, TransientFault
from datamart.load import Loader
from datamart.migrations import migrate
from datamart.recovery.backup import Backup
from datamart.recovery.drill import Drill
from datamart.recovery.manifest import Manifest, manifest_key
from datamart.recovery.point import Wanted
from datamart.recovery.restore import Restore
from datamart.recovery.undo import Undo
from datamart.tables import TABLES, Column, Table, Type, table_named
from datamart.warehouse import postgres
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.landing_zone import ALWAYS, FORBIDDEN, on_requests, s3_says
from tests.integration.vault import NAMES, Everything, Vault
from tests.integration.world import Row

_ALL, _GOLDEN, _BASE = (1 << 64) - 1, 0x9E3779B97F4A7C15, 0x5851F42D4C957F2D
BUSY = s3_says(503, "SlowDown")
MANY = b"".join(b"%d,job %d\n" % (key, key) for key in range(1, 601))
STRANGE = (
    '1,"She said ""no"", twice",0001-01-01T00:00:00Z,1,1\r\n'
    '2,"two\nlines\r\nand a tab\t",9999-12-31T23:59:59Z,1,1\r\n'
    "3,Zoë 😀 \u202eليلى,1970-01-01T00:00:00Z,1,1\r\n"
    f"4,{'é' * 128},1969-12-31T23:59:59Z,1,1\r\n"
    f"5,{'x' * 256},2000-01-01T00:00:00Z,1,2147483647\r\n"
    "2147483647,'; DROP TABLE jobs; --,2021-02-03T04:05:06Z,1,1\r\n"
).encode()
OFFICES = Table(
    "offices", (Column("id", Type.INTEGER), Column("city", Type.TEXT), Column("opened", Type.DATETIME))
)  # fmt: skip


def mixed(number: int) -> int:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        number ^= number >> shift
        number = number * factor & _ALL
    return number ^ number >> 31


def numbered(value: object) -> int:
    if isinstance(value, datetime):
        return (value - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    if isinstance(value, str):
        data = value.encode()
        return sum(byte * pow(_BASE, place, 1 << 64) for place, byte in enumerate(data)) + len(data) * _GOLDEN
    assert isinstance(value, int)
    return value


def digest_of(table: str, rows: list[Row]) -> str:
    """The digest as its description has it, a value at a time."""
    names = table_named(table).kept_schema.names
    order = sorted(range(len(names)), key=lambda place: str(names[place]))
    rows = [tuple(row[place] for place in order) for row in rows]
    seeds = [mixed((place + 1) * _GOLDEN & _ALL) for place in range(10)]
    sums = (sum(mixed(numbered(value) + seed & _ALL) for value, seed in zip(row, seeds, strict=False)) for row in rows)
    return f"{sum(mixed(one & _ALL) for one in sums) & _ALL:016x}"


Truth = Mapping[str, tuple[list[Row], int]]


def truth(vault: Vault) -> Truth:
    """By table: its rows and the number of its newest commit."""
    numbers = dict(vault.world.sql("SELECT table_name, commit_seq FROM ops.tables"))
    return {name: (vault.table(name), numbers[name]) for name in NAMES}


def assert_backup(vault: Vault, manifest: Manifest, expected: Truth) -> None:
    """All that a backup says of its tables is so, by other programs' means."""
    for name, told in manifest.tables.items():
        rows, number = expected[name]
        assert vault.held(manifest, name) == rows, f"{name}: other rows are in the parts"
        assert told.commit_seq == number, f"{name}: another commit number"
        assert told.rows == sum(part.rows for part in told.parts) == len(rows), f"{name}: another number of rows"
        assert told.digest == digest_of(name, rows), f"{name}: another digest"
        for part in told.parts:
            body = vault.body(part.key)
            assert (part.bytes, part.sha256) == (len(body), hashlib.sha256(body).hexdigest()), (
                f"{part.key}: other bytes"
            )


def assert_no_backup(vault: Vault) -> None:
    """Nothing of a backup is offered, and nothing of it is left."""
    assert vault.catalogue.ids == (), "a manifest was left"
    assert vault.keys() == [], "parts were left"
    assert vault.world.sql("SELECT backup_id FROM ops.backups") == [], "the ledger knows of it"
    with pytest.raises(ConfigurationError, match="There is no backup of jobs"):
        vault.restore("jobs")


def some(vault: Vault) -> None:
    vault.world.load("departments.csv", b"1,Engineering\n")
    vault.world.load("jobs.csv", MANY)


@pytest.fixture
def by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are read a page at a time, so that small ones have several parts."""
    monkeypatch.setattr(postgres, "_PAGES_AT_ONCE", 1)


@pytest.mark.usefixtures("by_page")
def test_a_backup_holds_every_row_in_several_parts(vault: Vault) -> None:
    some(vault)
    vault.world.load("jobs_2.csv", b"7,seven\n2147483647,last\n")
    manifest = vault.backup(part_rows=1)
    assert len(manifest.tables["jobs"].parts) > 2
    assert_backup(vault, manifest, truth(vault))


def test_strange_values_are_kept_as_they_are(vault: Vault) -> None:
    outcome = vault.world.load("hired_employees.csv", STRANGE)
    assert outcome.counts.inserted == 6, outcome
    manifest = vault.backup()
    expected = truth(vault)
    assert_backup(vault, manifest, expected)
    vault.world.replace("hired_employees", vault.world.put("hired_employees_2.csv", b"5,y,2000-01-01T00:00:00Z,1,1\n"))
    change = vault.restore("hired_employees")
    assert (change.added, change.changed, change.removed) == (5, 1, 0)
    assert vault.table("hired_employees") == expected["hired_employees"][0]


def test_an_empty_table_is_backed_up_and_restored(vault: Vault) -> None:
    manifest = vault.backup()
    assert_backup(vault, manifest, truth(vault))
    assert {name: (len(table.parts), table.rows) for name, table in manifest.tables.items()} == dict.fromkeys(
        NAMES, (1, 0)
    )
    vault.world.load("jobs.csv", b"1,a\n2,b\n")
    change = vault.restore("jobs")
    assert (change.added, change.changed, change.removed, vault.table("jobs")) == (0, 0, 2, [])


class Interrupted(PostgresWarehouse):
    """Other sessions load files while a backup reads: in the middle of each table, and before the next."""

    vault: Vault
    times = 0

    def rows_of(self, table: Table, relation: str, condition: str = "") -> Iterator[pa.RecordBatch]:
        for batch in super().rows_of(table, relation, condition):
            self.meanwhile()
            yield batch
        self.meanwhile()

    def meanwhile(self) -> None:
        self.times += 1
        world, number = self.vault.world, self.times
        world.load(f"departments_{number}.csv", b"1,changed %d\n%d,new\n" % (number, 100 + number))
        world.load(f"jobs_{number}.csv", b"1,changed %d\n%d,new\n" % (number, 1000 + number))
        world.replace(
            "hired_employees", world.put(f"hired_employees_{number}.csv", b"%d,x,2021-01-01T00:00:00Z,1,1\n" % number)
        )


@pytest.mark.usefixtures("by_page")
def test_loads_meanwhile_are_not_in_it(vault: Vault) -> None:
    some(vault)
    vault.world.load("hired_employees.csv", b"77,Ann,2021-01-01T00:00:00Z,1,1\n")
    expected = truth(vault)
    with vault.world.connected(Interrupted) as warehouse:
        warehouse.vault = vault  # type: ignore[attr-defined]
        manifest = vault.backup(warehouse=warehouse)
        assert warehouse.times > 4  # type: ignore[attr-defined]
    assert_backup(vault, manifest, expected)
    assert truth(vault) != expected
    after = truth(vault)
    for name in NAMES:
        vault.restore(name)
        assert vault.table(name) == expected[name][0]
    at = vault.world.sql("SELECT max(finished_at) FROM ops.loads")[0][0]
    for name in NAMES:
        vault.restore(name, at=at)
        assert vault.table(name) == after[name][0]


@pytest.mark.usefixtures("by_page")
def test_the_manifest_is_written_last_and_once(vault: Vault) -> None:
    some(vault)
    with on_requests(vault.store, "PutObject", Everything(), lambda _: None, ALWAYS) as written:
        manifest = vault.backup(part_rows=1)
    parts = [part.key for table in manifest.tables.values() for part in table.parts]
    assert sorted(written[:-1]) == sorted(parts)
    assert written[-1] == manifest_key(manifest.backup_id)
    assert sorted(vault.keys()) == sorted(written)


def test_the_ledger_knows_of_it(vault: Vault) -> None:
    some(vault)
    manifest = vault.backup()
    known = vault.world.sql(
        "SELECT backup_id, manifest_key, taken_at, tables, rows_total, bytes_total, kind, proven_at, expired_at"
        " FROM ops.backups"
    )
    assert known == [
        (manifest.backup_id, manifest_key(manifest.backup_id), manifest.taken_at,
         "departments, hired_employees, jobs", 601, manifest.size, "taken", None, None)
    ]  # fmt: skip
    assert vault.catalogue.read(manifest.backup_id) == manifest


def test_a_retry_is_another_backup(vault: Vault) -> None:
    first, second = vault.backup("jobs"), vault.backup("jobs")
    assert sorted(vault.catalogue.ids) == sorted([first.backup_id, second.backup_id])
    assert list(vault.catalogue.all()) == [second, first]


def test_some_tables_or_one_named_twice(vault: Vault) -> None:
    some(vault)
    manifest = vault.backup("jobs", "jobs")
    assert list(manifest.tables) == ["jobs"]
    assert len(vault.keys()) == 2
    with pytest.raises(ConfigurationError, match=f"Backup {manifest.backup_id} holds jobs, not departments"):
        vault.restore("departments", backup_id=manifest.backup_id)
    with pytest.raises(ConfigurationError, match="There is no backup of departments"):
        vault.restore("departments")


@pytest.mark.parametrize("names", [("nobody",), ("jobs", "Jobs"), ("ops.loads",), ("",)])
def test_an_unknown_table_is_refused_before_anything_is_written(vault: Vault, names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="There is no table"):
        vault.backup(*names)
    assert vault.keys() == []


def test_no_table_is_refused(vault: Vault) -> None:
    with pytest.raises(ConfigurationError, match="No table is named"):
        Backup(vault.world.warehouse, vault.store, vault.settings()).take([])


@pytest.mark.parametrize("place", range(4), ids=["first part", "second part", "third part", "manifest"])
def test_a_backup_that_cannot_be_written_is_none(vault: Vault, place: int) -> None:
    some(vault)
    seen: list[str] = []

    def refuse(key: str) -> Any:
        if key not in seen:
            seen.append(key)
        return FORBIDDEN(key) if len(seen) > place else None

    with (
        on_requests(vault.store, "PutObject", Everything(), refuse, ALWAYS),
        pytest.raises(TerminalFault, match="S3 refused"),
    ):
        vault.backup()
    assert_no_backup(vault)
    vault.backup()
    vault.restore("jobs")


@pytest.mark.usefixtures("by_page")
def test_a_server_that_ends_the_session_leaves_no_backup(vault: Vault) -> None:
    some(vault)

    class Ended(PostgresWarehouse):
        def rows_of(self, table: Table, relation: str, condition: str = "") -> Iterator[pa.RecordBatch]:
            for place, batch in enumerate(super().rows_of(table, relation, condition)):
                if table.name == "jobs" and place == 1:
                    vault.world.sql("SELECT pg_terminate_backend(%s)", self._connection.get_backend_pid())
                yield batch

    with vault.world.connected(Ended) as warehouse, pytest.raises(TransientFault, match="did not answer or gave up"):
        vault.backup(warehouse=warehouse, part_rows=1)
    assert vault.catalogue.ids == ()
    left = vault.keys()
    assert len(left) <= 1, "more than the part that was on its way is left"
    vault.backup()
    vault.restore("jobs")


class Losing:
    """A client whose answer to the manifest is lost; of what is taken back then, so much works."""

    def __init__(self, client: Any, removals: int) -> None:
        self._client, self._left = client, removals

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_object(self, **request: Any) -> Any:
        answer = self._client.put_object(**request)
        if request["Key"].endswith("/manifest.json"):
            raise ClientError({"Error": {"Code": "SlowDown"}}, "PutObject")
        return answer

    def delete_object(self, **request: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ClientError({"Error": {"Code": "SlowDown"}}, "DeleteObject")
        return self._client.delete_object(**request)


@pytest.mark.parametrize("removals", range(5))
def test_a_manifest_whose_answer_was_lost_is_that_of_a_whole_backup_or_gone(vault: Vault, removals: int) -> None:
    """S3 took the manifest, and went away before it said so; then it fails in the middle of taking things back."""
    some(vault)
    store = replace(vault.store, client=Losing(vault.store.client, removals))
    with pytest.raises(TransientFault, match="SlowDown"):
        Backup(vault.world.warehouse, store, vault.settings()).take(NAMES)
    if vault.catalogue.ids:
        vault.drill()


def test_a_warehouse_that_does_not_note_it_leaves_it_whole(vault: Vault) -> None:
    some(vault)

    class Unwilling(PostgresWarehouse):
        def execute(self, text: str, values: Any = None) -> int:
            if "ops.backups" in text:
                raise TransientFault("The warehouse did not answer.")
            return super().execute(text, values)

    with vault.world.connected(Unwilling) as warehouse, pytest.raises(TransientFault):
        vault.backup(warehouse=warehouse)
    assert len(vault.catalogue.ids) == 1
    assert vault.drill()["passed"]


def test_s3_that_is_busy_for_a_moment_is_asked_again(vault: Vault) -> None:
    some(vault)
    expected = truth(vault)
    with on_requests(vault.store, "PutObject", Everything(), BUSY, 2) as met:
        manifest = vault.backup()
    assert len(met) == 2
    assert_backup(vault, manifest, expected)


def test_a_manifest_that_s3_took_twice_is_one(vault: Vault) -> None:
    """The first answer was lost and the client asked again: what lies there is its own, another one is refused."""
    manifest = vault.backup()
    key = manifest_key(manifest.backup_id)
    vault.store.write_once(key, manifest.encoded())
    assert vault.catalogue.read(manifest.backup_id) == manifest
    with pytest.raises(SourceChanged):
        vault.store.write_once(key, b"another one")
    assert vault.catalogue.read(manifest.backup_id) == manifest


def test_a_fourth_table_needs_no_more_than_its_entry(vault: Vault) -> None:
    tables, world = (*TABLES, OFFICES), vault.world
    migrate(world.warehouse, tables=tables)
    run = {"dag_id": "recovery", "run_id": "fourth"}
    with closing(PostgresWarehouse(world.database.dsn)) as warehouse:
        loader = Loader(warehouse, world.store, vault.settings(), run, tables)
        loader.load(world.put("offices_1.csv", b'7,"Bern\nMitte",0001-01-01T00:00:00Z\n'))
        before = world.sql("SELECT * FROM offices")
        manifest = Backup(warehouse, vault.store, vault.settings(), tables).take(["offices", "jobs"])
        later = loader.load(world.put("offices_2.csv", b"7,Basel,2021-01-01T00:00:00Z\n8,Chur,2021-01-01T00:00:00Z\n"))
        after, moment = world.sql("SELECT * FROM offices ORDER BY id"), vault.now()
        Undo(warehouse, world.store, vault.settings(), run, tables).undo(later.load_id)
        assert world.sql("SELECT * FROM offices") == before

        def restore(name: str, **wanted: Any) -> None:
            own = {"dag_id": "recovery", "run_id": name}
            Restore(warehouse, world.store, vault.store, vault.settings(), own, tables).restore(
                Wanted("offices", **wanted)
            )

        restore("to the moment", at=moment)
        assert world.sql("SELECT * FROM offices ORDER BY id") == after
        restore("to the backup")
        assert world.sql("SELECT * FROM offices") == before
        assert vault.held(manifest, "offices") == before
        told = Drill(warehouse, vault.store, run, tables).drill()
        assert set(told["tables"]) == {"offices", "jobs"}


def test_a_part_that_is_refused_for_a_while_is_told(vault: Vault) -> None:
    some(vault)
    with (
        on_requests(vault.store, "PutObject", Everything(), BUSY, ALWAYS),
        pytest.raises(TransientFault, match=r"S3 answered (SlowDown|503)"),
    ):
        vault.backup("jobs")
    assert_no_backup(vault)
