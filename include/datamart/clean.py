"""Clean parquet: accepted rows in parts of bounded size, sent to S3 as they fill up, and lists of keys beside them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from datamart.objects import ObjectStore, clean_key
from datamart.tables import Table, Type


@dataclass
class CleanParts:
    """Where the clean rows of one load go; ``sent`` parts are in S3."""

    store: ObjectStore
    table: Table
    load_id: int
    part_rows: int
    sent: int = 0
    schema: pa.Schema = None
    """Of the rows; that of the table's accepted rows, if none is given."""
    key_of: Callable[[int], str] | None = None
    """Where a part goes; where those of a load go, if it is not told."""

    def key(self, part: int) -> str:
        """Where a part goes."""
        return self.key_of(part) if self.key_of else clean_key(self.table.name, self.load_id, part)

    def keep(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass batches on while another thread writes them; all parts are in S3 when the batches end."""
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
        found = parquet.read_table(io.BytesIO(body))
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
            self._part = _Part(self._parts.table, self._parts.schema or self._parts.table.arrow_schema)
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
            file.seek(0)
            self._parts.store.write(self._parts.key(self._parts.sent), file)
        self._parts.sent += 1
        self._rows, self._part = 0, None


class _Part:
    """A part that is being written, on disk."""

    def __init__(self, table: Table, schema: pa.Schema) -> None:
        self.file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is sent
        # Keys and moments hardly repeat: a dictionary of them would only cost time. Nobody filters these files.
        repeating = [c.name for c in table.columns if c.type is Type.TEXT or c.references]
        self.writer = parquet.ParquetWriter(
            self.file,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=repeating,
            write_statistics=False,
        )
