"""The ways from a backup's files to what must be done to the live table.

Rows are compared with the live ones as they come from the files (``compared``) where that will do; they are staged in
the warehouse when later changes must be done again, when the table is very large, or when the backup lacks columns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

import pyarrow as pa

from datamart.errors import BackupDamaged, TransientFault
from datamart.objects import ObjectStore
from datamart.recovery.compared import Compared
from datamart.recovery.difference import Difference
from datamart.recovery.digest import Digest
from datamart.recovery.fitting import Fit
from datamart.recovery.ledger import Change
from datamart.recovery.manifest import Manifest
from datamart.recovery.moment import Replay
from datamart.recovery.parts import Fetched, key_twice, of_nobody, rows_in
from datamart.recovery.point import Point
from datamart.tables import Table
from datamart.warehouse.base import Warehouse

log = logging.getLogger(__name__)

Find = Callable[[Change, Difference], Change]
"""Finds a difference, and what the change is told besides: the rows that the table will have, and notes."""


@dataclass(frozen=True)
class Way:
    """The ways from a backup's files to a difference."""

    warehouse: Warehouse
    store: ObjectStore
    point: Point
    fitting: Fit
    fetched: Sequence[Fetched]
    staging: str
    resources: ExitStack

    def find(self) -> Find:
        """The quickest way that will do; what takes long and needs no lock is done at once."""
        fitting, manifest = self.fitting, self.point.manifest
        if not fitting.whole:
            return self._filled  # the live rows' values as they are under the lock
        possible = fitting.comparable and Compared.possible(self.warehouse, fitting.table, manifest)
        if possible and not self.point.events:
            return self._compared
        return self._stage()

    def _stage(self) -> Find:
        self.stage_stored()
        notes = self.replayed(self.fitting.table)
        return lambda change, difference: self._staged(replace(change, notes=(*change.notes, *notes)), difference)

    def stage_stored(self) -> int:
        """Put the backup's rows, as far as it has columns, into a temporary table; how many."""
        warehouse, fitting, manifest = self.warehouse, self.fitting, self.point.manifest
        self.resources.callback(self.drop, self.staging)
        digest = Digest()
        rows = _seen(rows_in(self.fetched, manifest, fitting.stored.kept_schema), digest)
        ours = rows if self.point.own else map(of_nobody, rows)
        staged = warehouse.stage_kept(fitting.stored, self.staging, ours)
        _require_same(manifest, fitting, digest)
        key = f'"{fitting.table.key}"'
        if int(warehouse.query(f"SELECT COUNT(DISTINCT {key}) FROM {self.staging}")[0][0]) != staged:  # noqa: S608
            raise key_twice(manifest, fitting.table)
        log.info("%s: %d rows are staged", fitting.table.name, staged)
        return staged

    def _compared(self, change: Change, difference: Difference) -> Change:
        digest, manifest, table = Digest(), self.point.manifest, self.fitting.table
        if not Compared.possible(self.warehouse, table, manifest):  # a row of a larger key has come since
            return self._stage()(change, difference)
        for name in Compared.temporary(difference):
            self.resources.callback(self.drop, name)
        compared = Compared(self.warehouse, table, manifest, self.fetched, own=self.point.own)
        compared.into(difference, change.change_id, digest)
        _require_same(manifest, self.fitting, digest)
        return replace(change, rows=manifest.tables[table.name].rows)

    def _staged(self, change: Change, difference: Difference) -> Change:
        difference.to_staged(self.staging, change.change_id)
        return replace(change, rows=self.warehouse.size_of(self.staging))

    def _filled(self, change: Change, difference: Difference) -> Change:
        whole = f"{self.staging}_whole"
        self.resources.callback(self.drop, whole)
        staged = self.stage_stored()
        self.fitting.fill(self.warehouse, self.staging, whole, staged)
        filled = replace(self, staging=whole)
        notes = filled.replayed(self.fitting.table)
        return filled._staged(replace(change, notes=(*change.notes, *notes)), difference)

    def drop(self, staging: str) -> None:
        """Remove a temporary table."""
        with suppress(TransientFault):  # a session that has ended has taken its temporary tables along
            self.warehouse.drop_staging(staging)

    def replayed(self, table: Table) -> list[str]:
        """Do later changes again to what is staged; what is strange about them."""
        return Replay(self.warehouse, self.store, table).apply(self.point.events, self.staging)


def _seen(batches: Iterator[pa.RecordBatch], digest: Digest) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        digest.add(batch)
        yield batch


def _require_same(manifest: Manifest, fitting: Fit, digest: Digest) -> None:
    name = fitting.table.name
    told = manifest.tables[name]
    same = not fitting.comparable or told.digest is None or told.digest == digest.value
    if digest.rows != told.rows or not same:
        raise BackupDamaged(
            f"Backup {manifest.backup_id} of {name} does not hold the {told.rows} rows that its manifest tells (found: "
            f"{digest.rows}). Nothing was touched. Restore another backup."
        )
