"""Where records begin and end in CSV bytes (RFC 4180), with the physical line of each.

This module cuts a stream into whole records and knows quotes, blank lines and line ends. What the fields
mean is not its matter (see ``reader`` and ``rules``).

Two ways lead to the same cuts: where every quote opens, closes or doubles as RFC 4180 has it, array arithmetic
finds the ends of all records; elsewhere the lines that hold a quote are walked one by one.
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
_LF, _CR, _QUOTE, _COMMA = 10, 13, 34, 44
# One field and what ends it. A quote opens a quoted field only at the field's start; bytes after its closing
# quote belong to the value up to the next comma or line end.
# Possessive, so that a doubled quote is never taken for a closing one on a second try.
_FIELD = re.compile(rb'(?:"([^"]*+(?:""[^"]*+)*+)"([^,\n]*+)|(?!")([^,\n]*+))(,|\n)')

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Whole records: ``data[starts[i]:ends[i]]`` is record i without its line end, on physical line ``lines[i]``.

    ``quoted[i]`` says that the record holds a quote; ``unclosed`` that the last one never closes its quote
    (possible only at the end of the file). Blank lines are no records; ``blank`` counts them. ``plain`` says that
    all quotes are as RFC 4180 has them and every CR belongs to a line end: any CSV parser sees the same records.
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

    def raw(self, index: int) -> bytes:
        """Record ``index`` as it stands in the file, without its line end."""
        return self.data[self.starts[index] : self.ends[index]]


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


def read_blocks(stream: BinaryIO, block_bytes: int, *, offset: int = 0, line: int = 1) -> Iterator[Block]:
    """Cut ``stream`` into blocks of about ``block_bytes`` bytes of whole records.

    Memory is bounded by the block and the longest allowed record. A byte-order mark at the file's start is skipped.
    A stream that begins further on in its file, between two records, comes with its ``offset`` and physical ``line``.

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
        ended = data.endswith(b"\n")
        lone_cr = last and not ended and data.endswith(b"\r")
        if last and data and not ended:
            data += b"\n"
        block = replace(_cut(data, line, last, lone_cr), offset=offset)
        if block.unclosed:
            block.ends[-1] = len(data) if ended else len(data) - 1
        _refuse_long(block, len(data) - block.used, block.next_line)
        if len(block.starts) or block.blank:
            yield block
        if last:
            return
        carry, line, offset = data[block.used :], block.next_line, offset + block.used


def _refuse_long(block: Block, pending: int, pending_line: int) -> None:
    lengths = block.ends - block.starts
    where = None
    if len(lengths) and int(lengths.max()) > MAX_RECORD_BYTES:
        where = int(block.lines[int(np.argmax(lengths > MAX_RECORD_BYTES))])
    elif pending > MAX_RECORD_BYTES + 1:
        where = pending_line
    if where is not None:
        raise FileRejected(
            "record_too_long",
            f"The record that starts on line {where} is longer than 1 MiB; most often a quote that is never "
            "closed. Correct that line and send the file again.",
        )


def _cut(data: bytes, first_line: int, last: bool, lone_cr: bool) -> Block:
    """The whole records in ``data``.

    With ``lone_cr`` the CR before the last line end is the file's last byte, and so data.
    """
    array = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(array == _LF)
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends.copy()
    lines = np.arange(first_line, first_line + len(ends))
    quoted = np.zeros(len(ends), np.bool_)
    unclosed, regular = False, True
    used_lines = len(ends)
    if b'"' in data:
        quotes = np.flatnonzero(array == _QUOTE)
        regular = _well_formed(array, quotes) and not (last and len(quotes) % 2)
        if regular:
            keep = _outside(quotes, ends)
            ends = ends[keep]
            starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends.copy()
            lines = np.concatenate(([first_line], first_line + keep[:-1] + 1)) if len(ends) else ends.copy()
            quoted = quoted[keep]
            holders = np.searchsorted(ends, quotes)
            quoted[holders[holders < len(ends)]] = True
            used_lines = int(keep[-1]) + 1 if len(ends) else 0
        else:
            keep, used_lines, unclosed = _join_quoted(data, array, starts, ends, quoted, last)
            starts, ends, lines, quoted = starts[keep], ends[keep], lines[keep], quoted[keep]
    used = int(ends[-1]) + 1 if len(ends) else 0
    plain = regular and not lone_cr and not _has_lone_cr(array[:used])
    if len(ends):
        ends = ends - ((ends > starts) & (array[np.maximum(ends - 1, 0)] == _CR))
        ends[-1] += lone_cr
    filled = ends > starts
    blank = int(len(filled) - np.count_nonzero(filled))
    return Block(
        data, starts[filled], ends[filled], lines[filled], quoted[filled], blank, unclosed, plain, used,
        next_line=first_line + used_lines,
    )  # fmt: skip


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
    closes = (after == _COMMA) | (after == _LF) | (after == _CR) | (after == _QUOTE)
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
) -> tuple[Positions, int, bool]:
    """Join the lines of quoted newlines: marks ``quoted``, moves ``ends``; returns the lines that begin a record."""
    holders = np.unique(np.searchsorted(ends, np.flatnonzero(array == _QUOTE)))
    keep = np.ones(len(ends), np.bool_)
    next_free = 0
    for line in holders.tolist():
        if line >= len(ends):
            break  # behind the last line end: not a whole line yet
        if line < next_free:
            continue
        end = _record_end(data, int(starts[line]))
        if end is None:
            if not last:
                keep[line:] = False
                return np.flatnonzero(keep), line, False
            keep[line + 1 :] = False
            quoted[line] = True
            ends[line] = ends[-1]
            return np.flatnonzero(keep), len(ends), True
        quoted[line] = True
        if end != ends[line]:
            until = int(np.searchsorted(ends, end))
            keep[line + 1 : until + 1] = False
            ends[line] = end
            next_free = until + 1
        else:
            next_free = line + 1
    return np.flatnonzero(keep), len(ends), False


def _record_end(data: bytes, position: int) -> int | None:
    """Where the line end of the record at ``position`` is, or None when it is not in ``data``."""
    while True:
        match = _FIELD.match(data, position)
        if match is None:
            return None
        position = match.end()
        if match.group(4) == b"\n":
            return position - 1
