"""A warehouse with a backup bucket: backups, restores, undos and drills as tasks do them, each a run of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from datamart.objects import ObjectStore
from datamart.recovery.adopt import Adopt
from datamart.recovery.backup import Backup
from datamart.recovery.catalogue import Catalogue
from datamart.recovery.drill import Drill
from datamart.recovery.ledger import Change
from datamart.recovery.manifest import Manifest
from datamart.recovery.restore import Restore, Wanted
from datamart.recovery.undo import Undo
from datamart.settings import Settings, load_settings
from datamart.tables import TABLES
from datamart.warehouse.base import Warehouse
from tests.integration.world import Row, World

NAMES = tuple(table.name for table in TABLES)


@dataclass
class Vault:
    """One world and the bucket of its backups."""

    world: World
    store: ObjectStore
    _runs: Iterator[int] = field(default_factory=lambda: count(1))

    def settings(self, **values: Any) -> Settings:
        return load_settings({f"DATAMART_{name.upper()}": str(value) for name, value in values.items()})

    def run(self, name: str | None = None) -> dict[str, str]:
        return {"dag_id": "recovery", "run_id": name or f"recovery-{next(self._runs)}"}

    def backup(self, *tables: str, warehouse: Warehouse | None = None, **settings: Any) -> Manifest:
        opened = warehouse or self.world.warehouse
        return Backup(opened, self.store, self.settings(**settings)).take(tables or NAMES)

    def restore(
        self, table: str, *, run: str | None = None, warehouse: Warehouse | None = None, **wanted: Any
    ) -> Change:
        return self.restorer(run, warehouse).restore(Wanted(table, **wanted))

    def restorer(self, run: str | None = None, warehouse: Warehouse | None = None) -> Restore:
        opened = warehouse or self.world.warehouse
        return Restore(opened, self.world.store, self.store, self.settings(), self.run(run))

    def undo(
        self, load_id: int, *, run: str | None = None, warehouse: Warehouse | None = None, **options: bool
    ) -> Change:
        opened = warehouse or self.world.warehouse
        return Undo(opened, self.world.store, self.settings(), self.run(run)).undo(load_id, **options)

    def drill(self, backup_id: str = "latest", run: str | None = None) -> dict[str, Any]:
        return Drill(self.world.warehouse, self.store, self.run(run)).drill(backup_id)

    def adopt(self, folder: str) -> Manifest:
        return Adopt(self.world.warehouse, self.store).adopt(folder)

    @property
    def catalogue(self) -> Catalogue:
        """As it is now."""
        return Catalogue(self.store)

    def table(self, name: str) -> list[Row]:
        """All live rows by id, with the load that brought each."""
        return self.world.sql(f"SELECT * FROM public.{name} ORDER BY id")

    def now(self) -> datetime:
        """A moment after all that was committed, by the clock of the machine that the ledger's times are of."""
        return datetime.now(UTC)

    def corrupt(self, key: str, body: bytes) -> None:
        """Put other bytes in an object's place."""
        self.store.write(key, body)

    def body(self, key: str) -> bytes:
        found = self.store.fetch(key)
        assert found is not None
        return found

    def clear(self) -> None:
        self.store.remove(one.key for one in self.store.walk(""))

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Nothing of the warehouse is other at the end of the block, and no table of a restore is left."""
        before = self.world.snapshot()
        yield
        assert self.world.snapshot() == before
        left = self.world.sql(
            "SELECT relname FROM pg_class WHERE relname LIKE 'restore\\_%' OR relname LIKE 'difference\\_%'"
        )
        assert left == []
