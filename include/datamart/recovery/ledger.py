"""What the ledger knows of backups, restores and drills: ``ops.backups``, ``ops.restores`` and ``ops.drills``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from datamart.errors import BalanceError
from datamart.loads import number_of
from datamart.recovery.manifest import Manifest, manifest_key
from datamart.warehouse.base import Warehouse

LONGEST_TEXT = 4096
_MOST_NOTES = 20
_LONGEST_NOTE = 1000


def change_id(kind: str, table: str, run: Mapping[str, str]) -> int:
    """The number of a restore, undo or drill: a retry of the same run finds itself by it."""
    return number_of(kind, table, run.get("dag_id", ""), run.get("run_id", ""))


def register(warehouse: Warehouse, manifest: Manifest) -> bool:
    """Let the ledger know of a backup; False when it does already."""
    values = {
        "backup_id": manifest.backup_id,
        "manifest_key": manifest_key(manifest.backup_id),
        "taken_at": manifest.taken_at,
        "finished_at": manifest.finished_at,
        "tables": ", ".join(sorted(manifest.tables)),
        "rows_total": manifest.rows,
        "bytes_total": manifest.size,
        "kind": manifest.kind,
    }
    return warehouse.add_backup(values)


@dataclass(frozen=True)
class Change:
    """What a restore or an undo did, or would do: the ledger's row, and the Dag's result."""

    change_id: int
    table: str
    kind: str
    """restore, undo, or copy: into another table."""
    added: int = 0
    changed: int = 0
    removed: int = 0
    rows: int = 0
    """Rows of the table afterwards."""
    commit_seq: int = 0
    backup_id: str | None = None
    target_seq: int | None = None
    target_at: datetime | None = None
    undone_load_id: int | None = None
    into: str | None = None
    clean_parts: int = 0
    relabelled: int = 0
    """Rows whose values stayed and that another load is named for now."""
    dry_run: bool = False
    message: str = ""
    notes: tuple[str, ...] = field(default=())
    """What a person should know besides."""
    refused: bool = False
    """A dry run has found what the change would be refused for."""
    changed_seq: int | None = None
    """Of a dry run: the number of the table's newest change that it has seen."""
    from_ledger: bool = field(default=False, compare=False)
    """It was read from the ledger: another try did it."""

    @property
    def any(self) -> bool:
        """Rows of the table are other than before."""
        return bool(self.added or self.changed or self.removed)

    def as_json(self) -> dict[str, Any]:
        """As JSON values; ids are text, as JSON numbers end at 2**53."""
        found = asdict(self)
        for name in ("change_id", "undone_load_id"):
            found[name] = None if found[name] is None else str(found[name])
        del found["from_ledger"]
        found["target_at"] = self.target_at.isoformat() if self.target_at else None
        return found | {"notes": list(self.notes)}


def find_change(warehouse: Warehouse, number: int) -> Change | None:
    """A restore or undo that was done, or None."""
    found = warehouse.query(warehouse.sql("read_restore"), {"restore_id": number})
    if not found:
        return None
    *values, notes = found[0]
    return replace(Change(number, *values), notes=tuple(json.loads(notes)), from_ledger=True)


def record_change(warehouse: Warehouse, change: Change, run: Mapping[str, str], at: datetime | None) -> None:
    """Add a restore or undo to the ledger, within the open transaction."""
    values = {
        "restore_id": change.change_id, "table_name": change.table, "kind": change.kind,
        "backup_id": change.backup_id, "target_seq": change.target_seq, "target_at": change.target_at,
        "undone_load_id": change.undone_load_id, "into_table": change.into, "rows_added": change.added,
        "rows_changed": change.changed, "rows_removed": change.removed, "rows_total": change.rows,
        "finished_at": at, "dag_id": run.get("dag_id"), "run_id": run.get("run_id"),
        "commit_seq": change.commit_seq, "clean_parts": change.clean_parts, "rows_moved": change.relabelled,
        "message": change.message[:LONGEST_TEXT], "notes": json.dumps(_few(change.notes)),
    }  # fmt: skip
    if warehouse.execute(warehouse.sql("insert_restore"), values) != 1:
        raise BalanceError(f"The warehouse did not write the ledger's row of {change.kind} {change.change_id}.")


def _few(notes: tuple[str, ...]) -> list[str]:
    """As many as there is room for."""
    more = [f"and {len(notes) - _MOST_NOTES} more"] if len(notes) > _MOST_NOTES else []
    return [note[:_LONGEST_NOTE] for note in notes[:_MOST_NOTES]] + more


def record_drill(
    warehouse: Warehouse, number: int, backup_id: str, passed: bool, evidence: Mapping[str, Any], started: datetime
) -> None:
    """Keep what a drill has found; a backup that passed is proven, one that did not is so no more."""

    def record() -> None:
        now = warehouse.now()
        warehouse.execute("DELETE FROM ops.drills WHERE drill_id = %(drill_id)s", {"drill_id": number})
        warehouse.execute(
            warehouse.sql("insert_drill"),
            {
                "drill_id": number,
                "backup_id": backup_id,
                "passed": passed,
                "evidence": json.dumps(evidence)[:65535],
                "started_at": started,
                "finished_at": now,
            },
        )
        warehouse.execute(
            "UPDATE ops.backups SET proven_at = %(proven_at)s WHERE backup_id = %(backup_id)s",
            {"proven_at": now if passed else None, "backup_id": backup_id},
        )

    warehouse.exclusively(record)
