"""What the caller's environment brings into the embedded stack of Airflow's settings: who is told how things go."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from embedded import environment
from embedded.airflow_api import AirflowApi
from embedded.console import Console
from embedded.demo import Demo
from embedded.errors import SettingError, StackError
from embedded.settings import Settings, for_start
from embedded.stacksecrets import Secrets

SECRETS = Secrets(*(["x"] * len(fields(Secrets))))
WAREHOUSE = "postgres://elsewhere"


def in_folder(folder: Path) -> Settings:
    return Settings(folder, airflow_port=1, s3_port=2, postgres_port=3, demo=False, airflow=True)


def stack(folder: Path) -> dict[str, str]:
    return environment.airflow(in_folder(folder), SECRETS)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A stack that was made, in a shell without the product's variables."""
    for name in environment.given_variables():
        monkeypatch.delenv(name)
    own = in_folder(tmp_path)
    own.secrets_dir.mkdir()
    return own


@pytest.fixture
def started(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A stack whose last start was given a warehouse and settings, one of them switched off."""
    with monkeypatch.context() as start:
        start.setenv("AIRFLOW_CONN_WAREHOUSE", WAREHOUSE)
        start.setenv("DATAMART_ALERT_WEBHOOK", "alert_webhook")
        start.setenv("DATAMART_BACKUP_HOURS", "")
        start.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
        environment.remember(settings)
    return settings


def test_metrics_and_lineage_go_where_the_caller_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__NAMESPACE", "mine")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative")
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", "/elsewhere")
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", "postgres://h")
    found = stack(tmp_path)
    assert found["AIRFLOW__METRICS__STATSD_ON"] == "True"
    assert found["AIRFLOW__OPENLINEAGE__NAMESPACE"] == "mine"
    assert found["OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"] == "cumulative"
    assert found["AIRFLOW__CORE__DAGS_FOLDER"] != "/elsewhere"
    assert "AIRFLOW_CONN_OTHER" not in found


def test_health_is_asked_with_the_variables_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them it would ask the stack's own warehouse, though the files are loaded into another."""
    settings, secrets = in_folder(tmp_path), SECRETS
    for name in ("AIRFLOW_CONN_WAREHOUSE", "DATAMART_LATE_MINUTES", "DATAMART_WATCH_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    assert "AIRFLOW_CONN_WAREHOUSE" not in environment.airflow(settings, secrets)
    settings.secrets_dir.mkdir()
    with monkeypatch.context() as start:
        start.setenv("AIRFLOW_CONN_WAREHOUSE", "postgres://elsewhere")
        start.setenv("DATAMART_LATE_MINUTES", "60")
        start.setenv("DATAMART_WATCH_SECONDS", "30")
        environment.remember(settings)
    monkeypatch.setenv("DATAMART_WATCH_SECONDS", "10")
    found = environment.airflow(settings, secrets)
    assert found["AIRFLOW_CONN_WAREHOUSE"] == "postgres://elsewhere"
    assert (found["DATAMART_LATE_MINUTES"], found["DATAMART_WATCH_SECONDS"]) == ("60", "10")
    assert found["DATAMART_DATA_BUCKET"] == "datamart-data"
    (file,) = settings.secrets_dir.iterdir()
    assert file.stat().st_mode & 0o077 == 0


def test_by_default_nobody_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another program's lineage is set up with in the caller's shell is not meant for the stack."""
    for name in ("OPENLINEAGE_URL", "OPENLINEAGE__TRANSPORT__TYPE", "OPENLINEAGE_CONFIG", "OPENLINEAGE_API_KEY"):
        monkeypatch.setenv(name, "http://elsewhere.example")
    found = stack(tmp_path)
    assert [name for name in found if name.startswith("OPENLINEAGE")] == []
    told = {name: value for name, value in found.items() if name.startswith(environment.OBSERVED_BY)}
    assert told == {"AIRFLOW__OPENLINEAGE__NAMESPACE": "datamart", "AIRFLOW__OPENLINEAGE__DISABLE_SOURCE_CODE": "True"}


def test_the_next_start_uses_the_variables_of_the_last(started: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another shell must neither stop the alerts nor load into another warehouse."""
    for _start in range(2):
        found = environment.airflow(started, SECRETS)
        assert found["AIRFLOW_CONN_WAREHOUSE"] == WAREHOUSE
        assert found["DATAMART_ALERT_WEBHOOK"] == "alert_webhook"
        assert found["DATAMART_BACKUP_HOURS"] == "", "what was switched off is on again"
        assert found["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:4318"
        environment.remember(started)
    monkeypatch.setenv("DATAMART_ALERT_WEBHOOK", "another")
    environment.remember(started)
    monkeypatch.delenv("DATAMART_ALERT_WEBHOOK")
    assert environment.airflow(started, SECRETS)["DATAMART_ALERT_WEBHOOK"] == "another"
    (file,) = started.secrets_dir.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_empty_variable_is_dropped(started: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as start:
        for name in ("AIRFLOW_CONN_WAREHOUSE", "DATAMART_ALERT_WEBHOOK", "DATAMART_LATE_MINUTES"):
            start.setenv(name, "")
        environment.require_valid(started)
        environment.remember(started)
    found = environment.product_variables(started)
    assert set(found) == {"DATAMART_BACKUP_HOURS", "OTEL_EXPORTER_OTLP_ENDPOINT"}


def test_variables_that_are_used_again_are_named_without_their_values(
    started: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4319")
    assert environment.reuse_notice(started) == (
        "Variables of the last start are used again: AIRFLOW_CONN_WAREHOUSE, DATAMART_ALERT_WEBHOOK, "
        "DATAMART_BACKUP_HOURS. To drop one: AIRFLOW_CONN_WAREHOUSE= make run"
    )


def test_nothing_is_said_where_nothing_is_used_again(settings: Settings) -> None:
    assert environment.reuse_notice(settings) == ""


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', '{"DATAMART_LATE_MINUTES": 5}', "\udc80"])
def test_damaged_variables_are_one_sentence(settings: Settings, text: str) -> None:
    """Without them a start would load into another warehouse, and `health` would ask it."""
    file = settings.secrets_dir / "variables.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(StackError, match=r"variables\.json is damaged\. Delete that file") as found:
        environment.airflow(settings, SECRETS)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(("name", "value"), [("DATAMART_TYPO", "1"), ("DATAMART_LATE_MINUTES", "soon")])
def test_a_setting_that_cannot_work_is_refused_before_it_is_remembered(
    started: Settings, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match=name) as found:
        environment.require_valid(started)
    assert "\n" not in str(found.value)
    assert "DATAMART_ALERT_WEBHOOK= make run" in str(found.value)


class NewAirflow(AirflowApi):
    """One that knows the Dag, and fails when it is asked for more than insights."""

    def get(self, path: str, **_query: object) -> Any:
        assert path == "/dags/historic_load"
        return {}

    def insights(self, **_query: object) -> list[dict[str, Any]]:
        return []


@pytest.mark.parametrize("pending", [True, False])
def test_no_samples_go_into_a_warehouse_that_is_not_the_stack_s(
    started: Settings, pending: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its tables may be filled: the samples would replace rows of the same ids."""
    loaded: list[bool] = []
    monkeypatch.setattr(Demo, "_load_samples", lambda _self: loaded.append(True))
    monkeypatch.setattr(Demo, "_is_new", lambda _self: True)
    if pending:
        (started.stack_dir / "samples.pending").touch()

    def run(own: Settings) -> str:
        Demo(own, SECRETS, NewAirflow("", "", ""), Console(), lambda: None).run()
        return capsys.readouterr().out

    assert "No sample data is loaded into a warehouse of your own" in run(started)
    assert loaded == []
    run(replace(started, samples_anywhere=True))
    assert loaded == [True]
    (started.secrets_dir / "variables.json").write_text(json.dumps({}))
    run(started)
    assert loaded == [True, True]


@pytest.mark.parametrize(
    ("value", "demo", "anywhere"), [(None, True, False), ("", True, False), ("1", False, False), ("0", True, True)]
)
def test_samples_are_asked_for_by_no_demo_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, demo: bool, anywhere: bool
) -> None:
    monkeypatch.setenv("STACK_DIR", str(tmp_path))
    monkeypatch.delenv("NO_AIRFLOW", raising=False)
    monkeypatch.delenv("NO_DEMO", raising=False)
    if value is not None:
        monkeypatch.setenv("NO_DEMO", value)
    found = for_start()
    assert (found.demo, found.samples_anywhere) == (demo, anywhere)
