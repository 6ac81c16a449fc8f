"""The maintenance Dag removes what is over, Airflow's own old runs included, and leaves what is new or not ended."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from datamart.errors import TransientFault
from datamart_airflow import metadata
from embedded.airflow_api import ApiError
from tests.product import Product
from tests.stack import Stack

TASKS = {
    "expire_clean", "expire_rejects", "expire_quarantine", "expire_uploads", "forget_holds", "clean_metadata",
    "clean_task_logs",
}  # fmt: skip
KEEP = timedelta(days=30)


@dataclass(frozen=True)
class Airflow:
    """Airflow's own database, as its tasks may not see it."""

    database: metadata.AirflowDatabase
    connection: Any

    def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(text, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    def age(self, dag_id: str, run_id: str, days: int) -> None:
        """Let a run have happened in the past."""
        earlier = "start_date = start_date - make_interval(days => %s), end_date = end_date - make_interval(days => %s)"
        for table in ("dag_run", "task_instance"):
            self.sql(f"UPDATE {table} SET {earlier} WHERE dag_id = %s AND run_id = %s", days, days, dag_id, run_id)

    def runs(self, dag_id: str) -> set[str]:
        return {run_id for (run_id,) in self.sql("SELECT run_id FROM dag_run WHERE dag_id = %s", dag_id)}


@pytest.fixture
def airflow(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Airflow]:
    secrets = json.loads((stack.directory / "secrets" / "secrets.json").read_text())
    port = int(stack.variables["POSTGRES_PORT"])
    database = metadata.AirflowDatabase("127.0.0.1", port, "airflow", "airflow", secrets["postgres_airflow"])
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    with closing(psycopg2.connect(database.uri)) as connection:
        connection.autocommit = True
        yield Airflow(database, connection)


def failed_load(product: Product) -> str:
    """A short run of another Dag."""
    state, _, run_id = product.run(f"nothing-{uuid4().hex}/")
    assert state == "failed"
    return run_id


def maintained(product: Product, **conf: object) -> tuple[str, dict[str, str], dict[str, Any]]:
    """State of a run, states of its tasks, and their results."""
    base = "/dags/maintenance/dagRuns"
    run_id = product.api.post(base, {"logical_date": None, "conf": conf})["dag_run_id"]
    deadline = time.monotonic() + 240
    while (state := product.api.get(f"{base}/{run_id}")["state"]) not in ("success", "failed"):
        assert time.monotonic() < deadline, f"{run_id} did not end"
        time.sleep(0.5)
    tasks = product.api.get(f"{base}/{run_id}/taskInstances")["task_instances"]
    states = {task["task_id"]: task["state"] for task in tasks}
    results = {}
    for task_id in [task_id for task_id, its in states.items() if its == "success"]:
        entry = f"{base}/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        value = product.api.get(entry, deserialize="true")["value"]
        results[task_id] = json.loads(value) if isinstance(value, str) else value
    return state, states, results


def test_a_run_removes_what_is_over_and_a_dry_run_only_counts(product: Product, airflow: Airflow, stack: Stack) -> None:
    old, recent = failed_load(product), failed_load(product)
    airflow.age("historic_load", old, 40)
    folder = stack.directory / "logs" / "tasks" / "dag_id=historic_load"
    logs = {run: sorted((folder / f"run_id={run}").rglob("*.log")) for run in (old, recent)}
    assert all(logs.values())
    for path in (folder / f"run_id={old}", *(folder / f"run_id={old}").rglob("*")):
        os.utime(path, times=(time.time() - 40 * 86400,) * 2)
    prefix = f"maintained-{uuid4().hex}/"
    product.put(prefix, "jobs_over.csv", f"970,{uuid4().hex}\nx,bad\n".encode())
    _, (verdict,), _ = product.run(prefix)
    files = [f"clean/jobs/{verdict['load_id']}/", f"rejected/jobs/jobs_rejected_{verdict['load_id']}."]
    changed = product.sql(
        "UPDATE ops.loads SET finished_at = finished_at - interval '200 days' WHERE load_id = %s RETURNING 1",
        verdict["load_id"],
    )
    assert changed == [(1,)]
    backup = uuid4().hex
    product.sql(
        "INSERT INTO ops.backups (backup_id, manifest_key, taken_at, finished_at, tables, rows_total, bytes_total)"
        " VALUES (%s, 'm', now() - interval '150 days', now(), '[\"jobs\"]', 0, 0) RETURNING 1",
        backup,
    )

    airflow.sql("UPDATE connection SET conn_id = 'hidden' WHERE conn_id = 'airflow_metadata'")
    try:
        state, states, counted = maintained(product, dry_run=True)
    finally:
        airflow.sql("UPDATE connection SET conn_id = 'airflow_metadata' WHERE conn_id = 'hidden'")
    assert (state, states) == ("success", dict.fromkeys(TASKS, "success") | {"clean_metadata": "skipped"})
    assert [len(product.s3.list_objects_v2(Bucket=product.bucket, Prefix=one)["Contents"]) for one in files] == [1, 1]
    assert old in airflow.runs("historic_load")
    assert all(file.exists() for file in logs[old])

    state, states, done = maintained(product)
    assert (state, states) == ("success", dict.fromkeys(TASKS, "success"))
    assert done["clean_metadata"]["dag_run"] >= 1
    for task_id in ("expire_clean", "expire_rejects", "clean_task_logs"):
        assert done[task_id] == counted[task_id], task_id
    assert (done["expire_clean"]["loads"], done["expire_rejects"]["rows"]) == (1, 1)
    assert [product.s3.list_objects_v2(Bucket=product.bucket, Prefix=one)["KeyCount"] for one in files] == [0, 0]
    assert not (folder / f"run_id={old}").exists()
    assert all(file.exists() for file in logs[recent])
    with pytest.raises(ApiError, match="404"):
        product.api.get(f"/dags/historic_load/dagRuns/{old}")
    assert product.api.get(f"/dags/historic_load/dagRuns/{recent}")["state"] == "failed"
    product.sql("DELETE FROM ops.backups WHERE backup_id = %s RETURNING 1", backup)


def test_the_newest_run_that_was_not_triggered_by_hand_stays_however_old(product: Product, airflow: Airflow) -> None:
    by_hand = failed_load(product)
    found = airflow.sql("SELECT column_name FROM information_schema.columns WHERE table_name = 'dag_run'")
    columns = ", ".join(name for (name,) in found if name not in ("id", "run_id", "run_type", "start_date"))
    oldest, newest = f"scheduled__{uuid4().hex}", f"scheduled__{uuid4().hex}"
    for run_id, days in ((oldest, 45), (newest, 40)):
        airflow.sql(
            f"INSERT INTO dag_run ({columns}, run_id, run_type, start_date)"
            f" SELECT {columns}, %s, 'scheduled', now() - make_interval(days => %s) FROM dag_run WHERE run_id = %s",
            run_id, days, by_hand,
        )  # fmt: skip
    airflow.age("historic_load", by_hand, 35)
    metadata.clean(airflow.database, datetime.now(UTC) - KEEP)
    assert {oldest, newest, by_hand} & airflow.runs("historic_load") == {newest}
    airflow.sql("DELETE FROM dag_run WHERE run_id = %s", newest)


@pytest.fixture
def paused(airflow: Airflow) -> Iterator[None]:
    airflow.sql("UPDATE dag SET is_paused = true WHERE dag_id = 'historic_load'")
    yield
    airflow.sql("UPDATE dag SET is_paused = false WHERE dag_id = 'historic_load'")


def test_a_run_that_has_not_ended_stays_with_its_tasks(
    product: Product, airflow: Airflow, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    older, run_id = failed_load(product), failed_load(product)
    request.getfixturevalue("paused")
    tasks = "SELECT count(*) FROM task_instance WHERE run_id = %s"
    before = datetime.now(UTC) - KEEP
    airflow.age("historic_load", older, 50)
    airflow.age("historic_load", run_id, 40)
    # Cleared, so that it has begun anew while its tasks are old; then one that goes on for very long.
    for start in ("now()", "now() - interval '40 days'"):
        airflow.sql(f"UPDATE dag_run SET state = 'running', start_date = {start} WHERE run_id = %s", run_id)
        kept = airflow.sql(tasks, run_id)
        metadata.clean(airflow.database, before)
        assert {older, run_id} & airflow.runs("historic_load") == {run_id}
        assert airflow.sql(tasks, run_id) == kept != [(0,)]
        assert f"{run_id} of historic_load has not ended" in caplog.text
    airflow.sql("UPDATE dag_run SET state = 'failed' WHERE run_id = %s", run_id)
    metadata.clean(airflow.database, before)
    assert run_id not in airflow.runs("historic_load")
    assert airflow.sql(tasks, run_id) == [(0,)]


def test_a_dry_run_leaves_airflow_s_database_as_it_is(product: Product, airflow: Airflow) -> None:
    run_id = failed_load(product)
    airflow.age("historic_load", run_id, 40)
    before = datetime.now(UTC) - KEEP
    counted = metadata.clean(airflow.database, before, dry_run=True)
    assert run_id in airflow.runs("historic_load")
    assert counted["dag_run"] >= 1
    assert metadata.clean(airflow.database, before)["dag_run"] == counted["dag_run"]
    assert run_id not in airflow.runs("historic_load")
    left = airflow.sql("SELECT tablename FROM pg_tables WHERE tablename LIKE %s", "%airflow_deleted%")
    assert left == []


def test_a_password_is_in_no_message_and_no_command_line(airflow: Airflow, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = replace(airflow.database, password="p/w%41+ d")
    with pytest.raises(TransientFault) as refused:
        metadata.clean(wrong, datetime.now(UTC) - KEEP)
    told = str(refused.value) + caplog.text
    assert "p/w%41+ d" not in told
    assert "p%2Fw%2541%2B%20d" not in told
    assert "password" in told
    command = metadata._command(datetime.now(UTC), dry_run=False)
    assert not any(airflow.database.password in part for part in command)


def test_a_password_that_the_command_says_is_cut_out(airflow: Airflow, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    talkative = "import os; print(os.environ['AIRFLOW__DATABASE__SQL_ALCHEMY_CONN'])"
    (line,) = metadata._said(airflow.database, [sys.executable, "-c", talkative])
    assert line == f"postgresql+psycopg2://airflow:***@127.0.0.1:{airflow.database.port}/airflow"
    assert airflow.database.password not in caplog.text


def test_a_table_that_could_not_be_cleaned_is_told(airflow: Airflow) -> None:
    """A command that ends with an error is no success, whatever it has said before."""
    failing = [sys.executable, "-c", "print('Found 3 rows meeting deletion criteria.'); raise SystemExit(1)"]
    with pytest.raises(TransientFault, match="exit code 1"):
        list(metadata._said(airflow.database, failing))


def test_every_table_that_airflow_can_clean_is_decided_on(tmp_path: Path) -> None:
    asked = "import json; from airflow.utils.db_cleanup import config_dict; print(json.dumps(sorted(config_dict)))"
    done = subprocess.run(
        [sys.executable, "-c", asked],
        env=os.environ | {"AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == sorted(metadata.CLEANED + metadata.LEFT_ALONE)
