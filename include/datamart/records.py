"""Where records begin and end in CSV bytes (RFC 4180), with the physical line of each.

This module cuts a stream into whole records and knows quotes, blank lines and line ends. What the fields
mean is not its matter (see ``reader`` and ``rules``).

Two ways lead to the same cuts: lines without a quote are found by array arithmetic, and only lines that hold
a quote are walked one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from datamart.errors import FileRejected

MAX_RECORD_BYTES = 1024 * 1024

_LF, _CR, _QUOTE = 10, 13, 34
# One field and what ends it. A quote opens a quoted field only at the field's start; bytes after its closing
# quote belong to the value up to the next comma or line end.
# Possessive, so that a doubled quote is never taken for a closing one on a second try.
_FIELD = re.compile(rb'(?:"([^"]*+(?:""[^"]*+)*+)"([^,\n]*+)|(?!")([^,\n]*+))(,|\n)')

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Whole records: ``data[starts[i]:ends[i]]`` is record i without its line end, on physical line ``lines[i]``.

    ``quoted[i]`` says that the record holds a quote; ``unclosed`` that the last one never closes its quote
    (possible only at the end of the file). Blank lines are no records; ``blank`` counts them.
    """

    data: bytes
    starts: Positions
    ends: Positions
    lines: Positions
    quoted: npt.NDArray[np.bool_]
    blank: int
    unclosed: bool = False

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


def read_blocks(stream: BinaryIO, block_bytes: int) -> Iterator[Block]:
    """Cut ``stream`` into blocks of about ``block_bytes`` bytes of whole records.

    Memory is bounded by the block and the longest allowed record. A byte-order mark at the start is skipped.

    Raises:
        FileRejected: a record is longer than 1 MiB (an unclosed quote is the usual reason).
    """
    carry, line, at_start = b"", 1, True
    while True:
        fresh = stream.read(block_bytes)
        last = not fresh
        data = carry + fresh
        if at_start and (len(data) >= 3 or last):
            data = data.removeprefix(b"\xef\xbb\xbf")
            at_start = False
        elif at_start:
            carry = data
            continue
        ended = data.endswith(b"\n")
        if last and data and not ended:
            data += b"\n"
        block, used, lines = _cut(data, line, last)
        if block.unclosed:
            block.ends[-1] = len(data) if ended else len(data) - 1
        _refuse_long(block, len(data) - used, line + lines)
        if len(block.starts) or block.blank:
            yield block
        if last:
            return
        carry, line = data[used:], line + lines


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


def _cut(data: bytes, first_line: int, last: bool) -> tuple[Block, int, int]:
    """The whole records in ``data``, the bytes they and blank lines use, and the physical lines in those bytes."""
    array = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(array == _LF)
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends.copy()
    lines = np.arange(first_line, first_line + len(ends))
    quoted = np.zeros(len(ends), np.bool_)
    unclosed = False
    used_lines = len(ends)
    if b'"' in data:
        keep, used_lines, unclosed = _join_quoted(data, array, starts, ends, quoted, last)
        starts, ends, lines, quoted = starts[keep], ends[keep], lines[keep], quoted[keep]
    used = int(ends[-1]) + 1 if len(ends) else 0
    if len(ends):
        ends = ends - ((ends > starts) & (array[np.maximum(ends - 1, 0)] == _CR))
    filled = ends > starts
    blank = int(len(filled) - np.count_nonzero(filled))
    block = Block(data, starts[filled], ends[filled], lines[filled], quoted[filled], blank, unclosed)
    return block, used, used_lines


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
