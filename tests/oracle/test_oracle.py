"""The judge is judged: every expectation here is written by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.oracle.insights import (
    Tables,
    departments_by_quarter,
    departments_hired_above_mean,
    hires_by_department_job,
    hires_department_job,
    quarter_means,
    top_jobs,
    year_mean,
    years,
)
from tests.oracle.rules import BOM, MAX_RECORD, judge, physical_lines, reason_counts, unknown_references

GOOD = b"1,Ann,2021-01-02T03:04:05Z,2,3"
ANN = (1, "Ann", datetime(2021, 1, 2, 3, 4, 5, tzinfo=UTC), 2, 3)


def hire(**changes: bytes) -> bytes:
    """A valid hire with some fields replaced by raw bytes."""
    fields = {"id": b"9", "name": b"Bo", "datetime": b"2021-05-06T07:08:09Z"}
    fields |= {"department_id": b"1", "job_id": b"1"}
    return b",".join((fields | changes).values())


def job_name(field: bytes) -> object:
    """The name the judge reads from a job's raw field, or the reasons against the row."""
    verdict = judge("jobs", b"1," + field)
    return verdict.accepted[0][1] if verdict.accepted else set(verdict.rejected[0].reasons)


def test_a_good_file() -> None:
    verdict = judge("hired_employees", GOOD + b"\r\n" + hire() + b"\r\n")
    bo = (9, "Bo", datetime(2021, 5, 6, 7, 8, 9, tzinfo=UTC), 1, 1)
    assert verdict.accepted == [ANN, bo]
    assert (verdict.rows_read, verdict.rejected, verdict.file_reason, verdict.blank_lines) == (2, [], None, 0)


@pytest.mark.parametrize(
    ("column", "raw", "reason"),
    [
        ("id", b"", "missing"),
        ("name", b'""', "missing"),
        ("name", b" ", "missing"),
        ("name", b'"   "', "missing"),
        ("name", b'"\n"', "missing"),
        ("name", b"\t", "missing"),
        ("name", "\u00a0 ".encode(), "missing"),
        ("name", "\u200b\ufeff".encode(), "missing"),
        ("name", b" " * 300, "missing"),
        ("id", b" ", "not_an_integer"),
        ("datetime", b" ", "not_a_datetime"),
        ("datetime", b"", "missing"),
        ("id", b"+8", "not_an_integer"),
        ("id", b"-1", "not_an_integer"),
        ("id", b" 1", "not_an_integer"),
        ("id", b"1 ", "not_an_integer"),
        ("id", b"1_8", "not_an_integer"),
        ("id", b"0x1", "not_an_integer"),
        ("id", b"1.0", "not_an_integer"),
        ("id", b"1\r", "not_an_integer"),
        ("id", b'"1\n"', "not_an_integer"),
        ("id", "\u0663".encode(), "not_an_integer"),
        ("job_id", b"NA", "not_an_integer"),
        ("job_id", b"null", "not_an_integer"),
        ("id", b"2147483648", "out_of_range"),
        ("id", b"9" * 5000, "out_of_range"),
        ("datetime", b"2021-02-30T00:00:00Z", "not_a_datetime"),
        ("datetime", b"2021-02-29T00:00:00Z", "not_a_datetime"),
        ("datetime", b"2021-01-01T24:00:00Z", "not_a_datetime"),
        ("datetime", b"2021-01-01T23:59:60Z", "not_a_datetime"),
        ("datetime", b"0000-01-01T00:00:00Z", "not_a_datetime"),
        ("datetime", b"2021-2-8T00:00:00Z", "not_a_datetime"),
        ("datetime", b"2021-01-01t00:00:00Z", "not_a_datetime"),
        ("datetime", b"2021-01-01T00:00:00z", "not_a_datetime"),
        ("datetime", b"2021-01-01 00:00:00Z", "not_a_datetime"),
        ("datetime", b"2021-01-01T00:00:00", "not_a_datetime"),
        ("datetime", b"2021-01-01T00:00:00.0Z", "not_a_datetime"),
        ("datetime", b"2021-01-01T00:00:00+00:00", "not_a_datetime"),
        ("datetime", b'"2021-01-01T00:00:00Z\n"', "not_a_datetime"),
        ("datetime", "202\u0661-01-01T00:00:00Z".encode(), "not_a_datetime"),
        ("name", b"x" * 257, "too_long"),
        ("name", "\u00e9".encode() * 129, "too_long"),
        ("name", b"caf\xe9", "bad_encoding"),
        ("name", b"a\x00b", "bad_encoding"),
        ("name", b"\xc0\xaf", "bad_encoding"),
        ("name", b"\xed\xa0\x80", "bad_encoding"),
        ("name", b"\xf4\x90\x80\x80", "bad_encoding"),
        ("name", b"\xff" * 300, "bad_encoding"),
        ("id", b"1\x00", "bad_encoding"),
        ("datetime", b"\xe9", "bad_encoding"),
    ],
)
def test_a_bad_value(column: str, raw: bytes, reason: str) -> None:
    bad = hire(**{column: raw})
    verdict = judge("hired_employees", GOOD + b"\n" + bad + b"\n")
    assert verdict.accepted == [ANN]
    assert [(row.line, row.raw, set(row.reasons)) for row in verdict.rejected] == [(2, bad, {(column, reason)})]


@pytest.mark.parametrize(
    ("column", "raw", "value"),
    [
        ("id", b"0", 0),
        ("id", b"2147483647", 2147483647),
        ("id", b"0" * 5000 + b"7", 7),
        ("id", b'"12"', 12),
        ("name", b"NA", "NA"),
        ("name", "\u00ad".encode(), "\u00ad"),
        ("name", b" x ", " x "),
        ("name", b"x" * 256, "x" * 256),
        ("name", "\u00e9".encode() * 128, "\u00e9" * 128),
        ("name", "\U0001f600".encode(), "\U0001f600"),
        ("datetime", b"2020-02-29T23:59:59Z", datetime(2020, 2, 29, 23, 59, 59, tzinfo=UTC)),
        ("datetime", b"0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("datetime", b"9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_good_value(column: str, raw: bytes, value: object) -> None:
    position = ["id", "name", "datetime", "department_id", "job_id"].index(column)
    assert judge("hired_employees", hire(**{column: raw})).accepted[0][position] == value


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'"a,b"', "a,b"),
        (b'"a""b"', 'a"b'),
        (b'""""', '"'),
        (b'"a\r\nb"', "a\r\nb"),
        (b'"a\nb"', "a\nb"),
        (b'"ab"cd', {("", "bad_quote")}),
        (b'"ab"c"d', {("", "bad_quote")}),
        (b'"ab" ', {("", "bad_quote")}),
        (b'""x', {("", "bad_quote")}),
        (b'"ab"\rx', {("", "bad_quote")}),
        (b'"ab"\r,', {("", "bad_quote")}),
        (b'x"y"z', 'x"y"z'),
        (b'x"y', 'x"y'),
        (b' "y"', ' "y"'),
        (b"a\rb", "a\rb"),
        (b"ab\r", "ab"),
        (b"ab\r\r", "ab"),
        (b'"ab"\r', "ab"),
        (b'"ab"\r\r\n', "ab"),
        (b"ab\x1a", "ab"),
        (b"ab\r\x1a\x1a\r\n", "ab"),
        (b"ab\x1a\n\n", "ab\x1a"),
        (b'"ab"\x1a', "ab"),
        (b'"a\n2,b"', {("job", "swallowed_lines")}),
        (b'"a\n2,b\n3,c"', {("job", "swallowed_lines")}),
        (b'"a\nb,c\nd"', "a\nb,c\nd"),
        (b'"a\n2,c\nd"', {("job", "swallowed_lines")}),
        (b'"a\n""2"",c\r\nd"', {("job", "swallowed_lines")}),
        (b'"a\nb,c"', "a\nb,c"),
        (b'"a\n,\nb"', "a\n,\nb"),
        (b'"a\n2,b,c\n3"', "a\n2,b,c\n3"),
        (b'"a,b\nc"', "a,b\nc"),
        (b'"a\n2,b",c', {("", "swallowed_lines")}),
        (b'"a\nb",c', {("", "column_count")}),
        (b'"ab""', {("", "unclosed_quote")}),
        (b'"', {("", "unclosed_quote")}),
        (b"a,b", {("", "column_count")}),
    ],
)
def test_quotes(raw: bytes, value: object) -> None:
    assert job_name(raw) == value


def test_all_reasons_of_a_row_are_given() -> None:
    bad = b",,2021-13-01T00:00:00Z,99999999999,\xff"
    (row,) = judge("hired_employees", bad).rejected
    assert row.reasons == {
        ("id", "missing"),
        ("name", "missing"),
        ("datetime", "not_a_datetime"),
        ("department_id", "out_of_range"),
        ("job_id", "bad_encoding"),
    }


def test_ragged_rows_stand_alone() -> None:
    verdict = judge("jobs", b'1,a\n\xff\nx,,\n""\n2,b\n')
    assert [(row.line, row.raw) for row in verdict.rejected] == [(2, b"\xff"), (3, b"x,,"), (4, b'""')]
    assert {row.reasons for row in verdict.rejected} == {frozenset({("", "column_count")})}
    assert reason_counts(verdict) == {"column_count": 3}


def test_duplicates_count_only_between_valid_rows() -> None:
    verdict = judge("jobs", b"7,\n7,a\n007,b\n7,\n8,c\n7,d\n")
    assert verdict.accepted == [(7, "a"), (8, "c")]
    assert [(row.line, set(row.reasons)) for row in verdict.rejected] == [
        (1, {("job", "missing")}),
        (3, {("id", "duplicate_id")}),
        (4, {("job", "missing")}),
        (6, {("id", "duplicate_id")}),
    ]


def test_physical_lines_and_blank_lines() -> None:
    verdict = judge("jobs", b'\r\n1,"a\r\nb"\r\n\r\n\nx,y\r\n2,c\n \n')
    assert verdict.accepted == [(1, "a\r\nb"), (2, "c")]
    assert [(row.line, row.raw) for row in verdict.rejected] == [(6, b"x,y"), (8, b" ")]
    assert (verdict.rows_read, verdict.blank_lines) == (4, 3)


def test_an_unclosed_quote_keeps_everything_after_it() -> None:
    verdict = judge("jobs", b'1,a\n2,"b\n3,c\n')
    assert verdict.accepted == [(1, "a")]
    assert [(row.line, row.raw, set(row.reasons)) for row in verdict.rejected] == [
        (2, b'2,"b\n3,c\n', {("", "unclosed_quote")})
    ]


def test_the_mark_at_the_start_belongs_to_no_record() -> None:
    assert judge("jobs", BOM + b"1,a").accepted == [(1, "a")]
    assert judge("jobs", BOM + b'"Id","JOB"\n1,a').accepted == [(1, "a")]
    assert judge("jobs", BOM + b"x,a\n1,b").rejected[0].raw == b"x,a"


def test_marks_of_joined_files_are_left_out_and_counted() -> None:
    verdict = judge(
        "jobs", BOM + b"1,b\n" + BOM + b"2,a\n" + BOM + BOM + b'"3",c\n4,' + BOM + b"d\n" + BOM + b"x,y\n" + BOM
    )
    assert verdict.accepted == [(1, "b"), (2, "a"), (3, "c"), (4, "\ufeffd")]
    assert [(row.line, row.raw) for row in verdict.rejected] == [(5, b"x,y")]
    assert (verdict.marks, verdict.blank_lines) == (4, 1)


def test_text_behind_a_closing_quote_is_one_rejected_line() -> None:
    verdict = judge("departments", b'1,"Legal\r\n2,Tax\n3,"Sales"\n4,"Au"dit"\n\n5,"HR"\n6,x"y\n')
    assert verdict.accepted == [(2, "Tax"), (3, "Sales"), (5, "HR"), (6, 'x"y')]
    assert [(row.line, row.raw, set(row.reasons)) for row in verdict.rejected] == [
        (1, b'1,"Legal', {("", "bad_quote")}),
        (4, b'4,"Au"dit"', {("", "bad_quote")}),
    ]


def test_a_quote_that_joins_two_records_swallows_a_line() -> None:
    hires = hire(id=b"1", name=b'"Ann') + b"\n" + hire(id=b"2", name=b'Bo"') + b"\n" + hire(name=b'"Cy\nsmith, jr"')
    verdict = judge("hired_employees", hires)
    assert [row[1] for row in verdict.accepted] == ["Cy\nsmith, jr"]
    assert [(row.line, set(row.reasons)) for row in verdict.rejected] == [(1, {("name", "swallowed_lines")})]


@pytest.mark.parametrize(
    ("row", "found"),
    [
        (b'"Sales, EMEA\nNorth",6', "Sales, EMEA\nNorth"),
        (b'"Sales,5\nNorth",6', {("department", "swallowed_lines")}),
        (b'"Sales, 5\r\nNorth",6', {("department", "swallowed_lines")}),
        (b'"Sales\nTax, 5\r\nNorth",6', {("department", "swallowed_lines")}),
        (b'"Board\nFinance, Legal\nOther",6', "Board\nFinance, Legal\nOther"),
    ],
)
def test_the_number_of_a_swallowed_record_is_looked_for_where_its_id_is(
    row: bytes, found: str | set[tuple[str, str]]
) -> None:
    verdict = judge("departments", b"department,id\n" + row + b"\n")
    if isinstance(found, str):
        assert verdict.accepted == [(6, found)]
    else:
        assert [set(one.reasons) for one in verdict.rejected] == [found]


def test_more_columns_than_two_are_told_by_their_number() -> None:
    inner = hire(id=b"", name=b"Bo")
    verdict = judge("hired_employees", hire(name=b'"Ann\n' + inner + b'\nCy"') + b"\n")
    assert [set(one.reasons) for one in verdict.rejected] == [{("name", "swallowed_lines")}]


def test_rows_of_commas_are_blank_lines() -> None:
    verdict = judge("departments", b'id,department\r\n1,Legal\r\n,\r\n,,,,\n"",""\n,x\n, \n')
    assert (verdict.accepted, verdict.blank_lines, verdict.rows_read) == ([(1, "Legal")], 2, 4)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"1,a", {"accepted": 1}),
        (
            BOM + b"id,job\r\n\r\n1,a\r\r\nx,b\n,\n\x1a",
            {"header": 1, "accepted": 1, "rejected": 1, "blank": 2, "ignored": 1},
        ),
        (b'"_a\n",id,job\n,1,"a\nb"\n,x,"\r\n\n"', {"header": 2, "accepted": 2, "rejected": 3}),
        (b'1,a\n2,"b"c\n3,"d\n4,e\n', {"accepted": 1, "rejected": 3}),
        (b"1,a\n\x1a\r\n", {"accepted": 1, "ignored": 1}),
        (b"1,a\n\r", {"accepted": 1, "blank": 1}),
        (b"1,a\x1a\n2,b\n\x1a\n\n", {"accepted": 2, "rejected": 1, "blank": 1}),
    ],
)  # fmt: skip
def test_every_physical_line_belongs_to_one_kind(data: bytes, lines: dict[str, int]) -> None:
    assert {kind: count for kind, count in judge("jobs", data).lines.items() if count} == lines
    assert physical_lines(data) == sum(lines.values())


@pytest.mark.parametrize(
    "data",
    [
        b"id,job\n1,a\n",
        b"JOB,Id\na,1\n",
        b'\r\n"job","id"\r\na,1\r\n',
        b"_line,_reasons,id,_Load_ID,job\n3,x,1,\xff,a\n",
        b"_,_,job,id\n,,a,1\n",
    ],
)
def test_headers(data: bytes) -> None:
    verdict = judge("jobs", data)
    assert (verdict.accepted, verdict.rows_read, verdict.rejected) == ([(1, "a")], 1, [])


def test_a_header_sets_the_width() -> None:
    verdict = judge("jobs", b"_line,id,job\n1,a\n,1,a\n")
    assert verdict.accepted == [(1, "a")]
    assert [(row.line, set(row.reasons)) for row in verdict.rejected] == [(2, {("", "column_count")})]


@pytest.mark.parametrize(
    ("data", "reason", "blank_lines"),
    [
        (b"", "empty", 0),
        (BOM, "empty", 0),
        (b"\r\n\n", "empty", 2),
        (b"id,job", "header_only", 0),
        (b"Job,_x,ID\r\n\r\n", "header_only", 1),
        (b"id,jobs\n1,a\n", "wrong_header", 0),
        (b"id\n1,a\n", "wrong_header", 0),
        (b"id,job,id\n1,a,1\n", "wrong_header", 0),
        (b"id,job,extra\n1,a,1\n", "wrong_header", 0),
        (b"_line,a\n1,a\n", "wrong_header", 0),
        (b"1,Job\n2,a\n", "wrong_header", 0),
        (b'"Id" ,x\n1,a\n', "wrong_header", 0),
        (b'x, "JOB";,"a"b\n1,a\n', "wrong_header", 0),
        (b'"id"x,"_y\n"\n1,a\n', "wrong_header", 0),
        (b"id,job\n1,a\n2," + b"x" * (MAX_RECORD - 1) + b"\n", "record_too_long", 0),
        (b'1,a\n2,"' + b"x\n" * (MAX_RECORD // 2), "record_too_long", 0),
        (b"," * (MAX_RECORD + 1), "record_too_long", 0),
    ],
)
def test_files_refused_before_any_row_is_judged(data: bytes, reason: str, blank_lines: int) -> None:
    verdict = judge("jobs", data)
    assert (verdict.file_reason, verdict.blank_lines) == (reason, blank_lines)
    assert (verdict.rows_read, verdict.accepted, verdict.rejected) == (0, [], [])


def test_a_record_of_exactly_one_mebibyte_is_only_a_bad_row() -> None:
    verdict = judge("jobs", b"1,a\r\n2," + b"x" * (MAX_RECORD - 2) + b"\r\n")
    assert (verdict.file_reason, reason_counts(verdict)) == (None, {"too_long": 1})


def test_a_file_of_bad_rows_is_refused_with_its_rows() -> None:
    verdict = judge("jobs", b"x,a\ny,b\n")
    assert (verdict.file_reason, verdict.rows_read, verdict.accepted) == ("all_rows_bad", 2, [])
    assert [row.raw for row in verdict.rejected] == [b"x,a", b"y,b"]


def test_a_first_row_that_looks_odd_is_still_a_row() -> None:
    assert judge("jobs", b" id,x\n1,a\n").rejected[0].raw == b" id,x"
    assert judge("jobs", b'id,"x\n1,a\n').file_reason == "all_rows_bad"


def test_unknown_references_are_counted() -> None:
    rows = [ANN, (2, "Bo", ANN[2], 5, 3)]
    assert unknown_references(rows, {"department_id": {2}, "job_id": {1}}) == {
        "department_id": 1,
        "job_id": 2,
    }


def test_hires_by_department_and_job() -> None:
    rows = Tables(
        departments=[(1, "b"), (2, "a"), (3, "a"), (4, "Z")],
        jobs=[(1, "\u00e9"), (2, "z")],
        hired_employees=[
            hired("2021-01-01", 1, 1),
            hired("2021-03-31", 1, 2),
            hired("2021-04-01", 2, 1),
            hired("2021-06-30", 3, 1),
            hired("2021-07-01", 4, 1),
            hired("2021-12-31", 9, 1),
            hired("2021-10-01", 8, 9),
            hired("2021-09-30", 1, 9),
            hired("2020-12-31", 1, 1),
            hired("2022-01-01", 1, 1),
        ],
    )
    assert hires_department_job(rows, 2021) == [
        ("Z", "\u00e9", 0, 0, 1, 0),
        ("a", "\u00e9", 0, 2, 0, 0),
        ("b", "z", 1, 0, 0, 0),
        ("b", "\u00e9", 1, 0, 0, 0),
        ("b", None, 0, 0, 1, 0),
        (None, "\u00e9", 0, 0, 0, 1),
        (None, None, 0, 0, 0, 1),
    ]
    assert hires_department_job(rows, 1999) == []
    assert years(rows) == [2020, 2021, 2022]


def test_departments_above_the_mean() -> None:
    rows = Tables(
        departments=[(0, "none"), (1, "b"), (2, "a"), (3, "a"), (4, "idle")],
        jobs=[],
        hired_employees=[hired("2021-05-05", department, 1) for department in (3, 3, 3, 1, 1, 1, 2, 8, 9, 9)]
        + [hired("2022-05-05", 4, 1)],
    )
    # Groups of 2021: 3, 3, 1 and the null group's 3; mean 2.5.
    assert departments_hired_above_mean(rows, 2021) == [(1, "b", 3), (3, "a", 3), (None, None, 3)]
    # A single department equals the mean, so it is not above it.
    assert departments_hired_above_mean(rows, 2022) == []
    assert departments_hired_above_mean(rows, 1999) == []
    assert [year_mean(rows, year) for year in (2021, 2022, 1999)] == [2.5, 1.0, None]


def test_pairs_of_more_than_five_hires() -> None:
    rows = Tables(
        departments=[(1, "b"), (2, "a"), (3, "a"), (4, "Z")],
        jobs=[(1, "x"), (2, "Y")],
        hired_employees=[
            *[hired("2021-01-01", 1, 1)] * 6, *[hired("2021-01-01", 1, 2)] * 5, hired("2020-12-31", 1, 2),
            *[hired("2021-03-01", 2, 1)] * 3, *[hired("2021-06-01", 3, 1)] * 3, *[hired("2021-06-01", 4, 1)] * 6,
            *[hired("2021-06-01", 2, 2)] * 7, *[hired("2021-12-31", 9, 1)] * 6, *[hired("2021-12-31", 1, 9)] * 6,
        ],
    )  # fmt: skip
    assert hires_by_department_job(rows, 2021) == [
        ("a", "Y", 7),
        ("Z", "x", 6),
        ("a", "x", 6),
        ("b", "x", 6),
        ("b", None, 6),
        (None, "x", 6),
    ]
    assert hires_by_department_job(rows, 2020) == []


def test_the_nine_jobs_with_most_hires() -> None:
    rows = Tables(
        departments=[(1, "d")],
        jobs=[(1, "b"), (2, "b"), *((key, name) for key, name in enumerate("AaZ_zcdeé", 3))],
        hired_employees=[
            *(hired(day, 1, 1) for day in ("2021-01-01", "2021-04-01", "2021-07-01")), hired("2021-10-01", 1, 2),
            *(hired("2021-02-28", 7, key) for key in range(3, 12)), *[hired("2021-11-11", 1, 99)] * 2,
            hired("2022-02-28", 1, 1),
        ],
    )  # fmt: skip
    assert top_jobs(rows, 2021) == [
        ("b", 1, 1, 1, 1, 4),
        (None, 0, 0, 0, 2, 2),
        *((name, 1, 0, 0, 0, 1) for name in "AZ_acde"),
    ]
    assert top_jobs(rows, 2022) == [("b", 1, 0, 0, 0, 1)]
    assert top_jobs(rows, 1999) == []


def test_departments_and_means_by_quarter() -> None:
    rows = Tables(
        departments=[(1, "b"), (2, "a"), (3, "a"), (4, "idle")],
        jobs=[(1, "x")],
        hired_employees=[
            *(hired("2021-03-31", department, job) for department, job in ((1, 1), (1, 9), (2, 1), (3, 1), (3, 9))),
            *(hired("2021-04-01", department, 1) for department in (2, 8, 9)),
            hired("2021-12-31", 1, 1), hired("2022-01-01", 4, 1),
        ],
    )  # fmt: skip
    assert departments_by_quarter(rows, 2021) == [("a", 3, 1, 0, 0, 4), ("b", 2, 0, 0, 1, 3), (None, 0, 2, 0, 0, 2)]
    assert quarter_means(rows, 2021) == [2.5, 1.5, None, 1.0]
    assert (departments_by_quarter(rows, 1999), quarter_means(rows, 1999)) == ([], [None] * 4)


def hired(day: str, department_id: int, job_id: int) -> tuple[int, str, datetime, int, int]:
    """A hire at the last second of a day."""
    return (1, "x", datetime.fromisoformat(day + "T23:59:59+00:00"), department_id, job_id)
