"""Brings a table back: to a backup, or to any moment after one; or puts that into another table to look at.

    Restore(warehouse, store, backups, settings, run).restore(Wanted("jobs", at=moment, dry_run=True))

Every byte is checked before anything else is done; the rows are staged, the difference to the live table is found and
applied in one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pyarrow as pa

from datamart.errors import BackupDamaged, ConfigurationError, TransientFault
from datamart.objects import ObjectStore
from datamart.recovery.catalogue import LATEST, Catalogue, ledger_name
from datamart.recovery.compared import Compared
from datamart.recovery.difference import Difference, Sizes
from datamart.recovery.digest import Digest
from datamart.recovery.fitting import Fit, fit, require_free_name
from datamart.recovery.ledger import Change, change_id, find_change, record_change
from datamart.recovery.manifest import Manifest
from datamart.recovery.moment import Event, Replay, commit_at, events_between
from datamart.recovery.parts import Fetched, fetch, key_twice, rows_in
from datamart.recovery.undone import mark_loads
from datamart.settings import Settings
from datamart.statements import table_names
from datamart.tables import TABLES, Table, table_named
from datamart.warehouse.base import Warehouse

log = logging.getLogger(__name__)

RESTORE, COPY = "restore", "copy"


@dataclass(frozen=True)
class Wanted:
    """What a table is to become: a backup (by default the newest), or - with ``at`` - what it was at a moment."""

    table: str
    backup_id: str | None = None
    at: datetime | None = None
    into: str | None = None
    """Another table that is made of it; the live one stays as it is."""
    dry_run: bool = False


@dataclass(frozen=True)
class Point:
    """A state of a table: a backup and what changed rows after it."""

    manifest: Manifest
    events: tuple[Event, ...] = ()
    commit_seq: int | None = None
    """The newest commit in it; None where commits cannot be compared, as in a backup of another ledger."""
    notes: tuple[str, ...] = ()


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
            ConfigurationError: there is no such table or backup, or another table's name cannot be taken.
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
        point = self.point(table, wanted)
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
            work = _Work(self, point, fitting, fetched, f"restore_{number}", resources)
            return self._into(change, work) if wanted.into else self._apply(change, work)

    def point(self, table: Table, wanted: Wanted) -> Point:
        """Which backup, and what after it."""
        catalogue, ledger = Catalogue(self.backups), ledger_name(self.warehouse)
        if wanted.at is None:
            chosen = wanted.backup_id or LATEST
            manifest = catalogue.newest([table.name]) if chosen == LATEST else catalogue.read(chosen)
            if table.name not in manifest.tables:
                names = ", ".join(manifest.tables)
                raise ConfigurationError(f"Backup {manifest.backup_id} holds {names}, not {table.name}.")
            known = manifest.tables[table.name].commit_seq if manifest.ledger == ledger else None
            return Point(manifest, (), known, catalogue.damaged_after(manifest) if chosen == LATEST else ())
        if wanted.backup_id not in (None, LATEST):
            raise ConfigurationError("Choose a backup or a moment, not both: a moment finds its backup itself.")
        if wanted.at > self.warehouse.now():
            raise ConfigurationError(f"{wanted.at:%Y-%m-%dT%H:%M:%SZ} is yet to come. Choose a moment that was.")
        until = commit_at(self.warehouse, table, wanted.at)
        manifest = catalogue.before(table.name, until, ledger, wanted.at)
        after = manifest.tables[table.name].commit_seq or 0
        return Point(manifest, tuple(events_between(self.warehouse, table, after, until)), until)

    def _apply(self, change: Change, work: _Work) -> Change:
        table = work.fitting.table
        difference = Difference(self.warehouse, table, f"difference_{change.change_id}")
        find = work.way()
        if change.dry_run:
            try:
                change = find(change, difference)
                return _told(change, difference.sizes(), difference.examples())
            finally:
                self.drop(difference.name)
        with self.warehouse.transaction():
            numbers = self.warehouse.lock(table).next(changed=False)
            done = find_change(self.warehouse, change.change_id)
            if done is not None:
                return done
            change = find(change, difference)
            sizes = difference.sizes()
            work.fitting.require_insertable(sizes.added)
            parts = difference.keep(self.store, change.change_id, numbers.commit, self.settings.part_rows)
            difference.apply(change.change_id, numbers.commit)
            self._require_count(table, change)
            change = _told(replace(change, commit_seq=numbers.commit, clean_parts=parts), sizes, {})
            mark_loads(self.warehouse, table, change)
            record_change(self.warehouse, change, self.run)
            self.warehouse.set_sequence(table, numbers.now(changed=change.any))
            difference.drop()
        return change

    def _into(self, change: Change, work: _Work) -> Change:
        """Make another table of the backup's rows, with the columns that it has."""
        kept = work.fitting.stored
        rows = work.stage_stored()
        strange = Replay(self.warehouse, self.store, kept).apply(work.point.events, work.staging)
        rows = self.count(work.staging) if work.point.events else rows
        verb = "would be" if change.dry_run else "are"
        message = f"{rows} rows of {change.table} {verb} in public.{change.into}."
        change = replace(change, rows=rows, message=message, notes=(*change.notes, *strange))
        if change.dry_run:
            return change
        with self.warehouse.transaction():
            self.warehouse.lock(work.fitting.table)  # another attempt of this run waits here
            done = find_change(self.warehouse, change.change_id)
            if done is not None:
                return done
            names = table_names(kept, work.staging, target=f"public.{change.into}")
            self.warehouse.execute(self.warehouse.sql("create_copy", **names))
            record_change(self.warehouse, change, self.run)
        return change

    def count(self, relation: str) -> int:
        """Rows of a table."""
        return int(self.warehouse.query(f"SELECT COUNT(*) FROM {relation}")[0][0])  # noqa: S608

    def _require_count(self, table: Table, change: Change) -> None:
        live = self.count(f"public.{table.name}")
        if live != change.rows:
            raise BackupDamaged(f"{table.name} would have {live} rows, not {change.rows}. Nothing was committed.")

    def drop(self, staging: str) -> None:
        """Remove a temporary table."""
        with suppress(TransientFault):  # a session that has ended has taken its temporary tables along
            self.warehouse.drop_staging(staging)


Find = Callable[[Change, Difference], Change]
"""Finds a difference, and what the change is told besides: the rows that the table will have, and notes."""


@dataclass(frozen=True)
class _Work:
    """The ways from a backup's files to a difference."""

    restore: Restore
    point: Point
    fitting: Fit
    fetched: Sequence[Fetched]
    staging: str
    resources: ExitStack

    def way(self) -> Find:
        """The quickest that will do; what takes long and needs no lock is done at once."""
        fitting, manifest = self.fitting, self.point.manifest
        if not fitting.whole:
            return self._filled  # the live rows' values as they are under the lock
        warehouse = self.restore.warehouse
        if not self.point.events and fitting.comparable and Compared.possible(warehouse, fitting.table, manifest):
            return self._compared
        self.stage_stored()
        notes = self._replayed()
        return lambda change, difference: self._staged(replace(change, notes=(*change.notes, *notes)), difference)

    def stage_stored(self) -> int:
        """Put the backup's rows, as far as it has columns, into a temporary table; how many."""
        warehouse, fitting, manifest = self.restore.warehouse, self.fitting, self.point.manifest
        self.resources.callback(self.restore.drop, self.staging)
        digest = Digest()
        rows = _seen(rows_in(self.fetched, manifest, fitting.stored.kept_schema), digest)
        staged = warehouse.stage_kept(fitting.stored, self.staging, rows)
        _require_same(manifest, fitting, digest)
        key = f'"{fitting.table.key}"'
        if int(warehouse.query(f"SELECT COUNT(DISTINCT {key}) FROM {self.staging}")[0][0]) != staged:  # noqa: S608
            raise key_twice(manifest, fitting.table)
        log.info("%s: %d rows are staged", fitting.table.name, staged)
        return staged

    def _compared(self, change: Change, difference: Difference) -> Change:
        digest, manifest, table = Digest(), self.point.manifest, self.fitting.table
        for name in Compared.temporary(difference):
            self.resources.callback(self.restore.drop, name)
        Compared(self.restore.warehouse, table, manifest, self.fetched).into(difference, change.change_id, digest)
        _require_same(manifest, self.fitting, digest)
        return replace(change, rows=manifest.tables[table.name].rows)

    def _staged(self, change: Change, difference: Difference) -> Change:
        difference.to_staged(self.staging, change.change_id)
        return replace(change, rows=self.restore.count(self.staging))

    def _filled(self, change: Change, difference: Difference) -> Change:
        whole = f"{self.staging}_whole"
        self.resources.callback(self.restore.drop, whole)
        staged = self.stage_stored()
        self.fitting.fill(self.restore.warehouse, self.staging, whole, staged)
        filled = replace(self, staging=whole)
        notes = filled._replayed()
        return filled._staged(replace(change, notes=(*change.notes, *notes)), difference)

    def _replayed(self) -> list[str]:
        replay = Replay(self.restore.warehouse, self.restore.store, self.fitting.table)
        return replay.apply(self.point.events, self.staging)


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


def moment_of(text: str) -> datetime:
    """A moment as people write it: ISO 8601, with a zone or in UTC.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigurationError(
            f"'{text[:40]}' is no moment. Write it as 2026-11-25T14:05:00Z, in UTC or with an offset."
        ) from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
