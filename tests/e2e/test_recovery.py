"""Backup, drill, undo and adoption as a person triggers them in Airflow, and what is left in the warehouse."""

from __future__ import annotations

import io
import time
from typing import Any

import fastavro
import pytest

from tests.product import Product
from tests.stack import Stack


def triggered(product: Product, dag_id: str, task: str, **conf: Any) -> tuple[str, dict[str, Any]]:
    """State of a run, and what its task said."""
    product.known(dag_id)
    run_id = product.api.post(f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"]
    end = time.monotonic() + 120
    while (state := product.api.get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"]) not in ("success", "failed"):
        assert time.monotonic() < end, f"{run_id} did not end"
        time.sleep(0.2)
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task}/xcomEntries/return_value"
    return state, product.api.get(path)["value"]


def loaded(product: Product, name: str, body: bytes) -> str:
    """Load a file; the load's id."""
    product.put("recovery/", name, body)
    state, told = triggered(product, "ingest_upload", "load", key=f"s3://{product.bucket}/recovery/{name}")
    assert state == "success"
    return str(told["load_id"])


def jobs(product: Product) -> list[tuple[Any, ...]]:
    return product.sql("SELECT * FROM public.jobs WHERE id BETWEEN 800000 AND 800009 ORDER BY id")


@pytest.fixture(scope="module")
def taken(product: Product) -> dict[str, Any]:
    """A backup of all tables."""
    product.known("refresh_insights")
    loaded(product, "jobs_first.csv", b"800001,Abbot\n800002,Baker\n")
    state, told = triggered(product, "backup", "take")
    assert state == "success"
    return told


def test_a_backup_by_hand_holds_every_row_of_every_table(product: Product, taken: dict[str, Any]) -> None:
    assert set(taken["rows"]) == {"departments", "jobs", "hired_employees"}
    (known,) = product.sql("SELECT tables, rows_total FROM ops.backups WHERE backup_id = %s", taken["backup_id"])
    assert known == ("departments, hired_employees, jobs", sum(taken["rows"].values()))


def test_a_drill_proves_it_and_leaves_no_scratch(product: Product, taken: dict[str, Any]) -> None:
    state, told = triggered(product, "restore_drill", "prove", backup_id=taken["backup_id"])
    assert (state, told["passed"]) == ("success", True)
    assert product.sql("SELECT passed FROM ops.drills WHERE backup_id = %s", taken["backup_id"]) == [(True,)]
    assert product.sql("SELECT proven_at FROM ops.backups WHERE backup_id = %s", taken["backup_id"])[0][0] is not None
    assert product.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'drill%%'") == []


def test_a_load_is_undone_and_its_file_counts_as_new(product: Product) -> None:
    before = jobs(product)
    load_id = loaded(product, "jobs_wrong.csv", b"800001,Wrong\n800005,Wrong too\n")
    state, dry = triggered(product, "undo_load", "take_back", load_id=load_id)
    assert (state, dry["dry_run"], dry["changed"], dry["removed"]) == ("success", True, 1, 1)
    assert jobs(product) != before
    state, _ = triggered(product, "undo_load", "take_back", load_id=load_id, dry_run=False)
    assert (state, jobs(product)) == ("success", before)
    again = loaded(product, "jobs_wrong.csv", b"800001,Wrong\n800005,Wrong too\n")
    assert again != load_id
    assert len(jobs(product)) == len(before) + 1
    state, told = triggered(product, "undo_load", "take_back", load_id=load_id, dry_run=False)
    assert state == "failed"
    assert "undone already" in told["error"]


def test_a_restore_into_another_table_leaves_the_live_one(product: Product, taken: dict[str, Any]) -> None:
    before = product.sql("SELECT * FROM public.jobs ORDER BY id")
    conf = {"table": "jobs", "backup_id": taken["backup_id"], "into": "jobs_to_look_at", "dry_run": False}
    state, told = triggered(product, "restore", "bring_back", **conf)
    assert (state, told["rows"]) == ("success", taken["rows"]["jobs"])
    assert product.sql("SELECT count(*) FROM public.jobs_to_look_at") == [(taken["rows"]["jobs"],)]
    assert product.sql("SELECT * FROM public.jobs ORDER BY id") == before
    product.do("DROP TABLE public.jobs_to_look_at")


def test_files_of_another_program_are_adopted_and_restored(product: Product, stack: Stack) -> None:
    rows = [dict(zip(("id", "job"), row, strict=True)) for row in product.sql("SELECT id, job FROM public.jobs")]
    schema = {"type": "record", "name": "row", "fields": [{"name": "job", "type": ["null", "string"]},
                                                          {"name": "id", "type": "long"}]}  # fmt: skip
    file = io.BytesIO()
    fastavro.writer(file, schema, rows, codec="deflate")
    product.s3.put_object(Bucket=stack.env["BACKUP_BUCKET"], Key="foreign/jobs.avro", Body=file.getvalue())
    state, told = triggered(product, "adopt_backup", "adopt", folder="foreign/")
    assert (state, told["rows"]) == ("success", {"jobs": len(rows)})
    before = product.sql("SELECT id, job FROM public.jobs ORDER BY id")
    product.do("DELETE FROM public.jobs WHERE id = 800002")
    conf = {"table": "jobs", "backup_id": told["backup_id"], "dry_run": False}
    state, change = triggered(product, "restore", "bring_back", **conf)
    assert (state, change["added"]) == ("success", 1)
    assert product.sql("SELECT id, job FROM public.jobs ORDER BY id") == before
    product.s3.delete_object(Bucket=stack.env["BACKUP_BUCKET"], Key="foreign/jobs.avro")


def started(product: Product, dag_id: str, **body: Any) -> str:
    """Trigger a Dag; the run's id."""
    product.known(dag_id)
    return str(product.api.post(f"/dags/{dag_id}/dagRuns", {"logical_date": None, **body})["dag_run_id"])


def ended(product: Product, dag_id: str, run_id: str) -> tuple[str, dict[str, str]]:
    """State of a run once it has ended, and of its tasks."""
    path = f"/dags/{dag_id}/dagRuns/{run_id}"
    end = time.monotonic() + 120
    while (state := product.api.get(path)["state"]) not in ("success", "failed"):
        assert time.monotonic() < end, f"{run_id} did not end"
        time.sleep(0.2)
    tasks = product.api.get(f"{path}/taskInstances", limit=100)["task_instances"]
    return state, {task["task_id"]: task["state"] for task in tasks}


UNKNOWN = {
    "adopt_backup": {"folders": "foreign/"},
    "backup": {"dryrun": True},
    "historic_load": {"prefix": "recovery/", "dryrun": True},
    "ingest_upload": {"key": "recovery/jobs_first.csv", "dry-run": True},
    "maintenance": {"dryRun": True},
    "refresh_insights": {"year": 2021},
    "restore": {"table": "jobs", "dry_run": False, "dry-run": True},
    "restore_drill": {"backup": "latest"},
    "undo_load": {"load_id": "1", "dry_run": False, "dryRun": True},
}
"""``ingest_landing`` has one run at a time, which waits: that it checks its conf too is a matter of ``tests/dags``."""


@pytest.mark.usefixtures("taken")
def test_conf_that_a_dag_does_not_know_ends_its_run_before_any_task_does_anything(product: Product) -> None:
    product.do("DELETE FROM public.jobs WHERE id = 800002")
    tables = ("public.jobs", "ops.loads", "ops.restores", "ops.backups", "ops.drills")
    counts = [product.sql(f"SELECT count(*) FROM {name}") for name in tables]
    runs = {dag_id: started(product, dag_id, conf=conf) for dag_id, conf in UNKNOWN.items()}
    for dag_id, run_id in runs.items():
        state, tasks = ended(product, dag_id, run_id)
        assert state == "failed", dag_id
        done = {name for name, ended in tasks.items() if ended not in ("failed", "upstream_failed", "skipped")}
        assert {name for name in done if not name.endswith(".over")} == set(), (dag_id, tasks)  # those are empty
    assert [product.sql(f"SELECT count(*) FROM {name}") for name in tables] == counts


@pytest.mark.usefixtures("taken")
def test_a_run_that_was_triggered_before_the_check_was_here_is_exempt(product: Product) -> None:
    run_id = started(product, "refresh_insights", conf={"ticket": 17}, run_after="2020-01-01T00:00:00Z")
    assert ended(product, "refresh_insights", run_id) == ("success", {"refresh": "success"})
