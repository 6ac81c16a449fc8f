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

from datamart.health import Code
from datamart.measures import BY_THE_WATCH
from tests.databases import OwnDatabase, own_database
from tests.landing_queue import Queue, queued, told
from tests.monitoring.exported import Sample, read
from tests.monitoring.receivers import Lines, statsd
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
    told: Lines
    events: Path

    def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        with self.warehouse.cursor() as cursor:
            cursor.execute(text, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    def own(self, text: str) -> list[tuple[Any, ...]]:
        """Rows of the stack's own PostgreSQL."""
        with closing(psycopg2.connect(self.stack.env["WAREHOUSE_URI"])) as connection, connection.cursor() as cursor:
            cursor.execute(text)
            return list(cursor.fetchall())

    def samples(self, ending: str) -> list[Sample]:
        """What was told of a metric, as Prometheus would know it."""
        found = [read(line) for line in self.told.own]
        assert None not in found, "a metric that the exporter's mapping does not know"
        return [one for one in found if one and one.name == f"airflow_datamart_{ending}"]

    def summed(self, ending: str) -> dict[tuple[str, ...], float]:
        """A counter by the values of its labels."""
        sums: dict[tuple[str, ...], float] = {}
        for one in self.samples(ending):
            labels = tuple(one.labels.values())
            sums[labels] = sums.get(labels, 0) + one.value
        return sums

    def lineage(self, job: str, kind: str) -> list[dict[str, Any]]:
        """Events of a task."""
        lines = self.events.read_text().splitlines() if self.events.exists() else []
        found = [json.loads(line) for line in lines]
        return [one for one in found if (one["job"]["name"], one["eventType"]) == (job, kind)]

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


def observers(told: Lines, events: Path) -> dict[str, str]:
    """Airflow's own settings for who is told of metrics and lineage."""
    return {
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_PORT": str(told.port),
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": str(events), "append": True}),
        "DATAMART_WATCH_SECONDS": "10",
    }


@pytest.fixture(scope="module")
def elsewhere(warehouse_and_s3: Stack) -> Iterator[Elsewhere]:
    """The stand-in is before another server than the stack's; the files are in the stack's S3."""
    with tempfile.TemporaryDirectory(prefix="test-", ignore_cleanup_errors=True) as folder:
        stack = Stack(Path(folder).resolve() / "stack", airflow=False)
        stack.start()  # its S3 must have its keys before the stand-in can be given them
        s3 = stack.s3
        stack.stop()
        stack.airflow = True
        stack.variables |= {"NO_AIRFLOW": "", "NO_DEMO": "0"}
        with own_database(warehouse_and_s3, "elsewhere", bytewise=True) as own:
            with closing(psycopg2.connect(**own.superuser)) as administration:
                prepare(administration)
            at = own.superuser
            events = Path(folder) / "events.jsonl"
            with (
                Standin(host=at["host"], port=at["port"], s3=s3, role=ROLE) as standin,
                queued() as queue,
                statsd() as told,
            ):
                stack.variables |= queue.variables | observers(told, events)
                stack.variables |= {
                    "AIRFLOW_CONN_WAREHOUSE": connection(own.owner, standin.port),
                    "AIRFLOW_CONN_WAREHOUSE_READ": connection(own.reader, standin.port),
                    "DATAMART_ANALYST_ROLE": str(own.analyst.username),
                }
                try:
                    stack.start()
                    with closing(psycopg2.connect(own.dsn)) as warehouse:
                        warehouse.autocommit = True
                        yield Elsewhere(
                            stack, own, standin, warehouse, Rest.of(stack).as_("admin"), queue, told, events
                        )
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


WAYS = {"historic_load": "history", "ingest_landing": "landing", "ingest_upload": "upload"}
ROWS = ("read", "inserted", "updated", "unchanged", "rejected", "removed")


def test_what_was_counted_is_what_the_ledger_says(elsewhere: Elsewhere) -> None:
    columns = ", ".join(f"SUM(rows_{what})" for what in ROWS)
    ledger = elsewhere.sql(f"SELECT dag_id, table_name, {columns} FROM ops.loads GROUP BY dag_id, table_name")
    assert len(ledger) == 5, "three tables of the demo, a landed file and an upload"
    files = elsewhere.sql("SELECT dag_id, table_name, verdict, COUNT(*) FROM ops.loads GROUP BY 1, 2, 3")
    verdicts = {(WAYS[dag], table, verdict): n for dag, table, verdict, n in files}
    until(lambda: elsewhere.summed("files_total") == verdicts, 20)
    for place, what in enumerate(ROWS, 2):
        expected = {(WAYS[row[0]], row[1]): float(row[place]) for row in ledger}
        assert elsewhere.summed(f"rows_{what}_total") == expected, what
    assert sum(elsewhere.summed("rows_rejected_total").values()) >= 2
    assert len(elsewhere.samples("load_duration_seconds")) == sum(row[-1] for row in files)


def test_backup_restore_and_refresh_were_counted(elsewhere: Elsewhere) -> None:
    ((added, changed, removed),) = elsewhere.sql("SELECT rows_added, rows_changed, rows_removed FROM ops.restores")
    assert (added, changed, removed) == (2, 1, 0)
    assert elsewhere.summed("recovery_rows_total") == {
        ("restore", "jobs", "added"): added, ("restore", "jobs", "changed"): changed,
        ("restore", "jobs", "removed"): removed,
    }  # fmt: skip
    ((rows, size),) = elsewhere.sql("SELECT rows_total, bytes_total FROM ops.backups")
    assert [one.value for one in elsewhere.samples("backup_rows")] == [rows]
    assert [one.value for one in elsewhere.samples("backup_bytes")] == [size]
    assert len(elsewhere.samples("backup_duration_seconds")) == 1
    newest = elsewhere.sql("SELECT rows_written FROM ops.insight_refreshes ORDER BY refreshed_at DESC LIMIT 2")
    assert {one.value for one in elsewhere.samples("refresh_rows")[-2:]} == {row[0] for row in newest}


def test_the_watch_tells_how_things_are(elsewhere: Elsewhere) -> None:
    names = {metric.name.removeprefix("datamart.").replace(".", "_") for metric in BY_THE_WATCH}
    for name in names - {"watch_looks"}:
        assert until(lambda name=name: elsewhere.samples(name), 40), name
    looks = len(elsewhere.samples("watch_looks_total"))
    until(lambda: len(elsewhere.samples("watch_looks_total")) > looks, 40)
    newest = {one.labels["code"]: one.value for one in elsewhere.samples("findings")}
    assert newest == {code.value: int(code is Code.NO_BACKUP) for code in Code}
    ages = {one.labels["table"]: one.value for one in elsewhere.samples("table_age")}
    assert set(ages) == set(TABLES)
    assert all(0 <= age < 1200 for age in ages.values())


def flows(events: list[dict[str, Any]]) -> list[tuple[list[str], dict[str, int | None]]]:
    """What each event says was read, and what was written with how many rows."""
    return [
        (
            [f"{one['namespace']} {one['name']}" for one in event["inputs"]],
            {
                f"{one['namespace']} {one['name']}": one["outputFacets"]["outputStatistics"].get("rowCount")
                for one in event["outputs"]
            },
        )
        for event in events
    ]


def test_events_say_what_was_read_and_written(elsewhere: Elsewhere) -> None:
    database = str(elsewhere.database.owner.path).strip("/")
    server = f"redshift://127.0.0.1:{elsewhere.standin.port} {database}.public"
    data, kept = (f"s3://{elsewhere.stack.env[name]}" for name in ("DATA_BUCKET", "BACKUP_BUCKET"))
    ((backup, rows),) = elsewhere.sql("SELECT backup_id, rows_total FROM ops.backups")
    expected = {
        "historic_load.load_2": ([f"{data} historic/hired_employees.csv"], f"{server}.hired_employees"),
        "ingest_landing.load": ([f"{data} landing/jobs_landed.csv"], f"{server}.jobs"),
        "backup.take": ([f"{server}.jobs"], f"{kept} {backup}/jobs"),
        "restore.bring_back": ([f"{kept} {backup}/jobs"], f"{server}.jobs"),
    }
    for job, (inputs, output) in expected.items():
        complete = until(lambda job=job: elsewhere.lineage(job, "COMPLETE"), 30)
        (found,) = flows(complete)
        assert (found[0], list(found[1])) == (inputs, [output]), job
        (start,) = elsewhere.lineage(job, "START")
        assert start["run"]["runId"] == complete[0]["run"]["runId"]
    assert list(flows(elsewhere.lineage("backup.take", "COMPLETE"))[0][1].values()) == [rows]
    ((inputs, outputs),) = flows(elsewhere.lineage("ingest_upload.load", "COMPLETE"))
    assert inputs[0].startswith(f"{data} uploads/")
    assert outputs == {f"{server}.jobs": 2}
    inputs, outputs = flows(elsewhere.lineage("refresh_insights.refresh", "COMPLETE"))[-1]
    assert inputs == [f"{server}.{table}" for table in TABLES]
    assert list(outputs) == [f"{server}.hires_department_job", f"{server}.departments_hired_above_mean"]


def test_neither_events_nor_metrics_hold_secrets_or_rows(elsewhere: Elsewhere) -> None:
    text = elsewhere.events.read_text() + "\n".join(elsewhere.told.lines)
    env = elsewhere.stack.env
    owner, reader = elsewhere.database.owner, elsewhere.database.reader
    secrets = [env["AIRFLOW_PASSWORD"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_ACCESS_KEY_ID"]]
    secrets += [str(login.password) for login in (owner, reader)]
    rows = ["Bargee", "Cooper", "Dyer", "spoiled", "Accountant II"]
    for secret in [*secrets, *rows, "postgresql://", "postgresql+psycopg2://", "def load"]:
        assert len(secret) > 3
        assert secret not in text
    assert "landing/jobs_landed.csv" in text, "what is there is found"
