"""Brings a table back: to a backup, or to any moment after one; or puts that into another table to look at.

    Restore(warehouse, store, backups, settings, run).restore(Wanted("jobs", at=moment, dry_run=True))

Every byte is checked before anything else is done; the rows are staged, the difference to the live table is found and
applied in one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from datamart.errors import BackupDamaged, ChangeRefused
from datamart.objects import ObjectStore
from datamart.recovery.difference import Difference, Sizes
from datamart.recovery.fitting import fit, require_free_name
from datamart.recovery.ledger import Change, change_id, find_change, record_change
from datamart.recovery.parts import fetch
from datamart.recovery.point import Wanted, find_point
from datamart.recovery.undone import mark_loads
from datamart.recovery.way import Find, Way
from datamart.settings import Settings
from datamart.tables import TABLES, Table, table_named
from datamart.warehouse.base import Warehouse

log = logging.getLogger(__name__)

RESTORE, COPY = "restore", "copy"


@dataclass(frozen=True)
class Restore:
    """Restores tables of one warehouse; ``run`` names the Dag run for the ledger."""

    warehouse: Warehouse
    store: ObjectStore
    backups: ObjectStore
    settings: Settings
    run: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[Table, ...] = TABLES

    def restore(self, wanted: Wanted) -> Change:
        """Do it, or say what would be done.

        Raises:
            ImpossibleRequest: there is no such table or backup, or another table's name cannot be taken.
            ChangeRefused: rows would be lost, or the moment cannot be reached; nothing was touched.
            BackupDamaged: the backup is not what was written; nothing was touched.
        """
        number = change_id(RESTORE, wanted.table, self.run)
        table = table_named(wanted.table, self.tables)
        done = None if wanted.dry_run else find_change(self.warehouse, number)
        if done is not None:
            return done
        if wanted.into is not None:
            require_free_name(self.warehouse, wanted.into, self.tables)
        point = find_point(self.warehouse, self.backups, table, wanted)
        log.info("%s: from backup %s, %d later changes", table.name, point.manifest.backup_id, len(point.events))
        fitting = fit(self.warehouse, table, point.manifest, live=wanted.into is None)
        change = Change(
            number,
            table.name,
            COPY if wanted.into else RESTORE,
            backup_id=point.manifest.backup_id,
            target_seq=point.commit_seq,
            target_at=wanted.at,
            into=wanted.into,
            dry_run=wanted.dry_run,
            notes=(*point.notes, *fitting.notes),
        )
        with ExitStack() as resources:
            parts = point.manifest.tables[table.name].parts
            fetched = fetch(self.backups, point.manifest.backup_id, parts, resources)
            log.info("%s: all %d parts are as they were written", table.name, len(parts))
            way = Way(self.warehouse, self.store, point, fitting, fetched, f"restore_{number}", resources)
            return self._into(change, way) if wanted.into else self._apply(change, way, wanted.seen)

    def _apply(self, change: Change, way: Way, seen: int | None) -> Change:
        table, find = way.fitting.table, way.find()
        difference = Difference(self.warehouse, table, f"difference_{change.change_id}")
        if not change.dry_run:
            return self.warehouse.atomically(lambda: self._change(change, way, find, difference, seen))
        way.resources.callback(way.drop, difference.name)
        change = replace(change, changed_seq=self.warehouse.changed_number(table))
        with self.warehouse.transaction():
            self.warehouse.hold_moment()
            change = find(change, difference)
            return _told(change, difference.sizes(), difference.examples())

    def _change(self, change: Change, way: Way, find: Find, difference: Difference, seen: int | None) -> Change:
        """Make the live table equal, within the open transaction."""
        table = way.fitting.table
        locked = self.warehouse.lock(table)
        numbers = locked.next(changed=False)
        done = find_change(self.warehouse, change.change_id)
        if done is not None:
            return done
        if seen not in (None, locked.changed):
            raise ChangeRefused(f"{table.name} has changed since the difference was shown. Look at it again.")
        change = find(change, difference)
        sizes = difference.sizes()
        way.fitting.require_insertable(sizes.added)
        parts = difference.keep(self.store, change.change_id, numbers.commit, self.settings.part_rows)
        difference.apply(change.change_id, numbers.commit)
        self._require_count(table, change)
        change = _told(replace(change, commit_seq=numbers.commit, clean_parts=parts), sizes, {})
        mark_loads(self.warehouse, table, change)
        numbers = numbers.now(changed=change.any).ended(self.warehouse.now())
        record_change(self.warehouse, change, self.run, numbers.at)
        self.warehouse.set_sequence(table, numbers)
        difference.drop()
        return change

    def _into(self, change: Change, way: Way) -> Change:
        """Make another table of the backup's rows, with the columns that it has."""
        kept = way.fitting.stored
        rows = way.stage_stored()
        strange = way.replayed(kept)
        rows = self.warehouse.size_of(way.staging) if way.point.events else rows
        verb = "would be" if change.dry_run else "are"
        message = f"{rows} rows of {change.table} {verb} in public.{change.into}."
        change = replace(change, rows=rows, message=message, notes=(*change.notes, *strange))
        if change.dry_run:
            return change

        def create() -> Change:
            self.warehouse.lock(way.fitting.table)  # another attempt of this run waits here
            done = find_change(self.warehouse, change.change_id)
            if done is not None:
                return done
            names = self.warehouse.names(kept, way.staging, target=f"public.{change.into}")
            self.warehouse.execute(self.warehouse.sql("create_copy", **names))
            record_change(self.warehouse, change, self.run, self.warehouse.now())
            return change

        return self.warehouse.atomically(create)

    def _require_count(self, table: Table, change: Change) -> None:
        live = self.warehouse.size_of(f"public.{table.name}")
        if live != change.rows:
            raise BackupDamaged(f"{table.name} would have {live} rows, not {change.rows}. Nothing was committed.")


def _told(change: Change, sizes: Sizes, examples: Mapping[str, list[int]]) -> Change:
    change = replace(change, added=sizes.added, changed=sizes.changed, removed=sizes.removed, relabelled=sizes.moved)
    verb = "would be" if change.dry_run else "were"
    message = f"{sizes.added} rows {verb} added, {sizes.changed} changed and {sizes.removed} removed."
    if not change.any:
        message = (
            f"{change.table} is as it was then already; nothing {'is to be done' if change.dry_run else 'changed'}."
        )
    shown = tuple(f"{kind}: ids {', '.join(map(str, keys))}" for kind, keys in examples.items() if keys)
    return replace(change, message=message, notes=(*change.notes, *shown))
