"""A backup's manifest: what belongs to it, and how to know that it is what was written.

It is written last, so a backup without one does not exist; it names every part with its size and SHA-256, the digest of
each table (``digest``), and the number of the newest commit in it. It carries a SHA-256 of itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from datamart.errors import BackupDamaged, ImpossibleRequest

FORMAT = 1
NAME = "manifest.json"
TAKEN, ADOPTED = "taken", "adopted"
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,62}[0-9A-Za-z]\Z")


@dataclass(frozen=True)
class Part:
    """One AVRO file of a table."""

    key: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class TableBackup:
    """One table as it was; ``commit_seq`` is None where nobody knows which commits are in it."""

    columns: Mapping[str, str]
    """AVRO types by column."""
    rows: int
    digest: str | None
    commit_seq: int | None
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True)
class Manifest:
    """One backup; ``ledger`` names the ledger whose commit numbers it has (see ``ledger_name``)."""

    backup_id: str
    kind: str
    taken_at: datetime
    finished_at: datetime
    ledger: str | None
    versions: Mapping[str, str]
    tables: Mapping[str, TableBackup]

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(table.rows for table in self.tables.values())

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(table.size for table in self.tables.values())

    def encoded(self) -> bytes:
        """As it is kept."""
        content = {
            "format": FORMAT,
            **asdict(self),
            "taken_at": self.taken_at.isoformat(),
            "finished_at": self.finished_at.isoformat(),
        }
        return _text(content | {"sha256": _seal(content)})


def new_id(now: datetime) -> str:
    """An id that no other backup has; ids sort by time."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ-%f}-{uuid4().hex[:8]}"


def is_id(text: str) -> bool:
    """Whether a backup may be called so."""
    return _ID.match(text) is not None


def require_id(backup_id: str) -> str:
    """The id, if it can be one.

    Raises:
        ImpossibleRequest: it holds what no id holds.
    """
    if not is_id(backup_id):
        raise ImpossibleRequest(f"'{backup_id[:64]}' cannot be the id of a backup. Take it from the list of backups.")
    return backup_id


def manifest_key(backup_id: str) -> str:
    """Where a backup's manifest lies in the backup bucket."""
    return f"{backup_id}/{NAME}"


def part_key(backup_id: str, table: str, number: int) -> str:
    """Where a part of a table lies in the backup bucket."""
    return f"{backup_id}/{table}/part-{number:05d}.avro"


def decoded(backup_id: str, body: bytes) -> Manifest:
    """The manifest that was found under the folder of ``backup_id``.

    Raises:
        BackupDamaged: it was changed, is no manifest, or is that of another backup.
    """
    where = f"The manifest of backup {backup_id}"
    try:
        content = json.loads(body)
        sealed = content.pop("sha256")
        if content.pop("format") != FORMAT or _seal({"format": FORMAT, **content}) != sealed:
            raise BackupDamaged(f"{where} is not the one that was written. Restore another backup.")
        found = _manifest(content)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BackupDamaged(f"{where} cannot be read. Restore another backup.") from None
    own = found.kind == ADOPTED or all(
        part.key.startswith(f"{backup_id}/{name}/") for name, table in found.tables.items() for part in table.parts
    )
    if found.backup_id != backup_id or not own:
        raise BackupDamaged(f"{where} is that of another one ({found.backup_id[:64]}). Restore another backup.")
    return found


def column_types(schema: Mapping[str, Any]) -> dict[str, str]:
    """Types by column of an AVRO schema of plain fields: the logical one, where there is one."""
    return {
        field["name"]: field["type"] if isinstance(field["type"], str) else field["type"]["logicalType"]
        for field in schema["fields"]
    }


def _manifest(content: Mapping[str, Any]) -> Manifest:
    tables = {
        name: TableBackup(**{**table, "parts": tuple(Part(**part) for part in table["parts"])})
        for name, table in content["tables"].items()
    }
    times = {name: datetime.fromisoformat(content[name]) for name in ("taken_at", "finished_at")}
    return Manifest(**{**content, **times, "tables": tables})


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(content)).hexdigest()


def _text(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode()
