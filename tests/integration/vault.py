"""A warehouse with a backup bucket: backups, restores, undos and drills as tasks do them, each a run of its own."""

from __future__ import annotations

import io
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

import fastavro
import pyarrow as pa

from datamart.objects import ObjectStore
from datamart.recovery.adopt import Adopt
from datamart.recovery.backup import Backup
from datamart.recovery.catalogue import Catalogue
from datamart.recovery.drill import Drill
from datamart.recovery.ledger import Change
from datamart.recovery.manifest import Manifest
from datamart.recovery.point import Wanted
from datamart.recovery.restore import Restore
from datamart.recovery.undo import Undo
from datamart.settings import Settings, load_settings
from datamart.tables import TABLES, Table
from datamart.warehouse.base import Warehouse
from tests.integration.world import Row, World

NAMES = tuple(table.name for table in TABLES)

_runs = count(1)


class Everything(Container[object]):
    """Every key of a bucket."""

    def __contains__(self, _key: object) -> bool:
        return True


def _unpacked(file: Any) -> io.BytesIO:
    """A block as fastavro takes it; its own way of unpacking snappy needs a library more."""
    packed = fastavro.schemaless_reader(file, "bytes", None)
    assert isinstance(packed, bytes)
    size = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(packed[: _size_bytes(packed)]))
    return io.BytesIO(pa.Codec("snappy").decompress(packed[:-4], size, asbytes=True))


def _size_bytes(packed: bytes) -> int:
    return next(place for place, byte in enumerate(packed, 1) if byte < 0x80)


fastavro.read.BLOCK_READERS["snappy"] = _unpacked


@dataclass
class Vault:
    """One world and the bucket of its backups."""

    world: World
    store: ObjectStore

    def settings(self, **values: Any) -> Settings:
        return load_settings({f"DATAMART_{name.upper()}": str(value) for name, value in values.items()})

    def run(self, name: str | None = None) -> dict[str, str]:
        return {"dag_id": "recovery", "run_id": name or f"recovery-{next(_runs)}"}

    def backup(self, *tables: str, warehouse: Warehouse | None = None, **settings: Any) -> Manifest:
        opened = warehouse or self.world.warehouse
        return Backup(opened, self.store, self.settings(**settings)).take(tables or NAMES)

    def restore(
        self, table: str, *, run: str | None = None, warehouse: Warehouse | None = None, **wanted: Any
    ) -> Change:
        return self.restorer(run, warehouse).restore(Wanted(table, **wanted))

    def restorer(
        self, run: str | None = None, warehouse: Warehouse | None = None, tables: tuple[Table, ...] = TABLES
    ) -> Restore:
        opened = warehouse or self.world.warehouse
        return Restore(opened, self.world.store, self.store, self.settings(), self.run(run), tables)

    def undo(
        self, load_id: int, *, run: str | None = None, warehouse: Warehouse | None = None, **options: bool
    ) -> Change:
        opened = warehouse or self.world.warehouse
        return Undo(opened, self.world.store, self.settings(), self.run(run)).undo(load_id, **options)

    def drill(
        self, backup_id: str = "latest", run: str | None = None, warehouse: Warehouse | None = None
    ) -> dict[str, Any]:
        return Drill(warehouse or self.world.warehouse, self.store, self.run(run)).drill(backup_id)

    def adopt(self, folder: str) -> Manifest:
        return Adopt(self.world.warehouse, self.store).adopt(folder)

    @property
    def catalogue(self) -> Catalogue:
        """As it is now."""
        return Catalogue(self.store)

    def table(self, name: str) -> list[Row]:
        """All live rows by id, with the load that brought each."""
        return self.world.sql(f"SELECT * FROM public.{name} ORDER BY id")

    def flags(self, table: str = "jobs") -> dict[int, bool]:
        """By load that was applied: whether it is undone."""
        return dict(
            self.world.sql(
                "SELECT load_id, undone_by IS NOT NULL FROM ops.loads"
                " WHERE table_name = %s AND verdict IN ('loaded', 'duplicate')",
                table,
            )
        )

    def held(self, manifest: Manifest, table: str) -> list[Row]:
        """The rows in a backup's parts by id, as another program reads them."""
        rows = [
            tuple(value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in row.values())
            for part in manifest.tables[table].parts
            for row in fastavro.reader(io.BytesIO(self.body(part.key)))
            if isinstance(row, dict)
        ]
        return sorted(rows)

    def keys(self, prefix: str = "") -> list[str]:
        """Of all objects in the backup bucket."""
        return [one.key for one in self.store.walk(prefix)]

    def now(self) -> datetime:
        """A moment after all that was committed, by the clock of the machine that the ledger's times are of."""
        return self.world.warehouse.now()

    def corrupt(self, key: str, body: bytes) -> None:
        """Put other bytes in an object's place."""
        self.store.write(key, body)

    def body(self, key: str) -> bytes:
        found = self.store.fetch(key)
        assert found is not None
        return found

    def clear(self) -> None:
        self.store.remove(one.key for one in self.store.walk(""))

    def everything(self) -> dict[str, list[Row]]:
        """All rows that a load, a restore or an undo may change."""
        return self.world.snapshot() | {
            "ops.restores": self.world.sql("SELECT r::text FROM ops.restores AS r ORDER BY 1")
        }

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Nothing of the warehouse is other at the end of the block, and no table of a restore is left."""
        before = self.everything()
        yield
        assert self.everything() == before
        left = self.world.sql(
            "SELECT relname FROM pg_class WHERE relname LIKE 'restore\\_%' OR relname LIKE 'difference\\_%'"
        )
        assert left == []
