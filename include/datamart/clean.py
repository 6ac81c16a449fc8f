"""Accepted rows on their way to clean parquet: parts of bounded size, sent to S3 as they fill up."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

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


class _Writing:
    """The parts as they are written, by one thread."""

    def __init__(self, parts: CleanParts) -> None:
        self._parts = parts
        self._rows = 0
        self._part: _Part | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Write a batch; send the part when it is full."""
        if self._part is None:
            self._part = _Part(self._parts.table)
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
            key = clean_key(self._parts.table.name, self._parts.load_id, self._parts.sent)
            self._parts.store.write(key, file)
        self._parts.sent += 1
        self._rows, self._part = 0, None


class _Part:
    """A part that is being written, on disk."""

    def __init__(self, table: Table) -> None:
        self.file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is sent
        # Keys and moments hardly repeat: a dictionary of them would only cost time. Nobody filters these files.
        repeating = [c.name for c in table.columns if c.type is Type.TEXT or c.references]
        self.writer = parquet.ParquetWriter(
            self.file,
            table.arrow_schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=repeating,
            write_statistics=False,
        )
