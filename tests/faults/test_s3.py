"""33, 35: S3 is busy, forbids, breaks off, or takes everything but the rejected rows.

All files are in one run, each with its fault. Two are refused until somebody mends that and clears their tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.faults.detour import Wires
from tests.faults.faults import reset, s3_says
from tests.faults.files import Sent, held, send
from tests.faults.mart import Mart
from tests.faults.runs import Airflow, Run, until
from tests.faults.sound import assert_sound, assert_told
from tests.faults.wire import CLIENT, SERVER, Rule

FOR_GOOD = 1_000_000
ATTEMPTS = 4
"""The S3 client asks so often before a task hears of it."""
ABSORBED = ("busy_once", "reset_while_writing")
"""Mended by the S3 client's own second attempt."""
RETRIED = {
    "busy_for_long": "SlowDown",
    "busy_when_writing": "SlowDown",
    "expired_before_writing": "ExpiredToken",
    "reset_while_reading": "could not be reached",
}
"""Mended by the task's retry; its first log says this."""
REFUSED = ("forbidden", "rejects_refused")
"""Not mended by trying again."""


def rules(prefix: str, files: dict[str, Sent]) -> dict[str, Rule]:
    """By scenario."""

    def reads(name: str) -> bytes:
        return rb"\AGET /" + files[name].source

    def writes(name: str) -> bytes:
        return rb"\APUT /\S*clean/\S*/%d/" % files[name].load_id

    busy, denied = s3_says(503, "SlowDown"), s3_says(403, "AccessDenied")
    rejected = rb"\APUT /\S*rejected/\S*_%d\." % files["rejects_refused"].load_id
    return {
        "listing": Rule(CLIENT, rb"\AGET /\S*list-type=2\S*" + prefix.strip("/")[-32:].encode(), busy, times=ATTEMPTS),
        "busy_once": Rule(CLIENT, reads("busy_once"), busy),
        "reset_while_writing": Rule(CLIENT, rb"", reset, after=writes("reset_while_writing"), skip=1),
        "busy_for_long": Rule(CLIENT, reads("busy_for_long"), busy, times=ATTEMPTS),
        "busy_when_writing": Rule(CLIENT, writes("busy_when_writing"), busy, times=ATTEMPTS),
        "expired_before_writing": Rule(CLIENT, writes("expired_before_writing"), s3_says(400, "ExpiredToken")),
        "reset_while_reading": Rule(SERVER, rb"", reset, after=reads("reset_while_reading"), skip=2),
        "rejects_refused": Rule(CLIENT, rejected, denied, times=FOR_GOOD),
        "forbidden": Rule(CLIENT, reads("forbidden"), denied, times=FOR_GOOD),
    }


@dataclass(frozen=True)
class Campaign:
    """One run in which every file met its fault."""

    run: Run
    files: dict[str, Sent]
    rules: dict[str, Rule]


@pytest.fixture(scope="module")
def campaign(mart: Mart, airflow: Airflow, wires: Wires, prefix: str) -> Iterator[Campaign]:
    files = send(mart, prefix, *ABSORBED, *RETRIED, *REFUSED)
    placed = rules(prefix, files)
    for rule in placed.values():
        wires.s3.add(rule)
    run = airflow.trigger(prefix)
    run.ended()
    yield Campaign(run, files, placed)
    wires.s3.clear()


@pytest.mark.parametrize("scenario", ABSORBED)
def test_a_hiccup_is_no_failure(scenario: str, campaign: Campaign, mart: Mart) -> None:
    sent = campaign.files[scenario]
    assert campaign.rules[scenario].hits == 1
    assert campaign.run.tries(sent.place) == {1: "success"}
    assert_sound(mart, sent)


@pytest.mark.parametrize("scenario", RETRIED)
def test_a_fault_is_told_and_retried(scenario: str, campaign: Campaign, mart: Mart) -> None:
    sent = campaign.files[scenario]
    assert campaign.rules[scenario].hits >= 1
    assert campaign.run.tries(sent.place) == {1: "failed", 2: "success"}
    assert_told(campaign.run.log(sent.place), RETRIED[scenario])
    assert_sound(mart, sent)


def test_a_listing_that_fails_is_made_again(campaign: Campaign) -> None:
    assert campaign.rules["listing"].hits == ATTEMPTS
    assert campaign.run.tries(-1, "plan") == {1: "failed", 2: "success"}
    assert_told(campaign.run.log(-1, 1, "plan"), "SlowDown")


def test_what_is_refused_commits_nothing_and_loads_when_mended_and_cleared(campaign: Campaign, mart: Mart) -> None:
    run, files = campaign.run, {name: campaign.files[name] for name in REFUSED}
    assert run.state == "failed"
    for name, sent in files.items():
        assert campaign.rules[name].hits >= 1
        assert held(mart, sent) == (0, 0, [])
        assert_told(run.log(sent.place), "AccessDenied", "rights")
        assert_told(run.log(-1, 1, "gate"), "2 files were not loaded", sent.arrival.key)
        campaign.rules[name].lift()
    run.clear(*(sent.place for sent in files.values()))
    until("the cleared run starts", lambda: run.state != "failed")
    assert run.ended() == "success"
    for sent in files.values():
        assert_sound(mart, sent)
