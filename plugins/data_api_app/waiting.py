"""Waits for the ends of loads: one look for all who wait, so that a hundred of them cost no more than one.

A load has ended when the ledger knows its verdict; a dry run, and a run that failed for good, when Airflow says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

import httpx

from data_api_app.airflow_app import Airflow
from data_api_app.sources import Sources
from datamart.ledger import Ledger
from datamart.warehouse.values import Ended

log = logging.getLogger(__name__)

LEDGER_SECONDS = 0.05
FAULT_SECONDS = 2.0
"""The pause after a look that failed: a warehouse that refuses the password is not asked twenty times a second."""
_TOKENS_TRIED = 5
RUNS_EVERY = 10
"""Looks into the ledger between two at Airflow's runs; dry runs are only seen there."""


@dataclass(frozen=True)
class End:
    """How a run ended: with a verdict, or - when there is none - in this state of Airflow's."""

    verdict: Ended | None
    state: str | None = None


@dataclass(eq=False)
class Wait:
    """Somebody who waits for a run of a Dag."""

    dag_id: str
    run_id: str
    load_id: int | None
    """None: a dry run, of which the ledger knows nothing."""
    token: str
    end: asyncio.Future[End] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Waiting:
    """All who wait, in this process."""

    def __init__(self, sources: Sources, airflow: Airflow) -> None:
        self._sources, self._airflow = sources, airflow
        self._waits: set[Wait] = set()
        self._watch: asyncio.Task[None] | None = None

    async def end_of(self, dag_id: str, run_id: str, load_id: int | None, token: str, seconds: float) -> End | None:
        """How the run has ended; None when it goes on after ``seconds``."""
        wait = Wait(dag_id, run_id, load_id, token)
        self._waits.add(wait)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look())
        try:
            return await asyncio.wait_for(wait.end, seconds)
        except TimeoutError:
            return None
        finally:
            self._waits.discard(wait)

    async def _look(self) -> None:
        looks = 0
        while self._waits:
            pause = LEDGER_SECONDS
            try:
                await self._ledger(self._waits)
                if looks % RUNS_EVERY == 0:
                    await self._runs()
            except Exception as error:  # noqa: BLE001 - those who wait are asked for again; each waits no longer than he will
                log.warning("Who waits for loads cannot be answered now (%s)", type(error).__name__)
                pause = FAULT_SECONDS
            looks += 1
            await asyncio.sleep(pause)

    async def _ledger(self, waits: Iterable[Wait]) -> None:
        wanted = {wait.load_id for wait in waits if wait.load_id is not None}
        if not wanted:
            return
        ended = await self._sources.ask(lambda warehouse: Ledger(warehouse).ended(sorted(wanted)))
        for wait in list(waits):
            if wait.load_id in ended:
                _tell(wait, End(ended[wait.load_id]))

    async def _runs(self) -> None:
        """Those whose run is over have an answer now, if the ledger has one; what it has not heard of, failed."""
        for dag_id in {wait.dag_id for wait in self._waits}:
            mine = {wait for wait in self._waits if wait.dag_id == dag_id}
            states = await self._states(dag_id, mine)
            over = {wait for wait in mine if wait.run_id in states}
            await self._ledger(over)
            for wait in over:
                if wait.load_id is None or states[wait.run_id] == "failed":
                    _tell(wait, End(None, states[wait.run_id]))

    async def _states(self, dag_id: str, waits: Iterable[Wait]) -> dict[str, str]:
        """What the runs of somebody who may see them are; a token may have expired meanwhile."""
        tokens = list(dict.fromkeys(wait.token for wait in waits))
        for token in tokens[:_TOKENS_TRIED]:
            try:
                return await self._airflow.ended_runs(dag_id, token)
            except httpx.HTTPStatusError:
                continue
        return {}


def _tell(wait: Wait, end: End) -> None:
    if not wait.end.done():
        wait.end.set_result(end)
