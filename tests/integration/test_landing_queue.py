"""Files that land, told by a queue: a real client against moto's SQS server, through Airflow's own trigger."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing, suppress
from typing import Any

import pytest
from airflow.triggers.base import TriggerEvent

from datamart_airflow.landing_queue import LandingQueueTrigger, files_told
from tests.landing_queue import Queue, queued, told

SECONDS = 30


@pytest.fixture
def queue(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    monkeypatch.setattr("datamart_airflow.landing_queue._LONGEST_POLL", 1)
    monkeypatch.setattr("datamart_airflow.landing_queue._SHORTEST_PAUSE", 0.2)
    with queued(getattr(request, "param", 30)) as found:
        monkeypatch.setenv("AIRFLOW_CONN_LANDING_QUEUE", found.variables["AIRFLOW_CONN_LANDING_QUEUE"])
        yield found


def events(queue: Queue, count: int, url: str | None = None) -> list[Any]:
    """So many events of the trigger."""

    async def heard() -> list[Any]:
        found: list[Any] = []
        async with aclosing(LandingQueueTrigger(url or queue.url, "landing_queue").run()) as running:  # type: ignore[type-var]
            async for event in running:
                assert isinstance(event, TriggerEvent)
                found.append(event.payload)
                if len(found) == count:
                    break
        return found

    return asyncio.run(asyncio.wait_for(heard(), SECONDS))


@pytest.mark.parametrize(
    ("body", "files"),
    [
        (told("landing/jobs.csv"), 1),
        (told("landing/jobs+%282%29.csv", "landing/a.csv"), 2),
        (told("archive/jobs.csv", "landing/"), 0),
        (json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"}), 0),
        ("no json", 0), ("[]", 0), ("{}", 0), ('{"Records": null}', 0), ('{"Records": [1]}', 0), ("", 0),
    ],
)  # fmt: skip
def test_a_message_tells_of_so_many_files(body: str, files: int) -> None:
    assert files_told(body) == files


def test_all_messages_that_lie_there_are_one_event(queue: Queue) -> None:
    for number in range(25):
        queue.send(told(f"landing/jobs_{number}.csv"))
    assert events(queue, 1) == [{"files": 25}]


@pytest.mark.parametrize("queue", [1], indirect=True)
def test_messages_are_removed_when_the_event_was_handed_on_and_not_before(queue: Queue) -> None:
    queue.send(told("landing/jobs_1.csv"))
    assert events(queue, 1) == [{"files": 1}]
    assert queue.left == 1, "the trigger ended before anybody had taken the event"
    assert events(queue, 1) == [{"files": 1}], "so it is told again"
    queue.send(told("landing/jobs_2.csv"))

    async def goes_on() -> None:
        async with aclosing(LandingQueueTrigger(queue.url, "landing_queue").run()) as running:  # type: ignore[type-var]
            taking = asyncio.ensure_future(_taken(running))
            while queue.left:
                await asyncio.sleep(0.1)
            taking.cancel()
            with suppress(asyncio.CancelledError):
                await taking

    asyncio.run(asyncio.wait_for(goes_on(), SECONDS))


async def _taken(running: Any) -> None:
    """As the triggerer takes events: one after another."""
    async for _ in running:
        pass


def test_other_messages_start_nothing_and_do_not_pile_up(queue: Queue) -> None:
    queue.send("something else")
    queue.send(told("archive/jobs.csv"))

    async def listens() -> None:
        async with aclosing(LandingQueueTrigger(queue.url, "landing_queue").run()) as running:  # type: ignore[type-var]
            waiting = asyncio.ensure_future(anext(running))
            while queue.left:
                await asyncio.sleep(0.1)
            assert not waiting.done()
            queue.send(told("landing/jobs.csv"))
            assert (await waiting).payload == {"files": 1}

    asyncio.run(asyncio.wait_for(listens(), SECONDS))


def test_a_queue_that_cannot_be_reached_is_asked_again(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    """It is made while the trigger already listens."""
    late = f"{queue.url}-later"

    async def listens() -> None:
        async with aclosing(LandingQueueTrigger(late, "landing_queue").run()) as running:  # type: ignore[type-var]
            waiting = asyncio.ensure_future(anext(running))
            while "cannot be read" not in caplog.text:
                await asyncio.sleep(0.1)
            queue.client.create_queue(QueueName=f"{queue.name}-later")
            queue.client.send_message(QueueUrl=late, MessageBody=told("landing/jobs.csv"))
            assert (await waiting).payload == {"files": 1}

    asyncio.run(asyncio.wait_for(listens(), SECONDS))


def test_it_is_made_again_as_it_was() -> None:
    path, given = LandingQueueTrigger("https://queue", "object_store").serialize()
    assert path == "datamart_airflow.landing_queue.LandingQueueTrigger"
    assert LandingQueueTrigger(**given).serialize() == (path, given)
