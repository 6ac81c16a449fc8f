"""AVRO object container files as batches of rows: quick for files like our own, strict for those of others."""

from __future__ import annotations

import io
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import fastavro
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from fastavro.schema import SchemaParseException

from datamart.errors import BackupDamaged
from datamart.recovery.avro import MAGIC, SYNC_BYTES, SYNC_KEY, SYNC_KIND, TYPES, derived_sync, long
from datamart.warehouse.binaryread import texts

# Rows of files that others wrote have no provenance: nothing here loaded them.
LOAD_ID = "_load_id"

_BLOCK_BYTES = 1 << 30
_GROUP_BYTES = 1 << 23
_READ_BYTES = 1 << 20
_LONGEST = 10
# Snappy's densest element is 3 bytes for 64.
_SNAPPY_RATIO = 22
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z\Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REFUSALS = (
    *(EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError, RecursionError),
    *(StopIteration, struct.error, SchemaParseException),
)

Positions = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


def read_avro(file: BinaryIO, schema: pa.Schema, *, rows_at_once: int = 250_000) -> Iterator[pa.RecordBatch]:
    """The rows of a file as batches of ``schema``, in the file's order; its other fields are passed over.

    A field that the file lacks is an error, but for ``_load_id``: that becomes 0. AVRO has no mark for a
    file's end, so a file that was cut between two blocks looks whole: compare the number of rows.

    Args:
        file: open for reading at its start; read once, forward.
        schema: int32, int64, string and timestamp[us] fields, none of them null.
        rows_at_once: the most rows of a batch. Memory is bounded by about these, or by the file's largest block.

    Raises:
        BackupDamaged: the file is damaged, or has a value that its column cannot hold.
    """
    container = _Container(file)
    own = container.own
    wanted = pa.schema([field for field in schema if field.name in container.names or field.name != LOAD_ID])
    for field in wanted:
        if field.name not in container.names:
            raise BackupDamaged(f"The AVRO file has no field {field.name}.")
    for blocks in _groups(container, rows_at_once):
        rows = sum(block.rows for block in blocks)
        if own is not None and all(own.field(field.name).type == field.type for field in wanted):
            columns = _SideBySide(own, blocks).columns(wanted.names)
        else:
            columns = _foreign_columns(container.schema, wanted, blocks)
        batch = pa.RecordBatch.from_arrays(
            [columns.get(field.name, _zeros(field, rows)) for field in schema], schema=schema
        )
        for start in range(0, rows, rows_at_once):
            yield batch.slice(start, rows_at_once)


@dataclass(frozen=True)
class _Block:
    """Some rows, unpacked."""

    rows: int
    data: bytes


def _groups(container: _Container, rows_at_once: int) -> Iterator[list[_Block]]:
    """Neighbouring blocks of about ``rows_at_once`` rows, or fewer if their rows are long."""
    group: list[_Block] = []
    rows = size = 0
    for block in container.blocks():
        if group and (rows + block.rows > rows_at_once or size + len(block.data) > _GROUP_BYTES):
            yield group
            group, rows, size = [], 0, 0
        group.append(block)
        rows, size = rows + block.rows, size + len(block.data)
    if group:
        yield group


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
    for place in range(_LONGEST):
        byte = take(1)[0]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value
    raise BackupDamaged("The AVRO file is damaged: a number in it is too long.")


class _Container:
    """The file around the rows: ``schema`` as its writer has it, ``own`` if we might have, and ``names`` of fields."""

    def __init__(self, file: BinaryIO) -> None:
        self._source = _Source(file)
        meta = self._header()
        try:
            self.schema: Any = json.loads(meta.get("avro.schema", b"").decode())
            self.names: list[str] = [field["name"] for field in self.schema["fields"]]
            self.own = _own_schema(self.schema)
        except _REFUSALS:
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

    def blocks(self) -> Iterator[_Block]:
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
                yield _Block(rows, data)


def _unpacked_snappy(packed: bytes) -> bytes:
    body, checksum = packed[:-4], packed[-4:]
    try:
        size = _unsigned(io.BytesIO(body[:_LONGEST]).read)
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


class _SideBySide:
    """Blocks of rows of a known kind, read side by side: the first row of every block, then every second one.

    Rows have no marks between them; but the last byte of a number is one below 128, so the end of any number of
    neighbouring numbers is found by counting such bytes. Only a text between them has to be stepped over.
    """

    def __init__(self, stored: pa.Schema, blocks: list[_Block]) -> None:
        self._runs = _Run.all_of(stored)
        self._counts = np.array([block.rows for block in blocks])
        # Zeros behind the data end every number, however many are still looked for.
        padding = bytes(len(stored) + 2 * _LONGEST)
        self._data = b"".join([*(block.data for block in blocks), padding])
        self._ends = np.cumsum([len(block.data) for block in blocks])
        self._bytes = np.frombuffer(self._data, np.uint8)
        self._words: Words = np.ndarray((len(self._data) - 7,), "<u8", self._data, strides=(1,))
        stops = self._bytes < 0x80
        self._stops = np.flatnonzero(stops)
        self._before = np.zeros(len(stops) + 1, np.int32)
        np.cumsum(stops, out=self._before[1:])

    def columns(self, names: list[str]) -> dict[str, pa.Array]:
        """The columns of these names."""
        columns: dict[str, pa.Array] = {}
        for run, starts in zip(self._runs, self._run_starts(), strict=True):
            numbers, after = self._run_numbers(run, starts)
            fixed = run.fields if run.text is None else run.fields[:-1]
            columns |= {field.name: _fixed(field, numbers[n]) for n, field in enumerate(fixed) if field.name in names}
            if run.text is not None:
                columns[run.text] = self._texts(run.text, after, _signed(numbers[-1]))
        return columns

    def _run_numbers(self, run: _Run, starts: Positions) -> tuple[list[Words], Positions]:
        """The numbers of a run, a column each, and where they end."""
        columns = []
        first = self._before[starts]
        for place in range(len(run.fields)):
            ends = self._stops[first + place]
            columns.append(self._numbers(starts, ends))
            starts = ends + 1
        return columns, starts

    def _run_starts(self) -> list[Positions]:
        """Where each run of each row starts, rows in the file's order."""
        order = np.argsort(-self._counts, kind="stable")
        # Blocks with many rows first: those that still have rows are then neighbours at each step.
        active = len(order) - np.searchsorted(np.sort(self._counts), np.arange(self._counts.max()), side="right")
        found = [np.empty(self._counts.sum(), np.int64) for _ in self._runs]
        at = np.concatenate((np.zeros(1, np.int64), self._ends))[:-1][order]
        base = 0
        for blocks in active.tolist():
            places = at[:blocks]
            for run, starts in zip(self._runs, found, strict=True):
                starts[base : base + blocks] = places
                places = self._after(run, places)
            at[:blocks] = places
            base += blocks
        if (at != self._ends[order]).any():
            raise BackupDamaged("The AVRO file is damaged: the rows of a block do not end where it does.")
        rows = self._in_order(order, active)
        return [starts[rows] for starts in found]

    def _in_order(self, order: Positions, active: Positions) -> Positions:
        """For each row, in the file's order: its place among the rows in the order of the walk."""
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        row = np.arange(self._counts.sum()) - np.repeat(np.cumsum(self._counts) - self._counts, self._counts)
        places: Positions = (np.cumsum(active) - active)[row] + np.repeat(rank, self._counts)
        return places

    def _after(self, run: _Run, places: Positions) -> Positions:
        """Where the next run starts; one place behind all data for rows that lead out of it."""
        first = self._before[places]
        ends = self._stops[first + (len(run.fields) - 1)]
        after = ends + 1
        if run.text is not None:
            starts = self._stops[first + (len(run.fields) - 2)] + 1 if len(run.fields) > 1 else places
            after += self._lengths(starts, ends)
        # As a number without a sign, a place before the data is far behind it.
        unsigned = after.view(np.uint64)
        np.minimum(unsigned, np.uint64(self._ends[-1] + 1), out=unsigned)
        return after

    def _lengths(self, starts: Positions, ends: Positions) -> Positions:
        lengths = self._bytes[starts]
        # Nearly always none is negative or longer than 63 bytes: then each is one byte, and its own half.
        if np.bitwise_or.reduce(lengths) & 0x81:
            return _signed(self._numbers(starts, ends))
        return (lengths >> 1).astype(np.int64)

    def _numbers(self, starts: Positions, ends: Positions) -> Words:
        """The zigzagged numbers between two places each."""
        widths = ends - starts + 1
        longest = int(widths.max())
        if longest > _LONGEST:
            raise BackupDamaged("The AVRO file is damaged: a number in it is too long.")
        if longest == 1:
            return self._bytes[starts].astype(np.uint64)
        numbers = _packed(self._words[starts] & _KEPT[np.minimum(widths, 8)], longest)
        for place in range(8, longest):
            long = np.flatnonzero(widths > place)
            byte = self._bytes[starts[long] + place].astype(np.uint64)
            if place == _LONGEST - 1 and (byte > 1).any():
                raise BackupDamaged("The AVRO file is damaged: a number in it is too large.")
            numbers[long] |= (byte & np.uint64(0x7F)) << np.uint64(7 * place)
        return numbers

    def _texts(self, name: str, starts: Positions, lengths: Positions) -> pa.Array:
        # A negative length would have led the walk back, so what it found would mean nothing.
        if (lengths.view(np.uint64) > len(self._data)).any():
            raise BackupDamaged(f"The AVRO file is damaged: a text of field {name} has an impossible length.")
        found = texts(self._data, starts, starts + lengths)
        try:
            found.validate(full=True)
        except pa.ArrowInvalid:
            raise BackupDamaged(f"The AVRO file is damaged: a text of field {name} is not UTF-8.") from None
        return found


@dataclass(frozen=True)
class _Run:
    """Neighbouring fields whose numbers follow each other; the last may be the length of the ``text`` behind them."""

    fields: list[pa.Field]
    text: str | None

    @staticmethod
    def all_of(schema: pa.Schema) -> list[_Run]:
        """A row as runs."""
        runs: list[_Run] = []
        fields: list[pa.Field] = []
        for field in schema:
            fields.append(field)
            if pa.types.is_string(field.type):
                runs.append(_Run(fields, field.name))
                fields = []
        return [*runs, _Run(fields, None)] if fields else runs


# By number of bytes: the bits that so many bytes of a word take, without those that say whether more follow.
_KEPT = np.array([0x7F7F7F7F7F7F7F7F & ((1 << 8 * width) - 1) for width in range(9)], np.uint64)


def _packed(words: Words, longest: int) -> Words:
    """Seven bits of each byte, side by side, by halves: pairs of bytes, then of pairs, then of fours."""
    out: Words = (words & _EVEN[0]) | ((words & _ODD[0]) >> np.uint64(1))
    if longest > 2:
        out = (out & _EVEN[1]) | ((out & _ODD[1]) >> np.uint64(2))
    if longest > 4:
        out = (out & _EVEN[2]) | ((out & _ODD[2]) >> np.uint64(4))
    return out


_EVEN = np.array([0x007F007F007F007F, 0x00003FFF00003FFF, 0x000000000FFFFFFF], np.uint64)
_ODD = np.array([0x7F007F007F007F00, 0x3FFF00003FFF0000, 0x0FFFFFFF00000000], np.uint64)


def _signed(numbers: Words) -> Positions:
    """Zigzagged numbers as they are."""
    signed: Positions = ((numbers >> np.uint64(1)) ^ -(numbers & np.uint64(1))).view(np.int64)
    return signed


def _fixed(field: pa.Field, numbers: Words) -> pa.Array:
    if field.type != pa.int32():
        return pa.array(_signed(numbers)).view(field.type)
    if (numbers > np.uint64(0xFFFFFFFF)).any():
        raise BackupDamaged(_unfit(field))
    return pa.array(_signed(numbers).astype(np.int32))


def _zeros(field: pa.Field, rows: int) -> pa.Array:
    return pa.array(np.zeros(rows, np.int64)).cast(field.type)


def _unfit(field: pa.Field) -> str:
    return f"Field {field.name} of the AVRO file has a value that is no {field.type}."


def _foreign_columns(schema: Any, wanted: pa.Schema, blocks: list[_Block]) -> dict[str, pa.Array]:
    """The columns of ``wanted``, whatever the kinds of the file's fields: one row at a time."""
    rows = [row for block in blocks for row in _foreign_rows(schema, block)]
    return {field.name: _converted(field, [row[field.name] for row in rows]) for field in wanted}


def _foreign_rows(schema: Any, block: _Block) -> list[dict[str, Any]]:
    # A block is an array without the number of its items before and its end behind. What is left over would be taken
    # for more items, or not be read.
    array = long(block.rows) + block.data + long(0)
    source = io.BytesIO(array)
    rows: list[dict[str, Any]]
    try:
        rows = fastavro.schemaless_reader(source, {"type": "array", "items": schema}, None)
    except _REFUSALS:
        raise BackupDamaged("The AVRO file is damaged: a block does not hold what its header describes.") from None
    if len(rows) != block.rows or source.tell() != len(array):
        raise BackupDamaged("The AVRO file is damaged: the rows of a block do not end where it does.")
    return rows


def _converted(field: pa.Field, values: list[Any]) -> pa.Array:
    """Values of AVRO as a column, if each is of its type."""
    if any(value is None for value in values):
        raise BackupDamaged(f"Field {field.name} of the AVRO file has no value (null) in a row.")
    try:
        if pa.types.is_timestamp(field.type):
            return pa.array([_micros(value) for value in values], pa.int64()).view(field.type)
        expected = str if pa.types.is_string(field.type) else int
        if all(type(value) is expected for value in values):
            return pa.array(values, field.type)
    except (ValueError, OverflowError):
        pass
    raise BackupDamaged(_unfit(field))


def _micros(value: Any) -> int:
    """A moment in microseconds since 1970: any logical type of AVRO for moments, or an ISO text with its Z."""
    if isinstance(value, str) and _ISO.match(value):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise ValueError
    moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return (moment - _EPOCH) // timedelta(microseconds=1)
