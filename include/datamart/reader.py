"""CSV bytes to columns: every record becomes a row of raw values, or a ragged record with its own text.

Values are bytes, unjudged; that is ``validation``'s part. Header rules are here, because they decide which
column a value belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from datamart.errors import FileRejected
from datamart.records import Block, Positions, fields_of, read_blocks
from datamart.rules import BAD_QUOTE, SWALLOWED_LINES
from datamart.tables import Table
from datamart.utf8 import invalid_positions

COLUMN_COUNT = "column_count"
UNCLOSED_QUOTE = "unclosed_quote"
LOAD_ID = "_load_id"
_MOST_NAMES = 5
_LONGEST_NAME = 40
_FEW_FIELDS = 2
"""Up to so many, texts with commas often have as many fields as a record."""
_FEW_RECORDS = 2000
"""So many records of a block are looked at one by one sooner than by arithmetic over the whole block."""


@dataclass(frozen=True)
class Ragged:
    """A record that fits no columns."""

    line: int
    raw: bytes
    reason: str


@dataclass(frozen=True)
class Chunk:
    """Rows in file order: ``columns[name][i]`` is row i's raw value, ``index[i]`` its record in ``block``."""

    block: Block
    index: Positions
    columns: dict[str, pa.BinaryArray]
    ragged: list[Ragged]
    swallowed: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Rows with columns whose quoted value holds lines that look like records."""

    @property
    def lines(self) -> Positions:
        """The first physical line of each row."""
        return self.block.lines[self.index]

    def more_lines(self, rows: Positions) -> int:
        """How many physical lines these rows have beside the first one of each."""
        return 0 if self.block.heights is None else self.block.height(self.index[rows]) - len(rows)

    def raw(self, row: int) -> bytes:
        """Row ``row`` as it stands in the file."""
        return self.block.raw(int(self.index[row]))


@dataclass
class Layout:
    """Which field of a record is which column; the ``_`` columns that a rejects file brings back are among them."""

    names: tuple[str, ...]
    header: bool = False


@dataclass(frozen=True)
class Place:
    """A place in a file between two records: its byte, its physical line, and the columns of the records."""

    offset: int
    line: int
    layout: Layout


class Reader:
    """Reads one file for one table; after the last chunk ``rows`` and ``blank`` hold the reader's own counts.

    A stream that does not begin with its file's first byte comes with its ``place``; one that does not end with its
    file's last byte is not ``to_end``.
    """

    def __init__(
        self, stream: BinaryIO, table: Table, chunk_bytes: int, place: Place | None = None, *, to_end: bool = True
    ) -> None:
        offset, line = (place.offset, place.line) if place else (0, 1)
        self._blocks = read_blocks(stream, chunk_bytes, offset=offset, line=line, to_end=to_end)
        self._table = table
        self.rows = 0
        self.blank = 0
        self.ignored = 0
        """Physical lines of Ctrl-Z alone."""
        self.header_lines = 0
        """Physical lines of the header."""
        self.marks = 0
        """Byte-order marks at the beginning of lines other than the file's first."""
        self.layout = place.layout if place else None
        self.repairs: int | None = None
        """The load whose rejects file this is, when its first row says so in a column ``_load_id``."""

    def __iter__(self) -> Iterator[Chunk]:
        """Yield the file's rows.

        Raises:
            FileRejected: ``empty``, ``header_only``, ``wrong_header`` or ``record_too_long``.
        """
        yield from self.chunks()
        self.require_rows()

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows of a piece of a file, which may have none.

        Raises:
            FileRejected: ``wrong_header`` or ``record_too_long``.
        """
        for block, first in self.blocks():
            if self.layout is not None and len(block.starts) > first:
                yield _chunk(block, first, self.layout, self._table)

    def blocks(self) -> Iterator[tuple[Block, int]]:
        """Yield records as they are cut, and which of them is the first row; nothing is asked of their values.

        Raises:
            FileRejected: ``wrong_header`` or ``record_too_long``.
        """
        for block in self._blocks:
            self.blank += block.blank
            self.ignored += block.ignored
            self.marks += block.marks
            first = 0
            if len(block.starts) and self.layout is None:
                self.layout = layout_of(block, self._table)
                first = int(self.layout.header)
                self.header_lines = block.height(np.arange(first))
            if self.layout is not None and not self.rows:
                self.repairs = _repaired_load(block, first, self.layout)
            self.rows += len(block.starts) - first
            yield block, first

    def require_rows(self) -> Layout:
        """The columns of a file that was read to its end; one that had no row is refused.

        Raises:
            FileRejected: ``empty`` or ``header_only``.
        """
        if self.layout is None:
            raise FileRejected("empty", "The file is empty. Send it again with at least one row.")
        if not self.rows:
            raise FileRejected("header_only", "The file has a header and no rows. Send it with at least one row.")
        return self.layout


def _repaired_load(block: Block, first: int, layout: Layout) -> int | None:
    if LOAD_ID not in layout.names or len(block.starts) <= first or not block.is_whole(first):
        return None
    values = fields_of(block.raw(first))
    place = layout.names.index(LOAD_ID)
    text = values[place] if place < len(values) else b""
    return int(text) if text.isdigit() and len(text) <= 19 else None


def layout_of(block: Block, table: Table) -> Layout:
    """The order of columns: by a header when the first record is one, else the table's own.

    Raises:
        FileRejected: ``wrong_header``, when the first record names some columns but not exactly the table's, or has
            text behind a closing quote.
    """
    plain = Layout(table.names)
    if 0 in block.broken:
        _refuse_broken_header(block.raw(0), table)
    if not block.is_whole(0):
        return plain
    values = fields_of(block.raw(0))
    names = [value.decode("utf-8", "replace").lower() for value in values]
    own = [name for name in names if not name.startswith("_")]
    if not set(own) & set(table.names) and len(own) == len(names):
        return plain
    if sorted(own) == sorted(table.names):
        return Layout(tuple(names), header=True)
    missing = [name for name in table.names if name not in own]
    unknown = [name for name in own if name not in table.names]
    doubled = len(own) != len(set(own))
    problems = [f"missing: {', '.join(missing)}"] if missing else []
    problems += [f"unknown: {_shown(unknown, missing)}"] if unknown else []
    problems += ["a column twice"] if doubled else []
    raise FileRejected(
        "wrong_header",
        f"The first line looks like a header of {table.name} but is not ({'; '.join(problems)}). Use exactly "
        f"{', '.join(table.names)} in any order, or no header.",
    )


def _refuse_broken_header(line: bytes, table: Table) -> None:
    names = {text.strip(b' \t\r";').lower() for text in line.split(b",")}
    if any(name.startswith(b"_") or name in {own.encode() for own in table.names} for name in names):
        raise FileRejected(
            "wrong_header",
            f"The first line looks like a header of {table.name}, but text or a blank stands behind a closing quote "
            "in it. Remove what stands there, or write the names without quotes, and send the file again.",
        )


def _shown(unknown: list[str], missing: list[str]) -> str:
    """Some unknown names in quotes, each with the missing name that it is close to; a name may be long or hostile."""
    shown = []
    for name in unknown[:_MOST_NAMES]:
        safe = "".join(letter if letter.isprintable() and letter not in "'\\<>&" else "?" for letter in name)
        short = safe if len(safe) <= _LONGEST_NAME else f"{safe[:_LONGEST_NAME]}..."
        near = get_close_matches(_letters(name[: 2 * _LONGEST_NAME]), missing, 1)
        shown.append(f"'{short}'" + (f" (did you mean {near[0]}?)" if near else ""))
    more = len(unknown) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _letters(name: str) -> str:
    """A name as this project would write it."""
    return re.sub(r"[^0-9a-z]+", "_", name).strip("_")


def _chunk(block: Block, first: int, layout: Layout, table: Table) -> Chunk:
    found = _plain_chunk(block, first, layout, table) if block.plain else None
    chunk = found or _walked_chunk(block, first, layout, table)
    swallowing = _swallowing(chunk, first, layout, table)
    return _with_swallowed(chunk, swallowing) if swallowing else chunk


def _swallowing(chunk: Chunk, first: int, layout: Layout, table: Table) -> dict[int, tuple[str, ...]]:
    """Records with columns whose quoted value holds lines that look like records (empty: not the table's column)."""
    block = chunk.block
    if block.heights is None:
        return {}
    own = tuple(name for name in layout.names if name in table.names)
    free = {column.name for column in table.columns if column.line_ends}
    shapes = {len(names): names.index(table.key) for names in (own, layout.names)}
    found: dict[int, tuple[str, ...]] = {}
    for record in _suspects(chunk, first, min(shapes)).tolist():
        raw = block.raw(record)
        if not block.is_whole(record) or all(line.count(b",") + 1 < min(shapes) for line in raw.split(b"\n")):
            continue
        columns = []
        for place, value in enumerate(fields_of(raw)):
            name = layout.names[place] if place < len(layout.names) else ""
            at = own.index(name) if name in own else None
            if name not in free and (
                _holds_records(value, shapes) or _joins_records(value, at, own.index(table.key), len(own))
            ):
                columns.append("" if at is None else name)
        if columns:
            found[record] = tuple(columns)
    return found


def _suspects(chunk: Chunk, first: int, width: int) -> Positions:
    """Records of several lines, without most of those with columns whose values cannot hold or join records.

    Such a value has a line with ``width`` fields behind the record's first line, or ends before the last line: then
    it is the first of two values with several lines.
    """
    block = chunk.block
    if block.heights is None:
        return np.array([], np.int64)
    tall = np.flatnonzero(block.heights > 1)
    tall = tall[tall >= first]
    if len(tall) <= _FEW_RECORDS:
        return tall
    array = np.frombuffer(block.data, np.uint8)
    line_ends = np.flatnonzero(array == ord("\n"))
    commas = np.diff(np.searchsorted(np.flatnonzero(array == ord(",")), line_ends), prepend=0)
    wide = np.flatnonzero(commas + 1 >= width)
    closings = np.flatnonzero((array[:-1] == ord('"')) & (array[1:] == ord(",")))
    top, bottom = np.searchsorted(line_ends, block.starts[tall]), np.searchsorted(line_ends, block.ends[tall])
    holds = np.searchsorted(wide, bottom, "right") > np.searchsorted(wide, top, "right")
    closes = np.searchsorted(closings, line_ends[bottom - 1]) > np.searchsorted(closings, line_ends[top])
    return tall[holds | closes | ~np.isin(tall, chunk.index)]


def _holds_records(value: bytes, shapes: Mapping[int, int]) -> bool:
    """Whether lines of a value have as many fields as a record.

    Where that says little, in the last line and for two columns, there must be a number for the key. ``shapes`` are
    the numbers of fields, each with the key's place.
    """
    _, *later = value.split(b"\n")
    for number, line in enumerate(later, 1):
        place = shapes.get(line.count(b",") + 1)
        if place is None or not line.strip(b",\r"):
            continue
        fields = line.split(b",")
        if (number < len(later) and len(fields) > _FEW_FIELDS) or _is_number(fields[place]):
            return True
    return False


def _joins_records(value: bytes, at: int | None, key: int, width: int) -> bool:
    """Whether a value of column ``at`` may begin in one record and end in another.

    Its first line has as many fields as the columns from there on, its last one as many as those up to there, and the
    one of them that has the key has a number for it.
    """
    first, *later = value.split(b"\n")
    if at is None or not later or width == 1:
        return False
    begun = later[-1].split(b",")
    ends_one, begins_one = first.count(b",") == width - 1 - at, len(begun) == at + 1
    return ends_one and begins_one and _is_number(first.split(b",")[key - at] if key >= at else begun[key])


def _is_number(text: bytes) -> bool:
    return text.strip(b' "\r').isdigit()


def _with_swallowed(chunk: Chunk, swallowing: dict[int, tuple[str, ...]]) -> Chunk:
    lines = {int(chunk.block.lines[record]) for record in swallowing}
    ragged = [replace(r, reason=SWALLOWED_LINES) if r.line in lines else r for r in chunk.ragged]
    records = np.array(list(swallowing))
    rows = np.searchsorted(chunk.index, records)
    swallowed = {
        int(row): swallowing[record]
        for row, record in zip(rows.tolist(), records.tolist(), strict=True)
        if row < len(chunk.index) and chunk.index[row] == record
    }
    return replace(chunk, ragged=ragged, swallowed=swallowed)


def _plain_chunk(block: Block, first: int, layout: Layout, table: Table) -> Chunk | None:
    """All records by the column parser at once; None when it cannot: it wants ragged records to be UTF-8."""
    odd: list[int] = []

    def skip(row: csv.InvalidRow) -> str:
        odd.append(row.number - 1 + first)
        return "skip"

    if _has_garbled_ragged(block, len(layout.names)):
        return None
    text = pa.py_buffer(block.data)[int(block.starts[first]) : block.used]
    try:
        columns = _parse(text, layout, table, skip)
    except pa.ArrowInvalid:
        return None
    usable = np.ones(len(block.starts), np.bool_)
    usable[:first] = False
    usable[odd] = False
    index = np.flatnonzero(usable)
    if len(columns[table.key]) != len(index):
        return None
    left = [Ragged(int(block.lines[row]), block.raw(row), COLUMN_COUNT) for row in odd]
    return Chunk(block, index, columns, left)


def _has_garbled_ragged(block: Block, width: int) -> bool:
    """Some record is no UTF-8 and fits no columns either: the parser could not hand it over."""
    garbled = invalid_positions(np.frombuffer(block.data, np.uint8)[: block.used])
    rows = np.unique(np.searchsorted(block.ends, garbled))
    return any(len(fields_of(block.raw(row))) != width for row in rows.tolist())


def _walked_chunk(block: Block, first: int, layout: Layout, table: Table) -> Chunk:
    """Records with odd quotes one by one, the others by the column parser."""
    count = len(block.starts)
    usable = np.ones(count, np.bool_)
    usable[:first] = False
    rewritten: dict[int, bytes] = {}
    ragged: dict[int, str] = {}
    width = len(layout.names)
    irregular = _irregular(block, width)
    if block.unclosed:
        irregular[-1] = True
    for row in np.flatnonzero(irregular & usable).tolist():
        if not block.is_whole(row):
            ragged[row] = UNCLOSED_QUOTE if block.unclosed and row == count - 1 else BAD_QUOTE
            continue
        values = fields_of(block.raw(row))
        if len(values) != width:
            ragged[row] = COLUMN_COUNT
        else:
            rewritten[row] = b",".join(b'"' + value.replace(b'"', b'""') + b'"' for value in values)
    usable[list(ragged)] = False
    index = np.flatnonzero(usable)
    joined = _joined(block, index, rewritten) if block.gaps else _text(block, first, rewritten, ragged)
    text = pa.py_buffer(joined)
    columns = _parse(text, layout, table) if len(index) else _no_rows(table)
    parsed = len(columns[table.key])
    if parsed != len(index):
        raise AssertionError(f"reader of {table.name}: {len(index)} records became {parsed} rows")
    left = [Ragged(int(block.lines[row]), block.raw(row), reason) for row, reason in sorted(ragged.items())]
    return Chunk(block, index, columns, left)


def _irregular(block: Block, width: int) -> npt.NDArray[np.bool_]:
    """Records that the column parser must not see as they are: quoted, ragged, or with a lone CR."""
    array = np.frombuffer(block.data, np.uint8)
    commas = np.flatnonzero(array == ord(","))
    counts = np.searchsorted(commas, block.ends) - np.searchsorted(commas, block.starts)
    irregular: npt.NDArray[np.bool_] = block.quoted | (counts != width - 1)
    returns = np.flatnonzero(array == ord("\r"))
    if len(returns):
        inside = np.searchsorted(returns, block.ends) > np.searchsorted(returns, block.starts)
        irregular |= inside
    return irregular


def _text(block: Block, first: int, rewritten: dict[int, bytes], ragged: dict[int, str]) -> bytes:
    """The block's bytes with irregular records rewritten or left out, and without what is before ``first``."""
    begin = int(block.starts[first])
    if not rewritten and not ragged:
        return block.data[begin : int(block.ends[-1])] + b"\n"
    pieces: list[bytes] = []
    for row in sorted({*rewritten, *ragged}):
        pieces.append(block.data[begin : int(block.starts[row])])
        if row in rewritten:
            pieces += [rewritten[row], b"\n"]
        begin = int(block.starts[row + 1]) if row + 1 < len(block.starts) else len(block.data)
    last = int(block.ends[-1])
    if begin < last:
        pieces += [block.data[begin:last], b"\n"]
    return b"".join(pieces)


def _joined(block: Block, index: Positions, rewritten: dict[int, bytes]) -> bytes:
    """The records alone, one after another."""
    places = zip(index.tolist(), block.starts[index].tolist(), block.ends[index].tolist(), strict=True)
    return b"".join([rewritten.get(record, block.data[start:end]) + b"\n" for record, start, end in places])


def _parse(
    text: pa.Buffer, layout: Layout, table: Table, on_ragged: Callable[[csv.InvalidRow], str] | None = None
) -> dict[str, pa.BinaryArray]:
    parsed = csv.read_csv(
        pa.BufferReader(text),
        read_options=csv.ReadOptions(
            column_names=list(layout.names), use_threads=False, block_size=max(len(text) + 1, 1024)
        ),
        parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=on_ragged),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(layout.names, pa.binary()),
            include_columns=list(table.names),
            null_values=[],
            strings_can_be_null=False,
        ),
    )
    return {name: parsed.column(name).combine_chunks() for name in table.names}


def _no_rows(table: Table) -> dict[str, pa.BinaryArray]:
    return {name: pa.array([], pa.binary()) for name in table.names}
