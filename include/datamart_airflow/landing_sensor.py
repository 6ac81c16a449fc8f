"""Waits for files in the landing folder without holding a worker, and plans their batches when there are some."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.definitions.context import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.triggers.base import BaseTrigger, TaskSkippedEvent, TriggerEvent

from datamart.errors import sentence
from datamart_airflow.left_out import record_left_out

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 60.0


class LandingSensor(BaseOperator):
    """Its result is the batches of the files that lie there; it ends as skipped when none came for ``wait``, if any.

    A server that cannot be reached is waited for, with growing pauses; when ``wait`` is over it fails with the reason.
    """

    def __init__(self, *, wait: timedelta = timedelta(minutes=10), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wait = wait

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Batches, at once when files lie there already."""
        return self._plan(context, left=self.wait.total_seconds())

    def after_waiting(self, context: Context, event: dict[str, Any]) -> list[dict[str, Any]]:
        """Batches of the files that the trigger saw."""
        if event["error"]:
            raise AirflowFailException(f"The landing folder could not be looked into. {event['error']}")
        # An event of the version before does not say how much of the wait is left.
        return self._plan(context, left=event.get("left", self.wait.total_seconds()), seen=True)

    def _plan(self, context: Context, *, left: float, seen: bool = False) -> list[dict[str, Any]]:
        """Batches, or the trigger for the ``left`` seconds of the wait.

        ``seen`` says that the trigger saw a file. Where there is no batch all the same, the trigger pauses before it
        looks again: it would see that file at once.
        """
        from datamart.file_names import LeftOut
        from datamart.landing import plan_landing
        from datamart.settings import load_settings
        from datamart_airflow.clients import object_store, warehouse

        poll, batches, left_out, fault = _LONGEST_PAUSE, [], LeftOut(), None
        try:
            settings = load_settings()
            poll = settings.landing_poll_seconds
            with warehouse() as opened:
                plan = plan_landing(object_store(), opened, settings)
                batches, left_out = plan.batches, plan.left_out
        except Exception as error:
            if not self.wait:
                raise
            # A run that failed at once would be followed by the next at once.
            fault = sentence(error)
            log.warning("The landing folder cannot be looked into now. %s", fault)
        if not batches and seen and left <= 0 and fault:
            raise AirflowFailException(f"The landing folder could not be looked into. {fault}")
        if not batches and (not self.wait or (seen and left <= 0)):
            raise AirflowSkipException("No file lies there that is due.")
        if not batches:
            self.defer(trigger=LandingTrigger(left, poll, poll if seen else 0), method_name="after_waiting")
        record_left_out(context, left_out)
        return batches


class LandingTrigger(BaseTrigger):
    """Looks into the landing folder every ``poll`` seconds until a file lies there that is not on hold."""

    def __init__(self, wait: float, poll: float, before: float = 0) -> None:
        """``before`` is the pause before the first look, in seconds."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.wait = wait
        self.poll = poll
        self.before = before

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How Airflow makes it again, in this process or another."""
        return f"{__name__}.LandingTrigger", {"wait": self.wait, "poll": self.poll, "before": self.before}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event: files lie there, or what kept it from seeing; a skip when there was nothing."""
        end, pause, error = time.monotonic() + self.wait, self.poll, None
        looking = _Looking()
        await asyncio.sleep(self.before)
        while True:
            try:
                found, error, pause = await asyncio.to_thread(looking.see), None, self.poll
            except Exception as fault:  # noqa: BLE001 - told at the end; the next look may succeed
                found, error, pause = False, sentence(fault), min(2 * pause, _LONGEST_PAUSE)
                self.log.warning("The landing folder could not be looked into: %s Next look in %.0f s.", error, pause)
                looking = _Looking()
            if found:
                left = end - time.monotonic()
                yield TriggerEvent({"error": None, "left": left})  # type: ignore[no-untyped-call]
                return
            if time.monotonic() + pause > end:
                yield TriggerEvent({"error": error}) if error else TaskSkippedEvent()  # type: ignore[no-untyped-call]
                return
            await asyncio.sleep(pause)


class _Looking:
    """One look after another with the same client; a session with the warehouse only when files lie there."""

    def __init__(self) -> None:
        self._store: Any = None

    def see(self) -> bool:
        from datamart.landing import files_lie_there
        from datamart.settings import load_settings
        from datamart_airflow.clients import object_store

        self._store = self._store or object_store()
        return files_lie_there(self._store, self._waiting, load_settings(), self._now)

    def _waiting(self) -> set[int]:
        from datamart.holds import Holds
        from datamart.settings import load_settings
        from datamart_airflow.clients import warehouse

        with warehouse() as opened:
            return Holds(opened, load_settings()).waiting()

    def _now(self) -> datetime:
        from datamart_airflow.clients import warehouse

        with warehouse() as opened:
            return opened.now()
