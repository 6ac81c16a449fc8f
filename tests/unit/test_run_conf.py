"""Keys of a Dag run's conf that its Dag does not know: found, and refused before anything is done."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.utils.openlineage import _inject_openlineage_parent_info_to_dagrun_conf
from airflow.sdk.exceptions import AirflowFailException

from datamart_airflow import run_conf
from datamart_airflow.run_conf import AIRFLOW_KEYS, MAX_EXEMPT, is_exempt, refuse_unknown_conf, unknown_keys

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


def triggered_by_a_task(conf: dict[str, Any] | None) -> dict[str, Any]:
    """The conf as TriggerDagRunOperator sends it where the OpenLineage provider is active."""
    names = ("ParentRunId", "ParentJobName", "ParentJobNamespace")
    info = {f"{start}{name}": str(uuid.uuid4()) for start in ("", "root") for name in names}
    info = {name[:1].lower() + name[1:]: value for name, value in info.items()}
    sent: dict[str, Any] = _inject_openlineage_parent_info_to_dagrun_conf(conf, info)
    return sent


@pytest.mark.parametrize("conf", [None, {}, {"table": "jobs", "dry_run": True}])
@pytest.mark.usefixtures("triggered_before")
def test_keys_that_airflow_adds_are_known(conf: dict[str, Any] | None) -> None:
    sent = triggered_by_a_task(conf)
    assert set(sent) - set(conf or {}) == AIRFLOW_KEYS
    refuse_unknown_conf(context(sent))


def test_keys_beside_those_that_airflow_adds_are_refused_still(triggered_before: list[bool]) -> None:
    triggered_before.append(False)
    with pytest.raises(AirflowFailException, match=r"Did you mean 'dry_run'\?") as raised:
        refuse_unknown_conf(context(triggered_by_a_task({"table": "jobs", "dryRun": True})))
    assert "openlineage" not in str(raised.value)


SINCE = datetime(2026, 11, 30, 12, tzinfo=UTC)
BEFORE, AFTER = SINCE - timedelta(hours=1), SINCE + timedelta(hours=1)


def run_of(run_type: str = "manual", **moments: datetime | None) -> Any:
    """A run that was triggered before the check, as far as it says; an event is one that it consumed."""
    event = moments.pop("event", None)
    events = [SimpleNamespace(timestamp=BEFORE), SimpleNamespace(timestamp=event)] if event else []
    named = {"run_after": BEFORE, "logical_date": None} | moments
    return SimpleNamespace(run_type=run_type, consumed_asset_events=events, **named)


@pytest.mark.parametrize(
    ("run", "now", "exempt"),
    [
        (run_of(), AFTER, True),
        (run_of("operator_triggered", logical_date=BEFORE), AFTER, True),
        (run_of("asset_triggered", event=BEFORE), AFTER, True),
        (run_of(), SINCE + MAX_EXEMPT - timedelta(seconds=1), True),
        (run_of(), SINCE + MAX_EXEMPT, False),
        (run_of(run_after=SINCE), AFTER, False),
        (run_of(run_after=AFTER), AFTER, False),
        (run_of(logical_date=AFTER), AFTER, False),
        (run_of("asset_triggered", event=AFTER), AFTER, False),
        (run_of("backfill"), AFTER, False),
        (run_of("backfill", logical_date=BEFORE - timedelta(days=900)), AFTER, False),
    ],
)
def test_runs_that_are_exempt(run: Any, now: datetime, exempt: bool) -> None:
    assert is_exempt(run, SINCE, now) is exempt


def test_no_run_is_exempt_where_the_check_has_no_beginning() -> None:
    assert is_exempt(run_of(), None, AFTER) is False


@pytest.mark.usefixtures("triggered_before")
def test_conf_that_airflow_itself_would_ignore_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAG_RUN_CONF_OVERRIDES_PARAMS", "False")
    refuse_unknown_conf(context({}))
    refuse_unknown_conf(context(triggered_by_a_task(None)))
    with pytest.raises(AirflowFailException, match="dag_run_conf_overrides_params is False"):
        refuse_unknown_conf(context({"table": "jobs"}))
