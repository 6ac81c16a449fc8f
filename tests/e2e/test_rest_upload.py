"""Uploads through Airflow's real API server, scheduler and workers, by real HTTP."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from tests.product import Product
from tests.rest import Answer, Rest, form, loaded_rows, unique_key
from tests.stack import Stack

OLD_FIELDS = {
    "file", "type", "columns", "rows", "result", "nrows_inserted", "rows_failed", "nrows_failed", "duration(s)",
}  # fmt: skip
ids = count(100_000)
CLIENTS = 50
"""The server has 40 threads, this API 8 of its own."""


@pytest.fixture(scope="module")
def rest(stack: Stack, product: Product) -> Iterator[Rest]:
    """Nobody here looks at the insights, so that they need not be computed anew for each upload."""
    product.known("ingest_upload")
    with product.paused("refresh_insights"):
        yield Rest.of(stack)


def jobs(rows: int = 2, value: str = "Post") -> bytes:
    """Rows with ids that no other test uses."""
    return "".join(f"{next(ids)},{value}\n" for _ in range(rows)).encode()


def sha256_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def test_a_file_is_loaded_and_answered_with_the_fields_that_clients_know(rest: Rest, product: Product) -> None:
    first = next(ids)
    answer = rest.upload("jobs_new.csv", f"{first},Fresh\n{next(ids)},Fresh\n".encode())
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert set(told) >= OLD_FIELDS
    assert (told["file"], told["type"], told["columns"], told["rows"]) == ("jobs_new.csv", "jobs", ["id", "job"], 2)
    assert (told["result"], told["nrows_inserted"], told["rows_failed"], told["nrows_failed"]) == (
        "All the records have been uploaded", 2, [], 0
    )  # fmt: skip
    assert told["verdict"] == "loaded"
    assert 0 < told["duration(s)"] < 120
    assert product.sql("SELECT job FROM jobs WHERE id = %s", first) == [("Fresh",)]
    assert loaded_rows(product, told["load_id"]) == 1
    assert rest.get(f"/loads/{told['load_id']}").json()["verdict"] == "loaded"
    assert rest.get(f"/upload/{told['upload_id']}/").json() == told
    run = product.api.get(f"/dags/ingest_upload/dagRuns/{told['links']['run'].rpartition('/')[2]}")
    assert run["triggering_user_name"] == "uploader"


def test_bad_rows_come_back_as_sent_with_their_reasons(rest: Rest, product: Product) -> None:
    good, bad = next(ids), next(ids)
    body = f"{good},Ada,2021-05-30T05:43:46Z,8,1\n{bad},Ty Hofer,2021-02-30T05:43:46Z,8,\nx,y\n".encode()
    told = rest.upload("hired_employees copy.csv", body).json()
    assert told["result"] == "Errors founded on records failed, successfully uploaded 1 registers"
    assert (told["rows"], told["nrows_inserted"], told["nrows_failed"]) == (3, 1, 2)
    assert told["rows_failed"][0] == {
        "id": str(bad), "name": "Ty Hofer", "datetime": "2021-02-30T05:43:46Z", "department_id": "8", "job_id": ""
    }  # fmt: skip
    assert told["rows_failed"][1]["_raw"] == "x,y"
    assert {(one["line"], one["column"], one["reason"]) for one in told["errors"]} == {
        (2, "datetime", "not_a_datetime"), (2, "job_id", "missing"), (3, None, "column_count")
    }  # fmt: skip
    rejected = rest.get(f"/loads/{told['load_id']}/rejected.csv")
    assert rejected.headers["content-type"].startswith("text/csv")
    assert f"{bad},Ty Hofer" in rejected.text
    repaired = rejected.text.replace("2021-02-30", "2021-02-28").replace(",8,\r\n", ",8,1\r\n")
    again = rest.upload("hired_employees_repaired.csv", repaired.encode()).json()
    assert (again["verdict"], again["nrows_inserted"], again["repairs"]) == ("loaded", 1, told["load_id"])
    assert product.sql("SELECT name FROM hired_employees WHERE id = %s", bad) == [("Ty Hofer",)]


def test_a_stray_quote_costs_its_own_line_only(rest: Rest, product: Product) -> None:
    first, second, third = next(ids), next(ids), next(ids)
    body = f'{first},"Legal\r\r\n{second},Tax\r\r\n{third},"Sales"\r\r\n,\r\r\n\x1a'.encode()
    told = rest.upload("departments.csv", body).json()
    assert (told["verdict"], told["rows"], told["nrows_inserted"], told["nrows_failed"]) == ("loaded", 3, 2, 1)
    assert told["errors"] == [{"line": 1, "column": None, "reason": "bad_quote"}]
    assert told["rows_failed"][0]["_raw"] == f'{first},"Legal'
    found = product.sql("SELECT id, department FROM departments WHERE id BETWEEN %s AND %s ORDER BY id", first, third)
    assert found == [(second, "Tax"), (third, "Sales")]
    assert rest.get(f"/loads/{told['load_id']}").json()["lines"] == {
        "file": 5, "accepted": 2, "rejected": 1, "header": 0, "blank": 1, "ignored": 1
    }  # fmt: skip


def test_what_is_expected_is_said(rest: Rest) -> None:
    moment = f"{next(ids)},Ada,30.05.2021,8,1\n".encode()
    told = rest.upload("hired_employees.csv", moment).json()
    assert "YYYY-MM-DDTHH:MM:SSZ" in told["errors"][0]["expected"]
    page = rest.get(f"/loads/{told['load_id']}/rejected").json()
    assert "YYYY-MM-DDTHH:MM:SSZ" in page["expected"]["not_a_datetime"]
    refused = rest.upload("jobs.csv", b"id,jobs\n1,a\n").json()
    assert "unknown: 'jobs' (did you mean job?)" in refused["error"]


def test_repairs_may_be_named(rest: Rest) -> None:
    first = rest.upload("jobs.csv", jobs(1) + b"x,bad\n").json()
    assert rest.upload("jobs.csv", jobs(1), repairs=first["load_id"]).json()["repairs"] == first["load_id"]
    refused = rest.upload("jobs.csv", jobs(1), repairs="123")
    assert (refused.status_code, refused.json()["error"][:26]) == (400, "repairs: there is no load ")


def test_the_same_file_again_is_a_duplicate(rest: Rest) -> None:
    body = jobs()
    first, second = rest.upload("jobs.csv", body).json(), rest.upload("jobs.csv", body).json()
    assert (second["verdict"], second["duplicate_of"]) == ("duplicate", first["load_id"]), second
    assert second["counts"] == {"inserted": 0, "updated": 0, "unchanged": 2, "rejected": 0}
    assert (first["nrows_inserted"], second["nrows_inserted"]) == (2, 0)


def test_a_name_that_resembles_a_known_one_loads_nothing_and_another_one_passes_with_a_warning(
    rest: Rest, product: Product
) -> None:
    first = next(ids)
    body = f"{first},Unknown\n".encode()
    for name in ("dryRun", "dry-run", "dryrun"):
        answer = rest.upload("jobs.csv", body, **{name: "true"})
        assert (answer.status_code, "Did you mean 'dry_run'?" in answer.json()["error"]) == (400, True)
    field, kind = form(("dry_run", None, b"true"), ("file", "jobs.csv", body))
    answer = rest.plain("POST", "/upload", content=field, headers=rest.bearer | {"Content-Type": kind})
    assert (answer.status_code, "is a query parameter" in answer.json()["error"]) == (400, True)
    assert product.sql("SELECT count(*) FROM jobs WHERE id = %s", first) == [(0,)]
    passed = rest.upload("jobs.csv", body, _="1690000000")
    assert (passed.status_code, passed.headers["warning"]) == (200, "299 - \"Unknown and ignored: '_'\"")
    assert product.sql("SELECT count(*) FROM jobs WHERE id = %s", first) == [(1,)]


def test_a_packed_form_is_loaded(rest: Rest, product: Product) -> None:
    first = next(ids)
    body, kind = form(("file", "jobs.csv", f"{first},Packed\n".encode()))
    headers = rest.bearer | {"Content-Type": kind, "Content-Encoding": "gzip"}
    answer = rest.plain("POST", "/upload", content=gzip.compress(body), headers=headers)
    assert (answer.status_code, answer.json()["verdict"]) == (200, "loaded"), answer.text
    assert product.sql("SELECT job FROM jobs WHERE id = %s", first) == [("Packed",)]


def test_a_file_that_is_refused_as_a_whole(rest: Rest, product: Product) -> None:
    answer = rest.upload("jobs.csv", b"id,wrong\n1,a\n")
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong_header")
    assert "header" in answer.json()["error"]
    all_bad = rest.upload("jobs.csv", b"x,a\ny,b\n")
    assert (all_bad.status_code, all_bad.json()["verdict"], all_bad.json()["nrows_failed"]) == (200, "rejected", 2)
    assert loaded_rows(product, all_bad.json()["load_id"]) == 1


@pytest.mark.parametrize("body", [b"1,a\n", b"x,a\n", b"id,wrong\n1,a\n", b"%d,new\nx,bad\n"], ids=repr)
def test_a_dry_run_gives_the_verdict_and_writes_nothing(rest: Rest, product: Product, body: bytes) -> None:
    body = body % next(ids) if b"%d" in body else body
    ledger = "SELECT count(*) FROM ops.loads WHERE dag_id = 'ingest_upload'"
    before = product.sql("SELECT * FROM jobs ORDER BY id"), product.sql(ledger)
    dry = rest.upload("jobs.csv", body, dry_run=True)
    assert (product.sql("SELECT * FROM jobs ORDER BY id"), product.sql(ledger)) == before
    real = rest.upload("jobs.csv", body)
    assert dry.status_code == real.status_code
    same = {"verdict", "rows", "nrows_inserted", "rows_failed", "nrows_failed", "errors", "counts", "code"}
    assert {name: dry.json()[name] for name in same} == {name: real.json()[name] for name in same}
    assert dry.json()["dry_run"] is True
    assert dry.json()["load_id"] is None


def test_39_the_same_key_gets_the_first_answer(rest: Rest, product: Product) -> None:
    key, body = unique_key(), jobs() + b"x,bad\n"
    first, second = rest.upload("jobs.csv", body, key=key), rest.upload("jobs.csv", body, key=key)
    assert second.json() == first.json()
    sha256 = sha256_of(body)
    assert product.sql("SELECT count(*) FROM ops.loads WHERE sha256 = %s", sha256) == [(1,)]


@pytest.mark.parametrize("other", [{"body": b"1,other\n"}, {"name": "jobs_2.csv"}, {"dry_run": True}], ids=str)
def test_39_the_same_key_with_another_order_is_refused(rest: Rest, other: dict[str, object]) -> None:
    key, body = unique_key(), jobs()
    assert rest.upload("jobs.csv", body, key=key).status_code == 200
    changed = {"name": "jobs.csv", "body": body, "key": key} | other
    answer = rest.upload(**changed)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["error"][:20]) == (409, "This Idempotency-Key")


def test_39_keys_are_each_users_own(rest: Rest) -> None:
    key = unique_key()
    mine, others = rest.upload("jobs.csv", jobs(), key=key), rest.as_("operator").upload("jobs.csv", jobs(), key=key)
    assert (mine.status_code, others.status_code) == (200, 200)
    assert mine.json()["load_id"] != others.json()["load_id"]


def test_39_one_key_sent_many_times_at_once_is_loaded_once(rest: Rest, product: Product) -> None:
    key, body = unique_key(), jobs()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: rest.upload("jobs.csv", body, key=key), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert loaded_rows(product, answers[0].json()["load_id"]) == 1


def test_39_one_key_with_two_files_at_once_is_one_of_them(rest: Rest) -> None:
    key, bodies = unique_key(), [jobs() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda body: rest.upload("jobs.csv", body, key=key), bodies))
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 5]


def test_39_who_does_not_wait_is_told_where_to_ask(rest: Rest) -> None:
    answer = rest.upload("jobs.csv", jobs(), wait=0)
    assert answer.status_code == 202
    told = answer.json()
    assert answer.headers["location"] == told["links"]["status"]
    end = time.monotonic() + 60
    while (found := rest.get(f"/upload/{told['upload_id']}")).status_code == 202:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert (found.status_code, found.json()["verdict"]) == (200, "loaded")


def test_39_a_client_that_goes_away_loses_nothing(rest: Rest) -> None:
    key, body = unique_key(), jobs()
    command = ["curl", "-s", "-m", "0.4", "-F", "file=@-;filename=jobs.csv", "-H", f"Idempotency-Key: {key}", "-H",
               f"Authorization: Bearer {rest.token}", f"{rest.url}/data-api/upload"]  # fmt: skip
    gone = subprocess.run(command, input=body, check=False, capture_output=True)
    assert gone.returncode == 28, "curl was answered before it went away"
    answer = rest.upload("jobs.csv", body, key=key)
    assert (answer.status_code, answer.json()["verdict"]) == (200, "loaded")


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("jobs.csv", b"", 400),
        ("jobs.csv", b"id,job\n", 400),
        ("jobs.csv", b"\n\n", 400),
        ("jobs.csv", b"".join(b"%d,a\n" % n for n in range(1001)), 400),
        ("jobs.csv", b"1," + b"x" * 10_000_000, 413),
        ("jobs.csv", b"\x1f\x8b\x08\x00", 415),
        ("jobs.csv", b"PK\x03\x04....", 415),
        ("jobs.csv", b"%PDF-1.7\n", 415),
        ("20221120_jobs.csv", b"1,a\n", 400),
        ("myowntable.csv", b"1,a\n", 400),
        ("jobs'; DROP TABLE jobs; --.csv.exe", b"1,a\n", 400),
        ("../../jobs.csv", b"1,a\n", 400),
        ("..\\jobs.csv", b"1,a\n", 400),
        ("/etc/jobs.csv", b"1,a\n", 400),
        ("jobs" + "x" * 300 + ".csv", b"1,a\n", 400),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, str | bytes) else str(value),
)
def test_40_41_what_cannot_be_uploaded(rest: Rest, product: Product, name: str, body: bytes, status: int) -> None:
    before = product.sql("SELECT count(*) FROM ops.loads")
    answer = rest.upload(name, body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]
    assert "Traceback" not in answer.text
    assert product.sql("SELECT count(*) FROM ops.loads") == before


def test_41_a_name_with_characters_that_cannot_be_printed(rest: Rest) -> None:
    body, kind = form(("file", "jobs\x01.csv", b"1,a\n"))
    answer = rest.plain("POST", "/upload", content=body, headers=rest.bearer | {"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_name")


def test_40_a_thousand_rows_are_allowed(rest: Rest) -> None:
    told = rest.upload("jobs.csv", jobs(1000)).json()
    assert (told["rows"], told["nrows_inserted"]) == (1000, 1000)


def test_40_forms_that_are_none(rest: Rest) -> None:
    two, kind = form(("file", "jobs.csv", b"1,a\n"), ("file", "jobs.csv", b"2,a\n"))
    text, text_kind = form(("file", None, b"1,a\n"))
    missing, missing_kind = form(("other", None, b"1"))
    for body, content_type, status in (
        (two, kind, 400),
        (text, text_kind, 400),
        (missing, missing_kind, 400),
        (b"garbage", "multipart/form-data; boundary=x", 400),
        (b"garbage", "multipart/form-data", 400),
        (b"1,a\n", "text/csv", 415),
        (b"{}", "application/json", 415),
        (b"", "", 415),
    ):
        headers = rest.bearer | ({"Content-Type": content_type} if content_type else {})
        answer = rest.plain("POST", "/upload", content=body, headers=headers)
        assert (answer.status_code, bool(answer.json()["error"])) == (status, True), (content_type, answer.text)


@pytest.mark.parametrize(
    "query", [{"wait": -1}, {"wait": "x"}, {"wait": 1e9}, {"dry_run": "perhaps"}, {"repairs": "x"}], ids=str
)
def test_parameters_that_cannot_work(rest: Rest, query: dict[str, object]) -> None:
    answer = rest.upload("jobs.csv", jobs(1), **query)
    assert (answer.status_code, answer.json()["error"].split(":")[0]) == (400, next(iter(query)))


def test_fifty_clients_at_once_hold_nobody_up_and_are_all_answered(rest: Rest, product: Product) -> None:
    """More than the server has threads wait for a table that is locked, and the greeting answers at once."""
    bodies = [jobs(3, f"Client {n}") for n in range(CLIENTS)]
    gate = threading.Barrier(CLIENTS)

    def send(body: bytes) -> Answer:
        gate.wait()
        return rest.upload("jobs.csv", body, wait=300)

    with product.session() as session, session.cursor() as cursor, ThreadPoolExecutor(CLIENTS) as pool:
        cursor.execute("SELECT 1 FROM ops.tables WHERE table_name = 'jobs' FOR UPDATE")
        waiting = [pool.submit(send, body) for body in bodies]
        end = time.monotonic() + 120
        while product.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")[0][0] < 1:
            assert time.monotonic() < end
            time.sleep(0.2)
        time.sleep(1)
        times = []
        for _ in range(20):
            started = time.monotonic()
            assert rest.plain("GET", "/").status_code == 200
            times.append(time.monotonic() - started)
        assert sum(one.done() for one in waiting) == 0
        session.rollback()
        answers = [one.result() for one in waiting]
    assert sorted(times)[10] < 1
    assert {(answer.status_code, answer.json()["verdict"]) for answer in answers} == {(200, "loaded")}
    assert product.sql("SELECT count(*), count(DISTINCT id) FROM jobs WHERE starts_with(job, 'Client ')") == [
        (3 * CLIENTS, 3 * CLIENTS)
    ]


def test_a_paused_dag_is_told(rest: Rest, product: Product) -> None:
    product.api.patch("/dags/ingest_upload", {"is_paused": True})
    try:
        time.sleep(1.5)  # that the Dag is ready is known for a second
        answer = rest.upload("jobs.csv", jobs(1))
        assert (answer.status_code, "paused" in answer.json()["error"]) == (503, True)
        assert answer.headers["retry-after"]
    finally:
        product.api.patch("/dags/ingest_upload", {"is_paused": False})


def test_a_fault_is_told_and_the_same_key_tries_again(rest: Rest, product: Product) -> None:
    product.do(
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no room'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON public.jobs FOR EACH ROW WHEN (NEW.job = 'Refused')"
        " EXECUTE FUNCTION public.refuse()"
    )
    key, body = unique_key(), jobs(1, "Refused")
    try:
        answer = rest.upload("jobs.csv", body, key=key)
        assert (answer.status_code, answer.json()["verdict"]) == (503, "failed"), answer.text
    finally:
        product.do("DROP TRIGGER refuse ON public.jobs; DROP FUNCTION public.refuse()")
    again = rest.upload("jobs.csv", body, key=key)
    assert (again.status_code, again.json()["verdict"]) == (200, "loaded"), again.text


def test_airflows_own_route_loads_a_file_by_its_key(product: Product) -> None:
    first = next(ids)
    product.put("elsewhere/", "jobs_by_key.csv", f"{first},By key\n".encode())
    body = {"logical_date": None, "conf": {"key": "elsewhere/jobs_by_key.csv"}}
    run_id = product.api.post("/dags/ingest_upload/dagRuns", body)["dag_run_id"]
    end = time.monotonic() + 60
    while (state := product.api.get(f"/dags/ingest_upload/dagRuns/{run_id}")["state"]) not in ("success", "failed"):
        assert time.monotonic() < end
        time.sleep(0.2)
    assert state == "success"
    assert product.sql("SELECT job FROM jobs WHERE id = %s", first) == [("By key",)]
    assert product.s3.head_object(Bucket=product.bucket, Key="elsewhere/jobs_by_key.csv")


def test_an_upload_lies_in_the_archive_and_nowhere_else(rest: Rest, product: Product) -> None:
    told = rest.upload("jobs_kept.csv", jobs()).json()
    end = time.monotonic() + 30
    while True:
        found = product.s3.list_objects_v2(Bucket=product.bucket, Prefix=f"uploads/{told['upload_id']}/")
        if not found.get("KeyCount") or time.monotonic() > end:
            break
        time.sleep(0.2)
    assert found["KeyCount"] == 0
    kept = product.s3.list_objects_v2(Bucket=product.bucket, Prefix="archive/jobs/")["Contents"]
    assert f"{told['load_id']}-jobs_kept.csv" in {one["Key"].rpartition("/")[2] for one in kept}
