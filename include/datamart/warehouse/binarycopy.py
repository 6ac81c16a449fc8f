"""Arrow batches as PostgreSQL's binary COPY format, a whole column at a time.

The format is PostgreSQL's own (documentation of COPY, "Binary Format"): a signature, then for each row the number
of fields and for each field its length and its bytes, most significant first; a row of -1 fields is the end.
Moments count microseconds from 2000-01-01.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datamart.tables import LOAD_ID, Table, Type

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"
SLICE_BYTES = 1 << 20

_EPOCH = int(np.datetime64("2000-01-01", "us").astype(np.int64))
_WIDTHS = {Type.INTEGER: 4, Type.DATETIME: 8}


def encoded(table: Table, batches: Iterable[pa.RecordBatch], load_id: int | None = None) -> Iterator[bytes]:
    """The whole stream in pieces of about ``SLICE_BYTES``; with ``load_id`` each row ends in it as a BIGINT.

    Rows of batches that have a column ``_load_id`` end in their own.
    """
    yield HEADER
    for batch in batches:
        yield from _slices(_rows(table, batch, load_id))
    yield TRAILER


def _rows(table: Table, batch: pa.RecordBatch, load_id: int | None) -> pa.Buffer:
    """All rows of a batch, one after another."""
    pieces: list[pa.Array] = []
    run = _FixedRun(batch.num_rows)
    brought_by = _numbers(Type.INTEGER, batch.column(LOAD_ID)) if LOAD_ID in batch.schema.names else load_id
    run.add(">i2", len(table.columns) + (brought_by is not None))
    for column in table.columns:
        values = batch.column(column.name)
        if column.type is Type.TEXT:
            run.add(">i4", pc.binary_length(values).to_numpy(zero_copy_only=False))
            pieces += [run.array(), values.cast(pa.binary())]
            run = _FixedRun(batch.num_rows)
        else:
            run.add(">i4", _WIDTHS[column.type])
            run.add(f">i{_WIDTHS[column.type]}", _numbers(column.type, values))
    if brought_by is not None:
        run.add(">i4", 8)
        run.add(">i8", brought_by)
    if run.fields:
        pieces.append(run.array())
    joined = pieces[0] if len(pieces) == 1 else pc.binary_join_element_wise(*pieces, b"")
    first, last = (joined.buffers()[1][4 * i : 4 * i + 4] for i in (joined.offset, joined.offset + len(joined)))
    start, end = (int.from_bytes(memoryview(offset), "little") for offset in (first, last))
    return joined.buffers()[2].slice(start, end - start)


def _numbers(kind: Type, values: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if kind is Type.DATETIME:
        return np.asarray(values.cast(pa.int64()).to_numpy(zero_copy_only=False) - _EPOCH)
    return np.asarray(values.to_numpy(zero_copy_only=False))


class _FixedRun:
    """Neighbouring fields of fixed width, as one array of byte strings."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self.fields: list[tuple[str, object]] = []

    def add(self, kind: str, values: object) -> None:
        """One more field: a value for all rows, or an array with one for each."""
        self.fields.append((kind, values))

    def array(self) -> pa.BinaryArray:
        """The fields of each row side by side."""
        layout = np.dtype([(f"f{place}", kind) for place, (kind, _) in enumerate(self.fields)])
        block = np.empty(self._rows, layout)
        for place, (_, values) in enumerate(self.fields):
            block[f"f{place}"] = values
        width = layout.itemsize
        offsets = np.arange(0, (self._rows + 1) * width, width, dtype=np.int32)
        return pa.Array.from_buffers(pa.binary(), self._rows, [None, pa.py_buffer(offsets), pa.py_buffer(block)])


def _slices(buffer: pa.Buffer) -> Iterator[bytes]:
    view = memoryview(buffer)
    for start in range(0, len(view), SLICE_BYTES):
        yield bytes(view[start : start + SLICE_BYTES])
