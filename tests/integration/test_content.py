"""Faults 14-16 and 18-23, bad content: the whole path does with every file what the independent judge says."""

from __future__ import annotations

import gzip
import io
import json
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from datamart.loads import Outcome, Verdict
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.world import Row, World, upserted
from tests.oracle import rules

DATA = Path(__file__).resolve().parents[2] / "data"
HIRE = b"1,Ann,2021-01-02T03:04:05Z,2,3\n"

# Faults 14
NO_ROWS = {
    "14 empty": b"",
    "14 only a BOM": rules.BOM,
    "14 only blank lines": b"\n\r\n\n",
    "14 header only": b"id,job\n",
    "14 header only, no newline": b"ID,Job",
    "14 header and blank lines": b"\nid,job\r\n\r\n\n",
}
LAST_LINES = {
    "14 no final newline": b"1,a\n2,b",
    "14 no final newline, one row": b"1,a",
    "14 no final newline after a quote": b'1,a\n2,"b"',
    "14 final CR without LF": b"1,a\n2,b\r",
    "14 many final newlines": b"1,a\n\n\r\n\n",
}
# Faults 15
ENCODINGS = {
    "15 BOM": rules.BOM + b"1,a\n2,b\n",
    "15 BOM and header": rules.BOM + b"job,id\na,1\n",
    "15 BOM and quote": rules.BOM + b'"1","a"\n',
    "15 BOM in the middle": b"1,a\n" + rules.BOM + b"2,b\n",
    "15 BOMs of joined files": rules.BOM
    + b"job,id\na,1\n"
    + rules.BOM
    + b"b,2\n"
    + rules.BOM * 2
    + b'"c",3\n'
    + rules.BOM,
    "15 BOM and a line end": rules.BOM + b"\n1,a\n" + rules.BOM + b"\n",
    "15 two BOMs": rules.BOM * 2 + b"job,id\na,1\n",
    "15 BOM that hides a broken quote": b"1,a\n" + rules.BOM + b'2,"b"c\n3,d\n',
    "15 BOM within": b"1,a\n2," + rules.BOM + b"b\n3" + rules.BOM + b',c\n4,"d\n' + rules.BOM + b'e"\n',
    "15 Latin-1": b"1,a\n2,R\xe9gisseur\n3,c\n",
    "15 invalid UTF-8": b"1,\xff\n2,\xc0\xaf\n3,\xed\xa0\x80\n4,\xf5\x80\x80\x80\n5,\xe2\x82\n6,good\n",
    "15 NUL in text": b"1,a\x00b\n2,\x00\n3,c\n",
    "15 NUL in a key": b"1\x00,a\n\x00,b\n3,c\n",
    "15 UTF-16": "1,a\n2,b\n".encode("utf-16"),
    "15 valid beyond ASCII": "1,Chargé d'affaires\n2,数据\n3,👩‍🔬\n4,e\u0301\n".encode(),
}
# Faults 16
SHAPES = {
    "16 ragged rows": b"1\n2,b\n3,c,c\n,,,\n5,e\n",
    "16 ragged rows under a header": b"job,id\na,1\nb\nc,3,\n",
    "16 ragged row with a quoted newline": b'1,a\n2,"b\nb",x\n3,c\n',
    "16 quoted newlines": b'1,"a\nb"\n2,"a\r\nb"\r\n3,"\n"\n4,"\n\n\n"\n5,e,\n',
    "16 quoted end-of-copy mark": b'1,"a\n\\.\nb"\n2,\\.\n3,"\\."\n4,c\n',
    "16 quoted commas and quotes": b'1,"a,b"\n2,"a ""b"" c"\n3,""""\n4,"",\n',
    "16 a line of white space": b"1,a\n \n\t\n2,b\n",
    "16 quotes out of place": b'1,a"b\n2,a""b\n3,"a"b"c\n4, "a"\n',
    "16 text behind a closing quote": b'1,"a"b\n2,"c\n3,d\n4,"e"\n5,"f" \n6,""g\n7,h"i"\n8,j\n',
    "16 text behind a closing quote, all along": b'1,"a\n' * 3 + b'2,"b"\n',
    "16 a quote that swallows lines": b'1,"a\n2,b\n3,c"\n4,d\n5,"e\n6,f"\n7,"g\nh"\n',
    "16 a quote that swallows lines and columns": b'1,"a\n2,b",c\n4,d\n',
    "16 swallowed lines under a header": b'_n,job,id\n7,"a\n7,b,2\nc",3\n7,"d\n8,e",4\n"x\n7,f,5",g,6\n7,h,9\n',
    "16 rows of commas": b"1,a\n,\n,,,\r\n\n,\r",
    "16 only rows of commas": b"id,job\n,\n,\n",
    "16 two CRs": b'1,a\r\r\n2,"b"\r\r\n\r\r\n3,c\r\r',
    "16 a Ctrl-Z at the end": b"1,a\r\n2,b\x1a",
    "16 a line of Ctrl-Z at the end": b"1,a\r\n2,b\r\n\x1a\x1a\r\n",
    "16 a Ctrl-Z that is not at the end": b"1,a\x1a\n\x1a\n2,b\n",
    "16 only Ctrl-Z": b"\x1a",
    "16 blanks for names": '1, \n2,"  "\n3,\t\n4,\u00a0\n5,\u200b\u2009\n6,""\n7,x \n8,\u3042\n'.encode(),
    "16 unclosed quote on the last row": b'1,a\n2,b\n3,"c\n',
    "16 unclosed quote swallows the rest": b'1,a\n2,"b\n3,c\n4,d\n',
    "16 unclosed quote in the only row": b'1,"a\n2,b\n',
    "16 mixed line ends and blank lines": b"\r\n1,a\r\n2,b\n\n\r\n3,c\r\n4,d\re\n\n",
    "16 backslashes and control characters": b"1,\\N\n2,a\\\n3,\\\\\n4,a\tb\n5,\x01\x7f\n6,\\x41\n",
}
# Faults 18
NOTHING_GOOD = {
    "18 every row bad": b"x,a\n,\n1,a,a\n",
    "18 a column all empty": b"1,\n2,\n3,\n",
    "18 a column all empty, quoted": b'1,""\n2,""\n',
    "18 every row bad below a header": b"id,job\nid,job\nx,y\n",
    "18 another format": gzip.compress(b"1,a\n2,b\n", mtime=0),
}
# Faults 22
HEADERS = {
    "22 reordered": b"job,id\na,1\nb,2\n",
    "22 odd case, quoted": b'"JOB","Id"\na,1\n',
    "22 an ignored column": b"_line,id,_note,job\n7,1,x,a\n8,2,,b\n9,,,c\n",
    "22 added": b"id,job,salary\n1,a,9\n",
    "22 missing": b"id\n1\n",
    "22 doubled": b"id,job,job\n1,a,a\n",
    "22 misspelt": b"id,jobb\n1,a\n",
    "22 with white space": b"id, job\n1,a\n",
    "22 only ignored columns": b"_line,_note\n1,a\n",
    "22 another table's": b"id,department\n1,a\n",
    "22 not first": b"1,a\nid,job\n2,b\n",
    "22 no names at all": b"identifier,title\n1,a\n",
}
JOBS = NO_ROWS | LAST_LINES | ENCODINGS | SHAPES | NOTHING_GOOD | HEADERS


def assert_judged(world: World, outcome: Outcome, table: str, body: bytes, before: bytes = b"") -> None:
    """Answer, ledger, live rows and rejected rows are what the judge says of ``body``."""
    verdict = rules.judge(table, body)
    expected = Verdict.REJECTED if verdict.file_reason else Verdict.LOADED
    assert (outcome.verdict, outcome.code) == (expected, verdict.file_reason)
    assert world.ledger(
        outcome.load_id, "table_name", "verdict", "code", "rows_read", "rows_inserted", "rows_rejected", "blank_lines",
        "bytes", "sha256",
    ) == (
        table, expected, verdict.file_reason, verdict.rows_read, len(verdict.accepted), len(verdict.rejected),
        verdict.blank_lines, len(body), sha256(body).hexdigest(),
    )  # fmt: skip
    (lines,) = world.ledger(outcome.load_id, "line_counts")
    assert (json.loads(lines) if lines else {}) == (
        verdict.lines | {"file": rules.physical_lines(body)} if verdict.lines else {}
    )
    assert outcome.warnings.get("byte_order_marks", 0) == verdict.marks
    assert world.rejected(outcome.load_id) == [(r.line, r.raw, r.reasons) for r in verdict.rejected]
    assert world.rows(table) == upserted(table, before, body)


BEFORE = pytest.mark.parametrize("before", [b"", b"900,there before\n"], ids=["empty table", "table with a row"])


@BEFORE
@pytest.mark.parametrize("body", JOBS.values(), ids=JOBS)
def test_content(world: World, body: bytes, before: bytes) -> None:
    if before:
        world.load("jobs_before.csv", before)
    assert_judged(world, world.load("jobs.csv", body), "jobs", body, before)


TRAPS = {
    "integer": [
        b"0", b"007", b"2147483647", b"2147483648", b"4294967297", b"9" * 30, b"0" * 30 + b"5", b"+1", b"-1", b" 1",
        b"1 ", b"1_8", b"1.0", b"1e3", b"0x1", "\u0661".encode(), "\uff11".encode(), b"NA", b"null", b"", b'""',
    ],
    "datetime": [
        b"2020-02-29T00:00:00Z", b"2000-02-29T00:00:00Z", b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59Z",
        b"1969-12-31T23:59:59Z", b"2021-02-29T00:00:00Z", b"1900-02-29T00:00:00Z", b"2021-02-30T00:00:00Z",
        b"2021-04-31T00:00:00Z", b"0000-01-01T00:00:00Z", b"2021-01-01T24:00:00Z", b"2021-01-01T23:59:60Z",
        b"2021-01-01T00:00:00+00:00", b"2021-01-01T00:00:00+02:00", b"2021-01-01T00:00:00.5Z", b"2021-01-01 00:00:00Z",
        b"2021-01-01t00:00:00Z", b"2021-01-01T00:00:00z", b"2021-01-01T00:00:00", b"2021-1-1T0:0:0Z", b"infinity", b"",
    ],
    "text": [
        b"a" * 256, b"a" * 257, "é".encode() * 128, "é".encode() * 128 + b"x", b" ", b"\t", b"NA", b"NULL", b"\\N", b"",
        b'""', b'" "',
    ],
}  # fmt: skip


@pytest.mark.parametrize("column", rules.COLUMNS["hired_employees"])
def test_23_traps_in_values(world: World, column: str) -> None:
    names = rules.COLUMNS["hired_employees"]
    plain = dict(zip(names, HIRE.strip().split(b","), strict=True))
    rows = [
        b",".join((plain | {"id": b"%d" % number, column: trap}).values())
        for number, trap in enumerate(TRAPS[names[column]], 1000)
    ]
    body = HIRE + b"\n".join(rows)
    outcome = world.load("hired_employees.csv", body)
    assert_judged(world, outcome, "hired_employees", body)
    assert 0 < outcome.counts.rejected < outcome.counts.read


def test_19_all_errors_of_a_row_are_reported(world: World) -> None:
    body = HIRE + b"+1,,2021-02-30T00:00:00Z,,99999999999\n" + b"\xff," + b"x" * 257 + b",soon,\x00, 7\n"
    outcome = world.load("hired_employees.csv", body)
    assert_judged(world, outcome, "hired_employees", body)
    columns = tuple(rules.COLUMNS["hired_employees"])
    codes = (
        ("not_an_integer", "missing", "not_a_datetime", "missing", "out_of_range"),
        ("bad_encoding", "too_long", "not_a_datetime", "bad_encoding", "not_an_integer"),
    )
    assert [reasons for _, _, reasons in world.rejected(outcome.load_id)] == [
        frozenset(zip(columns, row, strict=True)) for row in codes
    ]


def test_20_duplicate_ids_within_a_file(world: World) -> None:
    body = b"7,first\n007,second\n8,\n8,only good one\n9,a\n7,third\n"
    outcome = world.load("jobs.csv", body)
    assert_judged(world, outcome, "jobs", body)
    assert world.rows("jobs") == [(7, "first"), (8, "only good one"), (9, "a")]


def test_20_duplicate_ids_across_chunks_of_a_file(world: World) -> None:
    body = b"".join(b"%d,job %d\n" % (number % 400, number) for number in range(800))
    assert_judged(world, world.load("jobs.csv", body, chunk_bytes=1024), "jobs", body)


def test_20_duplicate_ids_across_files_and_against_the_table(world: World) -> None:
    files = [b"1,a\n2,b\n3,c\n", b"2,b\n3,C\n4,d\n", b"4,D\n1,a\n"]
    outcomes = [world.load(f"jobs_{number}.csv", body) for number, body in enumerate(files)]
    assert world.rows("jobs") == upserted("jobs", *files)
    counts = [(o.counts.inserted, o.counts.updated, o.counts.unchanged) for o in outcomes]
    assert counts == [(3, 0, 0), (1, 1, 1), (0, 1, 1)]
    columns = "rows_inserted", "rows_updated", "rows_unchanged"
    assert [world.ledger(o.load_id, *columns) for o in outcomes] == counts


def test_21_an_employee_before_its_department(world: World) -> None:
    body = HIRE + b"2,Bo,2021-05-06T07:08:09Z,2,4\n"
    early = world.load("hired_employees.csv", body)
    unknown = rules.unknown_references(upserted("hired_employees", body), {"department_id": set(), "job_id": set()})
    assert (early.verdict, early.warnings) == (Verdict.LOADED, unknown)
    world.load("departments.csv", b"2,Engineering\n")
    world.load("jobs.csv", b"3,Developer\n4,Tester\n")
    late = world.load("hired_employees_late.csv", b"3,Cy,2021-05-06T07:08:09Z,2,4\n")
    assert (late.verdict, late.warnings) == (Verdict.LOADED, {})
    assert world.rows("hired_employees") == upserted("hired_employees", body, b"3,Cy,2021-05-06T07:08:09Z,2,4\n")
    joined = world.sql(
        "SELECT name, department, job FROM hired_employees AS hire JOIN departments ON departments.id = department_id"
        " JOIN jobs ON jobs.id = job_id ORDER BY hire.id"
    )
    assert joined == [
        ("Ann", "Engineering", "Developer"), ("Bo", "Engineering", "Tester"), ("Cy", "Engineering", "Tester")
    ]  # fmt: skip


TOO_LONG = b"2," + b"b" * (1 << 20) + b"\n"


@BEFORE
@pytest.mark.parametrize("first", [b"", b"x,bad\n1,a\n", b"_load_id,id,job\n7,1,a\n"], ids=["first", "later", "repair"])
def test_16_a_record_over_one_mebibyte_refuses_the_file(world: World, first: bytes, before: bytes) -> None:
    """Rows before it were on their way to the table already: none of them stays."""
    if before:
        world.load("jobs_before.csv", before)
    body = first + TOO_LONG + b"3,never read\n" * 1000
    outcome = world.load("jobs.csv", body, chunk_bytes=1024)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, rules.judge("jobs", body).file_reason)
    assert world.rows("jobs") == upserted("jobs", before)
    assert world.ledger(outcome.load_id, "verdict", "bytes", "sha256") == (
        "rejected", len(body), sha256(body).hexdigest()
    )  # fmt: skip


@BEFORE
def test_15_every_character_survives(world: World, before: bytes) -> None:
    if before:
        world.load("jobs_before.csv", before)
    points = [*range(1, 0xD800), *range(0xE000, 0x110000, 7)]
    texts = ("".join(map(chr, points[start : start + 60])) for start in range(0, len(points), 60))
    rows = (f'{number},"{text.replace(chr(34), chr(34) * 2)}"\n' for number, text in enumerate(texts, 1000))
    body = "".join(rows).encode()
    outcome = world.load("jobs.csv", body)
    assert_judged(world, outcome, "jobs", body, before)
    assert outcome.counts.rejected == 0


@BEFORE
def test_many_rows_of_the_longest_texts(world: World, before: bytes) -> None:
    if before:
        world.load("jobs_before.csv", before)
    body = b"".join(b"%d,%s\n" % (number, b"%d" % (number % 10) * 256) for number in range(1_000, 21_000))
    assert_judged(world, world.load("jobs.csv", body), "jobs", body, before)


@pytest.mark.parametrize("path", sorted(DATA.rglob("*.csv")), ids=lambda path: path.name)
@pytest.mark.parametrize("chunk_bytes", [1024, 8 << 20])
@pytest.mark.parametrize("fill_from_bytes", [0, 8 << 30], ids=["filled", "merged"])
def test_committed_samples(world: World, path: Path, chunk_bytes: int, fill_from_bytes: int) -> None:
    world.fill_from_bytes = fill_from_bytes
    body = path.read_bytes()
    table = next(name for name in rules.COLUMNS if path.name.startswith(name))
    assert_judged(world, world.load(path.name, body, chunk_bytes=chunk_bytes), table, body)


def clean_rows(world: World, table: str, load_id: int, count: int | None = None) -> list[Row]:
    """All rows of a load's clean parquet, or of its first parts, in their order."""
    keys = world.keys(f"clean/{table}/{load_id}/")[:count]
    parts = (parquet.read_table(io.BytesIO(world.read(key))) for key in keys)
    return [tuple(row.values()) for part in parts for row in part.to_pylist()]


def naive(rows: list[Row]) -> list[Row]:
    """Moments without their zone, as parquet has them."""
    return [tuple(v.replace(tzinfo=None) if isinstance(v, datetime) else v for v in row) for row in rows]


@pytest.mark.parametrize("before", [b"", HIRE.replace(b"1,", b"900000,", 1)], ids=["empty table", "table with a row"])
def test_clean_parquet_holds_the_accepted_rows(world: World, before: bytes) -> None:
    if before:
        world.load("hired_employees_before.csv", before)
    body = (DATA / "hired_employees.csv").read_bytes()
    outcome = world.load("hired_employees.csv", body, chunk_bytes=4096, part_rows=500)
    assert len(world.keys(f"clean/hired_employees/{outcome.load_id}/")) > 1
    accepted = rules.judge("hired_employees", body).accepted
    assert clean_rows(world, "hired_employees", outcome.load_id) == naive(accepted)


def test_the_ledger_tells_clean_parts_and_rejects_from_those_of_a_broken_try(world: World) -> None:
    """The next try may cut other parts, and find references that were unknown to the first."""

    class Breaking(PostgresWarehouse):
        def record(self, *_: object) -> None:
            raise ConnectionAbortedError

    world.load("jobs.csv", b"3,Developer\n")
    world.load("departments.csv", b"2,Engineering\n")
    body = HIRE + b"".join(b"%d,Bo,2021-05-06T07:08:09Z,2,%d\n" % (n, 3 + n % 2) for n in range(100, 200))
    arrival = world.put("hired_employees.csv", body)
    strict: dict[str, Any] = {"unknown_reference": "reject"}
    with world.connected(Breaking) as warehouse, pytest.raises(ConnectionAbortedError):
        world.loader("tonight", warehouse, **strict, part_rows=1, chunk_bytes=1024).load(arrival)
    world.load("jobs_late.csv", b"4,Tester\n")
    outcome = world.judge(arrival, "tonight", **strict)
    load_id = outcome.load_id
    assert len(world.keys(f"clean/hired_employees/{load_id}/")) > outcome.clean_parts == 1
    assert world.ledger(load_id, "clean_parts", "rows_rejected") == (1, 0)
    assert clean_rows(world, "hired_employees", load_id, outcome.clean_parts) == naive(
        rules.judge("hired_employees", body).accepted
    )
