"""Which state of a table is wanted: a backup, or a moment, which is a backup and what changed rows after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from datamart.errors import ImpossibleRequest
from datamart.objects import ObjectStore
from datamart.recovery.catalogue import LATEST, Catalogue, ledger_name
from datamart.recovery.manifest import Manifest
from datamart.recovery.moment import Event, commit_at, events_between
from datamart.tables import Table
from datamart.warehouse.base import Warehouse


@dataclass(frozen=True)
class Wanted:
    """What a table is to become: a backup (by default the newest), or - with ``at`` - what it was at a moment."""

    table: str
    backup_id: str | None = None
    at: datetime | None = None
    into: str | None = None
    """Another table that is made of it; the live one stays as it is."""
    dry_run: bool = False
    seen: int | None = None
    """The number of the table's newest change for which the difference was shown; refused after another one."""


@dataclass(frozen=True)
class Point:
    """A state of a table: a backup and what changed rows after it."""

    manifest: Manifest
    events: tuple[Event, ...] = ()
    commit_seq: int | None = None
    """The newest commit in it; None where commits cannot be compared, as in a backup of another ledger."""
    notes: tuple[str, ...] = ()
    own: bool = True
    """Load ids in the backup name loads of this ledger; others name nothing here, or another load of the same id."""


def find_point(warehouse: Warehouse, backups: ObjectStore, table: Table, wanted: Wanted) -> Point:
    """Which backup, and what after it.

    Raises:
        ImpossibleRequest: there is none of that id, of that table or from before that moment; or both are given.
    """
    catalogue, ledger = Catalogue(backups), ledger_name(warehouse)
    if wanted.at is None:
        chosen = wanted.backup_id or LATEST
        manifest = catalogue.newest([table.name]) if chosen == LATEST else catalogue.read(chosen)
        if table.name not in manifest.tables:
            names = ", ".join(manifest.tables)
            raise ImpossibleRequest(f"Backup {manifest.backup_id} holds {names}, not {table.name}.")
        known = manifest.tables[table.name].commit_seq if manifest.ledger == ledger else None
        damaged = catalogue.damaged_after(manifest) if chosen == LATEST else ()
        return Point(manifest, (), known, damaged, own=manifest.ledger == ledger)
    if wanted.backup_id not in (None, LATEST):
        raise ImpossibleRequest("Choose a backup or a moment, not both: a moment finds its backup itself.")
    if wanted.at > warehouse.now():
        raise ImpossibleRequest(f"{wanted.at:%Y-%m-%dT%H:%M:%SZ} is yet to come. Choose a moment that was.")
    until = commit_at(warehouse, table, wanted.at)
    manifest = catalogue.before(table.name, until, ledger, wanted.at)
    after = manifest.tables[table.name].commit_seq or 0
    return Point(manifest, tuple(events_between(warehouse, table, after, until)), until)
