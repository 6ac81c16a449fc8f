"""What is counted as a failure has failed for good: no try that is followed by another, nothing that was declined."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import DagRunType
from airflow.sdk.exceptions import AirflowFailException

from datamart.errors import (
    BackupDamaged,
    ChangeRefused,
    ConfigurationError,
    ImpossibleRequest,
    TerminalFault,
    TransientFault,
)
from datamart.loads import Arrival, Outcome, Verdict
from datamart.measures import Measure
from datamart_airflow import file_alerts, metrics, recovery_tasks, tries, upload_tasks

HAND, CLOCK = DagRunType.MANUAL, DagRunType.SCHEDULED


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Failures that were sent, each with its tags."""
    found: list[str] = []

    def keep(measures: list[Measure]) -> None:
        found.extend(" ".join(one.tags.values()) for one in measures if one.metric.name.endswith("failures"))

    monkeypatch.setattr(metrics, "send", keep)
    return found


def running(patch: pytest.MonkeyPatch, try_number: int = 1, by: DagRunType = CLOCK, dag: str = "any") -> None:
    """Let the current task be this try of four, of a run that was started so."""
    task = SimpleNamespace(try_number=try_number, max_tries=3, xcom_push=lambda *_: None)
    context = {"ti": task, "dag_run": SimpleNamespace(run_type=by), "dag": SimpleNamespace(dag_id=dag), "run_id": "r"}
    for module in (tries, recovery_tasks, file_alerts):
        monkeypatch_context(patch, module, context)


def monkeypatch_context(patch: pytest.MonkeyPatch, module: Any, context: dict[str, Any]) -> None:
    patch.setattr(module, "get_current_context", lambda: context)


@pytest.mark.parametrize(
    ("error", "try_number", "by", "counted"),
    [
        (BackupDamaged("b"), 1, CLOCK, True),
        (TerminalFault("rights"), 1, HAND, True),
        (TransientFault("away"), 1, CLOCK, False),
        (TransientFault("away"), 3, CLOCK, False),
        (TransientFault("away"), 4, CLOCK, True),
        (KeyError("bug"), 4, HAND, True),
        (ChangeRefused("later rows"), 1, HAND, False),
        (ImpossibleRequest("'x' is not a valid load id."), 1, HAND, False),
        (ImpossibleRequest("There is no backup to drill with."), 1, CLOCK, True),
        (ConfigurationError("Airflow has no connection warehouse. Define it."), 1, HAND, True),
    ],
    ids=lambda value: getattr(value, "name", None) or type(value).__name__,
)
def test_a_recovery_task(
    sent: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception, try_number: int, by: DagRunType, counted: bool
) -> None:
    def work() -> dict[str, Any]:
        raise error

    running(monkeypatch, try_number, by)
    with pytest.raises((AirflowFailException, RuntimeError)):
        recovery_tasks._done("drill", work)
    assert sent == (["drill"] if counted else [])
    if recovery_tasks._declined(error):
        assert recovery_tasks._done("restore", work, dry_run=True)["error"] == str(error)
    else:
        with pytest.raises((AirflowFailException, RuntimeError)):
            recovery_tasks._done("restore", work, dry_run=True)
    assert "restore" not in sent, "a dry run does nothing that could fail"


def test_a_load_id_that_was_mistyped(sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def opened() -> Iterator[Any]:
        yield SimpleNamespace()

    running(monkeypatch, by=HAND)
    monkeypatch.setattr(recovery_tasks, "warehouse", opened)
    for name in ("object_store", "current_run"):
        monkeypatch.setattr(recovery_tasks, name, lambda: SimpleNamespace())
    with pytest.raises(AirflowFailException, match="is not a valid load id"):
        recovery_tasks.undo_load({"load_id": "12x", "later_rows": "keep", "dry_run": False})
    assert sent == []


ARRIVAL = Arrival("data", "uploads/u/jobs.csv", "e", datetime(2026, 5, 1, tzinfo=UTC), 1)


class Refusing:
    """A loader whose warehouse fails so."""

    def __init__(self, error: Exception, found: list[Arrival]) -> None:
        self.store = SimpleNamespace(list=lambda *_, **__: found, pinned=lambda listed: listed, bucket="data")
        self.warehouse = SimpleNamespace(now=lambda: ARRIVAL.last_modified)
        self._error = error

    def load(self, *_: Any, **__: Any) -> Outcome:
        raise self._error

    def fail(self, arrival: Arrival, *_: Any, **__: Any) -> Outcome:
        return Outcome(1, "jobs", arrival.key, Verdict.FAILED, code="fault")


def upload(patch: pytest.MonkeyPatch, error: Exception, *, found: bool = True, dry_run: bool = False) -> None:
    @contextmanager
    def opened() -> Iterator[Any]:
        yield Refusing(error, [ARRIVAL] if found else [])

    patch.setattr(upload_tasks, "loader", opened)
    given = {"key": ARRIVAL.key, "upload_id": "", "received_at": "", "dry_run": dry_run, "repairs": ""}
    with pytest.raises((AirflowFailException, RuntimeError)):
        upload_tasks.load_file(given)


def test_an_upload(sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    running(monkeypatch, 1, HAND)
    upload(monkeypatch, TransientFault("away"))
    upload(monkeypatch, TerminalFault("rights"), dry_run=True)
    upload(monkeypatch, TerminalFault("rights"), found=False)
    assert sent == []
    upload(monkeypatch, TerminalFault("rights"))
    assert sent == ["upload jobs"]
    running(monkeypatch, 4, HAND)
    upload(monkeypatch, TransientFault("away"))
    assert sent == ["upload jobs"] * 2


def test_files_of_a_historic_load_when_its_run_is_over(sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_alerts, "send", lambda _: None)
    told = {"rows": 1, "rejected": 0, "load_id": "1", "message": ""}
    files = [
        told | {"file": "historic/jobs.csv", "table": "jobs", "verdict": "failed"},
        told | {"file": "historic/x.csv", "table": None, "verdict": "failed"},
        told | {"file": "historic/departments.csv", "table": "departments", "verdict": "rejected"},
        told | {"file": "historic/jobs2.csv", "table": "jobs", "verdict": "loaded"},
    ]
    running(monkeypatch, dag="ingest_landing")
    file_alerts.tell_of_files(files)
    assert sent == [], "what landed is on hold, and tried again"
    running(monkeypatch, dag="historic_load")
    file_alerts.tell_of_files(files)
    assert sent == ["history jobs", "history none"]
