"""Makes a backup of AVRO files that another program wrote: each is checked, then they get a manifest.

The files stay where they are in the backup bucket. A file belongs to the table that its path below the given folder
begins with, as in ``departments.avro`` or ``departments/part-0.avro``.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from dataclasses import dataclass, field
from datetime import UTC

import pyarrow as pa
import pyarrow.compute as pc

from datamart.errors import BackupDamaged, ImpossibleRequest
from datamart.loads import Arrival
from datamart.objects import ObjectStore
from datamart.recovery.avro import avro_schema
from datamart.recovery.avro_read import read_avro
from datamart.recovery.digest import Digest
from datamart.recovery.ledger import register
from datamart.recovery.manifest import ADOPTED, Manifest, Part, TableBackup, column_types, manifest_key, new_id
from datamart.recovery.parts import of_nobody
from datamart.routing import table_beginning
from datamart.rules import MAX_TEXT_BYTES
from datamart.tables import TABLES, Table
from datamart.warehouse.base import Warehouse

log = logging.getLogger(__name__)

_PIECE = 1 << 20
_MOMENTS = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999 in microseconds since 1970."""


@dataclass(frozen=True)
class Adopt:
    """Adopts files of the backup bucket ``store``."""

    warehouse: Warehouse
    store: ObjectStore
    tables: tuple[Table, ...] = field(default=TABLES, repr=False)

    def adopt(self, folder: str) -> Manifest:
        """A backup of all AVRO files below a folder.

        Raises:
            ImpossibleRequest: there is none, or one belongs to no table.
            BackupDamaged: one is not AVRO of the rows of its table, or has an id twice.
        """
        prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
        files = [one for one in self.store.list(prefix) if one.key.lower().endswith(".avro")]
        if not files:
            raise ImpossibleRequest(f"There is no .avro file under s3://{self.store.bucket}/{prefix}.")
        by_table: dict[str, list[Arrival]] = {}
        for one in files:
            by_table.setdefault(self._table(one.key.removeprefix(prefix)).name, []).append(one)
        taken_at = max(one.last_modified for one in files).astimezone(UTC)
        kept = {
            table.name: self._checked(table, sorted(by_table[table.name], key=lambda one: one.key))
            for table in self.tables
            if table.name in by_table
        }
        finished_at = self.warehouse.now().astimezone(UTC)
        versions = {"pyarrow": pa.__version__}
        manifest = Manifest(new_id(taken_at), ADOPTED, taken_at, finished_at, None, versions, kept)
        self.store.write_once(manifest_key(manifest.backup_id), manifest.encoded())
        register(self.warehouse, manifest)
        return manifest

    def _table(self, path: str) -> Table:
        found = table_beginning(path, self.tables)
        if found is None:
            names = ", ".join(table.name for table in self.tables)
            raise ImpossibleRequest(f"The file {path} belongs to no table: its path must begin with one of {names}.")
        return found

    def _checked(self, table: Table, files: list[Arrival]) -> TableBackup:
        digest, keys, parts = Digest(), [], []
        for one in files:
            with tempfile.TemporaryFile() as file, self.store.read(one) as body:
                sha256 = hashlib.sha256()
                for piece in self.store.pieces(one.key, body, _PIECE):
                    sha256.update(piece)
                    file.write(piece)
                file.seek(0)
                rows = 0
                try:
                    for batch in read_avro(file, table.kept_schema):
                        batch = of_nobody(batch)
                        _require_fitting(batch)
                        digest.add(batch)
                        keys.append(batch.column(table.key))
                        rows += batch.num_rows
                except BackupDamaged as error:
                    raise BackupDamaged(f"{one.key} cannot be adopted: {error}") from None
            parts.append(Part(one.key, rows, one.size, sha256.hexdigest()))
            log.info("%s: %d rows", one.key, rows)
        same = digest.rows - len(pa.chunked_array(keys, pa.int32()).unique())
        if same:
            raise BackupDamaged(
                f"The files of {table.name} cannot be adopted: {same} rows have the {table.key} of another row."
            )
        columns = column_types(avro_schema(table.name, table.arrow_schema))
        return TableBackup(columns, digest.rows, digest.value, None, tuple(parts))


def _require_fitting(batch: pa.RecordBatch) -> None:
    """Each value is one that a load could have brought, so that it fits every warehouse.

    Raises:
        BackupDamaged: one is not.
    """
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_string(column.type):
            _require_text(name, column)
            continue
        numbers = column.view(pa.int64()) if pa.types.is_timestamp(column.type) else column
        least, most = _MOMENTS if pa.types.is_timestamp(column.type) else (0, 2**63 - 1)
        found = pc.min_max(numbers).as_py()
        if len(column) and not least <= found["min"] <= found["max"] <= most:
            raise BackupDamaged(f"a value of {name} is out of range: numbers begin at 0, years are 1 to 9999.")


def _require_text(name: str, column: pa.StringArray) -> None:
    longest = pc.max(pc.binary_length(column)).as_py() or 0
    if longest > MAX_TEXT_BYTES:
        raise BackupDamaged(f"a text of {name} has {longest} bytes; {MAX_TEXT_BYTES} fit.")
    if pc.any(pc.match_substring(column, "\0")).as_py():
        raise BackupDamaged(f"a text of {name} holds the character NUL, which no column takes.")
