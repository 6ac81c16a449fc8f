"""30, 35: the warehouse ends sessions, refuses, is locked, in a deadlock or full of sessions."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from datamart.loads import Outcome, Verdict
from tests.faults import boundaries
from tests.faults.admin import Admin
from tests.faults.detour import Wires
from tests.faults.files import Sent, held, send
from tests.faults.mart import Mart
from tests.faults.runs import Airflow, Run, until
from tests.faults.sound import assert_sound, assert_told

RETRIED = {
    "ended": ("The warehouse did not answer", {1: "failed", 2: "success"}),
    "not_serializable": ("40001", {1: "success"}),
}
"""By scenario: what the first log says, and the states of the tries. A conflict is mended within a try."""
REFUSED = "rejects_refused"


@dataclass(frozen=True)
class Campaign:
    """One run in which every file met its fault; the refused one was cleared when it was refused no longer."""

    run: Run
    files: dict[str, Sent]
    state: str
    unrecorded: tuple[Any, ...]
    """What was held of the refused file while it was refused."""


@pytest.fixture(scope="module")
def campaign(mart: Mart, airflow: Airflow, wires: Wires, admin: Admin, prefix: str) -> Iterator[Campaign]:
    files = send(mart, prefix, *RETRIED, REFUSED)
    wires.warehouse.add(boundaries.merged(files["ended"], admin.end_session))
    refused = files[REFUSED]
    with (
        admin.refusing("loads", files["not_serializable"].load_id, "40001", once=True),
        admin.refusing("rejected_rows", refused.load_id, "P0001", once=False),
    ):
        run = airflow.trigger(prefix)
        state = run.ended()
        unrecorded = held(mart, refused)
    run.clear(refused.place)
    until("the cleared run starts", lambda: run.state != "failed")
    run.ended()
    yield Campaign(run, files, state, unrecorded)
    wires.warehouse.clear()


@pytest.mark.parametrize("scenario", RETRIED)
def test_the_server_gives_up_and_the_retry_does_not(scenario: str, campaign: Campaign, mart: Mart) -> None:
    sent = campaign.files[scenario]
    said, tries = RETRIED[scenario]
    assert campaign.run.tries(sent.place) == tries
    told = campaign.run.log(sent.place)
    assert_told(told, said, sent.arrival.key)
    assert "already closed" not in told, "what was tried on a dead session hides what ended it"
    assert_sound(mart, sent)


def test_without_its_rejected_rows_nothing_of_a_file_is_committed(campaign: Campaign, mart: Mart) -> None:
    sent = campaign.files[REFUSED]
    assert (campaign.state, campaign.unrecorded) == ("failed", (0, 0, []))
    assert_told(campaign.run.log(sent.place), "P0001", sent.arrival.key)
    assert campaign.run.state == "success"
    assert_sound(mart, sent)


def test_no_session_is_left_for_the_plan_and_its_retry_finds_one(
    mart: Mart, airflow: Airflow, admin: Admin, prefix: str
) -> None:
    folder = f"{prefix}plan/"
    sent = send(mart, folder, "plan")["plan"]
    with admin.owner_setting("CONNECTION LIMIT 0", "CONNECTION LIMIT -1"):
        run = airflow.trigger(folder)
        until("a plan without a session fails", lambda: run.failed_once(-1, "plan"))
    assert run.ended() == "success"
    assert_told(run.log(-1, task_id="plan"), "too many connections")
    assert_sound(mart, sent)


def test_no_session_is_left_and_the_retry_finds_one(mart: Mart, airflow: Airflow, admin: Admin, prefix: str) -> None:
    folder = f"{prefix}limit/"
    sent = send(mart, folder, "limit")["limit"]
    run = airflow.trigger(folder)
    until("the files are planned", lambda: run.task(-1, "plan").get("state") == "success")
    with admin.owner_setting("CONNECTION LIMIT 0", "CONNECTION LIMIT -1"):
        until("a try without a session fails", lambda: run.failed_once(sent.place))
    assert run.ended() == "success"
    assert_told(run.log(sent.place), "too many connections")
    assert_sound(mart, sent)


@pytest.fixture
def loading(mart: Mart) -> Iterator[Any]:
    """Loads in a thread, as a task would."""
    with ThreadPoolExecutor(1) as pool:

        def start(sent: Sent) -> Future[Outcome]:
            return pool.submit(mart.load, sent.arrival)

        yield start


def test_a_locked_table_is_waited_for(mart: Mart, admin: Admin, loading: Any, prefix: str) -> None:
    sent = send(mart, f"{prefix}locked/", "locked")["locked"]
    with admin.session() as other, other.cursor() as cursor:
        cursor.execute("SELECT * FROM ops.tables WHERE table_name = 'hired_employees' FOR UPDATE")
        outcome = loading(sent)
        admin.wait_for_waiters()
        other.rollback()
        assert outcome.result().verdict is Verdict.LOADED
    assert_sound(mart, sent)


def test_the_victim_of_a_deadlock_is_done_again(mart: Mart, admin: Admin, loading: Any, prefix: str) -> None:
    sent = send(mart, f"{prefix}deadlock/", "deadlock")["deadlock"]
    with (
        admin.owner_setting("SET deadlock_timeout = '3s'", "RESET deadlock_timeout"),
        admin.session() as other,
        other.cursor() as cursor,
    ):
        cursor.execute("SET deadlock_timeout = '1min'")  # the other one finds the deadlock, so it is the victim
        cursor.execute(
            "INSERT INTO public.hired_employees (id, name, datetime, department_id, job_id, _load_id)"
            " VALUES (%s, 'in the way', now(), 1, 1, 1)",
            (sent.expected.accepted[-1][0],),
        )
        before = deadlocks(mart)
        outcome = loading(sent)
        admin.wait_for_waiters()
        cursor.execute("SELECT * FROM ops.tables WHERE table_name = 'hired_employees' FOR UPDATE")
        other.rollback()
        assert outcome.result().verdict is Verdict.LOADED
    until("the deadlock is counted", lambda: deadlocks(mart) == before + 1, 30)
    assert_sound(mart, sent)


def deadlocks(mart: Mart) -> int:
    """How many the server has ended in this database."""
    return int(mart.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0][0])
