"""PostgreSQL's binary COPY output as Arrow batches, a whole column at a time: the way back from ``binarycopy``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datamart.errors import TerminalFault
from datamart.warehouse.binarycopy import HEADER, TRAILER

Positions = npt.NDArray[np.int64]

_EPOCH = int(np.datetime64("2000-01-01", "us").astype(np.int64))
# Before and after these a moment is infinite, or does not fit an Arrow timestamp, which counts from 1970.
_FIRST, _LAST = -(1 << 63) + 1, (1 << 63) - 1 - _EPOCH
_SIGNATURE = HEADER[:11]


def decoded(schema: pa.Schema, rows: Sequence[bytes]) -> pa.RecordBatch:
    """The rows of some messages of ``COPY (...) TO STDOUT (FORMAT binary)``, in their order.

    Args:
        schema: the columns that were asked for, in order: int32, int64, string and timestamp[us], none of them null.
        rows: messages as the server sent them, one for each row. The first may begin with the format's header, or be
            nothing else; the last may be its trailer: so any stretch of one answer can be decoded.

    Raises:
        TerminalFault: a message is no row of ``schema``; the sentence names the column.
    """
    messages = _Messages(schema, rows)
    columns: list[pa.Array] = []
    run = _Run(messages)
    run.add("count", ">i2", len(schema))
    for field in schema:
        if pa.types.is_string(field.type):
            run.add_length(field)
            columns += run.read()
            columns.append(_text(messages, run.lengths(field)))
            run = _Run(messages)
        else:
            run.add_value(field)
    columns += run.read()
    messages.refuse(messages.at != messages.ends)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


class _Messages:
    """All messages in one piece without header and trailer; ``at`` is how far each row is read."""

    def __init__(self, schema: pa.Schema, rows: Sequence[bytes]) -> None:
        self.schema = schema
        self.data = b"".join(rows)
        ends = np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)))
        starts = np.concatenate((np.zeros(1, np.int64), ends))[:-1]
        if self.data.startswith(_SIGNATURE):
            if not self.data.startswith(HEADER):
                raise TerminalFault("The server's answer begins with a binary COPY header of an unknown kind.")
            starts[0] += len(HEADER)
            if starts[0] == ends[0]:
                starts, ends = starts[1:], ends[1:]
        if len(ends) and self.data[starts[-1] : ends[-1]] == TRAILER:
            starts, ends = starts[:-1], ends[:-1]
        self.starts, self.at, self.ends = starts, starts, ends

    def refuse(self, wrong: npt.NDArray[np.bool_]) -> None:
        """Raise what is wrong with the first of the ``wrong`` rows, if any is."""
        if wrong.any():
            first = int(wrong.argmax())
            raise TerminalFault(_reason(self.schema, self.data[self.starts[first] : self.ends[first]]))


class _Run:
    """Neighbouring fields of fixed width, from ``at`` of every message on."""

    def __init__(self, messages: _Messages) -> None:
        self._messages = messages
        self._layout: list[tuple[str, str]] = []
        self._expected: list[tuple[str, int]] = []
        self._values: list[pa.Field] = []
        self._block: npt.NDArray[np.void] = np.zeros(0, np.void)

    def add(self, name: str, kind: str, expected: int) -> None:
        """One more number, the same one in all rows."""
        self._layout.append((name, kind))
        self._expected.append((name, expected))

    def add_value(self, field: pa.Field) -> None:
        """One more column, its length first."""
        width = field.type.bit_width // 8
        self.add(f"length of {field.name}", ">i4", width)
        self._layout.append((field.name, f">i{width}"))
        self._values.append(field)

    def add_length(self, field: pa.Field) -> None:
        """The length of a text."""
        self._layout.append((field.name, ">i4"))

    def read(self) -> list[pa.Array]:
        """The columns of the run; every message is read up to its end."""
        messages, layout = self._messages, np.dtype(self._layout)
        after = messages.at + layout.itemsize
        messages.refuse(after > messages.ends)
        if len(after) and layout.itemsize:
            # Every place of the data at once, one byte apart: one look-up then fetches a whole run of fields.
            places = len(messages.data) - layout.itemsize + 1
            everywhere: npt.NDArray[np.void]
            everywhere = np.ndarray((places,), f"V{layout.itemsize}", messages.data, strides=(1,))
            self._block = everywhere[messages.at].view(layout)
        else:
            self._block = np.zeros(len(after), layout)
        messages.at = after
        for name, expected in self._expected:
            messages.refuse(self._block[name] != expected)
        return [self._column(field) for field in self._values]

    def lengths(self, field: pa.Field) -> Positions:
        """The length of a text in every row."""
        lengths: Positions = self._block[field.name].astype(np.int64)
        return lengths

    def _column(self, field: pa.Field) -> pa.Array:
        values = self._block[field.name]
        numbers = values.astype(values.dtype.newbyteorder("="))
        if pa.types.is_timestamp(field.type):
            self._messages.refuse((numbers < _FIRST) | (numbers > _LAST))
            numbers += _EPOCH
        return pa.array(numbers).view(field.type)


def texts(data: bytes, starts: Positions, ends: Positions) -> pa.StringArray:
    """The texts between places of ``data`` that do not go backwards; whether they are UTF-8 is not looked at."""
    if not len(starts):
        return pa.array([], pa.string())
    # Texts and what lies between them, as neighbours: every other element is wanted.
    kind, offset = (pa.binary(), np.int32) if len(data) < 1 << 31 else (pa.large_binary(), np.int64)
    offsets = np.empty(2 * len(starts), offset)
    offsets[0::2], offsets[1::2] = starts, ends
    both = pa.Array.from_buffers(kind, len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    wanted = both.take(pa.array(np.arange(0, len(offsets), 2)))
    return wanted.view(pa.string()) if kind == pa.binary() else wanted.view(pa.large_string()).cast(pa.string())


def _text(messages: _Messages, lengths: Positions) -> pa.StringArray:
    """The text at ``at`` of every row."""
    starts, ends = messages.at, messages.at + lengths
    messages.refuse((lengths < 0) | (ends > messages.ends))
    messages.at = ends
    return texts(messages.data, starts, ends)


def _reason(schema: pa.Schema, row: bytes) -> str:
    """What is wrong with a row, said without its contents."""
    if len(row) < 2 or int.from_bytes(row[:2], "big", signed=True) != len(schema):
        return f"A row of the server's answer does not have {len(schema)} columns ({', '.join(schema.names)})."
    at = 2
    for field in schema:
        length = int.from_bytes(row[at : at + 4], "big", signed=True)
        width = None if pa.types.is_string(field.type) else field.type.bit_width // 8
        if len(row) < at + 4 + max(length, 0):
            return f"A row of the server's answer ends within column {field.name}."
        if length == -1:
            return f"A row of the server's answer has no value (NULL) in column {field.name}."
        if length < 0 or length != (width or length):
            return f"A value of column {field.name} in the server's answer has a wrong length ({length} bytes)."
        value = row[at + 4 : at + 4 + length]
        if pa.types.is_timestamp(field.type) and not _FIRST <= int.from_bytes(value, "big", signed=True) <= _LAST:
            return f"A value of column {field.name} in the server's answer is no moment, but infinite or out of range."
        at += 4 + length
    return f"A row of the server's answer goes on after its last column ({schema.names[-1]})."
