"""What the caller's environment brings into the embedded stack of Airflow's settings: who is told how things go."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from embedded import environment
from embedded.settings import Settings
from embedded.stacksecrets import Secrets


def stack(folder: Path) -> dict[str, str]:
    settings = Settings(folder, airflow_port=1, s3_port=2, postgres_port=3, demo=False, airflow=True)
    return environment.airflow(settings, Secrets(*(["x"] * len(fields(Secrets)))))


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
    settings = Settings(tmp_path, airflow_port=1, s3_port=2, postgres_port=3, demo=False, airflow=True)
    secrets = Secrets(*(["x"] * len(fields(Secrets))))
    for name in ("AIRFLOW_CONN_WAREHOUSE", "DATAMART_LATE_MINUTES", "DATAMART_WATCH_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    assert "AIRFLOW_CONN_WAREHOUSE" not in environment.of_running_stack(settings, secrets)
    settings.secrets_dir.mkdir()
    with monkeypatch.context() as start:
        start.setenv("AIRFLOW_CONN_WAREHOUSE", "postgres://elsewhere")
        start.setenv("DATAMART_LATE_MINUTES", "60")
        start.setenv("DATAMART_WATCH_SECONDS", "30")
        environment.remember(settings)
    monkeypatch.setenv("DATAMART_WATCH_SECONDS", "10")
    found = environment.of_running_stack(settings, secrets)
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
