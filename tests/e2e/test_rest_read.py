"""Insights, ledger and health by REST, against an independent computation and SQL."""

from __future__ import annotations

import csv
import io
import json
import time
from typing import Any

import pytest

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
    assert rest.get(f"/loads/{load['load_id']}/rejected.csv").content == body, "made anew from the warehouse"


@pytest.mark.parametrize("load_id", ["1", "9" * 19, str(2**63 - 1)])
def test_loads_that_there_are_none_of(rest: Rest, load_id: str) -> None:
    for path in (f"/loads/{load_id}", f"/loads/{load_id}/rejected.csv"):
        answer = rest.get(path)
        assert (answer.status_code, bool(answer.json()["error"])) == (404, True)


def test_a_load_without_rejected_rows(rest: Rest) -> None:
    loads = rest.get("/loads", table="jobs", verdict="loaded").json()["loads"]
    clean = next(load for load in loads if not load["rows_rejected"])
    assert rest.get(f"/loads/{clean['load_id']}/rejected.csv").status_code == 404


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
