"""Proves that a backup can be restored: all of it goes into a scratch schema and is read back and compared.

What was found is kept in ``ops.drills``; a backup that passed is proven. The scratch schema is dropped at the end, and
one that a drill before this left behind when its process was killed is dropped at the beginning.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from datamart.errors import BackupDamaged, DatamartError, ImpossibleRequest, TransientFault, sentence
from datamart.objects import ObjectStore
from datamart.recovery.catalogue import LATEST, Catalogue
from datamart.recovery.digest import Digest
from datamart.recovery.fitting import fit
from datamart.recovery.ledger import change_id, record_drill, register
from datamart.recovery.manifest import ADOPTED, Manifest
from datamart.recovery.parts import fetch, rows_in
from datamart.tables import TABLES, Table
from datamart.warehouse.base import Warehouse

log = logging.getLogger(__name__)

SCRATCH = "drill_"


@dataclass(frozen=True)
class Drill:
    """Drills with the backups of ``backups`` in one warehouse; ``run`` names the Dag run."""

    warehouse: Warehouse
    backups: ObjectStore
    run: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[Table, ...] = TABLES

    def drill(self, backup_id: str = LATEST) -> dict[str, Any]:
        """Restore a backup to the side; the evidence, by table.

        Raises:
            ImpossibleRequest: there is no such backup.
            BackupDamaged: it does not restore to what was backed up; the evidence is kept as a drill that failed.
        """
        catalogue, started = Catalogue(self.backups), self.warehouse.now()
        number = change_id("drill", "", self.run)
        chosen = self._chosen(catalogue, backup_id)
        try:
            manifest = catalogue.read(chosen)
        except BackupDamaged as error:
            record_drill(self.warehouse, number, chosen, False, {"fault": sentence(error)}, started)
            raise
        register(self.warehouse, manifest)
        evidence: dict[str, Any] = {}
        try:
            self._all(manifest, f"{SCRATCH}{number}", evidence)
        except DatamartError as error:
            if not isinstance(error, TransientFault):
                evidence["fault"] = sentence(error)
                record_drill(self.warehouse, number, manifest.backup_id, False, evidence, started)
            raise
        record_drill(self.warehouse, number, manifest.backup_id, True, evidence, started)
        return {"backup_id": manifest.backup_id, "passed": True, "tables": evidence}

    def _chosen(self, catalogue: Catalogue, backup_id: str) -> str:
        """The id; that the newest of all cannot be read is what a drill is to find."""
        if backup_id != LATEST:
            return backup_id
        if not catalogue.ids:
            raise ImpossibleRequest("There is no backup to drill with. Run the Dag backup first.")
        for one in catalogue.ids:
            try:
                if catalogue.read(one).kind != ADOPTED:
                    return one
            except BackupDamaged:
                return one
        return catalogue.ids[0]

    def _all(self, manifest: Manifest, scratch: str, evidence: dict[str, Any]) -> None:
        self._drop_leftovers()
        if not any(table.name in manifest.tables for table in self.tables):
            names = ", ".join(manifest.tables)
            raise BackupDamaged(f"Backup {manifest.backup_id} holds none of the tables there are, but {names}.")
        self.warehouse.execute(f"CREATE SCHEMA {scratch}")
        try:
            for table in self.tables:
                if table.name in manifest.tables:
                    evidence[table.name] = self._one(manifest, table, scratch)
        finally:
            self._drop(scratch)

    def _drop(self, scratch: str) -> None:
        """Quietly: what the drill has found matters more, and the next one comes for what is left."""
        try:
            if self.warehouse.alive():
                self.warehouse.execute(f"DROP SCHEMA IF EXISTS {scratch} CASCADE")
        except DatamartError as error:
            log.warning("The schema %s is left: %s", scratch, error)

    def _one(self, manifest: Manifest, table: Table, scratch: str) -> dict[str, Any]:
        began, told = time.monotonic(), manifest.tables[table.name]
        fitting = fit(self.warehouse, table, manifest, live=False)
        relation, kept = f"{scratch}.{table.name}", fitting.stored
        self.warehouse.execute(self.warehouse.sql("create_scratch", **self.warehouse.names(kept, target=relation)))
        with ExitStack() as resources:
            fetched = fetch(self.backups, manifest.backup_id, told.parts, resources)
            rows = rows_in(fetched, manifest, kept.kept_schema)
            restored = self.warehouse.append_kept(kept, relation, rows)
        digest = Digest()
        for batch in self.warehouse.rows_of(kept, relation):
            digest.add(batch)
        same = not fitting.comparable or told.digest is None or digest.value == told.digest
        if not restored == digest.rows == told.rows or not same:
            raise BackupDamaged(
                f"Backup {manifest.backup_id} of {table.name} was restored to {digest.rows} rows of digest "
                f"{digest.value}, but {told.rows} rows of digest {told.digest} were backed up."
            )
        log.info("%s: %d rows restored and compared", table.name, restored)
        seconds = round(time.monotonic() - began, 2)
        return {"rows": restored, "digest": digest.value, "compared": fitting.comparable, "seconds": seconds}

    def _drop_leftovers(self) -> None:
        left = self.warehouse.query(
            "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE %(name)s",
            {"name": f"{SCRATCH}%"},
        )
        for (name,) in left:
            if name.removeprefix(SCRATCH).isdigit():
                self.warehouse.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
