"""Lines within values, and line ends of many bytes."""

from __future__ import annotations

import io

import pytest

from datamart import uploads
from datamart.reader import Reader
from datamart.records import read_blocks
from datamart.tables import TABLES, Column, Table, Type, table_named
from datamart.validation import Validator

BODY = b'1,"a\n2,b\n3,c"\n4,d\n'
NOTES = Table("jobs", (Column("id", Type.INTEGER), Column("job", Type.TEXT, line_ends=True)))


def judged(table: Table) -> tuple[list[str], list[str]]:
    reader, validator = Reader(io.BytesIO(BODY), table, 1 << 20), Validator(table)
    (found,) = (validator.judge(chunk) for chunk in reader)
    return [row["job"] for row in found.accepted.to_pylist()], [
        str(why) for one in found.rejects for why in one.reasons
    ]


def test_lines_that_look_like_records_are_refused_where_line_ends_are_not_allowed() -> None:
    assert judged(table_named("jobs")) == (["d"], ["job:swallowed_lines"])
    assert judged(NOTES) == (["a\n2,b\n3,c", "d"], [])


def test_no_column_allows_line_ends_yet() -> None:
    assert not any(column.line_ends for table in TABLES for column in table.columns)


LONG_LINE_ENDS = {
    "below blank lines": (b"\n" * 1_000_000 + b"1,A" + b"\r" * 900_000 + b"\n", 1, 1_000_000),
    "below rows": (b"1,A\n" * 300_000 + b"2,B" + b"\r" * 900_000 + b"\n", 300_001, 0),
    "without text": (b"\n" * 1_000_000 + b"1,A\n" + b"\r" * 900_000 + b"\n", 1, 1_000_001),
}


@pytest.mark.parametrize("body", LONG_LINE_ENDS)
def test_many_crs_before_a_line_end_take_no_time(body: str) -> None:
    """A loop over all lines for each CR would not come back."""
    data, rows, blank = LONG_LINE_ENDS[body]
    for size in (1 << 20, 1 << 23):
        blocks = list(read_blocks(io.BytesIO(data), size))
        assert (sum(len(one.starts) for one in blocks), sum(one.blank for one in blocks)) == (rows, blank)
        assert [one.raw(len(one.starts) - 1) for one in blocks if len(one.starts)][-1] in (b"1,A", b"2,B")
    assert uploads._rows(data, table_named("jobs")) == rows


def test_many_records_that_break_at_one_quote_take_no_time() -> None:
    """Each line's quote is open until the same far place; walking there from each line would not come back."""
    lines = 60_000
    data = b"1,a\n" + b'a","\n' * lines + b'"x"\n2,b\n'
    for size in (1 << 16, 1 << 23):
        blocks = list(read_blocks(io.BytesIO(data), size))
        assert sum(len(one.starts) for one in blocks) == lines + 3
        assert sum(len(one.broken) for one in blocks) == lines
    assert uploads._rows(data, table_named("jobs")) == lines + 3
