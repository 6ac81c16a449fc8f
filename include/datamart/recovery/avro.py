"""Rows as AVRO object container files, a whole column at a time.

The format is AVRO's own (specification 1.12, "Object Container Files"): a header with the schema and a marker, then
blocks of rows; a number is zigzagged, so that small ones of either sign are small, and sent seven bits a byte, the
lowest first, with the top bit saying that more follow. Any reader of AVRO reads these files.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datamart.errors import TerminalFault

MAGIC = b"Obj\x01"
SYNC_BYTES = 16
NAMESPACE = "datamart"
# A file that has this key made its marker from its header, so that a reader can tell whether the header is whole.
SYNC_KEY = "datamart.sync"
SYNC_KIND = b"sha256 of the header"
# Readers of whole columns decode one row of many blocks at a time: blocks that are short make many, and compress well.
BLOCK_ROWS = 512

# The AVRO type of each Arrow type; moments are UTC.
TYPES: dict[pa.DataType, Any] = {
    pa.int32(): "int",
    pa.int64(): "long",
    pa.string(): "string",
    pa.timestamp("us"): {"type": "long", "logicalType": "timestamp-micros"},
}
# So many rows that the columns of a slice stay in the processor's cache.
_SLICE_ROWS = 32 * BLOCK_ROWS

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def avro_schema(name: str, schema: pa.Schema) -> dict[str, Any]:
    """The AVRO record for rows of a table: moments are UTC, in microseconds since 1970."""
    fields = [{"name": field.name, "type": TYPES[field.type]} for field in schema]
    return {"type": "record", "name": name, "namespace": NAMESPACE, "fields": fields}


def long(number: int) -> bytes:
    """A number as AVRO writes it."""
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def derived_sync(entries: dict[str, bytes]) -> bytes:
    """The marker of a file whose header holds these names and values, in this order."""
    return hashlib.sha256(_meta(entries)).digest()[:SYNC_BYTES]


class AvroWriter:
    """Writes batches of one schema into a file that it does not close; equal rows in equal batches make equal files.

    Memory is bounded by a slice of rows, whatever the size of batches.
    """

    def __init__(self, file: BinaryIO, name: str, schema: pa.Schema, block_rows: int = BLOCK_ROWS) -> None:
        self._file = file
        self._schema = schema
        self._block_rows = block_rows
        self._codec = pa.Codec("snappy")
        self._left = b""
        self._left_rows = 0
        described = json.dumps(avro_schema(name, schema), separators=(",", ":")).encode()
        entries = {"avro.schema": described, "avro.codec": b"snappy", SYNC_KEY: SYNC_KIND}
        self._sync = derived_sync(entries)
        file.write(MAGIC + _meta(entries) + self._sync)

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; the last of them may wait for ``close``.

        Raises:
            TerminalFault: a value is null, which none of the schema's may be.
        """
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if column.null_count:
                raise TerminalFault(f"A row that is to be written has no value (NULL) in column {name}.")
        for start in range(0, batch.num_rows, _SLICE_ROWS):
            self._write_blocks(_encoded(self._schema, batch.slice(start, _SLICE_ROWS)))

    def close(self) -> None:
        """Write what waits."""
        if self._left_rows:
            self._file.write(self._block(self._left_rows, self._left))
        self._left, self._left_rows = b"", 0

    def _write_blocks(self, rows: pa.BinaryArray) -> None:
        """Cut encoded rows into blocks, the first of which begins with the rows that wait."""
        offsets = np.frombuffer(rows.buffers()[1], np.int32)[rows.offset :][: len(rows) + 1]
        data = memoryview(rows.buffers()[2])
        cuts = [int(offset) for offset in offsets[self._block_rows - self._left_rows :: self._block_rows]]
        blocks, start = [], int(offsets[0])
        for cut in cuts:
            blocks.append(self._block(self._block_rows, self._left + bytes(data[start:cut])))
            self._left, start = b"", cut
        self._left += bytes(data[start : int(offsets[-1])])
        self._left_rows = self._left_rows + len(rows) - len(cuts) * self._block_rows
        self._file.write(b"".join(blocks))

    def _block(self, rows: int, data: bytes) -> bytes:
        packed: bytes = self._codec.compress(data, asbytes=True)
        checksum = zlib.crc32(data).to_bytes(4, "big")
        return b"".join((long(rows), long(len(packed) + 4), packed, checksum, self._sync))


def _meta(entries: dict[str, bytes]) -> bytes:
    """The header's map of names and values."""
    pairs = [long(len(text)) + text for key, value in entries.items() for text in (key.encode(), value)]
    return b"".join([long(len(entries)), *pairs, long(0)])


def _encoded(schema: pa.Schema, batch: pa.RecordBatch) -> pa.BinaryArray:
    """Each row of a batch as AVRO has it."""
    pieces: list[pa.Array] = []
    run: list[tuple[Bytes, Mask]] = []
    for field in schema:
        values = batch.column(field.name)
        if pa.types.is_string(field.type):
            run.append(_varints(pc.binary_length(values).to_numpy(zero_copy_only=False)))
            pieces += [_joined(run), values.cast(pa.binary())]
            run = []
        else:
            run.append(_varints(values.view(_integer(field.type)).to_numpy(zero_copy_only=False)))
    if run:
        pieces.append(_joined(run))
    return pieces[0] if len(pieces) == 1 else pc.binary_join_element_wise(*pieces, b"")


def _integer(kind: pa.DataType) -> pa.DataType:
    return pa.int64() if pa.types.is_timestamp(kind) else kind


def _varints(numbers: npt.NDArray[np.signedinteger]) -> tuple[Bytes, Mask]:
    """Numbers as rows of bytes, as many as the longest needs, and which of the bytes are part of the number."""
    signed = numbers.astype(np.int64, copy=False)
    rest = ((signed << 1) ^ (signed >> 63)).view(np.uint64)
    largest = int(rest.max(initial=0))
    width = max(1, -(-largest.bit_length() // 7))
    out, used = np.empty((len(rest), width), np.uint8), np.ones((len(rest), width), np.bool_)
    for place in range(width - 1):
        low = rest.astype(np.uint8)
        rest = rest >> np.uint64(7)
        more = rest != 0
        used[:, place + 1] = more
        out[:, place] = (low & 0x7F) | (more.view(np.uint8) << 7)
    out[:, -1] = rest
    return out, used


def _joined(run: list[tuple[Bytes, Mask]]) -> pa.BinaryArray:
    """Neighbouring numbers of each row, as one array of byte strings."""
    used = np.concatenate([mask for _, mask in run], axis=1)
    data = np.concatenate([out for out, _ in run], axis=1)[used]
    offsets = np.zeros(len(used) + 1, np.int32)
    np.cumsum(used.sum(axis=1, dtype=np.int32), out=offsets[1:])
    return pa.Array.from_buffers(pa.binary(), len(used), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
