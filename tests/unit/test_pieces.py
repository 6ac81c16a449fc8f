"""Pieces of a large object as a stream."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from datamart.errors import FileRejected
from datamart.ranges.pieces import Pieces, spans
from datamart.ranges.plan import cut
from datamart.reader import Layout, Place, Reader
from datamart.records import read_blocks
from datamart.tables import table_named


@given(st.lists(st.binary(min_size=1, max_size=40)), st.integers(1, 50))
def test_a_stream_gives_all_bytes_in_order_whatever_is_asked_for(pieces: list[bytes], size: int) -> None:
    stream, found = Pieces(iter(pieces)), b""
    while read := stream.read(size):
        assert len(read) <= size
        found += read
    assert found == b"".join(pieces)
    assert Pieces(iter(pieces)).read() == (pieces[0] if pieces else b"")


@given(st.integers(0, 1 << 30), st.integers(0, 1 << 30))
def test_spans_are_all_bytes_once(start: int, length: int) -> None:
    found = list(spans(start, start + length))
    assert [first for first, _ in found] == [start + n * (32 << 20) for n in range(len(found))]
    assert all(end == first for (_, end), (first, _) in pairwise(found))
    assert not length or found[-1][1] == start + length


@given(st.lists(st.sampled_from([b"1,a\n", b'2,"b\nc"\r\n', b"\n", b"3,\r4\n"]), max_size=30), st.integers(1, 9))
def test_a_block_knows_where_it_ends(lines: list[bytes], size: int) -> None:
    """What comes after a block is read from there on, byte and line, as it is read from the beginning."""
    body = b"\xef\xbb\xbf" + b"".join(lines)
    whole = list(read_blocks(io.BytesIO(body), size))
    records = [(block.raw(n), int(block.lines[n])) for block in whole for n in range(len(block.starts))]
    for place, block in enumerate(whole):
        start = block.offset + block.used
        rest = read_blocks(io.BytesIO(body[start:]), size, offset=start, line=block.next_line)
        before = sum(len(one.starts) for one in whole[: place + 1])
        found = [(one.raw(n), int(one.lines[n])) for one in rest for n in range(len(one.starts))]
        assert records[before:] == found
        for n in range(len(block.starts)):
            first, last = (int(edge[n]) + block.offset for edge in (block.starts, block.ends))
            assert body[first:last] == block.raw(n)


scraps = st.lists(
    st.sampled_from([b"1", b"a", b",", b",", b'"', b'"', b"\n", b"\n", b"\r\n", b"\xef\xbb\xbf", b"\x1a", b'","']),
    min_size=10,
    max_size=80,
).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(scraps, st.sampled_from([1, 2, 7]), st.integers(1, 20))
@example(b'1,a\n2,"b\n3,c\n4,"d"\n5,e\n', 1, 1)
@example(b"1,a\n2,b\x1a\n3,c\x1a\n\x1a\n", 1, 1)
def test_ranges_have_the_records_of_the_whole_file(body: bytes, chunk_bytes: int, range_bytes: int) -> None:
    """Also where a quote is opened in one range and closed in another."""
    table = table_named("jobs")
    try:
        cuts = cut(iter([body]), len(body), table, chunk_bytes, range_bytes)
    except FileRejected:
        return
    found: list[Any] = [0, 0, 0, []]
    for number, one in enumerate(cuts.ranges):
        place = Place(one.start, one.line, Layout(cuts.names)) if number else None
        last = number == len(cuts.ranges) - 1
        part = read(Reader(io.BytesIO(body[one.start : one.end]), table, 50, place, to_end=last))
        found = [before + after for before, after in zip(found, part, strict=True)]
    assert found == read(Reader(io.BytesIO(body), table, 1 << 20))


def read(reader: Reader) -> list[Any]:
    """Blank, ignored and marked lines, and the records with their lines."""
    records = [
        (int(block.lines[n]), block.raw(n), block.is_whole(n))
        for block, first in reader.blocks()
        for n in range(first, len(block.starts))
    ]
    return [reader.blank, reader.ignored, reader.marks, records]
