"""24, 25, 26: the task's process is killed at every step, or the server's answer is lost; its retry finishes.

All files are in one run: each fault waits for its own file, and the other files have to get through beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.faults import boundaries
from tests.faults.detour import Wires
from tests.faults.faults import hang_up
from tests.faults.files import Sent, send
from tests.faults.mart import Mart
from tests.faults.processes import Tasks
from tests.faults.runs import Airflow, Run
from tests.faults.sound import assert_sound, assert_told
from tests.faults.wire import SERVER, Rule

KILLED = (
    "read", "clean_written", "rejects_written", "copying", "staged", "merged", "ledger", "before_commit", "commit",
)  # fmt: skip
LOST = ("acknowledgement",)


def rules(tasks: Tasks, files: dict[str, Sent]) -> list[tuple[str, str, Rule]]:
    """Scenario, wire and rule."""
    clean = rb"\APUT /\S*clean/\S*/%d/" % files["clean_written"].load_id
    rejects = rb"\APUT /\S*rejected/\S*_%d\.csv" % files["rejects_written"].load_id
    source, got = rb"\AGET /" + files["read"].source, rb"\AHTTP/1.1 200"
    kill = tasks.kill
    return [
        ("read", "s3", Rule(SERVER, rb"", kill, after=source, skip=2)),
        ("clean_written", "s3", Rule(SERVER, got, kill, after=clean)),
        ("rejects_written", "s3", Rule(SERVER, got, kill, after=rejects)),
        ("copying", "warehouse", boundaries.copying(files["copying"], tasks.kill_and_deliver)),
        ("staged", "warehouse", boundaries.staged(files["staged"], kill)),
        ("merged", "warehouse", boundaries.merged(files["merged"], kill)),
        ("ledger", "warehouse", boundaries.recorded(files["ledger"], kill)),
        ("before_commit", "warehouse", boundaries.committing(files["before_commit"], kill)),
        ("commit", "warehouse", boundaries.committed(files["commit"], kill)),
        ("acknowledgement", "warehouse", boundaries.committed(files["acknowledgement"], hang_up)),
    ]


@dataclass(frozen=True)
class Campaign:
    """One run in which every file met its fault."""

    run: Run
    files: dict[str, Sent]
    rules: dict[str, Rule]


@pytest.fixture(scope="module")
def campaign(mart: Mart, airflow: Airflow, wires: Wires, tasks: Tasks, prefix: str) -> Iterator[Campaign]:
    files = send(mart, prefix, *KILLED, *LOST)
    placed = rules(tasks, files)
    for _, wire, rule in placed:
        getattr(wires, wire).add(rule)
    run = airflow.trigger(prefix)
    run.ended()
    yield Campaign(run, files, {name: rule for name, _, rule in placed})
    wires.warehouse.clear()
    wires.s3.clear()


@pytest.mark.parametrize("boundary", KILLED)
def test_killed_at(boundary: str, campaign: Campaign, mart: Mart, tasks: Tasks) -> None:
    sent = campaign.files[boundary]
    assert campaign.rules[boundary].hits == 1
    assert len(tasks.killed) == len(KILLED)
    assert campaign.run.tries(sent.place) == {1: "failed", 2: "success"}
    assert_told(campaign.run.log(sent.place, attempt=1), "SIGKILL")
    assert_told(campaign.run.log(sent.place, attempt=2), "loaded")
    assert campaign.run.verdicts()[sent.arrival.key]["verdict"] == "loaded"
    assert_sound(mart, sent)


def test_the_commit_succeeds_and_its_acknowledgement_is_lost(campaign: Campaign, mart: Mart) -> None:
    sent = campaign.files["acknowledgement"]
    assert campaign.rules["acknowledgement"].hits == 1
    assert_told(campaign.run.log(sent.place, attempt=1), "The warehouse did not answer", sent.arrival.key)
    assert campaign.run.tries(sent.place) == {1: "failed", 2: "success"}
    assert_sound(mart, sent)
