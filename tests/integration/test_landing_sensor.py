"""The trigger that waits for files, outside the triggerer: connections come from the environment, servers are real."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from airflow.triggers.base import TaskSkippedEvent, TriggerEvent

from datamart.holds import Holds
from datamart.landing import PREFIX
from datamart.objects import ObjectStore
from datamart.settings import load_settings
from datamart_airflow import clients
from datamart_airflow.landing_sensor import LandingSensor, LandingTrigger
from tests.bucket import own_bucket
from tests.integration.landing_zone import ALWAYS, on_requests, s3_says
from tests.integration.test_versions import purge, set_versioning
from tests.integration.world import World
from tests.stack import Stack


@pytest.fixture
def folder(world: World, warehouse_and_s3: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A bucket of its own, which the trigger's connections and settings name."""
    env = warehouse_and_s3.env
    aws = {
        "conn_type": "aws", "login": env["AWS_ACCESS_KEY_ID"], "password": env["AWS_SECRET_ACCESS_KEY"],
        "extra": {"endpoint_url": env["S3_ENDPOINT_URL"], "region_name": env["AWS_DEFAULT_REGION"]},
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_OBJECT_STORE", json.dumps(aws))
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", world.database.dsn)
    with own_bucket(world.store.client, "sensor") as bucket:
        monkeypatch.setenv("DATAMART_DATA_BUCKET", bucket)
        yield ObjectStore(world.store.client, bucket)


def event(wait: float = 1.5, poll: float = 0.1) -> TriggerEvent:
    """What the trigger answers first."""

    async def first() -> TriggerEvent:
        return await anext(LandingTrigger(wait, poll).run())

    return asyncio.run(asyncio.wait_for(first(), 60))


def test_it_is_made_again_from_what_it_says_of_itself() -> None:
    path, values = LandingTrigger(600, 1).serialize()
    assert (path, values) == ("datamart_airflow.landing_sensor.LandingTrigger", {"wait": 600, "poll": 1, "before": 0})


def test_an_empty_folder_ends_in_a_skip(folder: ObjectStore) -> None:
    folder.client.put_object(Bucket=folder.bucket, Key=PREFIX, Body=b"")  # the console's marker of a folder
    folder.write("elsewhere/jobs.csv", b"1,a\n")
    assert isinstance(event(), TaskSkippedEvent)


def test_a_file_is_seen(folder: ObjectStore) -> None:
    folder.write(f"{PREFIX}jobs.csv", b"1,a\n")
    assert event().payload["error"] is None


def test_a_file_that_comes_later_is_seen(folder: ObjectStore) -> None:
    async def both() -> TriggerEvent:
        waiting = asyncio.ensure_future(anext(LandingTrigger(30, 0.1).run()))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await asyncio.to_thread(folder.write, f"{PREFIX}jobs.csv", b"1,a\n")
        return await asyncio.wait_for(waiting, 20)

    assert asyncio.run(both()).payload["error"] is None


def test_a_file_on_hold_is_passed_over_until_its_time(folder: ObjectStore, world: World) -> None:
    folder.write(f"{PREFIX}jobs.csv", b"1,a\n")
    (arrival,) = folder.list(PREFIX)
    Holds(world.warehouse, load_settings({})).put(arrival, "A test.")
    assert isinstance(event(), TaskSkippedEvent)
    world.sql("UPDATE ops.holds SET next_try_at = now() - interval '1 second'")
    assert event().payload["error"] is None


def test_names_that_are_left_alone_are_not_seen(folder: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (".DS_Store", "sub/_SUCCESS", "jobs.csv.md5", "jobs.csv.part", ".jobs.csv.aB3xY9"):
        folder.write(f"{PREFIX}{name}", b"1,a\n")
    assert isinstance(event(), TaskSkippedEvent)
    monkeypatch.setenv("DATAMART_PARTIAL_MINUTES", "0")
    assert event().payload["error"] is None


def test_s3_that_does_not_answer_is_told_at_the_end(folder: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    del folder
    nowhere = {"conn_type": "aws", "login": "a", "password": "b", "extra": {"endpoint_url": "http://127.0.0.1:9"}}
    monkeypatch.setenv("AIRFLOW_CONN_OBJECT_STORE", json.dumps(nowhere))
    assert "S3 could not be reached" in event(wait=0.1).payload["error"]


def test_a_warehouse_that_does_not_answer_is_told_at_the_end(
    folder: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write(f"{PREFIX}jobs.csv", b"1,a\n")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "postgres://a:b@127.0.0.1:9/x")
    assert "The warehouse did not answer" in event(wait=0.1).payload["error"]


def test_settings_that_cannot_work_are_told_at_the_end(folder: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    del folder
    monkeypatch.setenv("DATAMART_TYPO", "1")
    assert "DATAMART_TYPO" in event(wait=0.1).payload["error"]


POLL = 0.5


def after_waiting(left: float = 600) -> LandingTrigger:
    """What the sensor waits for next, when the trigger has seen a file."""
    with pytest.raises(TaskDeferred) as deferred:
        woken(left)
    trigger = deferred.value.trigger
    assert isinstance(trigger, LandingTrigger)
    return trigger


def woken(left: float) -> Any:
    return LandingSensor(task_id="wait_for_files").after_waiting({}, {"error": None, "left": left})  # type: ignore[typeddict-item]


@pytest.fixture
def listed_only(folder: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A file that is listed and that nothing else finds, in a bucket that keeps versions."""
    monkeypatch.setenv("DATAMART_LANDING_POLL_SECONDS", str(POLL))
    monkeypatch.setattr(clients, "object_store", lambda: folder)
    set_versioning(folder.client, folder.bucket, "Enabled")
    folder.write(f"{PREFIX}jobs.csv", b"1,a\n")
    with on_requests(folder, "HeadObject", {f"{PREFIX}jobs.csv"}, s3_says(404, "404"), ALWAYS):
        yield folder
    purge(folder.client, folder.bucket)


def first_look(trigger: LandingTrigger) -> tuple[dict[str, Any], float]:
    """What the trigger answers, and after how many seconds."""

    async def first() -> TriggerEvent:
        return await anext(LandingTrigger(**trigger.serialize()[1]).run())

    begun = time.monotonic()
    payload = asyncio.run(asyncio.wait_for(first(), 60)).payload
    return payload, time.monotonic() - begun


@pytest.mark.usefixtures("listed_only")
def test_a_file_of_which_there_is_no_batch_is_looked_at_again_after_a_pause() -> None:
    payload, seconds = first_look(after_waiting())
    assert payload["error"] is None
    assert seconds >= POLL
    assert 0 < payload["left"] <= 600 - POLL
    with pytest.raises(AirflowSkipException):
        woken(0)


def test_a_plan_that_fails_again_and_again_fails_the_run_when_the_wait_is_over(
    folder: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "object_store", lambda: folder)
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "postgres://a:b@127.0.0.1:9/x")
    assert after_waiting().before > 0
    with pytest.raises(AirflowFailException, match="The warehouse did not answer"):
        woken(-1)
