"""Files that land, through Airflow's real processes: loaded once within seconds, each in one place afterwards."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import psutil
import psycopg2
import pytest

from tests import alive
from tests.product import Product
from tests.stack import Stack

PATIENCE = 120
DAG = "ingest_landing"


def until(happens: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < deadline, f"{what} has not happened"
        time.sleep(0.3)


class Landing:
    """The landing folder of the stack; names of files are unlike those of any other test."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.mark = uuid4().hex[:10]

    def drop(self, name: str, body: bytes) -> str:
        """Put a file there; its key."""
        table, _, rest = name.partition(":")
        file = f"{table}_{self.mark}_{rest}" if rest else name
        self.product.put("landing/", file, body)
        return f"landing/{file}"

    def verdicts(self, *keys: str) -> list[str]:
        found = self.product.sql(
            "SELECT source_key, verdict FROM ops.loads WHERE source_key = ANY(%s) AND verdict <> 'failed'", list(keys)
        )
        return [dict(found)[key] for key in keys if key in dict(found)]

    def answered(self, *keys: str) -> list[str]:
        """The verdicts, when all files have one and are out of the way."""
        until(lambda: len(self.verdicts(*keys)) == len(keys), "a verdict for each file")
        until(lambda: not set(keys) & set(self.keys("landing/")), "the move of each file")
        return self.verdicts(*keys)

    def keys(self, prefix: str) -> list[str]:
        pages = self.product.s3.get_paginator("list_objects_v2").paginate(Bucket=self.product.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def places(self, prefix: str) -> list[str]:
        """What lies under a prefix of this test's files, without day and load."""
        mine = [key for key in self.keys(prefix) if self.mark in key]
        return sorted(key.rsplit("/", 1)[-1].split("-", 1)[1] for key in mine)

    def runs(self, **query: object) -> list[dict[str, object]]:
        found: list[dict[str, object]] = self.product.api.get(f"/dags/{DAG}/dagRuns", limit=100, **query)["dag_runs"]
        return found

    def run_of(self, key: str) -> str:
        """The path of the run that gave a file its verdict."""
        ((run_id,),) = self.product.sql("SELECT run_id FROM ops.loads WHERE source_key = %s", key)
        return f"/dags/{DAG}/dagRuns/{quote(run_id)}"

    def state_of(self, key: str) -> str:
        """How that run ended."""
        path = self.run_of(key)
        until(lambda: self.product.api.get(path)["state"] in ("success", "failed"), "the end of the run")
        return str(self.product.api.get(path)["state"])

    def load_task(self, key: str) -> dict[str, Any]:
        """The task of that run that loaded it; a test's files are of one table."""
        (task,) = self.product.api.get(f"{self.run_of(key)}/taskInstances/load/listMapped")["task_instances"]
        return dict(task)

    def gate_says(self, key: str) -> str:
        """What a person reads in the log of that run's last task."""
        return json.dumps(self.product.api.get(f"{self.run_of(key)}/taskInstances/gate/logs/1", full_content="true"))


@pytest.fixture
def landing(product: Product) -> Iterator[Landing]:
    yield Landing(product)
    until(lambda: not product.busy(), "the end of all runs")


def balanced(product: Product) -> bool:
    return product.sql(
        "SELECT count(*) FROM ops.loads WHERE verdict IN ('loaded', 'duplicate')"
        " AND rows_read <> rows_inserted + rows_updated + rows_unchanged + rows_rejected"
    ) == [(0,)]


def test_a_stray_quote_costs_its_own_line_only(landing: Landing, product: Product) -> None:
    key = landing.drop("departments:quote.csv", b'790,"Legal\n791,Tax\n792,"Sales"\n')
    assert landing.answered(key) == ["loaded"]
    found = product.sql("SELECT id, department FROM departments WHERE id BETWEEN 790 AND 792 ORDER BY id")
    assert found == [(791, "Tax"), (792, "Sales")]
    rejected = product.sql(
        "SELECT line, reasons FROM ops.rejected_rows JOIN ops.loads USING (load_id) WHERE source_key = %s", key
    )
    assert rejected == [(1, "bad_quote")]


def test_files_of_all_tables_are_loaded_archived_and_seen_in_the_insights(landing: Landing, product: Product) -> None:
    keys = [landing.drop(f"departments:{n}.csv", b"%d,Landed %d\n" % (700 + n, n)) for n in range(3)]
    keys += [landing.drop(f"jobs:{n}.csv", b"%d,Landed %d\n" % (700 + n, n)) for n in range(3)]
    keys += [
        landing.drop(f"hired_employees:{n}.csv", b"%d,Ada,2019-03-04T05:06:07Z,%d,%d\n" % (700 + n, 700 + n % 3, 700))
        for n in range(4)
    ]
    assert landing.answered(*keys) == ["loaded"] * 10
    assert len(landing.places("archive/")) == 10
    assert product.sql("SELECT warnings FROM ops.loads WHERE source_key = ANY(%s)", keys) == [("{}",)] * 10
    assert landing.state_of(keys[-1]) == "success"
    counted = "SELECT department, q1 FROM hires_department_job WHERE year = 2019 ORDER BY 1"
    until(lambda: product.sql(counted) == [("Landed 0", 2), ("Landed 1", 1), ("Landed 2", 1)], "the insights")
    assert balanced(product)


def forget_events(stack: Stack) -> list[tuple[str]]:
    """Lose what Airflow has queued for the refresh, as it does when many events come during a run; what was lost."""
    secrets = json.loads((stack.directory / "secrets" / "secrets.json").read_text())
    at = {"host": "127.0.0.1", "port": stack.variables["POSTGRES_PORT"], "user": "airflow", "dbname": "airflow"}
    with psycopg2.connect(**at, password=secrets["postgres_airflow"]) as connection, connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM asset_dag_run_queue WHERE target_dag_id = 'refresh_insights' RETURNING target_dag_id"
        )
        return list(cursor.fetchall())


def test_62_loads_during_a_slow_refresh_are_in_the_insights_though_their_events_are_lost(
    landing: Landing, product: Product, stack: Stack
) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'public.hires_department_job'::regclass"
    with product.session() as slow, slow.cursor() as cursor:
        cursor.execute("LOCK TABLE public.hires_department_job IN SHARE MODE")
        first = landing.drop("departments:slow.csv", b"760,Slow\n")
        until(lambda: product.sql(waiting) == [(1,)], "the refresh that is held up")
        keys = [
            landing.drop(f"hired_employees:{n}.csv", b"%d,Ada,2017-03-04T05:06:07Z,760,700\n" % (760 + n))
            for n in range(4)
        ]
        assert landing.answered(first, *keys) == ["loaded"] * 5
        assert [landing.state_of(key) for key in keys] == ["success"] * 4
        until(lambda: forget_events(stack), "the events of the loads")
        slow.rollback()
    released = time.monotonic()
    counted = "SELECT department, sum(q1) FROM hires_department_job WHERE year = 2017 GROUP BY 1"
    until(lambda: product.sql(counted) == [("Slow", 4)], "the insights")
    assert time.monotonic() - released < 60


def test_a_refused_file_is_set_aside_and_a_good_one_loaded(landing: Landing, product: Product) -> None:
    bad, good = landing.drop("jobs:bad.csv", b"x,\n"), landing.drop("jobs:good.csv", b"720,Good\nx,Bad\n")
    strange = landing.drop(f"notes_{landing.mark}.txt", b"hello\n")
    assert landing.answered(bad, good, strange) == ["rejected", "loaded", "rejected"]
    assert landing.places("archive/") == [good.removeprefix("landing/")]
    set_aside = sorted(key.removeprefix("landing/") for key in (bad, strange))
    assert landing.places("quarantine/") == sorted([*set_aside, *(f"{name}.json" for name in set_aside)])
    (note,) = [key for key in landing.keys("quarantine/") if key.endswith(f"jobs_{landing.mark}_bad.csv.json")]
    told = json.loads(product.s3.get_object(Bucket=product.bucket, Key=note)["Body"].read())
    assert (told["code"], told["rows_rejected"]) == ("all_rows_bad", 1)
    assert landing.state_of(bad) == "success", "a verdict that is recorded is no fault of the run"
    assert f"{bad}: rejected. " in landing.gate_says(bad)
    assert good not in landing.gate_says(bad)
    assert balanced(product)


def test_what_the_warehouse_refuses_is_on_hold_and_the_dag_goes_on_without_spinning(
    landing: Landing, product: Product
) -> None:
    name = f"jobs_{landing.mark}_held.csv"
    product.do(
        f"CREATE FUNCTION ops.refuse_{landing.mark}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF NEW.source_key LIKE '%{name}' AND NEW.verdict <> 'failed' THEN RAISE 'not this one'; END IF;"
        " RETURN NEW; END $$"
    )
    product.do(
        f"CREATE TRIGGER refuse_{landing.mark} BEFORE INSERT ON ops.loads"
        f" FOR EACH ROW EXECUTE FUNCTION ops.refuse_{landing.mark}()"
    )
    try:
        held = landing.drop("jobs:held.csv", b"730,Held\n")
        other = landing.drop("jobs:other.csv", b"731,Other\n")
        assert landing.answered(other) == ["loaded"]
        attempts = "SELECT attempts FROM ops.holds WHERE source_key = %s"
        until(lambda: product.sql(attempts, held), "the hold")
        before = len(landing.runs(order_by="-run_after"))
        time.sleep(15)
        assert len(landing.runs(order_by="-run_after")) - before <= 5
        assert product.sql("SELECT verdict FROM ops.loads WHERE source_key = %s", held) == [("failed",)]
        assert held in landing.keys("landing/")
    finally:
        product.do(f"DROP TRIGGER refuse_{landing.mark} ON ops.loads")
        product.do(f"DROP FUNCTION ops.refuse_{landing.mark}")
    product.do("UPDATE ops.holds SET next_try_at = now()")
    assert landing.answered(held) == ["loaded"]
    until(lambda: not product.sql(attempts, held), "the end of the hold")
    assert product.sql("SELECT job FROM jobs WHERE id = 730") == [("Held",)]


def test_12_files_that_came_while_it_was_paused_are_loaded_afterwards(landing: Landing, product: Product) -> None:
    product.api.patch(f"/dags/{DAG}", {"is_paused": True})
    try:
        hire = landing.drop("hired_employees:early.csv", b"740,Ada,2018-03-04T05:06:07Z,740,740\n")
        key = landing.drop("jobs:early.csv", b"740,Early\n")
        department = landing.drop("departments:early.csv", b"740,Early\n")
        time.sleep(8)
        assert landing.verdicts(hire, key, department) == []
    finally:
        product.api.patch(f"/dags/{DAG}", {"is_paused": False})
    assert landing.answered(hire, key, department) == ["loaded"] * 3
    # 21: what the hire refers to was loaded before it, although it came after.
    assert product.sql("SELECT warnings FROM ops.loads WHERE source_key = %s", hire) == [("{}",)]


def test_28_a_cleared_task_of_a_finished_run_changes_nothing(landing: Landing, product: Product) -> None:
    key = landing.drop("jobs:cleared.csv", b"750,Once\n")
    landing.answered(key)
    assert landing.state_of(key) == "success"
    later = landing.drop("jobs:later.csv", b"750,Later\n")
    landing.answered(later)
    ((run_id,),) = product.sql("SELECT run_id FROM ops.loads WHERE source_key = %s", key)
    before = product.sql("SELECT * FROM ops.loads ORDER BY load_id"), product.sql("SELECT * FROM jobs ORDER BY id")
    body = {"dry_run": False, "dag_run_id": run_id, "task_ids": ["load"], "only_failed": False}
    product.api.post(f"/dags/{DAG}/clearTaskInstances", body)
    path = f"/dags/{DAG}/dagRuns/{quote(run_id)}"
    until(lambda: product.api.get(path)["state"] in ("success", "failed"), "the second end of the run")
    after = product.sql("SELECT * FROM ops.loads ORDER BY load_id"), product.sql("SELECT * FROM jobs ORDER BY id")
    assert after == before


def test_29_landing_and_historic_load_of_one_table_at_once(landing: Landing, product: Product) -> None:
    names = range(15)
    for n in names:
        product.put(f"both-{landing.mark}/", f"jobs_{landing.mark}_{n}.csv", b"%d,History\n" % (1000 + n) * 1)
    answer: list[str] = []
    history = threading.Thread(target=lambda: answer.append(product.run(f"both-{landing.mark}/")[0]))
    history.start()
    keys = [landing.drop(f"jobs:{n}.csv", b"%d,Landed\n%d,Both\n" % (2000 + n, 1000 + n)) for n in names]
    assert landing.answered(*keys) == ["loaded"] * len(keys)
    history.join()
    assert answer == ["success"]
    rows = product.sql("SELECT id, job FROM jobs WHERE id BETWEEN 1000 AND 2999 ORDER BY id")
    assert [key for key, _ in rows] == [*range(1000, 1015), *range(2000, 2015)]
    assert {job for key, job in rows if key >= 2000} == {"Landed"}
    ((live, counted),) = product.sql(
        "SELECT (SELECT count(*) FROM jobs), sum(rows_inserted) - sum(rows_removed) FROM ops.loads"
        " WHERE table_name = 'jobs'"
    )
    assert live == counted
    assert balanced(product)


def test_hundreds_of_small_files_at_once(landing: Landing, product: Product) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda n: landing.drop(f"jobs:{n}.csv", b"%d,Many\n" % (5000 + n)), range(300)))
    assert landing.answered(*keys) == ["loaded"] * 300
    assert product.sql("SELECT count(*), count(DISTINCT id) FROM jobs WHERE id BETWEEN 5000 AND 5299") == [(300, 300)]
    assert len(landing.places("archive/")) == 300


def process_of(stack: Stack, task_instance: str) -> psutil.Process:
    """The process that runs the code of a task: its title tells the id."""
    assert stack.process is not None
    for process, title in alive.ask(psutil.Process(stack.process.pid).children(recursive=True), alive.title):
        if title.strip() == f"airflow worker -- {task_instance}":
            return process
    raise LookupError(f"no process of task {task_instance}")


def test_24_a_task_that_is_killed_in_the_middle_of_its_batch_is_finished_by_its_retry(
    landing: Landing, product: Product, stack: Stack
) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda n: landing.drop(f"jobs:{n:03}.csv", b"%d,Killed\n" % (6000 + n)), range(100)))
    until(lambda: len(landing.verdicts(*keys)) > 10, "some of the verdicts")
    ((first,),) = product.sql(
        "SELECT source_key FROM ops.loads WHERE source_key = ANY(%s) ORDER BY commit_seq DESC LIMIT 1", keys
    )
    task = landing.load_task(first)
    process_of(stack, task["id"]).kill()
    assert len(landing.verdicts(*keys)) < len(keys), "it was done before it was killed"
    assert landing.answered(*keys) == ["loaded"] * len(keys)
    assert landing.state_of(first) == "success"
    assert landing.load_task(first)["try_number"] == 2
    assert product.sql("SELECT count(*), count(DISTINCT id) FROM jobs WHERE id BETWEEN 6000 AND 6099") == [(100, 100)]
    assert len(landing.places("archive/")) == len(keys)
    assert product.sql("SELECT source_key FROM ops.holds WHERE source_key = ANY(%s)", keys) == []
    assert balanced(product)


def test_files_that_are_no_data_start_no_run_and_the_next_run_counts_them(landing: Landing, product: Product) -> None:
    junk = [f"{landing.mark}/{name}" for name in (".DS_Store", "_SUCCESS", "jobs.csv.md5", "jobs.csv.part")]
    until(lambda: landing.runs(state="running") and not product.busy(), "a run that waits for files")
    before = len(landing.runs())
    try:
        for name in junk:
            product.put("landing/", name, b"x")
        time.sleep(3)
        assert len(landing.runs()) == before
        good = landing.drop("jobs:good.csv", b"730,Beside junk\n")
        assert landing.answered(good) == ["loaded"]
        assert landing.state_of(good) == "success"
        ((run_id,),) = product.sql("SELECT run_id FROM ops.loads WHERE source_key = %s", good)
        left_out = product.result(DAG, run_id, "gate")["left_out"]
        assert {reason: one["files"] for reason, one in left_out.items()} == {
            "ignored by name": 3, "not complete by name": 1
        }  # fmt: skip
    finally:  # others wait until the folder is empty
        for name in junk:
            product.s3.delete_object(Bucket=product.bucket, Key=f"landing/{name}")
