"""A header that is none of the table's is told by its names: which are unknown, and what they may have meant."""

from __future__ import annotations

import io

import pytest

from datamart.errors import FileRejected
from datamart.reader import Reader
from datamart.rules import BAD_QUOTE
from datamart.tables import table_named
from tests.oracle import rules as oracle


def refusal(table: str, header: bytes) -> str:
    with pytest.raises(FileRejected) as refused:
        list(Reader(io.BytesIO(header + b"\n1,a\n"), table_named(table), 1 << 20))
    assert refused.value.code == "wrong_header"
    return str(refused.value)


@pytest.mark.parametrize(
    ("table", "header", "said"),
    [
        ("jobs", b"id,jobs", "missing: job; unknown: 'jobs' (did you mean job?)"),
        ("jobs", b"id,salary,job", "unknown: 'salary'"),
        ("jobs", b"id,job,id", "a column twice"),
        ("jobs", b"id", "missing: job"),
        (
            "hired_employees",
            b"id,Name,Date Time,Department ID,JobId",
            "unknown: 'date time' (did you mean datetime?), 'department id' (did you mean department_id?), "
            "'jobid' (did you mean job_id?)",
        ),
    ],
)
def test_unknown_names_are_named_with_the_nearest_one(table: str, header: bytes, said: str) -> None:
    assert said in refusal(table, header)


BEHIND_A_QUOTE = [
    ("hired_employees", b'"id","name","datetime","job_id" ,"department_id"'),
    ("hired_employees", b'id,name,datetime,"job_id"\t,department_id'),
    ("hired_employees", b'"job_id";,id,name,datetime,department_id'),
    ("jobs", b'"id"x,job'),
    ("jobs", b'"ID" ,"Position"'),
    ("jobs", b'"_line" ,x'),
    ("jobs", b'"id","job\n"x'),
]


@pytest.mark.parametrize(("table", "header"), BEHIND_A_QUOTE)
def test_a_header_with_text_behind_a_quote_is_no_row(table: str, header: bytes) -> None:
    """Read as a row, it would leave the columns in the table's order, whatever order it names."""
    said = refusal(table, header)
    assert f"looks like a header of {table}, but text or a blank stands behind a closing quote" in said
    assert "write the names without quotes" in said
    assert oracle.judge(table, header + b"\n1,a\n").file_reason == "wrong_header"


@pytest.mark.parametrize("row", [b'1,"Legal\n2,Tax\n3,"Sales"', b'1,"id"x', b'5,"jobs" ', b'"Jo" the id,7'])
def test_a_row_with_text_behind_a_quote_stays_a_row(row: bytes) -> None:
    reader = Reader(io.BytesIO(row + b"\n9,a\n"), table_named("jobs"), 1 << 20)
    assert next(one.reason for chunk in reader for one in chunk.ragged) == BAD_QUOTE
    assert oracle.judge("jobs", row + b"\n9,a\n").file_reason is None


def test_a_long_header_is_told_in_part() -> None:
    said = refusal("jobs", b"id," + b",".join(b"column_%d" % n for n in range(100)))
    assert "'column_4' and 95 more" in said
    assert "column_5" not in said


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"x" * 5000, f"'{'x' * 40}...'"),
        (b"<script>alert('1')</script>", "'?script?alert(?1?)?/script?'"),
        (b"a\x1b[31m\x00b", "'a?[31m?b'"),
        (b"\xff\xfe", "'\ufffd\ufffd'"),
        (b'"a\nb"', "'a?b'"),
        ("\u202egro".encode(), "'?gro'"),
    ],
)
def test_a_name_from_a_file_is_shown_safely(name: bytes, shown: str) -> None:
    said = refusal("jobs", b"id," + name)
    assert f"unknown: {shown}" in said
    assert len(said) < 300
    assert said.isprintable()
