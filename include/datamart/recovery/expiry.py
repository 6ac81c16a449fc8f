"""Which backups have outlived their use, and what is left of those that came to nothing.

Kept is what is young enough, and for each table: its newest backups, the newest that was proven restorable, and the one
that the oldest moment still within the time of keeping is reached from. Adopted backups are other programs' files: they
stay until somebody removes them.

The manifest goes first, so that a backup is whole or is none.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from datamart.objects import ObjectStore
from datamart.recovery.catalogue import Catalogue
from datamart.recovery.ledger import register
from datamart.recovery.manifest import ADOPTED, Manifest, manifest_key
from datamart.settings import Settings
from datamart.warehouse.base import Warehouse

log = logging.getLogger(__name__)

ORPHAN_AGE = timedelta(days=2)
"""A backup may take so long before it has a manifest."""
_FOLDER = re.compile(r"\d{8}T\d{6}Z-\d{6}-[0-9a-f]{8}\Z")


@dataclass(frozen=True)
class Removed:
    """What was removed, or would be by a run that is not dry."""

    backups: int = 0
    objects: int = 0
    orphans: int = 0
    """Objects of backups that have no manifest."""


@dataclass(frozen=True)
class Expiry:
    """Removes what the settings say is over at ``now``; with ``dry_run`` it only counts."""

    warehouse: Warehouse
    store: ObjectStore
    settings: Settings
    now: datetime
    dry_run: bool = False

    def run(self) -> Removed:
        """Let ledger and bucket agree, then remove what is over."""
        catalogue = Catalogue(self.store)
        known = list(catalogue.all())
        for reason in catalogue.damaged:
            log.error("%s", reason)
        self._agree(known, catalogue)
        due = self._due(known)
        over = {manifest.backup_id for manifest in due}
        # Files of one backup may have been adopted as another one's.
        needed = {
            part.key
            for manifest in known
            if manifest.backup_id not in over
            for table in manifest.tables.values()
            for part in table.parts
        }
        objects = sum(self._remove(manifest, needed) for manifest in due)
        # Nobody knows what a manifest that cannot be read needs.
        orphans = 0 if catalogue.damaged else self._remove_orphans(set(catalogue.ids), needed)
        return Removed(len(due), objects, orphans)

    def _agree(self, known: list[Manifest], catalogue: Catalogue) -> None:
        """The ledger knows of every backup that is there, and of no other."""
        if self.dry_run:
            return
        for manifest in known:
            if register(self.warehouse, manifest):
                log.info("Backup %s was not in the ledger yet", manifest.backup_id)
        for backup_id, expired_at in self.warehouse.query("SELECT backup_id, expired_at FROM ops.backups"):
            if expired_at is not None and backup_id in catalogue.ids:
                log.info("Backup %s is in S3 again", backup_id)
                self._mark_there(backup_id)
        for (backup_id,) in self.warehouse.query("SELECT backup_id FROM ops.backups WHERE expired_at IS NULL"):
            if backup_id not in catalogue.ids:
                log.warning("Backup %s is not in S3 any more", backup_id)
                self._mark(backup_id)

    def _due(self, known: list[Manifest]) -> list[Manifest]:
        days = self.settings.backup_keep_days
        if days is None:
            return []
        before = self.now - timedelta(days=days)
        proven = {
            one for (one,) in self.warehouse.query("SELECT backup_id FROM ops.backups WHERE proven_at IS NOT NULL")
        }
        kept = set(self._kept(known, before, proven))
        return [
            manifest
            for manifest in known
            if manifest.taken_at < before and manifest.kind != ADOPTED and manifest.backup_id not in kept
        ]

    def _kept(self, known: list[Manifest], before: datetime, proven: set[str]) -> Iterator[str]:
        """Ids of backups that stay however old they are; ``known`` is newest first."""
        for table in {name for manifest in known for name in manifest.tables}:
            mine = [one for one in known if table in one.tables and one.kind != ADOPTED]
            yield from _ids(mine[: self.settings.backup_keep_count])
            yield from _ids([one for one in mine if one.backup_id in proven][:1])
            yield from _ids([one for one in mine if one.taken_at < before][:1])

    def _remove(self, manifest: Manifest, needed: set[str]) -> int:
        keys = [one.key for one in self.store.walk(f"{manifest.backup_id}/") if one.key not in needed]
        if not self.dry_run:
            first = manifest_key(manifest.backup_id)
            self.store.remove([first, *(key for key in keys if key != first)])
            self._mark(manifest.backup_id)
            log.info("Backup %s of %s is over", manifest.backup_id, f"{manifest.taken_at:%Y-%m-%d %H:%M}")
        return len(keys)

    def _remove_orphans(self, whole: set[str], needed: set[str]) -> int:
        """What a backup that was killed, or a removal that was, has left."""
        removed = 0
        for one in self.store.walk(""):
            folder = one.key.partition("/")[0]
            mine = _FOLDER.match(folder) and folder not in whole and one.key not in needed
            if mine and one.last_modified < self.now - ORPHAN_AGE:
                removed += 1
                if not self.dry_run:
                    self.store.remove([one.key])
        return removed

    def _mark_there(self, backup_id: str) -> None:
        said = "UPDATE ops.backups SET expired_at = NULL WHERE backup_id = %(backup_id)s"
        self.warehouse.execute(said, {"backup_id": backup_id})

    def _mark(self, backup_id: str) -> None:
        self.warehouse.execute(
            "UPDATE ops.backups SET expired_at = %(now)s WHERE backup_id = %(backup_id)s AND expired_at IS NULL",
            {"now": self.now, "backup_id": backup_id},
        )


def _ids(manifests: Iterable[Manifest]) -> list[str]:
    return [manifest.backup_id for manifest in manifests]
