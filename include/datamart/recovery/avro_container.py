"""The blocks of an AVRO object container file, unpacked: their bytes are checked, their rows are not read yet."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
from fastavro.schema import SchemaParseException

from datamart.errors import BackupDamaged
from datamart.recovery.avro import MAGIC, SYNC_BYTES, SYNC_KEY, SYNC_KIND, TYPES, derived_sync

_BLOCK_BYTES = 1 << 30
_READ_BYTES = 1 << 20
REFUSALS = (
    *(EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError, RecursionError),
    *(StopIteration, struct.error, SchemaParseException),
)
"""What a library raises over a file that is not what it should be."""
LONGEST = 10
# Snappy's densest element is 3 bytes for 64.
_SNAPPY_RATIO = 22


@dataclass(frozen=True)
class Block:
    """Some rows, unpacked."""

    rows: int
    data: bytes


class _Source:
    """A file that is read forward in small pieces."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._data = b""
        self._at = 0

    def ended(self) -> bool:
        """Whether nothing is left."""
        if self._at == len(self._data):
            self._data, self._at = self._file.read(_READ_BYTES), 0
        return not self._data

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if size < 0:
            raise BackupDamaged("The AVRO file is damaged: a length in it is negative.")
        pieces = []
        while size:
            if self.ended():
                raise BackupDamaged("The AVRO file is damaged: it ends too early.")
            piece = self._data[self._at : self._at + size]
            pieces.append(piece)
            self._at += len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def long(self) -> int:
        """The next number."""
        value = _unsigned(self.take)
        return (value >> 1) ^ -(value & 1)


def _unsigned(take: Callable[[int], bytes]) -> int:
    """A number as its bytes come, not zigzagged."""
    value = 0
    for place in range(LONGEST):
        byte = take(1)[0]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value
    raise BackupDamaged("The AVRO file is damaged: a number in it is too long.")


class Container:
    """The file around the rows: ``schema`` as its writer has it, ``own`` if we might have, and ``names`` of fields."""

    def __init__(self, file: BinaryIO) -> None:
        self._source = _Source(file)
        meta = self._header()
        try:
            self.schema: Any = json.loads(meta.get("avro.schema", b"").decode())
            self.names: list[str] = [field["name"] for field in self.schema["fields"]]
            self.own = _own_schema(self.schema)
        except REFUSALS:
            raise BackupDamaged("The AVRO file is damaged: its header describes no rows.") from None
        self._codec = meta.get("avro.codec", b"null").decode(errors="replace")
        if self._codec not in _UNPACK:
            raise BackupDamaged(f"The AVRO file is packed in a way that cannot be read: {', '.join(_UNPACK)} can.")

    def _header(self) -> dict[str, bytes]:
        source = self._source
        if source.ended() or source.take(len(MAGIC)) != MAGIC:
            raise BackupDamaged("The file is no AVRO object container file: it does not begin like one.")
        meta: dict[str, bytes] = {}
        while entries := source.long():
            if entries < 0:
                source.long()
            for _ in range(abs(entries)):
                key = source.take(source.long()).decode(errors="replace")
                meta[key] = source.take(source.long())
        self._sync = source.take(SYNC_BYTES)
        if meta.get(SYNC_KEY) == SYNC_KIND and self._sync != derived_sync(meta):
            raise BackupDamaged("The AVRO file is damaged: its header is not the one that was written.")
        return meta

    def blocks(self) -> Iterator[Block]:
        """All blocks that hold rows."""
        source, unpack = self._source, _UNPACK[self._codec]
        while not source.ended():
            rows = source.long()
            packed = source.take(source.long())
            if source.take(SYNC_BYTES) != self._sync:
                raise BackupDamaged("The AVRO file is damaged: a block does not end where it says.")
            data = unpack(packed)
            # A row has at least one byte, as no field that anyone asks for is without.
            if not 0 <= rows <= len(data) or (data and not rows):
                raise BackupDamaged("The AVRO file is damaged: a block does not have the number of rows that it says.")
            if rows:
                yield Block(rows, data)


def _unpacked_snappy(packed: bytes) -> bytes:
    body, checksum = packed[:-4], packed[-4:]
    try:
        size = _unsigned(io.BytesIO(body[:LONGEST]).read)
        if size > min(_BLOCK_BYTES, _SNAPPY_RATIO * len(body)):
            raise ValueError
        data: bytes = pa.Codec("snappy").decompress(body, size, asbytes=True)
    except (BackupDamaged, IndexError, ValueError, OSError):
        raise BackupDamaged("The AVRO file is damaged: a block cannot be unpacked.") from None
    if zlib.crc32(data).to_bytes(4, "big") != checksum:
        raise BackupDamaged("The AVRO file is damaged: the checksum of a block is wrong.")
    return data


def _unpacked_deflate(packed: bytes) -> bytes:
    unpacking = zlib.decompressobj(-15)
    try:
        data = unpacking.decompress(packed, _BLOCK_BYTES)
    except zlib.error:
        raise BackupDamaged("The AVRO file is damaged: a block cannot be unpacked.") from None
    # Some writers leave a part of zlib's own checksum, 4 bytes, behind the data.
    if not unpacking.eof or len(unpacking.unused_data) > 4:
        raise BackupDamaged("The AVRO file is damaged: a block cannot be unpacked.")
    return data


_UNPACK: dict[str, Callable[[bytes], bytes]] = {"null": bytes, "deflate": _unpacked_deflate, "snappy": _unpacked_snappy}


def _own_schema(schema: Any) -> pa.Schema | None:
    """What a file holds whose fields are all of the kinds that we write; None for other files."""
    names = [field["name"] for field in schema["fields"]]
    kinds = [_kind(field["type"]) for field in schema["fields"]]
    if schema.get("type") != "record" or None in kinds or len(set(names)) < len(names):
        return None
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in zip(names, kinds, strict=True)])


def _kind(written: Any) -> pa.DataType | None:
    return next((kind for kind, name in TYPES.items() if name == written), None)
