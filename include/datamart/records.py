"""Where records begin and end in CSV bytes (RFC 4180), with the physical line of each.

This module cuts a stream into whole records and knows quotes, blank lines, line ends and marks. What the fields
mean is not its matter (see ``reader`` and ``rules``).

Two ways lead to the same cuts: where every quote opens, closes or doubles as RFC 4180 has it, array arithmetic
finds the ends of all records; elsewhere the lines that hold a quote are walked one by one. A record with text behind
a closing quote is its first physical line alone, and the next record begins on the next line: what a stray quote
would swallow is read.

Every physical line belongs to one record, or is blank (no bytes, or only commas as spreadsheets write them), or is
ignored (Ctrl-Z on the last line). A line ends with any number of CR before its LF or before the end of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from datamart.errors import FileRejected

MAX_RECORD_BYTES = 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_LF, _CR, _QUOTE, _COMMA, _CTRL_Z = 10, 13, 34, 44, 26
# One field and what ends it. A quote opens a quoted field only at the field's start; bytes after its closing
# quote belong to the value up to the next comma or line end.
# Possessive, so that a doubled quote is never taken for a closing one on a second try.
_FIELD = re.compile(rb'(?:"([^"]*+(?:""[^"]*+)*+)"([^,\n]*+)|(?!")([^,\n]*+))(,|\n)')
# The same for a file that is judged: behind a closing quote comes a comma or a line end.
_STRICT_FIELD = re.compile(rb'(?:"[^"]*+(?:""[^"]*+)*+"(?:,|\r*+\n)|(?!")[^,\n]*+[,\n])')
# A closed quote, the CRs behind it, and what may yet turn out to be the end of the file's last line.
_CLOSED_QUOTE = re.compile(rb'"[^"]*+(?:""[^"]*+)*+"\r*+(?P<end>[\r\x1a]*+\n?)')

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Whole records: ``data[starts[i]:ends[i]]`` is record i without its line end, on physical line ``lines[i]``.

    ``quoted[i]`` says that the record holds a quote; ``unclosed`` that the last one never closes its quote
    (possible only at the end of the file); ``broken`` are the records with text behind a closing quote. Blank lines
    are no records; ``blank`` counts them. ``plain`` says that all quotes are as RFC 4180 has them, every CR belongs
    to a line end and nothing but whole records and empty lines lies between the first and the last: any CSV parser
    sees the same records.
    """

    data: bytes
    starts: Positions
    ends: Positions
    lines: Positions
    quoted: npt.NDArray[np.bool_]
    blank: int
    unclosed: bool = False
    plain: bool = False
    used: int = 0
    """Bytes of ``data`` that hold whole lines."""
    offset: int = 0
    """Where in the file ``data`` begins."""
    next_line: int = 1
    """The physical line that comes after those bytes."""
    broken: frozenset[int] = frozenset()
    heights: Positions | None = None
    """How many physical lines each record has; None: one each."""
    marks: int = 0
    """Byte-order marks that lines other than the file's first began with: they are left out."""
    gaps: bool = False
    """Between the records there are bytes that are neither records nor empty lines."""
    ignored: int = 0
    """Lines of Ctrl-Z alone."""
    final: bool = False
    """The file ends here."""
    reach: int = 0
    """How much of ``data`` had to be seen to know which records are broken: it may be more than is used."""

    def raw(self, index: int) -> bytes:
        """Record ``index`` as it stands in the file, without its line end."""
        return self.data[self.starts[index] : self.ends[index]]

    def is_whole(self, index: int) -> bool:
        """Record ``index`` has fields: its quotes are closed, and nothing stands behind them."""
        return not (self.unclosed and index == len(self.starts) - 1) and index not in self.broken

    def height(self, records: Positions) -> int:
        """How many physical lines these records have."""
        return len(records) if self.heights is None else int(self.heights[records].sum())


def physical_lines(raw: bytes) -> int:
    """How many physical lines a record has."""
    return raw.count(b"\n") + (not raw.endswith(b"\n"))


def fields_of(record: bytes) -> list[bytes]:
    """The values of one whole record (given without its line end)."""
    text = record + b"\n"
    values: list[bytes] = []
    position = 0
    while True:
        match = _FIELD.match(text, position)
        if match is None:
            raise ValueError("not a whole record: a quote is never closed")
        quoted, tail, plain, end = match.groups()
        values.append(plain if quoted is None else quoted.replace(b'""', b'"') + tail)
        position = match.end()
        if end == b"\n":
            return values


def read_blocks(
    stream: BinaryIO, block_bytes: int, *, offset: int = 0, line: int = 1, to_end: bool = True
) -> Iterator[Block]:
    """Cut ``stream`` into blocks of about ``block_bytes`` bytes of whole records.

    Memory is bounded by the block and the longest allowed record. A byte-order mark at the file's start is skipped.
    A stream that begins further on in its file, between two records, comes with its ``offset`` and physical ``line``;
    one that ends before its file does, between two records, is not ``to_end``.

    Raises:
        FileRejected: a record is longer than 1 MiB (an unclosed quote is the usual reason).
    """
    carry, at_start = b"", offset == 0
    while True:
        fresh = stream.read(block_bytes)
        last = not fresh
        data = carry + fresh
        if at_start and (len(data) >= 3 or last):
            offset = len(_BOM) if data.startswith(_BOM) else 0
            data = data[offset:]
            at_start = False
        elif at_start:
            carry = data
            continue
        ignored = 0
        if last and to_end:
            data, ignored = _without_end_mark(data)
        ended = data.endswith(b"\n")
        if last and data and not ended:
            data += b"\n"
        block = _cut(data, line, last)
        if not last and _ends_in_mark(data, block.used):
            block = _cut(data[: data.rfind(b"\n", 0, int(block.starts[-1])) + 1], line, last)
        block = replace(block, offset=offset, ignored=ignored, final=last)
        if block.unclosed:
            block.ends[-1] = len(data) if ended else len(data) - 1
        _refuse_long(block, data[block.used :], block.next_line)
        if len(block.starts) or block.blank or block.ignored:
            yield block
        if last:
            return
        carry, line, offset = data[block.used :], block.next_line, offset + block.used


def _without_end_mark(data: bytes) -> tuple[bytes, int]:
    """The bytes without Ctrl-Z at the end of the last line, and how many lines that leaves out: none or one."""
    ended = data.endswith(b"\n")
    line = data[:-1] if ended else data
    kept = line.rstrip(b"\x1a\r")
    if _CTRL_Z not in line[len(kept) :]:
        return data, 0
    if not kept or kept.endswith(b"\n"):
        return kept, 1
    return kept + b"\n" * ended, 0


def _ends_in_mark(data: bytes, used: int) -> bool:
    """Whether the last whole line ends in Ctrl-Z: then it matters whether it is the file's last line."""
    at = used - 2
    while at >= 0 and data[at] == _CR:
        at -= 1
    return at >= 0 and data[at] == _CTRL_Z


def _refuse_long(block: Block, pending: bytes, pending_line: int) -> None:
    lengths = block.ends - block.starts
    if len(lengths) and int(lengths.max()) > MAX_RECORD_BYTES:
        raise _too_long(int(block.lines[int(np.argmax(lengths > MAX_RECORD_BYTES))]))
    if len(pending) > MAX_RECORD_BYTES + 1:
        begin = _behind_marks(pending, 0)
        if len(pending.rstrip(b"\r\n\x1a")) - begin > MAX_RECORD_BYTES + 1 or len(pending) > 2 * MAX_RECORD_BYTES:
            raise _too_long(pending_line)


def _too_long(line: int) -> FileRejected:
    return FileRejected(
        "record_too_long",
        f"The record that starts on line {line} is longer than 1 MiB; most often a quote that is never "
        "closed. Correct that line and send the file again.",
    )


def _cut(data: bytes, first_line: int, last: bool) -> Block:
    """The whole records in ``data``."""
    array = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(array == _LF)
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends.copy()
    lines = np.arange(first_line, first_line + len(ends))
    quoted = np.zeros(len(ends), np.bool_)
    heights: Positions | None = None
    broken: list[int] = []
    reach = 0
    unclosed, regular = False, True
    used_lines = len(ends)
    if b'"' in data:
        quotes = np.flatnonzero(array == _QUOTE)
        regular = _well_formed(array, quotes) and not (last and len(quotes) % 2)
        if regular:
            keep = _outside(quotes, ends)
            heights = None if len(keep) == len(ends) else np.diff(keep, prepend=-1)
            ends = ends[keep]
            starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends.copy()
            lines = np.concatenate(([first_line], first_line + keep[:-1] + 1)) if len(ends) else ends.copy()
            quoted = quoted[keep]
            holders = np.searchsorted(ends, quotes)
            quoted[holders[holders < len(ends)]] = True
            used_lines = int(keep[-1]) + 1 if len(ends) else 0
        else:
            keep, used_lines, unclosed, reaches = _join_quoted(data, array, starts, ends, quoted, last, first_line)
            broken = np.searchsorted(keep, list(reaches)).tolist()
            reach = max(reaches.values(), default=0)
            heights = np.diff(keep, append=used_lines)
            starts, ends, lines, quoted = starts[keep], ends[keep], lines[keep], quoted[keep]
    used = int(ends[-1]) + 1 if len(ends) else 0
    lone = _has_lone_cr(array[:used])
    marks = 0
    gaps = lone
    commas = None
    if len(ends):
        ends = _before_line_ends(array, starts, ends, more=lone)
        starts, marks, commas = _odd_beginnings(data, array, starts, ends)
    filled = ends > starts
    if commas is not None:
        filled[commas] = False
        gaps |= bool(marks or len(commas))
    blank = int(len(filled) - np.count_nonzero(filled))
    if blank and len(broken):
        broken = np.searchsorted(np.flatnonzero(filled), broken).tolist()
    return Block(
        data, starts[filled], ends[filled], lines[filled], quoted[filled], blank, unclosed,
        plain=regular and not gaps, used=used, next_line=first_line + used_lines, broken=frozenset(broken),
        heights=None if heights is None else heights[filled], marks=marks, gaps=gaps, reach=reach,
    )  # fmt: skip


def _before_line_ends(array: npt.NDArray[np.uint8], starts: Positions, ends: Positions, *, more: bool) -> Positions:
    """Where each line's text ends, before the CRs of its line end; ``more``: there may be several."""
    ends = ends - ((ends > starts) & (array[np.maximum(ends - 1, 0)] == _CR))
    if more:
        rows = np.flatnonzero((ends > starts) & (array[np.maximum(ends - 1, 0)] == _CR))
        if len(rows):
            text = np.flatnonzero(array != _CR)
            before = np.searchsorted(text, ends[rows]) - 1
            ends[rows] = np.maximum(starts[rows], np.where(before >= 0, text[before] + 1, 0))
    return ends


def _odd_beginnings(
    data: bytes, array: npt.NDArray[np.uint8], starts: Positions, ends: Positions
) -> tuple[Positions, int, Positions | None]:
    """Where records begin behind their byte-order marks, how many had one, and which lines are commas alone."""
    first = array[starts]
    odd = np.flatnonzero((first == _COMMA) | (first == _BOM[0]))
    if not len(odd):
        return starts, 0, None
    starts, marks = starts.copy(), 0
    for row in odd[first[odd] == _BOM[0]].tolist():
        behind = _behind_marks(data, int(starts[row]))
        marks += behind > int(starts[row])
        starts[row] = behind
    # Most lines that begin with a comma end otherwise: then nothing is counted.
    odd = odd[(ends[odd] == starts[odd]) | (array[np.maximum(ends[odd] - 1, 0)] == _COMMA)]
    if not len(odd):
        return starts, marks, odd
    lengths = ends[odd] - starts[odd]
    found = np.flatnonzero(array == _COMMA)
    counts = np.searchsorted(found, ends[odd]) - np.searchsorted(found, starts[odd])
    return starts, marks, odd[(counts == lengths) & (lengths <= MAX_RECORD_BYTES)]


def _behind_marks(data: bytes, position: int) -> int:
    while data.startswith(_BOM, position):
        position += len(_BOM)
    return position


def _has_lone_cr(array: npt.NDArray[np.uint8]) -> bool:
    """A CR that no LF follows; ``array`` is empty or ends in an LF."""
    returns = array == _CR
    return bool(returns.any()) and bool((returns[:-1] & (array[1:] != _LF)).any())


def _well_formed(array: npt.NDArray[np.uint8], quotes: Positions) -> bool:
    """Every quote opens a field at its start, closes one at its end, or is half of a doubled one."""
    opening, closing = quotes[0::2], quotes[1::2]
    before = array[np.maximum(opening - 1, 0)]
    opens = (before == _COMMA) | (before == _LF) | (before == _QUOTE) | (opening == 0)
    after = array[np.minimum(closing + 1, len(array) - 1)]
    returns = np.flatnonzero(after == _CR)
    closes = (after == _COMMA) | (after == _LF) | (after == _QUOTE)
    if len(returns):
        closes[returns] = array[np.minimum(closing[returns] + 2, len(array) - 1)] == _LF
    return bool(opens.all() and closes.all())


def _outside(quotes: Positions, ends: Positions) -> Positions:
    """Which of the line ends are not inside a pair of quotes; behind an open quote none is outside."""
    if len(quotes) % 2:
        ends = ends[: np.searchsorted(ends, quotes[-1])]
    pairs = len(quotes) // 2 * 2
    first, past = np.searchsorted(ends, quotes[:pairs:2]), np.searchsorted(ends, quotes[1:pairs:2])
    keep = np.ones(len(ends), np.bool_)
    for a, b in zip(first[first < past].tolist(), past[first < past].tolist(), strict=True):
        keep[a:b] = False
    return np.flatnonzero(keep)


def _join_quoted(
    data: bytes,
    array: npt.NDArray[np.uint8],
    starts: Positions,
    ends: Positions,
    quoted: npt.NDArray[np.bool_],
    last: bool,
    first_line: int,
) -> tuple[Positions, int, bool, dict[int, int]]:
    """Join the lines of quoted newlines: marks ``quoted``, moves ``ends``.

    Returns the lines that begin a record, how many lines the records have, whether the last one never closes its
    quote, and the lines that have text behind a closing quote, each with the end of what tells so.
    """
    holders = np.unique(np.searchsorted(ends, np.flatnonzero(array == _QUOTE)))
    keep = np.ones(len(ends), np.bool_)
    broken: dict[int, int] = {}
    known: Positions | None = None
    next_free = 0
    for line in holders.tolist():
        if line >= len(ends):
            break  # behind the last line end: not a whole line yet
        if line < next_free:
            continue
        start = _behind_marks(data, int(starts[line]))
        end, behind, fields = _record_end(data, start, last, known)
        if behind is not None:
            known = np.zeros(len(data) + 1, np.int64) if known is None else known
            known[fields] = behind
            if behind - start > MAX_RECORD_BYTES:
                raise _too_long(first_line + line)
            broken[line] = behind + 1
            end = int(ends[line])
        elif end is None:
            if not last:
                keep[line:] = False
                return np.flatnonzero(keep), line, False, broken
            keep[line + 1 :] = False
            quoted[line] = True
            ends[line] = ends[-1]
            return np.flatnonzero(keep), len(ends), True, broken
        quoted[line] = True
        if end != ends[line]:
            until = int(np.searchsorted(ends, end))
            keep[line + 1 : until + 1] = False
            ends[line] = end
            next_free = until + 1
        else:
            next_free = line + 1
    return np.flatnonzero(keep), len(ends), False, broken


def _record_end(
    data: bytes, position: int, last: bool, known: Positions | None
) -> tuple[int | None, int | None, list[int]]:
    """Where the line end of the record at ``position`` is, where text stands behind a closing quote, and its fields.

    At most one of the first two; neither, when ``data`` does not tell. ``known`` has, for beginnings of fields in
    broken records, where the text behind the quote stands: lines may share fields, and each is walked once.
    """
    fields: list[int] = []
    while True:
        if known is not None and known[position]:
            return None, int(known[position]), fields
        match = _STRICT_FIELD.match(data, position)
        if match is None:
            quoted = _CLOSED_QUOTE.match(data, position)
            behind = quoted.start("end") if quoted and (last or quoted.end() < len(data)) else None
            return None, behind, [*fields, position]
        fields.append(position)
        position = match.end()
        if data[position - 1] == _LF:
            return position - 1, None, fields
