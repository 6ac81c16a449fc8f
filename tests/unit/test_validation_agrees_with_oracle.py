"""The validator and the independent judge agree row by row and reason by reason, whatever the chunk size."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datamart import reader as reading
from datamart.errors import FileRejected
from datamart.reader import Reader
from datamart.records import physical_lines
from datamart.tables import TABLES, table_named
from datamart.validation import Validator
from tests.oracle import rules as oracle

FIELD = Path(__file__).resolve().parents[1] / "field"
NASTY = [
    b"", b"1", b"007", b"2147483647", b"2147483648", b"99999999999999999999", b"000000000000000000001", b"+1", b" 1",
    b"1 ", b"-1", b"1_8", b"0x1", b"1.0", "\u0661".encode(), b"NA", b"null", b"\x00", b"1\x00", b"\xff", b"\xc0\xaf",
    b"\xed\xa0\x80", "José".encode(), b"Jos\xe9", b"a" * 256, b"a" * 257, "é".encode() * 128, "é".encode() * 129,
    b"2021-02-28T00:00:00Z", b"2021-02-29T00:00:00Z", b"2020-02-29T23:59:59Z", b"1900-02-29T00:00:00Z",
    b"2021-02-30T00:00:00Z", b"2021-2-8T00:00:00Z", b"2021-01-01T24:00:00Z", b"2021-01-01T23:59:60Z",
    b"2021-01-01t00:00:00z", b"2021-01-01T00:00:00", b"2021-01-01T00:00:00+00:00", b"2021-01-01T00:00:00.5Z",
    b"0000-01-01T00:00:00Z", b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59Z", b"2021-13-01T00:00:00Z",
    b"2021-00-10T00:00:00Z", b"2021-04-31T00:00:00Z", b"2021-01-01T00:00:00Z\n", b"2021-01-01T00:60:00Z",
    b" ", b"\t\xc2\xa0", b'" \n"', "\u200b\ufeff".encode(), "\u3042".encode(), b"\x1a", b"a\x1a", b"a\r\r", b'"a"\r',
    b"\xef\xbb\xbf", b"\xef\xbb\xbf1", b'\xef\xbb\xbf"1"', b'"a\n1,b"', b'"a\n1,A,2021-01-01T00:00:00Z,1,1\nb"',
    b'"a,2021-01-01T00:00:00Z,1,1\n7,b"', b'"a\n,,,,\n,"', b'"a\n\xef\xbb\xbf1,b"', b'"a\nsmith, jr"',
    b'"', b'""', b'a"b', b'"a""b"', b'"x"y', b'"x"y"z', b'"a,b"', b'"a\nb"', b'"a\r\nb"', b"a\rb", b"\r", b'"a',
    b"id", b"department", b"_line", b"name", b"ID",
]  # fmt: skip
value = st.one_of(st.sampled_from(NASTY), st.integers(0, 40).map(lambda n: b"%d" % n), st.binary(max_size=6))
good = st.builds(
    lambda n, m: b"%d,Ann %d,2021-%02d-07T10:00:00Z,%d,%d" % (n, n, m, n, n),
    st.integers(0, 60),
    st.integers(1, 12),
)
record = st.one_of(
    good, st.lists(value, min_size=5, max_size=5).map(b",".join), st.lists(value, max_size=7).map(b",".join)
)


@pytest.fixture(autouse=True, scope="module")
def whole_blocks() -> Iterator[None]:
    """Small files too are judged by arithmetic over whole blocks, as only large ones are otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_FEW_RECORDS", 0)
        yield


mark = st.sampled_from([b""] * 12 + [b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2])
line_end = st.sampled_from(
    [b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r\n", b"\n,,,,\n", b"\r\n,\r\n", b"\x1a\r\n", b"\n\x1a\n"]
)
line = st.tuples(mark, record, line_end).map(b"".join)
start = st.sampled_from(
    [b"", b"", b"", b"\xef\xbb\xbf", b"id,name,datetime,department_id,job_id\r\n",
     b"_line,JOB_id,department_id,datetime,name,Id\n",
     b"id,name\n", b"_x\n", b"\n\n"]
)  # fmt: skip
last_line = st.sampled_from(
    [
        b"",
        b"9,Bo,2021-01-01T00:00:00Z,1,1",
        b"9,Bo,2021-01-01T00:00:00Z,1,1\r\x1a",
        b"\x1a",
        b"\x1a\x1a\r\n",
        b"\r",
        b'9,"\x1a',
    ]
)
files = st.tuples(start, st.lists(line, max_size=12).map(b"".join), last_line).map(b"".join)
soup = st.lists(
    st.sampled_from(
        [b"1", b"2", b"a", b",", b",", b'"', b'"', b"\n", b"\n", b"\r", b"\xef\xbb\xbf", b"\x1a", b"id", b"job"]
    ),
    max_size=40,
).map(b"".join)
"""What quotes, marks and line ends may come to beside each other."""


Found = tuple[list, list, int, int, str | None, int, dict[str, int]]


def ours(table: str, data: bytes, chunk_bytes: int) -> Found:
    return judged_by(Validator(table_named(table)), data, chunk_bytes)


def judged_by(validator: Validator, data: bytes, chunk_bytes: int = 1 << 20) -> Found:
    """Accepted rows, rejected rows, rows read, blank lines, the reason against the whole file, marks and lines."""
    reader = Reader(io.BytesIO(data), validator.table, chunk_bytes)
    accepted, rejected, lines = [], [], 0
    try:
        for chunk in reader:
            judged = validator.judge(chunk)
            accepted += [tuple(row.values()) for row in judged.accepted.to_pylist()]
            lines += judged.accepted.num_rows + chunk.more_lines(judged.rows)
            rejected += [(r.line, r.raw, frozenset((x.column, x.code) for x in r.reasons)) for r in judged.rejects]
    except FileRejected as error:
        return [], [], 0, 0, error.code, 0, {}
    reason = None if accepted else "all_rows_bad"
    kinds = {"header": reader.header_lines, "accepted": lines, "blank": reader.blank, "ignored": reader.ignored}
    kinds["rejected"] = sum(physical_lines(raw) for _, raw, _ in rejected)
    return accepted, rejected, reader.rows, reader.blank, reason, reader.marks, kinds


def theirs(table: str, data: bytes) -> Found:
    verdict = oracle.judge(table, data)
    rows = [tuple(v.replace(tzinfo=None) if isinstance(v, datetime) else v for v in row) for row in verdict.accepted]
    rejected = [(r.line, r.raw, r.reasons) for r in verdict.rejected]
    if verdict.file_reason not in (None, "all_rows_bad"):
        return [], [], 0, 0, verdict.file_reason, 0, {}
    assert sum(verdict.lines.values()) == oracle.physical_lines(data)
    counts = verdict.rows_read, verdict.blank_lines, verdict.file_reason, verdict.marks, verdict.lines
    return rows, rejected, *counts


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(files, st.sampled_from([1, 2, 3, 7, 31, 64, 1000, 1 << 20]))
@example(b'1,"a\n', 1)
@example(b'1,"a""b,2021-01-01T00:00:00Z,1,1\n2,x,2021-01-01T00:00:00Z,1,1', 1000)
@example(b'1,"a\r\nb",2021-01-01T00:00:00Z,1,1\r\n1,a\rb,2021-01-01T00:00:00Z,1,1\r\n', 5)
def test_agreement(data: bytes, chunk_bytes: int) -> None:
    assert ours("hired_employees", data, chunk_bytes) == theirs("hired_employees", data)


@settings(max_examples=1500, deadline=None)
@given(soup, st.sampled_from([1, 2, 3, 7, 1 << 20]))
@example(b'1,"a"\r\r', 3)
@example(b"1,a\x1a\n\x1a\n", 1)
@example(b'1,"a\n2,b\n3,"c"\n', 2)
def test_agreement_on_quotes_marks_and_line_ends(data: bytes, chunk_bytes: int) -> None:
    assert ours("jobs", data, chunk_bytes) == theirs("jobs", data)


inner = st.lists(
    st.sampled_from(
        [b"1", b"7", b'""7""', b"a", b"", b",", b",", b",,", b",,,", b",,,,", b"\n", b"\n", b"\r\n", b"\r", b" "]
    ),
    max_size=8,
).map(b"".join)
tall = st.lists(st.one_of(inner.map(lambda text: b'"' + text + b'"'), st.sampled_from([b"1", b"7", b"a"])), max_size=6)
HEADERS = {
    "departments": [b"", b"department,id\n", b"_x,department,_line,id\r\n", b'"department" ,id\n', b'"_x"y\n'],
    "hired_employees": [
        b"", b"name,id,datetime,department_id,job_id\n", b"_x,id,name,_line,datetime,department_id,job_id\n",
        b"job_id,department_id,datetime,name,id\n",
    ],
}  # fmt: skip


@settings(max_examples=1000, deadline=None)
@given(st.data(), st.sampled_from(sorted(HEADERS)), st.sampled_from([1, 31, 1 << 20]))
def test_agreement_on_values_of_several_lines(data: st.DataObject, table: str, chunk_bytes: int) -> None:
    rows = data.draw(st.lists(tall.map(b",".join), min_size=1, max_size=4))
    body = data.draw(st.sampled_from(HEADERS[table])) + b"\n".join(rows) + b"\n"
    assert ours(table, body, chunk_bytes) == theirs(table, body)


JOINED = b'1,"Ann,2021-01-01T00:00:00Z,1,2\n2,Bob","x\ny",1,2\n'
"""Two records that a stray quote joins, before another value of two lines."""


def test_two_values_of_several_lines_hide_no_record() -> None:
    (found,) = ours("hired_employees", JOINED, 1 << 20)[1]
    assert ("name", "swallowed_lines") in found[2]
    assert ours("hired_employees", JOINED, 1 << 20) == theirs("hired_employees", JOINED)


@pytest.mark.parametrize("name", sorted(path.name for path in FIELD.glob("*.csv")))
def test_files_as_people_send_them(name: str) -> None:
    table, body = name.rpartition("_")[0], (FIELD / name).read_bytes()
    assert ours(table, body, 1 << 20) == theirs(table, body)


@pytest.mark.parametrize("table", [table.name for table in TABLES])
@pytest.mark.parametrize("value", NASTY)
def test_every_trap_in_every_column(table: str, value: bytes) -> None:
    plain = {"integer": b"5", "text": b"x", "datetime": b"2021-01-01T00:00:00Z"}
    kinds = [column.type.value for column in table_named(table).columns]
    rows = [b"1," + b",".join(plain[kind] for kind in kinds[1:])]
    for place in range(len(kinds)):
        cells = [plain[kind] for kind in kinds]
        cells[place] = value
        rows.append(b",".join(cells))
    data = b"\n".join(rows) + b"\n"
    assert ours(table, data, 1 << 20) == theirs(table, data)


def test_a_record_over_one_mebibyte_rejects_the_file() -> None:
    data = b"1,a\n2," + b"x" * (1 << 20) + b"\n3,c\n"
    for chunk_bytes in (100, 1 << 22):
        assert ours("jobs", data, chunk_bytes)[4] == theirs("jobs", data)[4] == "record_too_long"
