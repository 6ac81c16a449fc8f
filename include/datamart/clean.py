"""Clean parquet: accepted rows in parts of bounded size, sent to S3 as they fill up, and lists of keys beside them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from datamart.objects import ObjectStore, StoredFile, clean_key
from datamart.tables import Table, Type

ZSTD: Mapping[str, Any] = {"compression": "zstd", "compression_level": 1}
"""How parquet is written that only this project reads."""


class KeptBatches(Iterator[pa.RecordBatch]):
    """Batches that are written as clean parquet while they are taken; ``files`` holds them all when they end."""

    def __init__(self, batches: Iterator[pa.RecordBatch], files: list[StoredFile]) -> None:
        self._batches = batches
        self.files = files

    def __next__(self) -> pa.RecordBatch:
        return next(self._batches)


@dataclass
class CleanParts:
    """Where the clean rows of one load go; ``files`` are in S3."""

    store: ObjectStore
    table: Table
    load_id: int
    part_rows: int
    files: list[StoredFile] = field(default_factory=list)
    schema: pa.Schema = None
    """Of the rows; that of the table's accepted rows, if none is given."""
    parquet: Mapping[str, Any] = field(default_factory=lambda: ZSTD)
    key_of: Callable[[int], str] | None = None
    """Where a part goes; where those of a load go, if it is not told."""

    def key(self, part: int) -> str:
        """Where a part goes."""
        return self.key_of(part) if self.key_of else clean_key(self.table.name, self.load_id, part)

    @property
    def sent(self) -> int:
        """How many parts are in S3."""
        return len(self.files)

    def keep(self, batches: Iterable[pa.RecordBatch]) -> KeptBatches:
        """Pass batches on while another thread writes them; all parts are in S3 when the batches end."""
        return KeptBatches(self._kept(batches), self.files)

    def _kept(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        writing = _Writing(self)
        with ThreadPoolExecutor(1, "clean") as thread:
            last: Future[None] | None = None
            for batch in batches:
                if last is not None:
                    last.result()
                last = thread.submit(writing.add, batch)
                yield batch
            if last is not None:
                last.result()
            thread.submit(writing.end).result()


def write_keys(store: ObjectStore, key: str, table: Table, keys: npt.NDArray[np.int64]) -> None:
    """Keep keys of a table."""
    file = io.BytesIO()
    column = pa.array(keys.astype(np.int32))
    parquet.write_table(pa.table({table.key: column}), file, compression="zstd")
    store.write(key, file.getvalue())


def read_keys(store: ObjectStore, key: str, table: Table) -> npt.NDArray[np.int64] | None:
    """The keys in a list or in a part of clean rows; None when it is not there or cannot be read."""
    body = store.fetch(key)
    if body is None:
        return None
    try:
        column = parquet.read_table(io.BytesIO(body), columns=[table.key]).column(table.key)
    except (pa.ArrowInvalid, OSError):
        return None
    found: npt.NDArray[np.int64] = column.to_numpy().astype(np.int64)
    return found


def read_rows(store: ObjectStore, key: str, schema: pa.Schema) -> list[pa.RecordBatch] | None:
    """The rows of a part; None when it is not there or is not what such a part holds."""
    body = store.fetch(key)
    if body is None:
        return None
    try:
        found = parquet.read_table(io.BytesIO(body), coerce_int96_timestamp_unit="us")
        return list(found.select(schema.names).cast(schema).to_batches())
    except (pa.ArrowInvalid, pa.ArrowKeyError, KeyError, OSError):
        return None


class _Writing:
    """The parts as they are written, by one thread."""

    def __init__(self, parts: CleanParts) -> None:
        self._parts = parts
        self._rows = 0
        self._part: _Part | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Write a batch; send the part when it is full."""
        if self._part is None:
            parts = self._parts
            self._part = _Part(parts.table, parts.schema or parts.table.arrow_schema, parts.parquet)
        self._part.writer.write_batch(batch)
        self._rows += batch.num_rows
        if self._rows >= self._parts.part_rows:
            self._send(self._part)

    def end(self) -> None:
        """Send what is left."""
        if self._part is not None:
            self._send(self._part)

    def _send(self, part: _Part) -> None:
        with part.file as file:
            part.writer.close()
            stored = StoredFile(self._parts.store.bucket, self._parts.key(self._parts.sent), file.tell())
            file.seek(0)
            self._parts.store.write(stored.key, file)
        self._parts.files.append(stored)
        self._rows, self._part = 0, None


class _Part:
    """A part that is being written, on disk."""

    def __init__(self, table: Table, schema: pa.Schema, options: Mapping[str, Any]) -> None:
        self.file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is sent
        # Keys and moments hardly repeat: a dictionary of them would only cost time. Nobody filters these files.
        repeating = [c.name for c in table.columns if c.type is Type.TEXT or c.references]
        self.writer = parquet.ParquetWriter(
            self.file,
            schema,
            use_dictionary=repeating,
            write_statistics=False,
            **options,
        )
