"""The answer to an upload: every field and word of it, for each verdict, and failed rows as they were sent."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

from datamart.forecast import forecast
from datamart.loads import Counts, Outcome, Verdict
from datamart.reader import Reader
from datamart.reasons import reasons_text
from datamart.rejects import kept_reject, names_in, rejects_csv
from datamart.tables import Table, table_named
from datamart.upload_answer import RAW, Judged, as_object, from_object, own_names
from datamart.validation import Validator

JOBS, HIRED = table_named("jobs"), table_named("hired_employees")
LARGE = 2**62 + 1
OLDER_API = [
    "file", "type", "columns", "rows", "result", "nrows_inserted", "rows_failed", "nrows_failed", "duration(s)",
]  # fmt: skip
GOOD, MIXED, BAD = b"1,Baker\n2,Smith\n", b"1,Baker\nx,\n2,Smith\n", b"x,Baker\ny,Smith\n"


def judged(body: bytes, table: Table = JOBS, verdict: Verdict = Verdict.LOADED, **known: Any) -> Judged:
    """A file as the one path judges it, with this outcome."""
    reader, validator = Reader(io.BytesIO(body), table, 1 << 20), Validator(table)
    rejects = [reject for chunk in reader for reject in validator.judge(chunk).rejects]
    counts = Counts(read=reader.rows, inserted=reader.rows - len(rejects), rejected=len(rejects))
    outcome = Outcome(LARGE, table.name, f"uploads/1/2/{table.name}.csv", verdict, counts)
    assert reader.layout is not None
    return Judged(f"{table.name}.csv", table, replace(outcome, **known), rejects, reader.layout.names, 1.23456)


def as_the_ledger_has_it(one: Judged) -> Judged:
    """The same from what is kept: rejects in the warehouse, the order of columns in the file of rejects."""
    rejects = [kept_reject(reject.line, reasons_text(reject.reasons), reject.raw) for reject in one.rejects]
    with rejects_csv(one.rejects, LARGE, tuple(one.names)) as file:
        names = names_in(file.readline())
    return replace(one, rejects=rejects, names=own_names(one.table, names))


# Every field


def test_a_loaded_file() -> None:
    assert judged(GOOD).answer() == {
        "file": "jobs.csv",
        "type": "jobs",
        "columns": ["id", "job"],
        "rows": 2,
        "result": "All the records have been uploaded",
        "nrows_inserted": 2,
        "rows_failed": [],
        "nrows_failed": 0,
        "duration(s)": 1.23,
        "verdict": "loaded",
        "code": None,
        "dry_run": False,
        "load_id": str(LARGE),
        "duplicate_of": None,
        "repairs": None,
        "counts": {"inserted": 2, "updated": 0, "unchanged": 0, "rejected": 0},
        "warnings": {},
        "errors": [],
    }


def test_a_loaded_file_with_failed_rows() -> None:
    found = judged(MIXED, warnings={"job_id": 1}, repairs=LARGE - 2).answer()
    assert found == {
        "file": "jobs.csv",
        "type": "jobs",
        "columns": ["id", "job"],
        "rows": 3,
        "result": "Errors founded on records failed, successfully uploaded 2 registers",
        "nrows_inserted": 2,
        "rows_failed": [{"id": "x", "job": ""}],
        "nrows_failed": 1,
        "duration(s)": 1.23,
        "verdict": "loaded",
        "code": None,
        "dry_run": False,
        "load_id": str(LARGE),
        "duplicate_of": None,
        "repairs": str(LARGE - 2),
        "counts": {"inserted": 2, "updated": 0, "unchanged": 0, "rejected": 1},
        "warnings": {"job_id": 1},
        "errors": [
            {"line": 2, "column": "id", "reason": "not_an_integer"},
            {"line": 2, "column": "job", "reason": "missing"},
        ],
    }


def test_a_duplicate() -> None:
    counts = Counts(read=2, unchanged=2)
    said = f"The same bytes were loaded before (load {LARGE - 1}); nothing changed."
    found = judged(GOOD, verdict=Verdict.DUPLICATE, counts=counts, duplicate_of=LARGE - 1, message=said).answer()
    assert found == judged(GOOD).answer() | {
        "result": said,
        "nrows_inserted": 0,
        "verdict": "duplicate",
        "duplicate_of": str(LARGE - 1),
        "counts": {"inserted": 0, "updated": 0, "unchanged": 2, "rejected": 0},
    }
    assert (found["rows"], found["nrows_inserted"]) == (2, 0)


def test_a_file_of_which_all_rows_are_bad() -> None:
    said = "All 2 rows are bad. See the rejected rows for the reasons of each."
    found = judged(BAD, verdict=Verdict.REJECTED, code="all_rows_bad", message=said).answer()
    assert found == {
        "file": "jobs.csv",
        "type": "jobs",
        "columns": ["id", "job"],
        "rows": 2,
        "result": "Errors founded on records failed, successfully uploaded 0 registers",
        "nrows_inserted": 0,
        "rows_failed": [{"id": "x", "job": "Baker"}, {"id": "y", "job": "Smith"}],
        "nrows_failed": 2,
        "duration(s)": 1.23,
        "verdict": "rejected",
        "code": "all_rows_bad",
        "dry_run": False,
        "load_id": str(LARGE),
        "duplicate_of": None,
        "repairs": None,
        "counts": {"inserted": 0, "updated": 0, "unchanged": 0, "rejected": 2},
        "warnings": {},
        "errors": [
            {"line": 1, "column": "id", "reason": "not_an_integer"},
            {"line": 2, "column": "id", "reason": "not_an_integer"},
        ],
    }


def test_a_file_with_a_wrong_header() -> None:
    said = "The first line looks like a header of jobs but is not (missing: job)."
    outcome = Outcome(LARGE, "jobs", "uploads/1/2/jobs.csv", Verdict.REJECTED, code="wrong_header", message=said)
    found = Judged("jobs.csv", JOBS, outcome, [], JOBS.names, 0.0).answer()
    assert found == judged(GOOD).answer() | {
        "rows": 0,
        "result": said,
        "nrows_inserted": 0,
        "duration(s)": 0.0,
        "verdict": "rejected",
        "code": "wrong_header",
        "counts": {"inserted": 0, "updated": 0, "unchanged": 0, "rejected": 0},
    }


def test_a_dry_run_tells_what_would_be_and_has_no_load() -> None:
    real = judged(MIXED)
    found = replace(real, outcome=forecast(real.outcome)).answer()
    assert found == real.answer() | {
        "result": "Dry run: would be loaded; 2 rows inserted, 0 updated, 0 unchanged, 0 removed, 1 rejected.",
        "dry_run": True,
        "load_id": None,
    }
    assert (found["verdict"], found["nrows_inserted"], found["nrows_failed"]) == ("loaded", 2, 1)


@pytest.mark.parametrize(
    ("body", "verdict", "code", "inserted"),
    [
        (GOOD, Verdict.LOADED, None, 2),
        (GOOD, Verdict.DUPLICATE, None, 2),
        (BAD, Verdict.REJECTED, "all_rows_bad", 0),
    ],
)
def test_a_dry_run_has_the_would_be_verdict(body: bytes, verdict: Verdict, code: str | None, inserted: int) -> None:
    real = judged(body, verdict=verdict, code=code, message="Because.")
    found = replace(real, outcome=forecast(real.outcome)).answer()
    assert (found["verdict"], found["code"], found["nrows_inserted"]) == (verdict.value, code, inserted)
    assert found["result"].startswith(f"Dry run: would be {verdict.value}; ")
    assert found["dry_run"] is True


def test_the_fields_of_the_older_api_come_first_and_in_its_order() -> None:
    assert list(judged(MIXED).answer())[: len(OLDER_API)] == OLDER_API


def test_rows_that_were_updated_are_uploaded_too_and_those_that_were_the_same_are_counted_apart() -> None:
    counts = Counts(read=9, inserted=4, updated=3, unchanged=2)
    found = judged(GOOD, counts=counts).answer()
    assert (found["nrows_inserted"], found["result"]) == (7, "All the records have been uploaded")
    assert found["counts"] == {"inserted": 4, "updated": 3, "unchanged": 2, "rejected": 0}


def test_a_file_whose_rows_are_all_there_says_that_nothing_was_inserted() -> None:
    found = judged(GOOD, counts=Counts(read=2, unchanged=2)).answer()
    assert found["nrows_inserted"] == 0
    assert found["result"] == "All the records are in the table already; nothing changed"
    mixed = judged(MIXED, counts=Counts(read=3, unchanged=2, rejected=1)).answer()
    assert mixed["nrows_inserted"] == 0
    assert mixed["result"] == "Errors founded on records failed, successfully uploaded 0 registers"


def test_rows_that_gave_way_to_newer_files_are_not_said_to_be_there() -> None:
    said = "2 rows were left as files that came after this one, and were loaded before it, have them."
    found = judged(GOOD, counts=Counts(read=2, unchanged=2), warnings={"superseded": 2}, message=said).answer()
    assert (found["nrows_inserted"], found["result"]) == (0, said)


BALANCED = {
    "loaded": judged(GOOD),
    "failed rows": judged(MIXED),
    "updated": judged(MIXED, counts=Counts(read=6, inserted=1, updated=2, unchanged=2, rejected=1)),
    "duplicate": judged(MIXED, verdict=Verdict.DUPLICATE, counts=Counts(read=3, unchanged=2, rejected=1)),
    "all rows bad": judged(BAD, verdict=Verdict.REJECTED, code="all_rows_bad"),
    "wrong header": judged(GOOD, verdict=Verdict.REJECTED, code="wrong_header", counts=Counts()),
}


@pytest.mark.parametrize("dry", [False, True], ids=["load", "dry run"])
@pytest.mark.parametrize("case", BALANCED)
def test_rows_are_inserted_unchanged_or_failed(case: str, dry: bool) -> None:
    one = BALANCED[case]
    found = (replace(one, outcome=forecast(one.outcome)) if dry else one).answer()
    assert found["rows"] == found["nrows_inserted"] + found["counts"]["unchanged"] + found["nrows_failed"]
    assert found["nrows_inserted"] == found["counts"]["inserted"] + found["counts"]["updated"]
    assert found["nrows_failed"] == len(found["rows_failed"]) == len({error["line"] for error in found["errors"]})


def test_rows_that_went_missing_would_be_noticed() -> None:
    found = judged(MIXED, counts=Counts(read=4, inserted=2, rejected=1)).answer()
    assert found["rows"] != found["nrows_inserted"] + found["counts"]["unchanged"] + found["nrows_failed"]


@pytest.mark.parametrize("dry", [False, True], ids=["load", "dry run"])
def test_of_a_rejected_file_nothing_is_inserted(dry: bool) -> None:
    one = judged(MIXED, verdict=Verdict.REJECTED, code="over_threshold")
    found = (replace(one, outcome=forecast(one.outcome)) if dry else one).answer()
    assert (one.outcome.counts.inserted, found["nrows_inserted"], found["nrows_failed"]) == (2, 0, 1)


@pytest.mark.parametrize("field", ["load_id", "duplicate_of", "repairs"])
def test_ids_survive_programs_that_know_no_large_numbers(field: str) -> None:
    found = judged(GOOD, duplicate_of=LARGE, repairs=LARGE).answer()
    assert found[field] == str(LARGE)
    assert int(float(LARGE)) != LARGE


@pytest.mark.parametrize(("seconds", "told"), [(0.0, 0.0), (0.004, 0.0), (1.005, 1.0), (2.999, 3.0), (61.239, 61.24)])
def test_the_duration_is_in_hundredths_of_seconds(seconds: float, told: float) -> None:
    assert replace(judged(GOOD), seconds=seconds).answer()["duration(s)"] == told


# Failed rows


FAILED: dict[str, tuple[bytes, list[dict[str, str]]]] = {
    "by the table's order": (b"x,Baker\n1,ok\n", [{"id": "x", "job": "Baker"}]),
    "by a header": (b"id,job\nx,Baker\n", [{"id": "x", "job": "Baker"}]),
    "by the file's own order": (b"job,id\nBaker,x\nSmith,1\n", [{"id": "x", "job": "Baker"}]),
    "by a header in capitals": (b'JOB,"Id"\r\nBaker,x\r\n', [{"id": "x", "job": "Baker"}]),
    "ignored columns": (b"_line,JOB,_x,id\n7,Baker,secret,x\n", [{"id": "x", "job": "Baker"}]),
    "an ignored column twice": (b"_x,_x,id,job\n1,2,x,Baker\n", [{"id": "x", "job": "Baker"}]),
    "a returned file of rejects": (
        b"_line,_reasons,_load_id,job,id\n2,id:not_an_integer,9,Baker,x\n",
        [{"id": "x", "job": "Baker"}],
    ),
    "white space and texts that look empty": (b" 1 , NA\nnull,\tx \n", [{"id": " 1 ", "job": " NA"},
                                                                       {"id": "null", "job": "\tx "}]),
    "quotes": (b'"x","a ""b"", c"\n', [{"id": "x", "job": 'a "b", c'}]),
    "quoted newlines": (b'x,"a\r\nb\n"\n', [{"id": "x", "job": "a\r\nb\n"}]),
    "an empty field": (b"1,\n2,ok\n", [{"id": "1", "job": ""}]),
    "an id twice": (b"1,a\n01,b\n", [{"id": "01", "job": "b"}]),
    "too long": (b"1," + b"x" * 300 + b"\n", [{"id": "1", "job": "x" * 300}]),
    "not ASCII": ("x,Bäcker 採用 \U0001f600\n".encode(), [{"id": "x", "job": "Bäcker 採用 \U0001f600"}]),
    "bad UTF-8": (b"1,B\xe4cker\n", [{"id": "1", "job": "B\ufffdcker"}]),
    "NUL": (b"1,a\0b\n", [{"id": "1", "job": "a\0b"}]),
    "too few fields": (b"1\n", [{"id": "1", "job": "", RAW: "1"}]),
    "too many fields": (b"1,a,b,c\n", [{"id": "1", "job": "a", RAW: "1,a,b,c"}]),
    "too few by the file's own order": (b"job,id\nBaker\nx,1\n", [{"id": "", "job": "Baker", RAW: "Baker"}]),
    "too many, with ignored columns": (b"_x,job,id\n0,a,1,2\n", [{"id": "1", "job": "a", RAW: "0,a,1,2"}]),
    "too many and bad UTF-8": (b"1,\xff,\xff\n", [{"id": "1", "job": "\ufffd", RAW: "1,\ufffd,\ufffd"}]),
    "text behind a closing quote": (b'1,ok\n2,"a"b"\n', [{"id": "", "job": "", RAW: '2,"a"b"'}]),
    "lines in a quote": (b'1,ok\n2,"a\n3,b"\n', [{"id": "2", "job": "a\n3,b"}]),
    "lines in a quote and too many fields": (
        b'1,ok\n2,"a\n3,b",c\n',
        [{"id": "2", "job": "a\n3,b", RAW: '2,"a\n3,b",c'}],
    ),
    "an unclosed quote": (b'1,ok\n2,"a\n3,b\n', [{"id": "", "job": "", RAW: '2,"a\n3,b\n'}]),
    "an unclosed quote and bad UTF-8": (b'1,ok\n"\xff', [{"id": "", "job": "", RAW: '"\ufffd'}]),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILED)
def test_failed_rows_are_told_as_they_were_sent(case: str) -> None:
    body, rows = FAILED[case]
    assert judged(body).answer()["rows_failed"] == rows


@pytest.mark.parametrize("case", FAILED)
def test_what_is_kept_of_failed_rows_gives_the_same_answer(case: str) -> None:
    one = judged(FAILED[case][0])
    assert as_the_ledger_has_it(one).answer() == one.answer()


def test_without_the_file_s_own_order_values_would_be_in_the_wrong_columns() -> None:
    one = judged(b"job,id\nBaker,x\n")
    assert replace(one, names=own_names(JOBS, None)).answer()["rows_failed"] == [{"id": "Baker", "job": "x"}]


def test_a_moment_s_form_is_told_beside_the_reason() -> None:
    found = judged(b"7,Ann,30.05.2021,2,\n", HIRED).answer()
    assert found["errors"] == [
        {"line": 1, "column": "datetime", "reason": "not_a_datetime",
         "expected": "YYYY-MM-DDTHH:MM:SSZ, as in 2021-07-27T16:02:08Z"},
        {"line": 1, "column": "job_id", "reason": "missing"},
    ]  # fmt: skip


def test_failed_rows_have_the_table_s_columns_in_its_order() -> None:
    found = judged(b"job_id,name,_x,datetime,id,department_id\n1,Ann,?,2021-13-01T00:00:00Z,7,2\n", HIRED).answer()
    assert [list(row.items()) for row in found["rows_failed"]] == [
        [("id", "7"), ("name", "Ann"), ("datetime", "2021-13-01T00:00:00Z"), ("department_id", "2"), ("job_id", "1")]
    ]
    assert found["columns"] == list(HIRED.names)


def test_errors_have_the_line_in_the_file_and_every_reason() -> None:
    body = b'id,job\r\n\r\n1,"two\r\nlines"\r\nx,\r\n2,a,b\r\n1,again\r\n3,\xff\r\n4,"'
    assert judged(body).answer()["errors"] == [
        {"line": 5, "column": "id", "reason": "not_an_integer"},
        {"line": 5, "column": "job", "reason": "missing"},
        {"line": 6, "column": None, "reason": "column_count"},
        {"line": 7, "column": "id", "reason": "duplicate_id"},
        {"line": 8, "column": "job", "reason": "bad_encoding"},
        {"line": 9, "column": None, "reason": "unclosed_quote"},
    ]


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (None, ("id", "job")),
        ((), ("id", "job")),
        (("JOB", "_Line", "Id"), ("job", "_line", "id")),
        (iter(["job", "id"]), ("job", "id")),
    ],
)
def test_the_table_s_own_order_stands_in_where_the_file_s_is_not_known(names: Any, order: tuple[str, ...]) -> None:
    assert own_names(JOBS, names) == order


# Kept in S3


@pytest.mark.parametrize("case", FAILED)
def test_a_kept_answer_comes_back_as_it_was(case: str) -> None:
    found = judged(FAILED[case][0]).answer()
    assert from_object(as_object(found)) == found


def test_a_kept_answer_can_be_read_by_people() -> None:
    assert "Bäcker 採用".encode() in as_object(judged("x,Bäcker 採用\n".encode()).answer())
