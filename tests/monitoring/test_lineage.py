"""OpenLineage's provider reads from a task what it was told; where nobody listens, nothing is even looked up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.openlineage.extractors.manager import ExtractorManager
from airflow.sdk import dag, task
from airflow.utils.state import TaskInstanceState

from datamart.datasets import Dataset, Flow, Places
from datamart.errors import ConfigurationError, DatamartError
from datamart.loads import Outcome, Verdict
from datamart_airflow import lineage, metrics, observed

FLOW = Flow((Dataset("s3://data", "landing/jobs.csv", 7),), (Dataset("postgres://h:5432", "w.public.jobs", 5),))


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A task of a Dag as Airflow runs it: a function that the decorator has made an operator of."""

    @task
    def load() -> None:
        return None

    @dag(schedule=None)
    def any_dag() -> None:
        load()

    found = any_dag().get_task("load")
    monkeypatch.setattr(lineage, "get_current_context", lambda: {"task": found})
    monkeypatch.setattr(lineage, "place_of", lambda _: ("postgres", "h", None, "w"))
    return found


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", '{"type": "console"}')


def event_of(operator: Any, state: TaskInstanceState) -> Any:
    """What the provider would tell of it."""
    run = SimpleNamespace(run_id="r")
    return ExtractorManager().extract_metadata(run, operator, state, SimpleNamespace(task=operator))


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("state", [TaskInstanceState.SUCCESS, TaskInstanceState.FAILED])
def test_the_provider_reads_what_was_told(running: Any, state: TaskInstanceState) -> None:
    lineage.tell(lambda _: FLOW)
    found = event_of(running, state)
    (read,), (written,) = found.inputs, found.outputs
    assert (read.namespace, read.name, read.inputFacets["inputStatistics"].rowCount) == (
        "s3://data", "landing/jobs.csv", 7,
    )  # fmt: skip
    assert (written.namespace, written.name) == ("postgres://h:5432", "w.public.jobs")
    assert written.outputFacets["outputStatistics"].rowCount == 5


@pytest.mark.usefixtures("heard")
def test_places_are_those_of_the_settings_and_the_connection(running: Any) -> None:
    seen: list[Places] = []

    def flow(places: Places) -> Flow:
        seen.append(places)
        return FLOW

    lineage.tell(flow)
    assert seen == [Places("postgres://h:5432", "w", "datamart-data", "datamart-backup")]
    assert running.get_openlineage_facets_on_complete(None).inputs


BAD = {
    "no JSON": {"AIRFLOW__OPENLINEAGE__TRANSPORT": '{"type": "http", "api_key": "S3CRET"'},
    "no object": {"AIRFLOW__OPENLINEAGE__TRANSPORT": '["S3CRET"]'},
    "neither true nor false": {"AIRFLOW__OPENLINEAGE__DISABLED": "S3CRET"},
}


@pytest.fixture(params=BAD.values(), ids=list(BAD))
def mistyped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    lineage._say_once.cache_clear()
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("mistyped")
def test_a_setting_that_cannot_be_read_is_told_once_and_stops_nothing(
    running: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert not lineage.on()
    lineage.tell(lambda _: FLOW)
    assert not hasattr(running, "get_openlineage_facets_on_complete")
    (told,) = caplog.messages
    assert "AIRFLOW__OPENLINEAGE__TRANSPORT is to be a JSON object" in told
    assert "S3CRET" not in told, "a transport holds the key of its server"


@pytest.mark.usefixtures("mistyped")
def test_files_after_the_first_are_told_of_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told of a file when it is in the warehouse: to fail then would keep the next ones out of it."""
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "maybe")
    metrics._route.cache_clear()
    with observed.loads("history") as told:
        for number in range(3):
            told.add([Outcome(number, "jobs", f"jobs{number}.csv", Verdict.LOADED)])
    metrics._route.cache_clear()


@pytest.mark.usefixtures("heard")
def test_a_flow_that_cannot_be_told_is_a_line_in_the_log(running: Any, caplog: pytest.LogCaptureFixture) -> None:
    lineage.tell(lambda _: FLOW.read[99] and FLOW)
    assert "What this task read and wrote is not told. An unexpected IndexError" in caplog.text
    assert event_of(running, TaskInstanceState.SUCCESS).inputs == []


@pytest.mark.usefixtures("heard")
def test_without_its_connection_a_task_tells_nothing_and_goes_on(
    running: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def absent(_: str) -> Any:
        raise ConfigurationError("Airflow has no connection warehouse. Define it.")

    monkeypatch.setattr(lineage, "place_of", absent)
    lineage.tell(lambda _: FLOW)
    assert "Airflow has no connection warehouse" in caplog.text
    assert event_of(running, TaskInstanceState.SUCCESS).inputs == []


def test_where_nobody_listens_nothing_is_looked_up(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: Any) -> Any:
        raise DatamartError("it was asked")

    monkeypatch.setattr(lineage, "place_of", never)
    assert not lineage.on()
    lineage.tell(never)
    assert not hasattr(running, "get_openlineage_facets_on_complete")
