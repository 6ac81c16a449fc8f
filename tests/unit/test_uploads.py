"""What may be uploaded is told by its envelope; an upload keeps its identity, whatever object it is kept as."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import sqlite3
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datamart import uploads
from datamart.errors import FileRejected
from datamart.loads import Arrival
from datamart.objects import archive_key, quarantine_key
from datamart.reader import Reader
from datamart.routing import table_for
from datamart.tables import Column, Table, Type, table_named
from datamart.uploads import (
    LONGEST_NAME,
    MOST_BYTES,
    MOST_ROWS,
    PREFIX,
    Upload,
    dry_run_key,
    envelope,
    too_large,
    upload_id,
)
from tests.oracle import rules as oracle

JOBS = table_named("jobs")
ONE = "0123456789abcdef" * 2
GOOD = b"1,Baker\n2,Smith\n"
ACCEPTED = "accepted"
BOM = b"\xef\xbb\xbf"


def refusal_of(name: str, body: bytes) -> FileRejected | None:
    try:
        envelope(ONE, name, body)
    except FileRejected as refusal:
        return refusal
    return None


def verdict_on(body: bytes, name: str = "jobs.csv") -> str:
    refusal = refusal_of(name, body)
    return refusal.code if refusal else ACCEPTED


def later_verdict_on(body: bytes) -> str:
    """What the reader of every file says of one that the envelope lets through."""
    try:
        list(Reader(io.BytesIO(body), JOBS, 1 << 23))
    except FileRejected as refusal:
        return refusal.code
    return ACCEPTED


# Names


def long_name(size: int, letter: str = "x") -> str:
    """A name of that many bytes."""
    left = size - len("jobs_.csv")
    letters = letter * (left // len(letter.encode()))
    return f"jobs_{letters}{'x' * (left - len(letters.encode()))}.csv"


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("jobs.csv", "jobs"),
        ("JOBS.CSV", "jobs"),
        ("Jobs.Csv", "jobs"),
        ("departments.csv", "departments"),
        ("departments (1).csv", "departments"),
        ("hired_employees.csv", "hired_employees"),
        ("hired_employees copy.csv", "hired_employees"),
        ("hired_employees_20221130.csv", "hired_employees"),
        ("jobs_prod.csv", "jobs"),
        ("jobs2.csv", "jobs"),
        ("jobs..csv", "jobs"),
        ("jobs....csv", "jobs"),
        ("jobs.csv.csv", "jobs"),
        ("jobs_rejected_1152921504606846977.csv", "jobs"),
        ("jobs-año.csv", "jobs"),
        ("jobs_採用.csv", "jobs"),
        ("jobs \U0001f600.csv", "jobs"),
        ("jobs\u0301.csv", "jobs"),
        ("jobs%2f..%2f.csv", "jobs"),
        ("jobs'; DROP TABLE jobs; --.csv", "jobs"),
        ('jobs_"x".csv', "jobs"),
        ("jobs_?&=#:*<>|.csv", "jobs"),
        (long_name(LONGEST_NAME), "jobs"),
        (long_name(LONGEST_NAME, "é"), "jobs"),
        (long_name(LONGEST_NAME, "\U0001f600"), "jobs"),
    ],
)
def test_a_plain_name_tells_the_table(name: str, table: str) -> None:
    found = envelope(ONE, name, GOOD)
    assert (found.name, found.table.name) == (name, table)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "jobs\n.csv",
        "jobs.csv\r\n",
        "jobs\t.csv",
        "jobs\0.csv",
        "jobs.csv\0.png",
        "jobs\x1b[31m.csv",
        "jobs\x7f.csv",
        "jobs\x85.csv",
        "jobs\u200b.csv",
        "jobs\u202evsc.csv",
        "jobs\u2028.csv",
        "jobs\u00a0.csv",
        "jobs\ufeff.csv",
        "jobs\ud800.csv",
        "/",
        "/jobs.csv",
        "folder/jobs.csv",
        "jobs.csv/",
        "jobs/.csv",
        "../jobs.csv",
        "jobs_/../../landing/jobs.csv",
        "\\",
        "C:\\jobs.csv",
        "jobs_\\..\\x.csv",
        long_name(LONGEST_NAME + 1),
        long_name(LONGEST_NAME + 1, "é"),
        long_name(100_000),
    ],
    ids=lambda name: ascii(name)[:40],
)
def test_a_name_that_could_not_be_kept_or_shown_is_refused(name: str) -> None:
    refusal = refusal_of(name, GOOD)
    assert refusal is not None
    assert refusal.code == "bad_name"
    assert str(refusal).endswith("as in jobs.csv.")
    assert not name or name not in str(refusal)


@pytest.mark.parametrize(
    "name",
    [
        ".", "..", "...", ".csv", "..csv", " ", "csv", "jobs", "jobs.", "jobs.csv.", "jobs.csv ", " jobs.csv",
        "jobs.csv.gz", "jobs.tsv", "jobs.xlsx", "jobsearch.csv", "jobsé.csv", "20221120_hired_employees.csv",
        "myowntable.csv", "_jobs.csv", ".jobs.csv", "\uff4aobs.csv", "job\u0455.csv",
    ],
    ids=ascii,
)  # fmt: skip
def test_a_name_that_fits_no_table_is_told_which_there_are(name: str) -> None:
    refusal = refusal_of(name, GOOD)
    assert refusal is not None
    assert refusal.code == "no_table"
    assert "departments, jobs, hired_employees" in str(refusal)
    assert ".csv" in str(refusal)


def test_another_table_needs_no_more_than_its_entry() -> None:
    offices = Table("offices", (Column("id", Type.INTEGER), Column("town", Type.TEXT)))
    assert envelope(ONE, "offices.csv", b"1,Rome\n", (offices,)).table is offices
    assert verdict_on(b"1,Rome\n", "offices.csv") == "no_table"


@pytest.mark.parametrize("place", [archive_key, lambda _table, arrival, load_id: quarantine_key(arrival, load_id)])
def test_the_longest_name_is_kept_whole_where_files_are_moved_to(place: Callable[[str, Arrival, int], str]) -> None:
    upload = envelope(ONE, long_name(LONGEST_NAME, "é"), GOOD)
    arrival = Arrival("bucket", upload.key, "e", datetime.fromtimestamp(0, UTC), len(GOOD), upload_id=ONE)
    last = place("jobs", arrival, 2**63 - 1).rpartition("/")[2]
    assert last.endswith(f"-{upload.name}")
    assert len(f"{last}.json".encode()) <= 255


# Sizes and rows


def rows_of_size(size: int) -> bytes:
    """As many rows as are allowed, together of that many bytes."""
    starts = [b"%d," % number for number in range(MOST_ROWS)]
    each, rest = divmod(size - sum(map(len, starts)) - MOST_ROWS, MOST_ROWS)
    return b"".join(start + b"x" * (each + (number < rest)) + b"\n" for number, start in enumerate(starts))


def test_the_limits_are_those_that_clients_were_told() -> None:
    assert (MOST_ROWS, MOST_BYTES) == (1000, 2 * 1024 * 1024)


@pytest.mark.parametrize(("over", "verdict"), [(-1, ACCEPTED), (0, ACCEPTED), (1, "too_large"), (99, "too_large")])
def test_a_file_is_refused_from_one_byte_over_the_limit(over: int, verdict: str) -> None:
    body = rows_of_size(MOST_BYTES + over)
    assert len(body) == MOST_BYTES + over
    assert verdict_on(body) == verdict


def test_what_is_too_large_is_told_the_limit_and_where_bigger_files_go() -> None:
    refusal = refusal_of("jobs.csv", rows_of_size(MOST_BYTES + 1))
    assert str(refusal) == str(too_large())
    for told in ("2 MiB", "landing/", "historic_load"):
        assert told in str(refusal)


def plain(records: list[bytes]) -> bytes:
    return b"".join(record + b"\n" for record in records)


SHAPES: dict[str, Callable[[list[bytes]], bytes]] = {
    "LF": plain,
    "CRLF": lambda records: b"".join(record + b"\r\n" for record in records),
    "no line end at the end": b"\n".join,
    "BOM": lambda records: BOM + plain(records),
    "blank lines": lambda records: b"\n\r\n" + b"".join(record + b"\n\n\r\n" for record in records) + b"\n",
    "BOM, CRLF and blank lines": lambda records: BOM + b"\r\n" + b"".join(one + b"\r\n\r\n" for one in records),
}
HEADERS = {
    "no header": None,
    "header": b"id,job",
    "other order and case": b'"JOB",Id',
    "rejects file": b"_line,_reasons,_load_id,id,job",
}
CELLS = {"plain": b"x", "quoted newline": b'"a\nb"', "quoted CRLF and quotes": b'"a\r\n""\n"""'}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("count", "verdict"), [(0, "empty"), (1, ACCEPTED), (1000, ACCEPTED), (1001, "too_many_rows")])
def test_rows_are_counted_and_nothing_else_is(count: int, verdict: str, shape: str, header: str, cell: str) -> None:
    first = HEADERS[header]
    rows = [b"%d,%s" % (number, CELLS[cell]) for number in range(count)]
    assert verdict_on(SHAPES[shape]([*([first] if first else []), *rows])) == verdict


@pytest.mark.parametrize("body", [b"", BOM, b"\n", b"\r\n\r\n", BOM + b"\n", b"id,job", BOM + b"job,id\r\n\r\n"])
def test_a_file_without_rows_is_told_how_many_are_allowed(body: bytes) -> None:
    refusal = refusal_of("jobs.csv", body)
    assert refusal is not None
    assert (refusal.code, str(refusal)) == ("empty", "The file has no rows. Send between 1 and 1000 rows.")


def test_too_many_rows_are_told_their_number_and_where_bigger_files_go() -> None:
    refusal = str(refusal_of("jobs.csv", plain([b"id,job"] + [b"1,x"] * 1234)))
    for told in ("1234 rows", "1000", "landing/", "historic_load"):
        assert told in refusal


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (b'1,"a', ACCEPTED),
        (b'"', ACCEPTED),
        (b'"id,job\n1,x\n', ACCEPTED),
        (b'id,job\n1,"x\n2,y\n', ACCEPTED),
        (plain([b"1,x"] * 999) + b'1,"x\n' + plain([b"1,x"] * 500), ACCEPTED),
        (plain([b"1,x"] * 1000) + b'1,"x\n', "too_many_rows"),
        (plain([b"1,x"] * 1000) + b'"', "too_many_rows"),
        (plain([b"id,job"] + [b"1,x"] * 999) + b'1,"x\n2,y\n', ACCEPTED),
    ],
    ids=[
        "one row", "a quote", "a header in it", "after a header", "swallows rows", "row 1001", "row 1001 of a quote",
        "row 1000",
    ],
)  # fmt: skip
def test_a_quote_that_is_never_closed_is_one_row(body: bytes, verdict: str) -> None:
    assert verdict_on(body) == verdict


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"id,name\n1,x\n", "wrong_header"),
        (b"id,name\n", "wrong_header"),
        (b"id\n" + plain([b"1,x"] * 10), "wrong_header"),
        (b"id,job,id\n1,x,1\n", "wrong_header"),
        (b"_line,nothing\n1,x\n", "wrong_header"),
        (b"1," + b"x" * (MOST_BYTES - 3) + b"\n", "record_too_long"),
        (b"1,x\n2," + b"x" * (1 << 20) + b"\n", "record_too_long"),
        (b'1,"x\n' + plain([b"2,y"] * 300_000), "record_too_long"),
    ],
    ids=["header", "header alone", "short header", "doubled", "no column", "huge cell", "huge second", "huge quoted"],
)
def test_what_is_wrong_with_rows_is_found_when_they_are_judged(body: bytes, code: str) -> None:
    assert len(body) <= MOST_BYTES
    assert (verdict_on(body), later_verdict_on(body)) == (ACCEPTED, code)


PIECES = [
    b"1,a", b"2", b",", b'"', b'""', b"\n", b"\r\n", b"\r", BOM, b"id,job", b"JOB", b"id", b"_x", b'"a\nb"', b"\0",
    b"\xff", b"\xc3",
]  # fmt: skip
scraps = st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)


@given(scraps)
@example(b"\n\nid,job\n\n")
@example(b'"id","job"')
def test_a_file_is_empty_when_the_independent_judge_finds_no_row(body: bytes) -> None:
    without_rows = oracle.judge("jobs", body).file_reason in ("empty", "header_only")
    assert verdict_on(body) == ("empty" if without_rows else ACCEPTED)


@settings(max_examples=100, deadline=None)
@given(scraps, st.sampled_from([998, 999, 1000]))
@example(b"\nid,job", 999)
def test_rows_are_as_many_as_the_independent_judge_finds(tail: bytes, before: int) -> None:
    body = plain([b"1,x"] * before) + tail
    many = len(oracle.split_records(body)[0]) > MOST_ROWS
    assert verdict_on(body) == ("too_many_rows" if many else ACCEPTED)


# Formats


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, GOOD)
    return out.getvalue()


def database() -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE jobs (id INTEGER)")
        return connection.serialize()


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"id": [1]}), out)
    return out.getvalue()


def avro() -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, {"type": "record", "name": "jobs", "fields": [{"name": "id", "type": "int"}]}, [{"id": 1}])
    return out.getvalue()


OTHERS: dict[str, tuple[bytes, str]] = {
    "gzip": (gzip.compress(GOOD), "a gzip file"),
    "zip": (zipped("jobs.csv"), "a zip file or a workbook"),
    "xlsx": (zipped("[Content_Types].xml", "xl/workbook.xml"), "a zip file or a workbook"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), "a workbook of old Excel"),
    "PDF": (b"%PDF-1.7\n1 0 obj\n", "a PDF"),
    "bzip2": (bz2.compress(GOOD), "a bzip2 file"),
    "xz": (lzma.compress(GOOD), "an xz file"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\x04", "a 7z file"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "text in UTF-16"),
    "UTF-16, big end first": ("\ufeff1,Baker\n".encode("utf-16-be"), "text in UTF-16"),
    "UTF-32": (GOOD.decode().encode("utf-32"), "text in UTF-16"),
    "parquet": (parquet(), "parquet"),
    "AVRO": (avro(), "AVRO"),
    "PNG": (b"\x89PNG\r\n\x1a\n", "a picture"),
    "JPEG": (b"\xff\xd8\xff\xe0\0\x10JFIF", "a picture"),
    "SQLite": (database(), "a database"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_format_is_told_by_its_bytes_whatever_its_name(other: str) -> None:
    body, what = OTHERS[other]
    refusal = refusal_of("jobs.csv", body)
    assert refusal is not None
    assert (refusal.code, str(refusal)) == (
        "not_csv",
        f"The file is {what}, whatever its name. Send CSV in UTF-8.",
    )


@pytest.mark.parametrize("other", OTHERS)
def test_no_good_row_and_no_header_starts_as_another_format_does(other: str) -> None:
    start = OTHERS[other][0][:4]
    assert oracle.judge("jobs", start + b",x\n").file_reason == "all_rows_bad"
    assert oracle.judge("jobs", start + b",job\n1,x\n").file_reason == "wrong_header"


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        ("a/b.txt", b"", "bad_name"),
        ("b.txt", b"", "no_table"),
        ("jobs.csv", gzip.compress(b"") + bytes(MOST_BYTES), "too_large"),
        ("jobs.csv", gzip.compress(b"") + b"\n" * 2000, "not_csv"),
    ],
)
def test_the_name_is_judged_first_and_the_rows_last(name: str, body: bytes, code: str) -> None:
    assert verdict_on(body, name) == code


GUARDS: dict[str, tuple[object, str, bytes]] = {
    "_require_name": (lambda _name: None, "jobs\n.csv", GOOD),
    "_require_csv": (lambda _body: None, "jobs.csv", gzip.compress(GOOD)),
    "MOST_BYTES": (MOST_BYTES + 1, "jobs.csv", rows_of_size(MOST_BYTES + 1)),
    "MOST_ROWS": (MOST_ROWS + 1, "jobs.csv", plain([b"1,x"] * (MOST_ROWS + 1))),
    "_rows": (lambda _body, _table: 1, "jobs.csv", b""),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_without_one_guard_its_file_is_let_through(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    instead, name, body = GUARDS[guard]
    assert verdict_on(body, name) != ACCEPTED
    monkeypatch.setattr(uploads, guard, instead)
    assert verdict_on(body, name) == ACCEPTED


# Identity


def test_a_key_stands_for_one_upload_of_one_user() -> None:
    assert upload_id("ann", "key-1") == upload_id("ann", "key-1")
    others = [("ann", "key-2"), ("bob", "key-1"), ("ann", "KEY-1"), ("annk", "ey-1"), ("an", "nkey-1"), ("ann", "")]
    assert len({upload_id(*one) for one in [("ann", "key-1"), *others]}) == len(others) + 1


def test_without_a_key_every_upload_is_another() -> None:
    assert len({upload_id("ann", None) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(("user", "key"), [("ann", "k"), ("ann", None), ("", ""), ("Žofie\n/../", "/" * 255)])
def test_an_id_can_be_part_of_an_address_and_of_a_key(user: str, key: str | None) -> None:
    assert re.fullmatch("[0-9a-f]{32}", upload_id(user, key))


def test_the_same_upload_lies_in_the_same_place() -> None:
    first, again = envelope(ONE, "jobs.csv", GOOD), envelope(ONE, "jobs.csv", bytes(GOOD))
    assert first == again
    assert (first.upload_id, first.key) == (ONE, again.key)
    assert first.key.split("/") == [PREFIX.rstrip("/"), ONE, first.sha256[:16], "jobs.csv"]


OTHER_UPLOADS = {
    "other bytes": envelope(ONE, "jobs.csv", GOOD + b"\n"),
    "other name": envelope(ONE, "jobs_2.csv", GOOD),
    "other id": envelope(ONE[::-1], "jobs.csv", GOOD),
}


@pytest.mark.parametrize("other", OTHER_UPLOADS)
def test_another_upload_never_lies_in_the_place_of_one(other: str) -> None:
    assert OTHER_UPLOADS[other].key != envelope(ONE, "jobs.csv", GOOD).key


@pytest.mark.parametrize("other", OTHER_UPLOADS)
def test_the_load_s_id_is_the_upload_s_alone(other: str) -> None:
    one, another = envelope(ONE, "jobs.csv", GOOD), OTHER_UPLOADS[other]
    assert (one.load_id("bucket") == another.load_id("bucket")) == (one.upload_id == another.upload_id)
    assert one.load_id("bucket") != one.load_id("other")
    assert 0 < one.load_id("bucket") < 2**63


def arrival_of(upload: Upload, etag: str, seconds: int, version: str | None) -> Arrival:
    """The upload as S3 lists it."""
    when = datetime.fromtimestamp(seconds, UTC)
    return Arrival("bucket", upload.key, etag, when, seconds, version, upload_id=upload.upload_id)


def test_the_id_known_before_there_is_an_object_is_the_one_of_any_object_that_brings_it() -> None:
    upload = envelope(ONE, "jobs.csv", GOOD)
    listed = [arrival_of(upload, "a", 1, None), arrival_of(upload, "b", 2, "v2")]
    listed.append(arrival_of(OTHER_UPLOADS["other bytes"], "", 0, None))
    assert {arrival.arrival_id for arrival in listed} == {upload.load_id("bucket")}
    assert Arrival("bucket", upload.key, "a", listed[0].last_modified, 1).arrival_id != upload.load_id("bucket")


def test_the_answer_of_a_dry_run_lies_beside_the_file_and_is_none() -> None:
    key = dry_run_key(ONE)
    assert key.startswith(f"{PREFIX}{ONE}/")
    assert table_for(key) is None
    assert key != envelope(ONE, "jobs.csv", GOOD).key
