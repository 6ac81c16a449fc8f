"""Takes a backup: the chosen tables as AVRO in S3, all at one moment, then the manifest that makes it one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC

import pyarrow as pa

from datamart.ahead import ahead
from datamart.errors import BalanceError, ImpossibleRequest
from datamart.objects import ObjectStore
from datamart.recovery.avro import avro_schema
from datamart.recovery.catalogue import ledger_name
from datamart.recovery.digest import Digest
from datamart.recovery.ledger import register
from datamart.recovery.manifest import TAKEN, Manifest, Part, TableBackup, column_types, manifest_key, new_id
from datamart.recovery.parts import PartsWriter, remove_quietly
from datamart.settings import Settings
from datamart.tables import TABLES, Table, table_named
from datamart.warehouse.base import Warehouse

log = logging.getLogger(__name__)

_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Backup:
    """Takes backups of one warehouse into the backup bucket ``store``."""

    warehouse: Warehouse
    store: ObjectStore
    settings: Settings
    tables: tuple[Table, ...] = field(default=TABLES, repr=False)

    def take(self, names: Sequence[str]) -> Manifest:
        """A backup of these tables under a new id. A retry is another backup: the moment of this one is gone.

        Raises:
            ImpossibleRequest: no table is named, or one that there is not.
        """
        chosen = [table_named(name, self.tables) for name in dict.fromkeys(names)]
        if not chosen:
            raise ImpossibleRequest("No table is named. Choose at least one to back up.")
        written: list[str] = []
        try:
            manifest = self._take(chosen, written)
        except BaseException:
            remove_quietly(self.store, reversed(written))  # the manifest first: a backup is whole, or is none
            raise
        register(self.warehouse, manifest)
        return manifest

    def _take(self, chosen: list[Table], written: list[str]) -> Manifest:
        ledger = ledger_name(self.warehouse)
        with self.warehouse.one_moment([f"public.{table.name}" for table in chosen]):
            taken_at = self.warehouse.now().astimezone(UTC)
            found = self.warehouse.query("SELECT table_name, commit_seq FROM ops.tables")
            numbers = {table: int(number) for table, number in found}
            backup_id = new_id(taken_at)
            log.info("Backup %s: %s", backup_id, ", ".join(table.name for table in chosen))
            kept = {table.name: self._table(backup_id, table, numbers.get(table.name), written) for table in chosen}
        finished_at = self.warehouse.now().astimezone(UTC)
        versions = {"warehouse": self.warehouse.version(), "pyarrow": pa.__version__}
        manifest = Manifest(backup_id, TAKEN, taken_at, finished_at, ledger, versions, kept)
        written.append(manifest_key(backup_id))
        self.store.write_once(manifest_key(backup_id), manifest.encoded())
        return manifest

    def _table(self, backup_id: str, table: Table, commit_seq: int | None, written: list[str]) -> TableBackup:
        digest = Digest()

        def seen(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                digest.add(batch)
                yield batch

        schema, most = table.kept_schema, self.settings.part_rows
        writer = PartsWriter(self.store, backup_id, table.name, schema, most, written.append)
        parts: list[Part] = []
        with ahead(self.warehouse.rows_of(table, f"public.{table.name}"), _BATCHES_AHEAD) as made:
            for part in writer.write(seen(iter(made.take, None))):
                parts.append(part)
                log.info("%s: %d rows are in S3", table.name, sum(one.rows for one in parts))
        rows = sum(part.rows for part in parts)
        there = self.warehouse.size_of(f"public.{table.name}")
        if not rows == digest.rows == there:
            raise BalanceError(
                f"{table.name} has {there} rows, but {digest.rows} rows read, {rows} written. There is no backup."
            )
        columns = column_types(avro_schema(table.name, table.kept_schema))
        return TableBackup(columns, rows, digest.value, commit_seq, tuple(parts))
