"""33, 34: nobody says anything any more, and nobody is told.

The network between worker and warehouse loses every packet: the task must end by itself, and the server must let go
of the lock, or the retry would wait for ever. S3 stops in the middle of a body: the task must not wait for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests import needs
from tests.faults import boundaries
from tests.faults.detour import Wires
from tests.faults.faults import partition, stall
from tests.faults.files import Sent, send
from tests.faults.mart import Mart
from tests.faults.runs import Airflow, Run
from tests.faults.sound import assert_sound, assert_told
from tests.faults.wire import SERVER, Rule

pytestmark = needs.ON_LINUX

BOUNDED = 180.0
"""Seconds in which a run gets over all of it."""
SILENT = {
    "partition_while_copying": "The warehouse did not answer",
    "partition_with_the_lock": "The warehouse did not answer",
    "s3_while_reading": "S3 could not be reached",
}
"""By scenario: what the first log says."""


@dataclass(frozen=True)
class Campaign:
    """One run whose tasks lost their servers."""

    run: Run
    files: dict[str, Sent]
    rules: dict[str, Rule]


@pytest.fixture(scope="module")
def campaign(mart: Mart, airflow: Airflow, wires: Wires, prefix: str) -> Iterator[Campaign]:
    files = send(mart, prefix, *SILENT)
    copying, locked, reading = (files[name] for name in SILENT)
    warehouse = [boundaries.copying(copying, partition), boundaries.merged(locked, partition)]
    body = Rule(SERVER, rb"", stall, after=rb"\AGET /" + reading.source, skip=2)
    wires.warehouse.rules += warehouse
    wires.s3.rules.append(body)
    run = airflow.trigger(prefix)
    run.ended(BOUNDED)
    yield Campaign(run, files, dict(zip(SILENT, [*warehouse, body], strict=True)))
    wires.warehouse.clear()
    wires.s3.clear()


@pytest.mark.parametrize("scenario", SILENT)
def test_a_task_that_hears_nothing_ends_by_itself_and_is_retried(scenario: str, campaign: Campaign, mart: Mart) -> None:
    sent = campaign.files[scenario]
    assert campaign.rules[scenario].hits == 1
    assert campaign.run.tries(sent.place) == {1: "failed", 2: "success"}
    assert_told(campaign.run.log(sent.place), SILENT[scenario], sent.arrival.key)
    assert_sound(mart, sent)
