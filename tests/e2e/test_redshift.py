"""The whole product on Redshift: ``make run`` with the stand-in as its warehouse, from the demo to a restore."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

import psycopg2
import pytest

from tests.databases import OwnDatabase, own_database
from tests.landing_queue import Queue, queued, told
from tests.oracle import insights as oracle
from tests.oracle import rules
from tests.redshift.standin import Standin, prepare
from tests.rest import SAMPLES, Rest
from tests.stack import Stack

ROLE = "arn:aws:iam::123456789012:role/datamart-warehouse"
TABLES = ("departments", "jobs", "hired_employees")


@dataclass
class Elsewhere:
    """A stack whose warehouse is not its own."""

    stack: Stack
    database: OwnDatabase
    standin: Standin
    warehouse: Any
    rest: Rest
    queue: Queue

    def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        with self.warehouse.cursor() as cursor:
            cursor.execute(text, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    def own(self, text: str) -> list[tuple[Any, ...]]:
        """Rows of the stack's own PostgreSQL."""
        with closing(psycopg2.connect(self.stack.env["WAREHOUSE_URI"])) as connection, connection.cursor() as cursor:
            cursor.execute(text)
            return list(cursor.fetchall())

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        columns = ", ".join(f'"{name}"' for name in rules.COLUMNS[table])
        return self.sql(f"SELECT {columns} FROM public.{table} ORDER BY id")


def connection(login: SplitResult, port: int) -> str:
    """As Airflow reads a connection from a variable."""
    extra = {"iam_role": ROLE, "sslmode": "disable"}
    return json.dumps(
        {
            "conn_type": "redshift",
            "host": "127.0.0.1",
            "port": port,
            "schema": login.path.strip("/"),
            "login": login.username,
            "password": login.password,
            "extra": extra,
        }
    )


@pytest.fixture(scope="module")
def elsewhere(warehouse_and_s3: Stack) -> Iterator[Elsewhere]:
    """The stand-in is before another server than the stack's; the files are in the stack's S3."""
    with tempfile.TemporaryDirectory(prefix="test-", ignore_cleanup_errors=True) as folder:
        stack = Stack(Path(folder).resolve() / "stack", airflow=False)
        stack.start()  # its S3 must have its keys before the stand-in can be given them
        s3 = stack.s3
        stack.stop()
        stack.airflow = True
        stack.variables |= {"NO_AIRFLOW": "", "NO_DEMO": ""}
        with own_database(warehouse_and_s3, "elsewhere", bytewise=True) as own:
            with closing(psycopg2.connect(**own.superuser)) as administration:
                prepare(administration)
            at = own.superuser
            with Standin(host=at["host"], port=at["port"], s3=s3, role=ROLE) as standin, queued() as queue:
                stack.variables |= queue.variables | {
                    "AIRFLOW_CONN_WAREHOUSE": connection(own.owner, standin.port),
                    "AIRFLOW_CONN_WAREHOUSE_READ": connection(own.reader, standin.port),
                    "DATAMART_ANALYST_ROLE": str(own.analyst.username),
                }
                try:
                    stack.start()
                    with closing(psycopg2.connect(own.dsn)) as warehouse:
                        warehouse.autocommit = True
                        yield Elsewhere(stack, own, standin, warehouse, Rest.of(stack).as_("admin"), queue)
                finally:
                    stack.stop()
                    stack.command("down")


def until(what: Callable[[], Any], seconds: float = 120) -> Any:
    """What it gives, once it gives something."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.5)
    return found


def sample(table: str) -> bytes:
    return (SAMPLES / f"{table}.csv").read_bytes()


def test_the_demo_loads_the_samples_and_prints_their_insights(elsewhere: Elsewhere) -> None:
    output = elsewhere.stack.output
    assert "Your own warehouse is up to date" in output
    assert "Departments that hired more than the mean in 2021" in output
    for table in TABLES:
        assert len(elsewhere.rows(table)) == len(rules.judge(table, sample(table)).accepted)
    assert any(text.startswith("COPY staging_") for text in elsewhere.standin.statements)
    assert elsewhere.own("SELECT COUNT(*) FROM ops.loads") == [(0,)], "the stack's own warehouse was used"


def test_the_analysts_that_a_setting_names_read_what_is_meant_for_people(elsewhere: Elsewhere) -> None:
    with closing(psycopg2.connect(elsewhere.database.analyst_dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM public.jobs")
        cursor.execute("SELECT COUNT(*) FROM ops.loads")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("SELECT COUNT(*) FROM ops.rejected_rows")


def test_insights_are_answered(elsewhere: Elsewhere) -> None:
    rows = oracle.Tables(*(rules.judge(table, sample(table)).accepted for table in TABLES))
    found = elsewhere.rest.get("/insights", table="DEPARTMENTS_HIRED_ABOVE_MEAN", year=2021).json()
    assert [tuple(record.values()) for record in found] == oracle.departments_hired_above_mean(rows, 2021)
    fresh = elsewhere.rest.get("/insights", table="HIRES_DEPARTMENT_JOB", year=2021, fresh="true", limit=1000).json()
    assert [tuple(record.values()) for record in fresh] == oracle.hires_department_job(rows, 2021)[:1000]


def test_a_file_that_the_queue_tells_of_is_loaded_and_archived(elsewhere: Elsewhere) -> None:
    """Sooner than the next run by the clock, which begins five minutes after the last."""
    s3, bucket = elsewhere.stack.s3, elsewhere.stack.env["DATA_BUCKET"]
    s3.put_object(Bucket=bucket, Key="landing/jobs_landed.csv", Body=b"900001,Bargee\nx,bad\n")
    elsewhere.queue.send(told("landing/jobs_landed.csv"))
    until(lambda: elsewhere.sql("SELECT 1 FROM ops.loads WHERE source_key = 'landing/jobs_landed.csv'"))
    assert elsewhere.sql("SELECT job FROM public.jobs WHERE id = 900001") == [("Bargee",)]
    until(lambda: "KeyCount" in (left := s3.list_objects_v2(Bucket=bucket, Prefix="landing/")) and not left["KeyCount"])


def test_an_upload_is_answered_with_its_rows(elsewhere: Elsewhere) -> None:
    answer = elsewhere.rest.upload("jobs_sent.csv", b"900002,Cooper\n900003,Dyer\ny,bad\n")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["nrows_inserted"], told["nrows_failed"], told["verdict"]) == (2, 1, "loaded")
    page = elsewhere.rest.get(f"/loads/{told['load_id']}/rejected").json()
    assert page["rows"][0]["values"] == ["y", "bad"]


def test_a_table_is_backed_up_and_restored(elsewhere: Elsewhere) -> None:
    before = elsewhere.rows("jobs")
    rest = elsewhere.rest
    answer = rest.plain("POST", "/backup", params={"table": "jobs"}, headers=rest.bearer)
    assert answer.status_code == 200, answer.text
    backup = until(lambda: rest.get("/backups").json()["backups"])[0]
    assert backup["tables"]["jobs"]["rows"] == len(before)
    elsewhere.sql("DELETE FROM public.jobs WHERE id >= 900002")
    elsewhere.sql("UPDATE public.jobs SET job = 'spoiled' WHERE id = 900001")
    restored = rest.plain("POST", "/restore", params={"table": "jobs", "wait": 120}, headers=rest.bearer)
    assert restored.status_code == 200, restored.text
    assert restored.json()["result"] == "Table jobs restored from backup."
    assert elsewhere.rows("jobs") == before


def test_nothing_is_unwell_and_nothing_is_left_on_its_way(elsewhere: Elsewhere) -> None:
    bucket = elsewhere.stack.env["DATA_BUCKET"]
    assert not elsewhere.stack.s3.list_objects_v2(Bucket=bucket, Prefix="exchange/").get("KeyCount")
    assert elsewhere.rest.get("/health").status_code == 200
