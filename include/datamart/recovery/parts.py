"""A backup's parts: written to S3 as rows come, and fetched to local files that are known to be what was written."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from datamart.errors import BackupDamaged, DatamartError
from datamart.objects import ObjectStore
from datamart.recovery.avro import AvroWriter
from datamart.recovery.avro_read import read_avro
from datamart.recovery.manifest import ADOPTED, Manifest, Part, part_key
from datamart.tables import LOAD_ID, Table

_PIECE = 1 << 20


class _Hashing:
    """A file that is written from its beginning to its end, and its SHA-256 and size."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, piece: bytes) -> int:
        """Write, hash and count."""
        self.digest.update(piece)
        self.size += len(piece)
        return self._file.write(piece)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@dataclass(frozen=True)
class PartsWriter:
    """Writes the rows of one table as parts of at most about ``part_rows`` rows; at least one, even if it is empty."""

    store: ObjectStore
    backup_id: str
    table: str
    schema: pa.Schema
    part_rows: int
    noted: Callable[[str], None]
    """Told each key before anything is sent there."""

    def write(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Part]:
        """Each part when it is in S3; one is sent while the next is made."""
        with ThreadPoolExecutor(1, "backup") as sender:
            sending: Future[Part] | None = None
            for number, (part, file) in enumerate(self._made(batches)):
                if sending is not None:
                    yield sending.result()
                sending = sender.submit(self._send, replace(part, key=self._key(number)), file)
            if sending is not None:
                yield sending.result()

    def _key(self, number: int) -> str:
        return part_key(self.backup_id, self.table, number)

    def _made(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[Part, BinaryIO]]:
        waiting = iter(batches)
        batch = next(waiting, None)
        first = True
        while batch is not None or first:
            first = False
            file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is sent
            hashing = _Hashing(file)
            writer = AvroWriter(hashing, self.table, self.schema)  # type: ignore[arg-type]
            rows = 0
            while batch is not None and (not rows or rows + batch.num_rows <= self.part_rows):
                writer.write(batch)
                rows += batch.num_rows
                batch = next(waiting, None)
            writer.close()
            yield Part("", rows, hashing.size, hashing.digest.hexdigest()), file

    def _send(self, part: Part, file: BinaryIO) -> Part:
        self.noted(part.key)
        with file:
            file.seek(0)
            self.store.write(part.key, file)
        return part


@dataclass(frozen=True)
class Fetched:
    """A part on this machine's disk."""

    part: Part
    file: BinaryIO


def fetch(store: ObjectStore, backup_id: str, parts: Sequence[Part], resources: ExitStack) -> list[Fetched]:
    """All parts as local files, each with the size and SHA-256 that the manifest tells; gone when ``resources`` are.

    What is read later is what was checked here, whatever happens to the objects meanwhile.

    Raises:
        BackupDamaged: one is missing or is not what was written.
        OSError: the disk is full.
    """
    found = []
    for part in parts:
        file: BinaryIO = resources.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed with ``resources``
        _download(store, backup_id, part, file)
        found.append(Fetched(part, file))
    return found


def _download(store: ObjectStore, backup_id: str, part: Part, file: BinaryIO) -> None:
    where = f"Part {part.key} of backup {backup_id}"
    body = store.opened(part.key)
    if body is None:
        raise BackupDamaged(f"{where} is missing. Restore another backup.")
    hashing = _Hashing(file)
    with body:
        for piece in store.pieces(part.key, body, _PIECE):
            hashing.write(piece)
            if hashing.size > part.bytes:
                break
    if hashing.size != part.bytes:
        raise BackupDamaged(f"{where} does not have the {part.bytes} bytes that were written. Restore another backup.")
    if hashing.digest.hexdigest() != part.sha256:
        raise BackupDamaged(f"{where} was changed after it was written (SHA-256). Restore another backup.")
    file.seek(0)


def rows_in(fetched: Iterable[Fetched], manifest: Manifest, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of all parts, as often as they are asked for.

    Raises:
        BackupDamaged: a part is no AVRO of such rows, or has another number of them than the manifest tells.
    """
    for one in fetched:
        where, rows = f"Part {one.part.key} of backup {manifest.backup_id}", 0
        one.file.seek(0)
        try:
            for batch in read_avro(one.file, schema):
                rows += batch.num_rows
                yield of_nobody(batch) if manifest.kind == ADOPTED else batch
        except BackupDamaged as error:
            raise BackupDamaged(f"{where}: {error}") from None
        if rows != one.part.rows:
            raise BackupDamaged(f"{where} holds {rows} rows, not {one.part.rows}.")


def of_nobody(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows without their load ids, which in files of others name nothing that is known here."""
    place = batch.schema.get_field_index(LOAD_ID)
    nobody = pa.array(np.zeros(batch.num_rows, np.int64))
    return batch.set_column(place, batch.schema.field(LOAD_ID), nobody)


def key_twice(manifest: Manifest, table: Table) -> BackupDamaged:
    """A backup in which two rows have one key."""
    return BackupDamaged(
        f"Backup {manifest.backup_id} of {table.name} holds a row whose {table.key} is another row's too. Nothing was "
        "touched. Restore another backup."
    )


def remove_quietly(store: ObjectStore, keys: Iterable[str]) -> None:
    """Remove parts of a backup that came to nothing; those that stay are found by what removes old backups."""
    for key in keys:
        try:
            store.remove([key])
        except DatamartError:
            return
