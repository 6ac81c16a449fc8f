"""Accepted rows on their way to clean parquet: parts of bounded size, sent to S3 as they fill up."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
from pyarrow import parquet

from datamart.objects import ObjectStore, clean_folder, clean_key
from datamart.tables import Table


@dataclass(frozen=True)
class CleanParts:
    """Where the clean rows of one load go."""

    store: ObjectStore
    table: Table
    load_id: int
    part_rows: int

    def keep(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass batches on and write them; the last part is sent when the batches end.

        What an earlier try left beyond the last part is removed: it may have cut other parts.
        """
        part, rows = 0, 0
        open_part: _Part | None = None
        for batch in batches:
            if open_part is None:
                open_part = _Part(self.table)
            open_part.writer.write_batch(batch)
            rows += batch.num_rows
            yield batch
            if rows >= self.part_rows:
                self._send(part, open_part)
                part, rows, open_part = part + 1, 0, None
        if open_part is not None:
            self._send(part, open_part)
            part += 1
        self._remove_beyond(part)

    def _remove_beyond(self, parts: int) -> None:
        name, load_id = self.table.name, self.load_id
        mine = {clean_key(name, load_id, number) for number in range(parts)}
        found = self.store.list(clean_folder(name, load_id))
        self.store.remove(one.key for one in found if one.key not in mine)

    def _send(self, number: int, part: _Part) -> None:
        part.writer.close()
        part.file.seek(0)
        self.store.write(clean_key(self.table.name, self.load_id, number), part.file)
        part.file.close()


class _Part:
    """A part that is being written, on disk."""

    def __init__(self, table: Table) -> None:
        self.file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is sent
        self.writer = parquet.ParquetWriter(self.file, table.arrow_schema, compression="zstd")
