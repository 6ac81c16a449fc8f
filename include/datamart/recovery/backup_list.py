"""The backups as a list for people and programs: what each holds, and whether it was proven restorable."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from datamart.errors import BackupDamaged, ImpossibleRequest
from datamart.moments import utc
from datamart.recovery.catalogue import Catalogue
from datamart.recovery.manifest import Manifest
from datamart.warehouse.base import Warehouse

MOST_LISTED = 200


def proven(warehouse: Warehouse) -> dict[str, datetime]:
    """When each backup that passed a drill did so last, newest backup first."""
    found = warehouse.query(
        "SELECT backup_id, proven_at FROM ops.backups WHERE proven_at IS NOT NULL AND expired_at IS NULL"
        " ORDER BY taken_at DESC"
    )
    return {str(backup_id): proven_at for backup_id, proven_at in found}


def backup_list(
    catalogue: Catalogue, known: dict[str, datetime], limit: int, after: str | None = None
) -> dict[str, Any]:
    """At most ``limit`` backups older than ``after``, newest first, as JSON; ``known`` is what was ``proven``."""
    older = [backup_id for backup_id in catalogue.ids if after is None or backup_id < after]
    shown = older[:limit]
    last = next(iter(known), None)
    return {
        "backups": [one for one in (_one(catalogue, backup_id, known) for backup_id in shown) if one],
        "next": shown[-1] if len(older) > limit else None,
        "last_proven": {"backup_id": last, "proven_at": utc(known[last])} if last else None,
    }


def _one(catalogue: Catalogue, backup_id: str, known: dict[str, datetime]) -> dict[str, Any] | None:
    try:
        found = catalogue.read(backup_id)
    except BackupDamaged as error:
        return {"backup_id": backup_id, "damaged": str(error)}
    except ImpossibleRequest:  # it expired while we were looking
        return None
    return _whole(found, known.get(backup_id))


def _whole(found: Manifest, proven_at: datetime | None) -> dict[str, Any]:
    return {
        "backup_id": found.backup_id,
        "kind": found.kind,
        "taken_at": utc(found.taken_at),
        "finished_at": utc(found.finished_at),
        "rows": found.rows,
        "bytes": found.size,
        "tables": {
            name: {"rows": table.rows, "bytes": table.size, "parts": len(table.parts), "commit_seq": table.commit_seq}
            for name, table in found.tables.items()
        },
        "proven_at": utc(proven_at) if proven_at else None,
        "damaged": None,
    }
