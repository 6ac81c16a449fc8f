"""A header that is none of the table's is told by its names: which are unknown, and what they may have meant."""

from __future__ import annotations

import io

import pytest

from datamart.errors import FileRejected
from datamart.reader import Reader
from datamart.tables import table_named


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
