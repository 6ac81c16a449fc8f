"""Keys of a Dag run's conf that its Dag does not know: found, and refused before anything is done."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from datamart_airflow import run_conf
from datamart_airflow.run_conf import refuse_unknown_conf, unknown_keys

RESTORE = ("table", "dry_run", "backup_id", "at", "into", "seen")
UPLOAD = ("key", "dry_run", "repairs", "upload_id", "sha256", "received_at")


def context(conf: dict[str, Any] | None, known: tuple[str, ...] = RESTORE) -> Any:
    run = SimpleNamespace(conf=conf, run_after=datetime(2026, 11, 30, tzinfo=UTC))
    return {"dag_run": run, "dag": SimpleNamespace(params=dict.fromkeys(known))}


@pytest.fixture
def triggered_before(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the warehouse says of a run with unknown keys; it is asked of no others."""
    answers: list[bool] = []
    monkeypatch.setattr(run_conf, "_triggered_before_the_check", lambda _moment: answers.pop())
    return answers


@pytest.mark.parametrize("conf", [None, {}, {"table": "jobs"}, dict.fromkeys(RESTORE)])
@pytest.mark.usefixtures("triggered_before")
def test_known_keys_pass_and_the_warehouse_is_not_asked(conf: dict[str, Any] | None) -> None:
    refuse_unknown_conf(context(conf))


@pytest.mark.parametrize(
    ("conf", "known"),
    [
        ({"key": "uploads/1/2/jobs.csv", "upload_id": "1", "sha256": "2", "dry_run": False, "repairs": None,
          "received_at": "2026-01-01T00:00:00+00:00"}, UPLOAD),
        ({"table": "jobs", "backup_id": "latest", "at": None, "into": None, "dry_run": False, "seen": None}, RESTORE),
        ({"table": "jobs", "backup_id": "latest", "at": None, "into": None, "dry_run": False}, RESTORE),
        ({"load_id": "1", "dry_run": False, "later_rows": "refuse"}, ("load_id", "dry_run", "later_rows")),
        ({"tables": ["jobs"]}, ("tables",)),
        ({"backup_id": "latest"}, ("backup_id",)),
    ],
)  # fmt: skip
def test_what_this_api_and_those_before_it_have_sent_is_known(conf: dict[str, Any], known: tuple[str, ...]) -> None:
    assert unknown_keys(conf, known) == []


@pytest.mark.parametrize("key", ["dryrun", "dryRun", "dry-run", "DRY_RUN", "dry_run "])
def test_an_unknown_key_is_refused_with_the_nearest_name(triggered_before: list[bool], key: str) -> None:
    triggered_before.append(False)
    with pytest.raises(AirflowFailException, match=r"Did you mean 'dry_run'\? Nothing was done\."):
        refuse_unknown_conf(context({"table": "jobs", key: True}))


def test_a_dag_without_parameters_takes_none(triggered_before: list[bool]) -> None:
    triggered_before.append(False)
    with pytest.raises(AirflowFailException, match="No conf key is accepted here"):
        refuse_unknown_conf(context({"dry_run": True}, ()))


def test_a_run_that_was_triggered_before_is_exempt_and_the_log_says_what_is_ignored(
    triggered_before: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    triggered_before.append(True)
    refuse_unknown_conf(context({"table": "jobs", "ticket": 17}))
    assert "'ticket'" in caplog.text


@pytest.mark.usefixtures("triggered_before")
def test_conf_that_airflow_itself_would_ignore_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAG_RUN_CONF_OVERRIDES_PARAMS", "False")
    refuse_unknown_conf(context({}))
    with pytest.raises(AirflowFailException, match="dag_run_conf_overrides_params is False"):
        refuse_unknown_conf(context({"table": "jobs"}))
