"""A column that allows line ends takes values whose lines look like records; no present column does."""

from __future__ import annotations

import io

from datamart.reader import Reader
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
