"""The backups there are: found in S3, where each has a manifest, and known to the ledger, which has what came of them.

S3 is the truth: the ledger may be younger than the backups, as after the loss of a warehouse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from datamart.errors import BackupDamaged, ImpossibleRequest
from datamart.objects import ObjectStore
from datamart.recovery.manifest import ADOPTED, NAME, Manifest, decoded, is_id, manifest_key, require_id
from datamart.warehouse.base import Warehouse

LATEST = "latest"


def ledger_name(warehouse: Warehouse) -> str:
    """What tells one ledger from another: commit numbers of different ledgers cannot be compared."""
    found = warehouse.query("SELECT MIN(applied_at) FROM ops.migrations")[0][0]
    return str(found.isoformat()) if found else ""


@dataclass(frozen=True)
class Catalogue:
    """The backups in one bucket."""

    store: ObjectStore

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Of all backups that have a manifest, newest first by their ids."""
        named = (arrival.key.rpartition("/") for arrival in self.store.walk(""))
        folders = [folder for folder, _, name in named if name == NAME and is_id(folder)]
        return tuple(sorted(folders, reverse=True))

    def read(self, backup_id: str) -> Manifest:
        """The backup of this id.

        Raises:
            ImpossibleRequest: there is none.
            BackupDamaged: its manifest is not what was written.
        """
        body = self.store.fetch(manifest_key(require_id(backup_id)))
        if body is None:
            newest = f" The newest are: {', '.join(self.ids[:3])}." if self.ids else " There is no backup at all."
            raise ImpossibleRequest(f"There is no backup {backup_id}.{newest}")
        return decoded(backup_id, body)

    def all(self) -> Iterator[Manifest]:
        """All that can be read, newest first by the time they were taken; a damaged manifest is passed over."""
        return iter(sorted(self._readable, key=lambda found: (found.taken_at, found.backup_id), reverse=True))

    @cached_property
    def damaged(self) -> tuple[str, ...]:
        """Why manifests cannot be read."""
        return tuple(str(error) for error in map(self._try, self.ids) if isinstance(error, BackupDamaged))

    @cached_property
    def _readable(self) -> tuple[Manifest, ...]:
        return tuple(found for found in map(self._try, self.ids) if isinstance(found, Manifest))

    def _try(self, backup_id: str) -> Manifest | BackupDamaged | None:
        try:
            return self.read(backup_id)
        except BackupDamaged as error:
            return error
        except ImpossibleRequest:  # it expired while we were looking
            return None

    def newest(self, tables: Sequence[str]) -> Manifest:
        """The newest backup of all these tables.

        Raises:
            ImpossibleRequest: there is none.
        """
        fitting = [found for found in self.all() if set(tables) <= set(found.tables)]
        # Files of another program are as old as their upload, whatever is in them: they are for who asks for them.
        for found in sorted(fitting, key=lambda one: one.kind == ADOPTED):
            return found
        broken = f" {' '.join(self.damaged[:3])}" if self.damaged else ""
        raise ImpossibleRequest(f"There is no backup of {', '.join(tables)}. Run the Dag backup first.{broken}")

    def damaged_after(self, manifest: Manifest) -> tuple[str, ...]:
        """Why backups that are newer than this one, by their ids, cannot be read."""
        newer = [backup_id for backup_id in self.ids if backup_id > manifest.backup_id]
        return tuple(f"A newer one cannot be used. {error}" for error in map(self._try, newer)
                     if isinstance(error, BackupDamaged))  # fmt: skip

    def before(self, table: str, commit_seq: int, ledger: str, at: datetime) -> Manifest:
        """The newest backup of the table whose commits are all among the first ``commit_seq`` of this ledger.

        Raises:
            ImpossibleRequest: there is none.
        """
        mine = [found for found in self.all() if table in found.tables and found.ledger == ledger]
        usable = [
            (found.tables[table].commit_seq, found.taken_at, found.backup_id)
            for found in mine
            if (number := found.tables[table].commit_seq) is not None and number <= commit_seq
        ]
        if usable:
            return self.read(max(usable, key=lambda one: (one[0] or 0, one[1]))[2])
        oldest = f" The oldest there is was taken at {mine[-1].taken_at:%Y-%m-%dT%H:%M:%SZ}." if mine else ""
        broken = f" {' '.join(self.damaged[:3])}" if self.damaged else ""
        raise ImpossibleRequest(f"There is no backup of {table} from before {at:%Y-%m-%dT%H:%M:%SZ}.{oldest}{broken}")
