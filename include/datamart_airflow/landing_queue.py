"""Hears from an SQS queue that files have landed, in the place of looking all the time.

What a message says is only that there is something to look for: the run that it starts lists the folder as any other
does. So a message that comes twice, late or never does no harm; a run by the clock finds what none told of.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import unquote_plus

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from datamart.errors import sentence

log = logging.getLogger(__name__)

NET = "*/5 * * * *"
"""When the folder is looked into whatever the queue says."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_LONGEST_POLL = 20
_MOST_AT_ONCE = 1000


def landing_schedule() -> Any:
    """When files that landed are loaded: all the time, or when the queue that is set tells of some and by the clock."""
    queue = os.environ.get("DATAMART_LANDING_QUEUE")
    if not queue:
        return "@continuous"
    trigger = LandingQueueTrigger(queue, os.environ.get("DATAMART_LANDING_QUEUE_CONNECTION") or "object_store")
    landed = Asset("landing", uri="x-datamart://s3/landing", watchers=[AssetWatcher(name="queue", trigger=trigger)])
    return AssetOrTimeSchedule(timetable=CronTriggerTimetable(NET, timezone="UTC"), assets=landed)


def landing_wait() -> timedelta:
    """How long a run waits for files: not at all where it is started when there are some."""
    return timedelta(0) if os.environ.get("DATAMART_LANDING_QUEUE") else timedelta(minutes=10)


class LandingQueueTrigger(BaseEventTrigger):
    """One event for all messages that lie in the queue; they are removed when it has been handed on."""

    def __init__(self, queue: str, connection: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.queue = queue
        self.connection = connection

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How Airflow makes it again, in this process or another."""
        return f"{__name__}.LandingQueueTrigger", {"queue": self.queue, "connection": self.connection}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Events without an end; a queue that cannot be reached is asked again, with growing pauses."""
        pause = _SHORTEST_PAUSE
        queue: _Queue | None = None
        while True:
            try:
                if queue is None:
                    queue = await asyncio.to_thread(lambda: _Queue(self.queue, self.connection))
                messages = await asyncio.to_thread(queue.receive)
                files = sum(files_told(message["Body"]) for message in messages)
                if files:
                    yield TriggerEvent({"files": files})  # type: ignore[no-untyped-call]
                await asyncio.to_thread(queue.remove, messages)
                pause = _SHORTEST_PAUSE
            except Exception as fault:  # noqa: BLE001 - told; the next look may succeed
                log.warning("The queue of landed files cannot be read: %s Next try in %.0f s.", sentence(fault), pause)
                queue = None
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)


def files_told(body: str) -> int:
    """How many files of the landing folder a message tells of; none if it is of another kind.

    Files that are ignored or not complete by their names do not count: they start no run. A file that stays not
    complete is found by the clock.

    Its form: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html.
    """
    # Not above: a Dag file imports this module at every parse.
    from datamart.file_names import is_ignored, is_partial
    from datamart.landing import PREFIX

    try:
        records = json.loads(body)["Records"]
        keys = [unquote_plus(record["s3"]["object"]["key"]) for record in records]
    except (ValueError, KeyError, TypeError):
        return 0
    landed = (key for key in keys if key.startswith(PREFIX) and not key.endswith("/"))
    return sum(not is_ignored(key) and not is_partial(key) for key in landed)


class _Queue:
    """A client of the queue."""

    def __init__(self, url: str, connection: str) -> None:
        from airflow.providers.amazon.aws.hooks.sqs import SqsHook

        self._url = url
        self._client = SqsHook(aws_conn_id=connection).get_conn()

    def receive(self) -> list[dict[str, Any]]:
        """All messages that lie there, up to some; waits for the first one."""
        found: list[dict[str, Any]] = []
        wait = _LONGEST_POLL
        while len(found) < _MOST_AT_ONCE:
            answer = self._client.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=wait)
            more = answer.get("Messages", [])
            if not more:
                break
            found += more
            wait = 0
        return found

    def remove(self, messages: list[dict[str, Any]]) -> None:
        """They have been heard."""
        for start in range(0, len(messages), 10):
            entries = [
                {"Id": str(place), "ReceiptHandle": message["ReceiptHandle"]}
                for place, message in enumerate(messages[start : start + 10])
            ]
            self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)
