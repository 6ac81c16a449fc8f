"""Which verdicts end a run as failed: faults always, rejected files only where a run was started to load them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from datamart.batches import Batch, batch_of
from datamart.errors import (
    BackupDamaged,
    ChangeRefused,
    ConfigurationError,
    ImpossibleRequest,
    TerminalFault,
    TransientFault,
)
from datamart.landing_report import MOST_TOLD, Tally
from datamart.loads import Arrival, Counts, Outcome, Verdict
from datamart.s3_errors import fault_of
from datamart_airflow import history_tasks, landing_tasks, recovery_tasks, tries, upload_tasks, upstream
from datamart_airflow.alerts import Alert

SETTING = "DATAMART_FAIL_RUNS_ON_REJECTED_FILES"
NOW = datetime(2026, 5, 4, tzinfo=UTC)


class Run:
    """The context of a task; what it pushes is what downstream tasks pull."""

    def __init__(self, **params: object) -> None:
        self.params = params
        self.pushed: dict[str, Any] = {}
        self.alerts: list[Alert] = []
        self.refreshed = 0
        self.tries = 1

    @property
    def context(self) -> dict[str, Any]:
        task = SimpleNamespace(
            try_number=self.tries,
            max_tries=3,
            xcom_push=self.pushed.__setitem__,
            xcom_pull=lambda task_ids, key: self.pushed.get(key),  # noqa: ARG005 - the name is Airflow's
        )
        dag = SimpleNamespace(dag_id="any")
        run = SimpleNamespace(run_type="manual")
        return {"ti": task, "dag": dag, "run_id": "r", "dag_run": run, "params": self.params}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    found = Run()
    for module in (history_tasks, recovery_tasks, upload_tasks, upstream, tries):
        monkeypatch.setattr(module, "get_current_context", lambda: found.context)
    monkeypatch.setattr("datamart_airflow.file_alerts.get_current_context", lambda: found.context)
    monkeypatch.setattr("datamart_airflow.file_alerts.send", found.alerts.append)
    monkeypatch.setattr(upload_tasks, "announce", lambda _: None)

    def refresh() -> None:
        found.refreshed += 1

    for module in (history_tasks, landing_tasks, upload_tasks):
        monkeypatch.setattr(module, "catch_up", refresh)
    return found


def outcome(number: int, verdict: Verdict, **more: Any) -> Outcome:
    return Outcome(number, "jobs", f"landing/jobs_{number}.csv", verdict, Counts(2, 1, 0, 0, 1), message="Why.", **more)


def batch(*numbers: int) -> Batch:
    return batch_of("jobs", [Arrival("b", f"landing/jobs_{number}.csv", "e", NOW, 1) for number in numbers])


def landed(*outcomes: Outcome) -> list[dict[str, Any]]:
    tally = Tally("jobs")
    for one in outcomes:
        tally.add(one)
    return [tally.result()]


LOADED, REJECTED, FAILED = (outcome(n, one) for n, one in enumerate((Verdict.LOADED, Verdict.REJECTED, Verdict.FAILED)))
DRY_GOOD = outcome(1, Verdict.DRY_RUN, forecast=Verdict.LOADED)
DRY_BAD = outcome(2, Verdict.DRY_RUN, forecast=Verdict.REJECTED)


def test_a_rejected_file_among_landed_ones_fails_no_run_and_is_told(
    run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = landed(LOADED, REJECTED)
    with caplog.at_level(logging.WARNING):
        assert landing_tasks.judge_landing([batch(0, 1)], results)["files rejected"] == 1
    assert "1 file was not loaded:\nlanding/jobs_1.csv: rejected. Why." in caplog.text
    (alert,) = run.alerts
    assert alert.title == "any: 1 file was not loaded, 2 rows were rejected"
    assert any("landing/jobs_1.csv: rejected" in line for line in alert.lines)
    monkeypatch.setenv(SETTING, "true")
    with pytest.raises(AirflowFailException, match=r"landing/jobs_1\.csv: rejected"):
        landing_tasks.judge_landing([batch(0, 1)], results)


@pytest.mark.parametrize("results", [landed(LOADED, FAILED), landed(REJECTED, FAILED), [], None])
def test_a_fault_among_landed_files_fails_the_run(run: Run, results: list[dict[str, Any]] | None) -> None:
    with pytest.raises(AirflowFailException, match="not loaded"):
        landing_tasks.judge_landing([batch(0, 1, 2)], results)
    assert len(run.alerts) == 1
    assert run.refreshed == (not results), "a task without a result has left no event"


def test_many_rejected_files_do_not_hide_the_one_that_a_fault_stopped(run: Run) -> None:
    many = landed(*(outcome(n, Verdict.REJECTED) for n in range(2 * MOST_TOLD)), outcome(999, Verdict.FAILED))
    with pytest.raises(AirflowFailException, match=r"landing/jobs_999.csv: failed"):
        landing_tasks.judge_landing([batch(0)], many)
    assert len(run.alerts) == 1


@pytest.mark.parametrize(("one", "alerts"), [(REJECTED, 1), (DRY_BAD, 0)], ids=["load", "dry run"])
def test_an_upload_that_is_rejected_fails_no_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, one: Outcome, alerts: int
) -> None:
    assert upload_tasks._told(one)["message"] == "Why."
    assert len(run.alerts) == alerts
    monkeypatch.setenv(SETTING, "true")
    with pytest.raises(AirflowFailException, match=r"was not loaded: Why\."):
        upload_tasks._told(one)
    assert run.pushed["return_value"]["message"] == "Why."


def test_an_upload_that_is_loaded_and_cannot_be_moved_refreshes_the_insights_after_its_last_try(run: Run) -> None:
    for one, number, refreshed in ((LOADED, 1, 0), (LOADED, 4, 1), (REJECTED, 4, 1)):
        run.tries = number
        with pytest.raises(TransientFault), upload_tasks._caught_up(one):
            raise TransientFault("S3 was away.")
        assert run.refreshed == refreshed


def summaries(*outcomes: Outcome) -> list[dict[str, Any]]:
    return [history_tasks.summary(one) for one in outcomes]


def test_a_historic_load_with_a_rejected_file_fails(run: Run) -> None:
    with pytest.raises(AirflowFailException, match=r"1 file was not loaded:\nlanding/jobs_1\.csv: rejected"):
        history_tasks.judge_run([[batch(0, 1)]], summaries(LOADED, REJECTED))
    assert len(run.alerts) == 1


def test_a_historic_load_whose_task_failed_refreshes_the_insights_itself(run: Run) -> None:
    for verdicts in (summaries(LOADED, FAILED), summaries(LOADED)):
        with pytest.raises(AirflowFailException, match="not loaded"):
            history_tasks.judge_run([[batch(0, 2)]], verdicts)
    assert run.refreshed == 2
    history_tasks.judge_run([[batch(0)]], summaries(LOADED))
    with pytest.raises(AirflowFailException):
        history_tasks.judge_run([[batch(1)]], summaries(REJECTED))
    assert run.refreshed == 2, "tasks that succeeded have sent their events"


def test_its_dry_run_succeeds_when_every_file_was_judged(
    run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.params["dry_run"] = True
    planned, verdicts = [[batch(1, 2)]], summaries(DRY_GOOD, DRY_BAD)
    with caplog.at_level(logging.WARNING):
        counts = history_tasks.judge_run(planned, verdicts)
    assert counts == {"dry_run": 2, "would be loaded": 1, "would be rejected": 1}
    assert "1 file would not be loaded:\nlanding/jobs_2.csv" in caplog.text
    with pytest.raises(AirflowFailException, match=r"landing/jobs_3.csv: failed"):
        history_tasks.judge_run([[batch(1, 2, 3)]], verdicts)
    assert run.alerts == []
    monkeypatch.setenv(SETTING, "true")
    with pytest.raises(AirflowFailException, match=r"landing/jobs_2.csv"):
        history_tasks.judge_run(planned, verdicts)


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (ChangeRefused("Later files changed the rows."), True),
        (ImpossibleRequest("There is no backup x."), True),
        (ConfigurationError("Airflow has no connection warehouse. Define it."), False),
        (fault_of("NoSuchBucket", "s3://backups/x"), False),
        (fault_of("PermanentRedirect", "s3://backups/x"), False),
        (fault_of("NotImplemented", "s3://backups/x"), False),
        (BackupDamaged("A part is missing."), False),
        (TerminalFault("No right."), False),
        (TransientFault("Away."), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_dry_run_of_a_change_that_would_be_refused_succeeds_and_says_so(
    run: Run, error: Exception, refused: bool
) -> None:
    def work() -> dict[str, Any]:
        raise error

    said = {"error": str(error), "kind": type(error).__name__}
    if refused:
        assert recovery_tasks._done("undo", work, dry_run=True) == said
    else:
        with pytest.raises((AirflowFailException, RuntimeError)):
            recovery_tasks._done("undo", work, dry_run=True)
        assert run.pushed["return_value"] == said
    with pytest.raises((AirflowFailException, RuntimeError)):
        recovery_tasks._done("undo", work)


class Absent:
    """A store or warehouse that fails so."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *_: object) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "final"),
    [(ConfigurationError("There is no file under s3://b/x/."), True), (TerminalFault("No right."), True),
     (TransientFault("S3 was away."), False)],
)  # fmt: skip
def test_the_gate_repeats_why_there_is_no_plan(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, final: bool
) -> None:
    monkeypatch.setattr(history_tasks, "warehouse", Absent(error))
    with pytest.raises(Exception, match=str(error)) as found:
        history_tasks.plan_batches("x/", ["jobs"], "upsert")
    assert isinstance(found.value, AirflowFailException) == final, "a retry is for what it can fix"
    with pytest.raises(AirflowFailException) as said:
        history_tasks.judge_run(None, [])
    assert str(said.value) == str(error)
    assert run.alerts == [], "the task plan has an alert of its own"


@pytest.mark.usefixtures("run")
def test_a_result_that_is_not_there_is_named() -> None:
    with pytest.raises(AirflowFailException, match="The task plan has no result: it failed, or was skipped"):
        history_tasks.judge_run(None, [])
    with pytest.raises(AirflowFailException, match="The landing folder could not be looked into"):
        landing_tasks.judge_landing(None, None)
    assert upstream.required([], "plan") == []
