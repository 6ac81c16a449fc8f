"""What is counted of what happened: each thing once, nothing of what was only asked, and nothing that is unknown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from datamart.health import Backups, Behind, Code, Finding, Ledger, Seen
from datamart.loads import Arrival, Counts, Outcome, Verdict
from datamart.measures import (
    HOLDS,
    METRICS,
    Kind,
    Measure,
    of_backup,
    of_change,
    of_failure,
    of_given_up,
    of_load,
    of_look,
    of_recovery,
    of_refresh,
)
from datamart.recovery.ledger import Change
from datamart.recovery.manifest import TAKEN, Manifest, Part, TableBackup

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
COUNTS = Counts(read=9, inserted=4, updated=2, unchanged=1, rejected=2, removed=3)
LOADED = Outcome(1, "jobs", "landing/jobs.csv", Verdict.LOADED, COUNTS, seconds=0.5)


def told(measures: list[Measure]) -> dict[str, float]:
    """Values by name and tags; no two have the same."""
    found = {" ".join([one.metric.name.removeprefix("datamart."), *one.tags.values()]): one.value for one in measures}
    assert len(found) == len(measures)
    return found


def changed(outcome: Outcome = LOADED, **fields: Any) -> Outcome:
    return Outcome(**{name: getattr(outcome, name) for name in outcome.__dataclass_fields__} | fields)


def test_names_are_the_products_and_fit_statsd_and_opentelemetry() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert metric.name.startswith("datamart.")
        assert metric.name.replace(".", "").isalpha()
        assert metric.name == metric.name.lower()
        assert (metric.unit == "ms") is (metric.kind is Kind.TIMER)


def test_a_metric_has_all_its_tags_and_no_other() -> None:
    with pytest.raises(ValueError, match="holds has the tags"):
        HOLDS.of(1, table="jobs")
    with pytest.raises(ValueError, match="tags"):
        METRICS[0].of(1, way="landing")


def test_a_file_that_was_loaded() -> None:
    assert told(of_load(LOADED, "landing")) == {
        "rows.read landing jobs": 9, "rows.inserted landing jobs": 4, "rows.updated landing jobs": 2,
        "rows.unchanged landing jobs": 1, "rows.rejected landing jobs": 2, "rows.removed landing jobs": 3,
        "files landing jobs loaded": 1, "load.duration landing jobs": 500,
    }  # fmt: skip


def test_a_file_of_no_table_and_one_that_is_gone() -> None:
    nameless = changed(table=None, verdict=Verdict.REJECTED, counts=Counts(), seconds=None)
    assert told(of_load(nameless, "upload"))["files upload none rejected"] == 1
    gone = changed(verdict=Verdict.FAILED, code="gone", counts=Counts())
    assert told(of_load(gone, "landing"))["files landing jobs gone"] == 1


@pytest.mark.parametrize(
    "outcome",
    [changed(from_ledger=True), changed(verdict=Verdict.DRY_RUN), changed(verdict=Verdict.FAILED, code="on_hold")],
    ids=["told by another try", "only asked", "left alone"],
)
def test_what_this_try_did_not_do_is_not_counted(outcome: Outcome) -> None:
    assert of_load(outcome, "history") == []


def manifest() -> Manifest:
    parts = (Part("a/jobs/part-0.avro", 3, 40, ""), Part("a/jobs/part-1.avro", 2, 2, ""))
    table = TableBackup({}, 5, None, 7, parts)
    return Manifest("a", TAKEN, NOW, NOW, None, {}, {"jobs": table})


def test_a_backup() -> None:
    assert told(of_backup(manifest(), 2)) == {"backup.duration": 2000, "backup.rows jobs": 5, "backup.bytes jobs": 42}


def test_a_restore_that_was_done_once() -> None:
    done = Change(1, "jobs", "restore", added=3, changed=2, removed=1)
    assert told(of_change(done, 1)) == {
        "recovery.rows restore jobs added": 3, "recovery.rows restore jobs changed": 2,
        "recovery.rows restore jobs removed": 1, "recovery.duration restore": 1000,
    }  # fmt: skip
    assert of_change(Change(1, "jobs", "restore", added=3, dry_run=True), 1) == []
    assert of_change(Change(1, "jobs", "restore", added=3, from_ledger=True), 1) == []
    copy = Change(1, "jobs", "copy", added=3, into="jobs_of_may")
    assert told(of_change(copy, 1)) == {"recovery.duration copy": 1000}


def test_a_drill_a_failure_and_a_refresh() -> None:
    assert told(of_recovery("drill", 3)) == {"recovery.duration drill": 3000}
    assert told(of_failure("undo")) == {"recovery.failures undo": 1}
    assert told(of_given_up(None, "upload")) == {"failures upload none": 1}
    assert told(of_given_up("jobs", "history")) == {"failures history jobs": 1}
    assert told(of_refresh({"a": 3, "b": 4}, 1)) == {"refresh.duration": 1000, "refresh.rows a": 3, "refresh.rows b": 4}


def ago(seconds: int) -> datetime:
    return NOW - timedelta(seconds=seconds)


LEDGER = Ledger(
    behind=[Behind("a", "jobs", ago(30)), Behind("a", "departments", ago(70))],
    refreshed={"a": ago(90), "b": None},
    changed={"jobs": ago(30)},
    backups=Backups({"jobs": ago(600), "departments": None}, since=ago(9000)),
)
FILES = [Arrival("d", "landing/jobs.csv", "e", ago(20), 1), Arrival("d", "landing/jobs2.csv", "f", ago(5), 1)]


def test_a_look_when_all_answer() -> None:
    late = Finding(Code.FILES_LATE, "warning", "Files wait.")
    assert told(of_look(Seen([late, late], FILES, LEDGER), NOW)) == {
        "watch.looks": 1, "landing.files": 2, "landing.age": 20, "holds": 0, "table.age jobs": 30,
        "insight.behind a": 70, "insight.behind b": 0, "insight.age a": 90,
        "backup.age jobs": 600, "backup.age departments": 9000,
        **{f"findings {code}": 2 * (code is Code.FILES_LATE) for code in Code},
    }  # fmt: skip


def test_a_look_when_nobody_answers_tells_of_nothing_that_is_unknown() -> None:
    away = [Finding(code, "critical", "Away.") for code in (Code.AIRFLOW_AWAY, Code.WAREHOUSE_AWAY, Code.S3_AWAY)]
    assert told(of_look(Seen(away, None, None), NOW)) == {
        "watch.looks": 1, "findings airflow_away": 1, "findings warehouse_away": 1, "findings s3_away": 1,
    }  # fmt: skip


def test_a_paused_dag_is_counted_while_another_is_missing() -> None:
    gone = Finding(Code.DAG_MISSING, "critical", "The Dag b is missing.", subject="b")
    paused = Finding(Code.DAG_PAUSED, "warning", "The Dag a is paused.", subject="a")
    found = told(of_look(Seen([gone, paused], None, None), NOW))
    assert (found["findings dag_missing"], found["findings dag_paused"]) == (1, 1)
    assert "findings dag_paused" not in told(of_look(Seen([gone], None, None), NOW)), "whether it is paused is unknown"


def test_an_empty_landing_folder_has_no_age() -> None:
    found = told(of_look(Seen([], [], None), NOW))
    assert (found["landing.files"], found["landing.age"]) == (0, 0)
