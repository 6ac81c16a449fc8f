"""The digest of rows is what its description says, and no mistake in rows escapes it."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datamart.recovery.digest import Digest

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int32(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("datetime", pa.timestamp("us"), nullable=False),
        pa.field("department_id", pa.int32(), nullable=False),
        pa.field("note", pa.string(), nullable=False),
        pa.field("_load_id", pa.int64(), nullable=False),
    ]
)
EPOCH = datetime(1970, 1, 1)
ROWS: list[list[Any]] = [
    [0, "", datetime(1, 1, 1), 2147483647, "ab", 0],
    [-5, "ab", datetime(9999, 12, 31, 23, 59, 59, 999999), -2147483648, "", 2**63 - 1],
    [7, 'a "quoted"\nname 😀', datetime(2021, 7, 27, 16, 2, 8), 1, "é" * 128, -(2**63)],
    [8, "", datetime(1969, 12, 31, 23, 59, 59), 2, "", 77],
    [9, "ba", datetime(1970, 1, 1), 3, "\0", 77],
]
texts = st.text(st.characters(codec="utf-8"), max_size=40)
rows = st.lists(
    st.tuples(
        st.integers(-(2**31), 2**31 - 1),
        texts,
        st.datetimes(),
        st.integers(-(2**31), 2**31 - 1),
        texts,
        st.integers(-(2**63), 2**63 - 1),
    ).map(list),
    max_size=12,
)


def mix(x: int) -> int:
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 % 2**64
    x ^= x >> 27
    x = x * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def number(value: Any) -> int:
    if isinstance(value, str):
        text = value.encode()
        powers = sum(byte * pow(0x5851F42D4C957F2D, place, 2**64) for place, byte in enumerate(text))
        return powers + len(text) * 0x9E3779B97F4A7C15
    return (value - EPOCH) // timedelta(microseconds=1) if isinstance(value, datetime) else int(value)


def reference(values: list[list[Any]]) -> str:
    order = sorted(range(len(SCHEMA)), key=lambda place: str(SCHEMA.names[place]))
    total = 0
    for row in ([one[place] for place in order] for one in values):
        seeds = [mix(place * 0x9E3779B97F4A7C15 % 2**64) for place in range(1, len(row) + 1)]
        total += mix(sum(mix((number(v) + seed) % 2**64) for v, seed in zip(row, seeds, strict=True)) % 2**64)
    return f"{total % 2**64:016x}"


def batch(values: list[list[Any]]) -> pa.RecordBatch:
    columns = [pa.array([row[place] for row in values], field.type) for place, field in enumerate(SCHEMA)]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def digest(*batches: pa.RecordBatch) -> Digest:
    made = Digest()
    for one in batches:
        made.add(one)
    return made


@given(rows)
@example(ROWS)
@example([])
@settings(max_examples=40, deadline=None)
def test_it_is_what_its_description_says(values: list[list[Any]]) -> None:
    made = digest(batch(values))
    assert (made.value, made.rows) == (reference(values), len(values))
    assert len(made.value) == 16


def test_order_batches_and_layout_do_not_matter() -> None:
    expected = digest(batch(ROWS))
    assert digest(batch(ROWS[::-1])) == expected
    assert digest(batch(ROWS[:2]), batch([]), batch(ROWS[2:])) == expected
    padded = batch([ROWS[3], *ROWS, ROWS[0]])
    assert digest(padded.slice(1, 3), padded.slice(4, 2)) == expected


def test_many_rows_are_as_few() -> None:
    dice = random.Random(1)
    values = [[n, "x" * dice.randrange(4), EPOCH + timedelta(n), n % 7, str(n), n] for n in range(20_000)]
    dice.shuffle(values)
    assert digest(batch(values)).value == reference(values)


def swapped(values: list[list[Any]], first: tuple[int, int], second: tuple[int, int]) -> list[list[Any]]:
    out = [list(row) for row in values]
    (r, c), (s, d) = first, second
    out[r][c], out[s][d] = out[s][d], out[r][c]
    return out


def changed(row: int, column: int, value: Any) -> Callable[[list[list[Any]]], list[list[Any]]]:
    def change(values: list[list[Any]]) -> list[list[Any]]:
        out = [list(one) for one in values]
        out[row][column] = value
        return out

    return change


@pytest.mark.parametrize(
    "mistake",
    [
        changed(0, 0, 1),
        changed(0, 1, " "),
        changed(1, 1, "ba"),
        changed(1, 1, "ab\0"),
        changed(2, 2, datetime(2021, 7, 27, 16, 2, 8, 1)),
        changed(2, 5, 2**63 - 1),
        changed(4, 4, ""),
        lambda values: swapped(values, (0, 0), (1, 0)),
        lambda values: swapped(values, (0, 1), (1, 1)),
        lambda values: swapped(values, (0, 0), (0, 3)),
        lambda values: swapped(values, (0, 1), (0, 4)),
        lambda values: swapped(values, (3, 5), (0, 5)),
        lambda values: values[1:],
        lambda values: [*values, values[2]],
        lambda values: [*values, values[2], values[2]],
        lambda values: [*values[:4], values[3]],
        lambda _: [],
    ],
)
def test_every_mistake_shows(mistake: Callable[[list[list[Any]]], list[list[Any]]]) -> None:
    wrong = mistake(ROWS)
    assert wrong != ROWS
    assert digest(batch(wrong)) != digest(batch(ROWS))
    assert digest(batch(wrong)).value != digest(batch(ROWS)).value


def test_neighbouring_values_have_unlike_digests() -> None:
    values = np.arange(200_000, dtype=np.int32)
    seen = {digest(pa.record_batch([pa.array(values[n : n + 1])], ["id"])).value for n in range(2000)}
    assert len(seen) == 2000
    texts = [f"{a}{b}{c}" for a in "abcdefgh" for b in "abcdefgh" for c in ("", "a", "b", "aa", "ab", "ba", "\0", "é")]
    assert len({digest(pa.record_batch([pa.array([text])], ["t"])).value for text in texts}) == len(set(texts))


def test_it_is_no_other_thing() -> None:
    assert Digest() != "0000000000000000"
    assert repr(Digest()) == "Digest(rows=0, value=0000000000000000)"
