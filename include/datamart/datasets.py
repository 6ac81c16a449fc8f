"""What is read and written, by the names that OpenLineage's naming specification gives it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datamart.errors import ConfigurationError
from datamart.insights import INSIGHTS
from datamart.loads import Outcome, Verdict
from datamart.tables import TABLES

if TYPE_CHECKING:  # a task that loads a file is not to wait for what backups are made of
    from datamart.recovery.ledger import Change
    from datamart.recovery.manifest import Manifest

MOST_FILES = 1000
"""Files that one event names; a batch may have more, and the ledger has them all."""

_PREFIXES = {"postgres": ("postgres", 5432), "redshift": ("redshift", 5439)}
_CLUSTER = re.compile(r"([^.]+)\.[^.]+\.([^.]+)\.redshift(?:-serverless)?\.amazonaws\.com(?:\.cn)?\Z")
_WORKGROUP = re.compile(r"([^.]+\.[0-9]{12})\.([^.]+)\.redshift-serverless\.amazonaws\.com(?:\.cn)?\Z")


@dataclass(frozen=True)
class Dataset:
    """A table, an object or a folder of S3; with how much of it was read or written, where that is known."""

    namespace: str
    name: str
    rows: int | None = None
    bytes: int | None = None
    files: int | None = None


@dataclass(frozen=True)
class Flow:
    """What a task read, and what it wrote."""

    read: tuple[Dataset, ...] = ()
    written: tuple[Dataset, ...] = ()


@dataclass(frozen=True)
class Places:
    """Where things are: the warehouse's server and database, and both buckets."""

    server: str
    database: str
    data_bucket: str
    backup_bucket: str

    def table(self, name: str, rows: int | None = None) -> Dataset:
        """A table of the warehouse, named with or without its schema."""
        full = name if "." in name else f"public.{name}"
        return Dataset(self.server, f"{self.database}.{full}", rows)

    def file(self, key: str, rows: int | None = None) -> Dataset:
        """An object of the data bucket."""
        return Dataset(f"s3://{self.data_bucket}", key, rows)

    def backup(self, backup_id: str, table: str, rows: int | None = None, size: int | None = None) -> Dataset:
        """A table's folder of a backup."""
        return Dataset(f"s3://{self.backup_bucket}", f"{backup_id}/{table}", rows, size)


def server_name(kind: str, host: str, port: int | None) -> str:
    """The namespace of a warehouse's tables; nothing of who signs in is part of it.

    Raises:
        ConfigurationError: the warehouse is of no kind that is known here.
    """
    if kind not in _PREFIXES:
        raise ConfigurationError(f"A warehouse of type {kind} has no name for lineage.")
    scheme, usual = _PREFIXES[kind]
    if kind == "redshift" and (found := _WORKGROUP.match(host) or _CLUSTER.match(host)):
        host = f"{found[1]}.{found[2]}"
    return f"{scheme}://{host}:{port or usual}"


def of_loads(outcomes: Sequence[Outcome], places: Places) -> Flow:
    """Files that came to a verdict, and the tables that took rows of them.

    Of what another try or load did there are no numbers: its own event has told them, and nobody is to add them twice.
    """
    judged = [one for one in outcomes if one.verdict not in (Verdict.FAILED, Verdict.DRY_RUN)]
    written: dict[str, int | None] = {}
    for one in judged:
        if one.verdict is Verdict.LOADED and one.table:
            before = written.setdefault(one.table, None)
            if not one.from_ledger:
                written[one.table] = (before or 0) + one.counts.inserted + one.counts.updated
    return Flow(
        tuple(places.file(one.key, None if one.from_ledger else one.counts.read) for one in judged[:MOST_FILES]),
        tuple(places.table(name, rows) for name, rows in written.items()),
    )


def of_backup(manifest: Manifest, places: Places) -> Flow:
    """Tables that were backed up, and where to."""
    return Flow(
        tuple(places.table(name, table.rows) for name, table in manifest.tables.items()), _parts(manifest, places)
    )


def of_adoption(folder: str, manifest: Manifest, places: Places) -> Flow:
    """The folder of another program's files, and the backup that was made of it."""
    return Flow((Dataset(f"s3://{places.backup_bucket}", folder.strip("/"), manifest.rows),), _parts(manifest, places))


def _parts(manifest: Manifest, places: Places) -> tuple[Dataset, ...]:
    return tuple(
        places.backup(manifest.backup_id, name, table.rows, table.size) for name, table in manifest.tables.items()
    )


def of_change(change: Change, places: Places) -> Flow:
    """A table that a backup, or its own history, brought back."""
    if change.dry_run:
        return Flow()
    source = places.table(f"ops.{change.table}_history")
    if change.backup_id is not None:
        source = places.backup(change.backup_id, change.table)
    return Flow((source,), (places.table(change.into or change.table, change.rows),))


def of_drill(evidence: Mapping[str, Any], places: Places) -> Flow:
    """A backup that was read to prove it; what it was restored to is gone."""
    return Flow(tuple(places.backup(evidence["backup_id"], table) for table in evidence["tables"]))


def of_refresh(rows: Mapping[str, int], places: Places) -> Flow:
    """All tables, and the insights that are computed from them."""
    return Flow(
        tuple(places.table(table.name) for table in TABLES),
        tuple(places.table(insight.name, rows.get(insight.name)) for insight in INSIGHTS),
    )
