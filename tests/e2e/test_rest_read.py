"""Insights, ledger and health by REST, against an independent computation and SQL."""

from __future__ import annotations

import csv
import io
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.oracle import insights as oracle
from tests.oracle import rules
from tests.oracle.insights import Tables, departments_hired_above_mean, hires_department_job
from tests.product import Product
from tests.rest import SAMPLES, Rest
from tests.stack import Stack

NAMES = ("departments", "jobs", "hired_employees")
KEYS = {
    "HIRES_DEPARTMENT_JOB": ["department", "job", "q1", "q2", "q3", "q4"],
    "DEPARTMENTS_HIRED_ABOVE_MEAN": ["id", "department", "hired"],
}


@pytest.fixture(scope="module")
def rest(stack: Stack, product: Product) -> Rest:
    """The samples are the whole tables, and the insights have them."""
    product.known("historic_load")
    for name in NAMES:
        product.put("rest/", f"{name}.csv", (SAMPLES / f"{name}.csv").read_bytes())
    state, _, _ = product.run("rest/", mode="replace")
    assert state == "success"
    found = Rest.of(stack).as_("viewer")
    end = time.monotonic() + 60
    while found.get("/insights", table="HIRES_DEPARTMENT_JOB").headers.get("data-behind") != "false":
        assert time.monotonic() < end
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def expected() -> dict[str, list[dict[str, Any]]]:
    rows = Tables(*(rules.judge(name, (SAMPLES / f"{name}.csv").read_bytes()).accepted for name in NAMES))
    found = {"HIRES_DEPARTMENT_JOB": hires_department_job(rows, 2021)}
    found |= {"DEPARTMENTS_HIRED_ABOVE_MEAN": departments_hired_above_mean(rows, 2021)}
    return {name: [dict(zip(KEYS[name], tuple(line), strict=True)) for line in lines] for name, lines in found.items()}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("fresh", [False, True])
def test_records_are_those_of_an_independent_computation(
    rest: Rest, expected: dict[str, list[dict[str, Any]]], name: str, fresh: bool
) -> None:
    answer = rest.get("/insights/", table=name, limit=100_000, fresh=fresh)
    assert answer.json() == expected[name]
    assert [list(record) for record in answer.json()[:1]] == [KEYS[name]]
    first = rest.get("/insights", table=name, limit=4, fresh=fresh)
    assert first.json() == expected[name][:4]
    assert len(rest.get("/insights", table=name.lower()).json()) == min(100, len(expected[name]))


def test_headers_say_how_fresh_they_are(rest: Rest, product: Product) -> None:
    headers = rest.get("/insights", table="HIRES_DEPARTMENT_JOB").headers
    assert headers["data-behind"] == "false"
    assert set(json.loads(headers["data-complete-up-to"])) >= set(NAMES)
    assert headers["data-refreshed-at"] > "2026"
    product.do(
        "UPDATE ops.tables SET changed_seq = commit_seq + 1, commit_seq = commit_seq + 1 WHERE table_name = 'jobs'"
    )
    assert rest.get("/insights", table="HIRES_DEPARTMENT_JOB").headers["data-behind"] == "true"
    assert rest.get("/insights", table="HIRES_DEPARTMENT_JOB", fresh=True).headers["data-behind"] == "false"


def test_csv(rest: Rest, expected: dict[str, list[dict[str, Any]]]) -> None:
    answer = rest.get("/insights", table="HIRES_DEPARTMENT_JOB", format="csv", limit=10)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    read = list(csv.DictReader(io.StringIO(answer.text)))
    wanted = expected["HIRES_DEPARTMENT_JOB"][:10]
    assert read == [{key: "" if value is None else str(value) for key, value in record.items()} for record in wanted]


@pytest.mark.parametrize(
    "query",
    [
        {}, {"table": "salaries"}, {"table": ""}, {"table": "x'; DROP TABLE jobs; --"}, {"limit": 0}, {"limit": -1},
        {"limit": 10**30}, {"limit": "many"}, {"limit": "1.5"}, {"year": 0}, {"year": "x"}, {"year": 10**9},
        {"format": "xml"}, {"fresh": "perhaps"},
    ],
    ids=str,
)  # fmt: skip
def test_parameters_that_cannot_work(rest: Rest, query: dict[str, object]) -> None:
    wanted = query if "table" in query or not query else {"table": "HIRES_DEPARTMENT_JOB", **query}
    answer = rest.get("/insights", **wanted)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize("name", KEYS)
def test_a_year_without_data_is_empty(rest: Rest, name: str) -> None:
    assert rest.get("/insights", table=name, year=1999).json() == []
    assert rest.get("/insights", table=name, year=1999, format="csv").text == ",".join(KEYS[name]) + "\r\n"


CHART_KEYS = {
    "hires_by_department_job": ["department", "job", "hires"],
    "top_jobs": ["job", "q1", "q2", "q3", "q4", "hires"],
    "departments_by_quarter": ["department", "q1", "q2", "q3", "q4", "hires"],
    "departments_above_mean": ["id", "department", "hired", "mean_hired"],
}


def charts_of(rows: Tables, year: int) -> dict[str, list[dict[str, Any]]]:
    """The charts of a year by another computation."""
    mean = oracle.year_mean(rows, year)
    lines = {
        "hires_by_department_job": oracle.hires_by_department_job(rows, year),
        "top_jobs": oracle.top_jobs(rows, year),
        "departments_by_quarter": oracle.departments_by_quarter(rows, year),
        "departments_above_mean": [(*line, mean) for line in oracle.departments_hired_above_mean(rows, year)],
    }
    return {name: [dict(zip(CHART_KEYS[name], line, strict=True)) for line in found] for name, found in lines.items()}


def in_the_tables(product: Product) -> Tables:
    """The live rows."""
    columns = {name: ", ".join(f'"{column}"' for column in rules.COLUMNS[name]) for name in NAMES}
    return Tables(*(product.sql(f"SELECT {columns[name]} FROM public.{name}") for name in NAMES))


def as_csv(records: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{key: "" if value is None else str(value) for key, value in record.items()} for record in records]


def test_charts_are_those_of_the_tables_rows(rest: Rest, product: Product) -> None:
    rows = in_the_tables(product)
    newest_first = sorted(oracle.years(rows), reverse=True)
    for year in (*newest_first, None, 1999):
        answer = rest.get("/insights/charts", **({} if year is None else {"year": year}))
        found, of = answer.json(), year or newest_first[0]
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        assert (found["year"], found["years"]) == (of, newest_first)
        assert found["charts"] == charts_of(rows, of)
        assert found["quarter_means"] == oracle.quarter_means(rows, of)
        above = found["charts"]["departments_above_mean"]
        assert found["year_mean"] == (oracle.year_mean(rows, of) if above else None)
    assert all(charts_of(rows, 2021).values()), "the samples have something for each chart"


def test_charts_say_how_fresh_they_are(rest: Rest, product: Product) -> None:
    found = rest.get("/insights/charts").json()
    headers = rest.get("/insights", table="HIRES_DEPARTMENT_JOB").headers
    assert found["behind"] is (headers["data-behind"] == "true")
    assert found["refreshed_at"].startswith(headers["data-refreshed-at"][:19])
    complete = {one["table"]: one for one in found["complete_up_to"]}
    assert set(complete) >= set(NAMES)
    for one in (complete[name] for name in NAMES):
        (known,) = product.sql("SELECT table_name, verdict FROM ops.loads WHERE load_id = %s", int(one["load_id"]))
        assert (known, one["file"]) == ((one["table"], "loaded"), f"{one['table']}.csv")


@pytest.mark.parametrize("name", CHART_KEYS)
def test_each_chart_is_there_as_csv(rest: Rest, product: Product, name: str) -> None:
    answer = rest.get(f"/insights/charts/{name}.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}_2021.csv"'
    assert list(csv.DictReader(io.StringIO(answer.text))) == as_csv(charts_of(in_the_tables(product), 2021)[name])
    assert rest.get(f"/insights/charts/{name}.csv", year=1999).text == ",".join(CHART_KEYS[name]) + "\r\n"


@pytest.mark.parametrize(
    ("chart", "query"),
    [
        ("/nothing.csv", {}), ("/TOP_JOBS.csv", {}), (f"/{'x' * 64}.csv", {}), ("/top_jobs.csv", {"year": "x"}),
        ("", {"year": 0}), ("", {"year": 10_000}), ("", {"year": ""}),
    ],
    ids=str,
)  # fmt: skip
def test_charts_that_there_are_none_of(rest: Rest, chart: str, query: dict[str, object]) -> None:
    answer = rest.get(f"/insights/charts{chart}", **query)
    assert (answer.status_code, bool(answer.json()["error"])) == (400, True)


def test_the_ledger_is_paged(rest: Rest, product: Product) -> None:
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = rest.get("/loads", limit=2, **after).json()
        seen += [load["load_id"] for load in page["loads"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    everything = product.sql("SELECT load_id FROM ops.loads ORDER BY finished_at DESC, load_id DESC")
    assert seen == [str(load_id) for (load_id,) in everything]


def test_the_ledger_is_filtered(rest: Rest) -> None:
    found = rest.get("/loads", table="jobs", verdict="loaded").json()["loads"]
    assert {(load["table"], load["verdict"]) for load in found} == {("jobs", "loaded")}
    for query in (
        {"table": "salaries"},
        {"verdict": "perhaps"},
        {"limit": 0},
        {"after": "x"},
        {"after": "2026-01-01~1"},
    ):
        assert rest.get("/loads", **query).status_code == 400, query


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def test_the_ledger_and_its_days_are_filtered_by_time(rest: Rest, product: Product) -> None:
    loads = product.sql("SELECT load_id, finished_at, rows_read, rows_rejected FROM ops.loads ORDER BY 2 DESC, 1 DESC")
    since, until = sorted({moment for _, moment, *_ in loads})[1], loads[0][1]
    wanted = [load for load in loads if since <= load[1] < until]
    assert 0 < len(wanted) < len(loads)
    query = {"since": iso(since), "until": iso(until)}
    found = rest.get("/loads", limit=1000, **query).json()["loads"]
    assert [int(load["load_id"]) for load in found] == [load_id for load_id, *_ in wanted]
    days = rest.get("/loads/days", **query).json()["days"]
    assert sum(day["loads"] for day in days) == len(wanted)
    assert sum(day["rows_read"] for day in days) == sum(read for _, _, read, _ in wanted)
    for path in ("/loads", "/loads/days"):
        assert [*rest.get(path, since="2999-01-01").json().values()][:1] == [[]]
        for wrong in ({"since": "yesterday"}, {"until": "2026-13-01"}, {"until": "0001-01-01T00:00:00+14:00"}):
            assert rest.get(path, **wrong).status_code == 400, wrong


def test_days_are_those_of_the_ledger(rest: Rest, product: Product) -> None:
    for query, condition in (
        ({}, "TRUE"),
        ({"table": "jobs", "verdict": "loaded"}, "table_name = 'jobs' AND verdict = 'loaded'"),
    ):
        days = product.sql(
            "SELECT CAST(finished_at AT TIME ZONE 'UTC' AS DATE), count(*), sum(rows_read)::BIGINT,"
            f" sum(rows_rejected)::BIGINT FROM ops.loads WHERE {condition} GROUP BY 1 ORDER BY 1 DESC"
        )
        keys = ("day", "loads", "rows_read", "rows_rejected")
        expected = [dict(zip(keys, (str(day), *counts), strict=True)) for day, *counts in days]
        assert rest.get("/loads/days", **query).json() == {"days": expected}
        assert rest.get("/loads/days", limit=1, **query).json() == {"days": expected[:1]}
    for wrong in ({"table": "salaries"}, {"verdict": "perhaps"}, {"limit": 0}, {"limit": 1001}):
        assert rest.get("/loads/days", **wrong).status_code == 400, wrong


@pytest.fixture(scope="module")
def refused(rest: Rest) -> dict[str, Any]:
    """A load of nothing but rejected rows, whose columns are in an order of their own."""
    body = b'_note,job,id\n"a,b","c\nd",x\n,,1\nragged\n,e,\xff\n'
    answer: dict[str, Any] = rest.as_("uploader").upload("jobs_rest_read.csv", body).json()
    return answer


def test_repairs_of_a_load_are_found(rest: Rest, refused: dict[str, Any]) -> None:
    load_id = refused["load_id"]
    assert rest.get("/loads", repairs=load_id).json() == {"loads": [], "next": None}
    repair = rest.as_("uploader").upload("jobs_rest_repair.csv", b"y,still bad\n", repairs=load_id).json()
    (found,) = rest.get("/loads", repairs=load_id).json()["loads"]
    assert (found["load_id"], found["repairs"]) == (repair["load_id"], load_id)
    assert rest.get("/loads", repairs="9" * 19).json()["loads"] == []
    for wrong in ("x", "-1", "1" * 20, ""):
        assert rest.get("/loads", repairs=wrong).status_code == 400, wrong


def test_rejected_rows_are_paged_with_values_as_they_were_sent(rest: Rest, refused: dict[str, Any]) -> None:
    path = f"/loads/{refused['load_id']}/rejected"
    answer = rest.get(path)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    found = answer.json()
    assert (found["load_id"], found["table"], found["next"]) == (refused["load_id"], "jobs", None)
    assert found["columns"] == ["_note", "job", "id"]
    assert [(row["line"], row["values"], row["text"]) for row in found["rows"]] == [
        (2, ["a,b", "c\nd", "x"], None),
        (4, ["", "", "1"], None),
        (5, None, "ragged"),
        (6, ["", "e", "\ufffd"], None),
    ]
    assert [row["reasons"] for row in found["rows"]] == [
        [{"column": "id", "reason": "not_an_integer"}],
        [{"column": "job", "reason": "missing"}],
        [{"column": None, "reason": "column_count"}],
        [{"column": "id", "reason": "bad_encoding"}],
    ]
    first = rest.get(path, limit=3).json()
    second = rest.get(path, limit=3, after=first["next"]).json()
    assert (first["next"], second["next"], first["rows"] + second["rows"]) == (5, None, found["rows"])
    for wrong in ({"limit": 0}, {"limit": 1001}, {"after": -1}, {"after": "x"}, {"after": 2**63}):
        assert rest.get(path, **wrong).status_code == 400, wrong


def test_where_the_file_s_columns_are_not_known_any_more_no_value_is_shown_as_another_column_s(
    rest: Rest, product: Product
) -> None:
    load = rest.as_("uploader").upload("jobs_rest_order.csv", b"job,id\nBargee,x\n").json()
    key = f"rejected/jobs/jobs_rejected_{load['load_id']}.csv"
    found = rest.get(f"/loads/{load['load_id']}/rejected").json()
    assert (found["columns"], found["rows"][0]["values"]) == (["job", "id"], ["Bargee", "x"])
    product.s3.delete_object(Bucket=product.bucket, Key=key)
    found = rest.get(f"/loads/{load['load_id']}/rejected").json()
    (row,) = found["rows"]
    shown = dict(zip(found["columns"], row["values"], strict=True)) if row["values"] else {"text": row["text"]}
    assert shown in ({"job": "Bargee", "id": "x"}, {"text": "Bargee,x"})


def test_rejected_rows_that_are_not_kept_any_longer(rest: Rest, product: Product, refused: dict[str, Any]) -> None:
    expire = f"UPDATE ops.loads SET rejects_expired_at = {{}} WHERE load_id = {int(refused['load_id'])}"
    product.do(expire.format("now()"))
    for path in ("rejected", "rejected.csv"):
        answer = rest.get(f"/loads/{refused['load_id']}/{path}")
        assert (answer.status_code, "were kept until" in answer.json()["error"]) == (410, True)
    product.do(expire.format("NULL"))
    assert rest.get(f"/loads/{refused['load_id']}/rejected").status_code == 200


def test_one_load_and_its_rejected_rows(rest: Rest, product: Product) -> None:
    (load,) = rest.get("/loads", table="hired_employees", verdict="loaded", limit=1).json()["loads"]
    assert rest.get(f"/loads/{load['load_id']}").json() == load
    rows = list(csv.DictReader(io.StringIO(rest.get(f"/loads/{load['load_id']}/rejected.csv").text)))
    assert {row["_load_id"] for row in rows} == {load["load_id"]}
    assert (
        load["rows_read"]
        == load["rows_inserted"] + load["rows_updated"] + load["rows_unchanged"] + load["rows_rejected"]
    )
    kept = f"rejected/hired_employees/hired_employees_rejected_{load['load_id']}.csv"
    body = product.s3.get_object(Bucket=product.bucket, Key=kept)["Body"].read()
    product.s3.delete_object(Bucket=product.bucket, Key=kept)
    answer = rest.get(f"/loads/{load['load_id']}/rejected.csv")
    assert (answer.status_code, "they are in ops.rejected_rows" in answer.json()["error"]) == (410, True)
    page = rest.get(f"/loads/{load['load_id']}/rejected", limit=1).json()
    assert (page["columns"], page["rows"][0]["values"]) == ([], None), "under the wrong columns, perhaps"
    product.s3.put_object(Bucket=product.bucket, Key=kept, Body=body)


@pytest.mark.parametrize("load_id", ["1", "9" * 19, str(2**63 - 1)])
def test_loads_that_there_are_none_of(rest: Rest, load_id: str) -> None:
    for path in (f"/loads/{load_id}", f"/loads/{load_id}/rejected.csv", f"/loads/{load_id}/rejected"):
        answer = rest.get(path)
        assert (answer.status_code, bool(answer.json()["error"])) == (404, True)


def test_a_load_without_rejected_rows(rest: Rest) -> None:
    loads = rest.get("/loads", table="jobs", verdict="loaded").json()["loads"]
    clean = next(load for load in loads if not load["rows_rejected"])
    for path in ("rejected.csv", "rejected"):
        assert rest.get(f"/loads/{clean['load_id']}/{path}").status_code == 404


def test_health_tells_what_is_paused(rest: Rest, product: Product) -> None:
    product.api.patch("/dags/refresh_insights", {"is_paused": True})
    try:
        end = time.monotonic() + 60
        while True:
            found = rest.get("/health").json()
            if ("dag_paused", "refresh_insights") in {(one["code"], one["subject"]) for one in found["findings"]}:
                break
            assert time.monotonic() < end, found
            time.sleep(1)
    finally:
        product.api.patch("/dags/refresh_insights", {"is_paused": False})
    assert found["healthy"] is False


def test_the_page_of_routes_needs_nothing_from_elsewhere(rest: Rest) -> None:
    page = rest.get("/docs").text
    assert "/data-api/docs-assets/swagger-ui-bundle.js" in page
    assert "cdn" not in page
    assert rest.get("/docs-assets/swagger-ui-bundle.js").status_code == 200
