"""The main job through Airflow's real processes: history is loaded once, counted right, and answers the insights."""

from __future__ import annotations

import json
import time
from pathlib import Path
from uuid import uuid4

from tests.oracle import rules
from tests.oracle.insights import Tables, departments_hired_above_mean, hires_department_job
from tests.product import Product

DATA = Path(__file__).resolve().parents[2] / "data"
SAMPLES = ("departments", "jobs", "hired_employees")


def judged() -> dict[str, rules.Verdict]:
    return {name: rules.judge(name, (DATA / f"{name}.csv").read_bytes()) for name in SAMPLES}


def test_samples_load_once_and_answer_the_insights(product: Product) -> None:
    for name in SAMPLES:
        product.put("first/", f"{name}.csv", (DATA / f"{name}.csv").read_bytes())
    state, verdicts, run_id = product.run("first/")
    assert (state, sorted(v["verdict"] for v in verdicts)) == ("success", ["loaded"] * 3)
    assert product.changed_tables(run_id) == set(SAMPLES)
    expected = judged()
    for verdict in verdicts:
        oracle = expected[verdict["table"]]
        counts = verdict["rows"], verdict["inserted"], verdict["rejected"]
        assert counts == (oracle.rows_read, len(oracle.accepted), len(oracle.rejected))
    kept = product.sql(
        "SELECT line, raw, reasons FROM ops.rejected_rows JOIN ops.loads USING (load_id) "
        "WHERE table_name = 'hired_employees' ORDER BY line"
    )
    assert [(line, bytes(raw)) for line, raw, _ in kept] == [
        (r.line, r.raw) for r in sorted(expected["hired_employees"].rejected, key=lambda r: r.line)
    ]
    rows = Tables(*(expected[name].accepted for name in SAMPLES))
    deadline = time.monotonic() + 60
    wanted = [tuple(line) for line in hires_department_job(rows, 2021)]
    while True:
        found = product.sql(
            "SELECT department, job, q1, q2, q3, q4 FROM hires_department_job WHERE year = 2021 "
            'ORDER BY department COLLATE "C" NULLS LAST, job COLLATE "C" NULLS LAST'
        )
        if found == wanted or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert found == wanted
    assert product.sql(
        "SELECT id, department, hired FROM departments_hired_above_mean WHERE year = 2021 "
        "ORDER BY hired DESC, id NULLS LAST"
    ) == [tuple(line) for line in departments_hired_above_mean(rows, 2021)]


def test_a_second_trigger_says_duplicate_and_changes_nothing(product: Product) -> None:
    before = product.sql("SELECT * FROM hired_employees ORDER BY id"), product.sql("SELECT count(*) FROM ops.loads")
    state, verdicts, run_id = product.run("first/")
    assert (state, [v["verdict"] for v in verdicts]) == ("success", ["duplicate"] * 3)
    assert product.changed_tables(run_id) == set()
    after = product.sql("SELECT * FROM hired_employees ORDER BY id"), product.sql("SELECT count(*) FROM ops.loads")
    assert before == after


def test_a_changed_file_is_loaded_and_counted(product: Product) -> None:
    product.put("first/", "jobs.csv", (DATA / "jobs.csv").read_bytes() + b"900,Keeper of Bees\r\n1,Renamed\r\n")
    state, verdicts, _ = product.run("first/", tables=["jobs"])
    jobs = verdicts[0]
    assert (state, jobs["verdict"], jobs["inserted"], jobs["updated"]) == ("success", "loaded", 1, 0)
    assert jobs["rejected"] == 1
    product.put("second/", "jobs_corrected.csv", b"1,Renamed\r\n")
    _, verdicts, _ = product.run("second/", tables=["jobs"])
    assert (verdicts[0]["updated"], verdicts[0]["unchanged"]) == (1, 0)
    assert product.sql("SELECT count(*) FROM ops.jobs_history WHERE id = 1") == [(1,)]


def test_replace_replaces_in_one_step(product: Product) -> None:
    product.put("replacement/", "departments.csv", b"1,Only One\r\n99,Another\r\n")
    state, verdicts, _ = product.run("replacement/", tables=["departments"], mode="replace")
    assert state == "success"
    assert product.sql("SELECT id, department FROM departments ORDER BY id") == [(1, "Only One"), (99, "Another")]
    assert verdicts[0]["removed"] == 11


def test_a_bad_file_stops_no_other_and_the_gate_names_it(product: Product) -> None:
    product.put("mixed/", "jobs_bad.csv", b"x,\r\n")
    product.put("mixed/", "jobs_good.csv", b"950,Gardener\r\n")
    state, verdicts, _ = product.run("mixed/")
    assert state == "failed"
    assert {v["file"]: v["verdict"] for v in verdicts} == {
        "mixed/jobs_bad.csv": "rejected", "mixed/jobs_good.csv": "loaded"
    }  # fmt: skip
    assert product.sql("SELECT job FROM jobs WHERE id = 950") == [("Gardener",)]


def gate_says(product: Product, run_id: str) -> str:
    """The log of the run's last task."""
    path = f"/dags/historic_load/dagRuns/{run_id}/taskInstances/gate/logs/1"
    return json.dumps(product.api.get(path, full_content="true"))


def test_a_dry_run_that_predicts_a_rejected_file_succeeds(product: Product) -> None:
    ledger = product.sql("SELECT count(*) FROM ops.loads")
    product.put("dry/", "jobs_bad.csv", b"x,\r\n")
    product.put("dry/", "jobs_good.csv", b"951,Gardener\r\n")
    state, verdicts, run_id = product.run("dry/", dry_run=True)
    assert state == "success"
    assert {v["file"]: v["forecast"] for v in verdicts} == {
        "dry/jobs_bad.csv": "rejected", "dry/jobs_good.csv": "loaded"
    }  # fmt: skip
    assert "1 file would not be loaded" in gate_says(product, run_id)
    assert product.sql("SELECT count(*) FROM ops.loads") == ledger


def test_a_wrong_prefix_fails_in_the_first_task(product: Product) -> None:
    name = f"nothing-{uuid4().hex}/"
    state, verdicts, run_id = product.run(name)
    assert (state, verdicts) == ("failed", [])
    tasks = product.api.get(f"/dags/historic_load/dagRuns/{run_id}/taskInstances")["task_instances"]
    assert {task["task_id"]: task["try_number"] for task in tasks if task["state"] == "failed"}["plan"] == 1
    said = gate_says(product, run_id)
    assert f"There is no file under s3://{product.bucket}/{name}" in said
    assert "TypeError" not in said


def test_an_address_of_s3_is_a_folder_and_files_that_are_left_out_are_named(product: Product) -> None:
    for name in (".DS_Store", "_SUCCESS", "job.csv", "jobs.csv.part"):
        product.put("addressed/", name, b"x")
    product.put("addressed/", "jobs.csv", b"960,Named\r\n")
    state, verdicts, run_id = product.run(f"s3://{product.bucket}/addressed/")
    assert (state, [v["file"] for v in verdicts]) == ("success", ["addressed/jobs.csv"])
    assert product.result("historic_load", run_id, "gate") == {
        "loaded": 1,
        "left_out": {
            "ignored by name": {"files": 2, "first": ["addressed/.DS_Store", "addressed/_SUCCESS"]},
            "left out because the name fits no table": {"files": 1, "first": ["addressed/job.csv"]},
            "not complete by name": {"files": 1, "first": ["addressed/jobs.csv.part"]},
        },
    }


def test_another_bucket_is_refused_in_the_first_task(product: Product) -> None:
    state, verdicts, run_id = product.run("s3://elsewhere/historic/")
    assert (state, verdicts) == ("failed", [])
    tasks = product.api.get(f"/dags/historic_load/dagRuns/{run_id}/taskInstances")["task_instances"]
    assert {task["task_id"]: task["try_number"] for task in tasks if task["state"] == "failed"}["plan"] == 1
