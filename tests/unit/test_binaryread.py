"""The server's binary rows become the columns that they were, and nothing else is taken for rows."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datamart.errors import TerminalFault
from datamart.tables import TABLES, table_named
from datamart.warehouse.binarycopy import HEADER, TRAILER, encoded
from datamart.warehouse.binaryread import decoded

TYPES = {"int": pa.int32(), "long": pa.int64(), "text": pa.string(), "moment": pa.timestamp("us")}
MOMENT = datetime(2021, 7, 27, 16, 2, 8)
values = {
    "int": st.one_of(st.sampled_from([0, 2147483647, -1, -2147483648]), st.integers(-(2**31), 2**31 - 1)),
    "long": st.one_of(st.sampled_from([0, 2**63 - 1, -(2**63)]), st.integers(-(2**63), 2**63 - 1)),
    "text": st.one_of(
        st.sampled_from(["", "é" * 128, 'a "b"\n\t😀']), st.text(st.characters(codec="utf-8"), max_size=9)
    ),
    "moment": st.datetimes(),
}
tables = st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=5).flatmap(
    lambda kinds: st.tuples(st.just(kinds), st.lists(st.tuples(*(values[kind] for kind in kinds)), max_size=6))
)
HIRED = ["int", "text", "moment", "int", "int", "long"]
EDGES = [
    (0, "", datetime(1, 1, 1), 2147483647, -1, 0),
    (-2147483648, "x" * 256, datetime(9999, 12, 31, 23, 59, 59, 999999), 1, 2, 2**63 - 1),
    (1, 'O"Neill,\r\n😀', datetime(2000, 1, 1), 3, 4, -(2**63)),
]


def schema(kinds: list[str]) -> pa.Schema:
    return pa.schema([pa.field(f"c{place}", TYPES[kind], nullable=False) for place, kind in enumerate(kinds)])


def field(kind: str, value: Any) -> bytes:
    if value is None:
        return struct.pack(">i", -1)
    if kind == "text":
        return struct.pack(">i", len(value.encode())) + value.encode()
    if kind == "int":
        return struct.pack(">ii", 4, value)
    return struct.pack(
        ">iq", 8, value if kind == "long" else (value - datetime(2000, 1, 1)) // timedelta(microseconds=1)
    )


def message(kinds: list[str], row: tuple[Any, ...]) -> bytes:
    return struct.pack(">h", len(kinds)) + b"".join(field(kind, value) for kind, value in zip(kinds, row, strict=True))


def answer(kinds: list[str], rows: list[tuple[Any, ...]]) -> list[bytes]:
    """The messages of a whole answer, as the server sends them: its header is part of the first."""
    messages = [*(message(kinds, row) for row in rows), TRAILER]
    return [HEADER + messages[0], *messages[1:]]


def as_tuples(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    batch.validate(full=True)
    return [tuple(row.values()) for row in batch.to_pylist()]


@given(tables)
@example((HIRED, EDGES))
@example((["text", "text"], [("", ""), ("a", "é"), ("", "b")]))
@example((["text"], []))
@settings(max_examples=60, deadline=None)
def test_rows_are_what_was_sent(table: tuple[list[str], list[tuple[Any, ...]]]) -> None:
    kinds, rows = table
    batch = decoded(schema(kinds), answer(kinds, rows))
    assert batch.schema == schema(kinds)
    assert as_tuples(batch) == rows


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [HEADER],
        [TRAILER],
        [HEADER + TRAILER],
        [HEADER, TRAILER],
    ],
)
def test_no_rows(messages: list[bytes]) -> None:
    assert as_tuples(decoded(schema(HIRED), messages)) == []


@pytest.mark.parametrize("size", [1, 2, 3])
def test_any_stretch_of_an_answer_can_be_read(size: int) -> None:
    messages = answer(HIRED, EDGES)
    for whole in (messages, [HEADER, messages[0][len(HEADER) :], *messages[1:]]):
        parts = [decoded(schema(HIRED), whole[start : start + size]) for start in range(0, len(whole), size)]
        assert [row for part in parts for row in as_tuples(part)] == EDGES


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_it_is_the_way_back_of_what_is_sent(table: Any) -> None:
    plain = {"integer": [5, 2147483647], "text": ["", "naïve"], "datetime": [MOMENT, datetime(1999, 12, 31)]}
    columns = [pa.array(plain[column.type.value], column.type.arrow) for column in table.columns]
    sent = pa.RecordBatch.from_arrays(columns, schema=table.arrow_schema)
    stream = b"".join(encoded(table, [sent], load_id=2**40))
    kept = table.arrow_schema.append(pa.field("_load_id", pa.int64(), nullable=False))
    body, first = stream[len(HEADER) : -2], b"".join(encoded(table, [sent.slice(0, 1)], load_id=2**40))
    length = len(first) - len(HEADER) - 2
    messages = [HEADER + body[:length], body[length:], TRAILER]
    expected = sent.append_column("_load_id", pa.array([2**40] * 2)).to_pylist()
    assert decoded(kept, messages).to_pylist() == expected


GOOD = message(HIRED, EDGES[2])
RAW = ["int", "text", "long", "int", "int", "long"]
MINUS_INFINITE, INFINITE, TOO_LATE = (
    message(RAW, (1, "a", moment, 1, 2, 3)) for moment in (-(2**63), 2**63 - 1, 9223371331200000000 - 1)
)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "does not have 6 columns"),
        (b"\0", "does not have 6 columns"),
        (struct.pack(">h", 5) + GOOD[2:], "does not have 6 columns"),
        (TRAILER + GOOD[2:], "does not have 6 columns"),
        (message(HIRED, (None, "a", MOMENT, 1, 2, 3)), "(NULL) in column c0"),
        (message(HIRED, (1, None, MOMENT, 1, 2, 3)), "(NULL) in column c1"),
        (message(HIRED, (1, "a", None, 1, 2, 3)), "(NULL) in column c2"),
        (message(HIRED, (1, "a", MOMENT, 1, None, 3)), "(NULL) in column c4"),
        (message(HIRED, (1, "a", MOMENT, 1, 2, None)), "(NULL) in column c5"),
        (message(["long", *HIRED[1:]], EDGES[2]), "c0 in the server's answer has a wrong length (8 bytes)"),
        (message([*HIRED[:5], "int"], (*EDGES[2][:5], 7)), "c5 in the server's answer has a wrong length (4 bytes)"),
        (GOOD[:10] + struct.pack(">i", -2) + GOOD[14:], "c1 in the server's answer has a wrong length (-2 bytes)"),
        (GOOD[:10] + struct.pack(">i", 2**31 - 1) + GOOD[14:], "ends within column c1"),
        (GOOD[:-1], "ends within column c5"),
        (GOOD[:12], "ends within column c1"),
        (GOOD + b"\0", "goes on after its last column (c5)"),
        (GOOD + TRAILER, "goes on after its last column (c5)"),
        (TOO_LATE, "c2 in the server's answer is no moment"),
        (INFINITE, "c2 in the server's answer is no moment"),
        (MINUS_INFINITE, "c2 in the server's answer is no moment"),
    ],
)  # fmt: skip
def test_what_is_no_row_is_refused(bad: bytes, reason: str) -> None:
    for messages in ([bad, GOOD], [HEADER + GOOD, bad, TRAILER], [GOOD, GOOD, bad]):
        with pytest.raises(TerminalFault) as refusal:
            decoded(schema(HIRED), messages)
        assert reason in str(refusal.value)


def test_another_header_is_refused() -> None:
    with pytest.raises(TerminalFault, match="header"):
        decoded(schema(HIRED), [HEADER[:-5] + b"\1" + HEADER[-4:] + GOOD])


def test_the_names_of_columns_are_said() -> None:
    kept = table_named("departments").arrow_schema
    with pytest.raises(TerminalFault, match=r"does not have 2 columns \(id, department\)"):
        decoded(kept, [GOOD])
