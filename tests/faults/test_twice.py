"""27, 28: one file in the hands of two: a stopped attempt and its retry, a cleared task, two runs, two loaders."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil
import pytest

from datamart.loads import Mode, Verdict
from datamart.warehouse.postgres import PostgresWarehouse
from tests.faults import boundaries
from tests.faults.admin import Admin
from tests.faults.detour import Wires
from tests.faults.faults import stall
from tests.faults.files import Sent, send
from tests.faults.mart import Mart
from tests.faults.processes import Tasks
from tests.faults.runs import Airflow, Run, until
from tests.faults.sound import assert_sound, assert_told, state
from tests.faults.wire import CLIENT, Connection, Fate, Rule

STOPPED = ("staged", "merged")
"""A stopped attempt before it has the table's lock, and one that has it and has written its rows."""


@dataclass
class Frozen:
    """A task's process and the worker that supervises it, as in a machine that was suspended."""

    tasks: Tasks
    processes: list[psutil.Process]
    connection: Connection | None = None

    def freeze(self, connection: Connection) -> Fate:
        task = self.tasks.behind(connection)
        self.processes = [task, psutil.Process(task.ppid())]
        self.connection = connection
        for process in reversed(self.processes):
            process.send_signal(signal.SIGSTOP)
        return Fate.DELIVER

    def thaw(self, admin: Admin) -> None:
        """The task goes on until it has no session any more; then its supervisor learns what it missed."""
        assert self.connection is not None
        port = self.connection.server_port
        task, supervisor = self.processes
        task.send_signal(signal.SIGCONT)
        until("the zombie's session ends", lambda: not admin.has_session(port))
        supervisor.send_signal(signal.SIGCONT)
        self.processes = []


@dataclass(frozen=True)
class Campaign:
    """One run whose attempts were stopped, given up, tried again and went on."""

    run: Run
    files: dict[str, Sent]


@pytest.fixture(scope="module")
def campaign(mart: Mart, airflow: Airflow, wires: Wires, tasks: Tasks, admin: Admin, prefix: str) -> Campaign:
    files = send(mart, prefix, *STOPPED)
    frozen = {name: Frozen(tasks, []) for name in STOPPED}
    try:
        first = wires.warehouse.add(boundaries.staged(files["staged"], frozen["staged"].freeze))
        second = wires.warehouse.add(boundaries.merged(files["merged"], frozen["merged"].freeze))
        run = airflow.trigger(prefix)
        until("both attempts are stopped", lambda: first.met.is_set() and second.met.is_set())
        for sent in files.values():
            run.give_up(sent.place)
            run.clear(sent.place)
        admin.wait_for_waiters()  # the retries wait for the stopped attempt's lock
        frozen["merged"].thaw(admin)
        until("the retry of the other succeeds", lambda: run.task(files["staged"].place)["state"] == "success")
        frozen["staged"].thaw(admin)
        assert run.ended() == "success"
    finally:
        for one in frozen.values():
            for process in one.processes:
                process.send_signal(signal.SIGCONT)
    return Campaign(run, files)


@pytest.mark.parametrize("boundary", STOPPED)
def test_a_zombie_and_its_retry(boundary: str, campaign: Campaign, mart: Mart) -> None:
    sent = campaign.files[boundary]
    assert campaign.run.verdicts()[sent.arrival.key]["verdict"] == "loaded"
    assert_told(campaign.run.log(sent.place, attempt=campaign.run.task(sent.place)["try_number"]), "loaded")
    assert_sound(mart, sent)


def test_a_cleared_load_says_what_it_did_and_changes_nothing(campaign: Campaign, mart: Mart) -> None:
    before, sent = state(mart.sql), campaign.files["staged"]
    tried = campaign.run.task(sent.place)["try_number"]
    campaign.run.clear(sent.place)
    until("it was tried again", lambda: campaign.run.task(sent.place)["try_number"] > tried)
    assert campaign.run.ended() == "success"
    assert state(mart.sql) == before
    assert campaign.run.verdicts()[sent.arrival.key]["verdict"] == "loaded"
    assert_told(campaign.run.log(sent.place, attempt=tried + 1), "loaded", sent.arrival.key)


@pytest.mark.usefixtures("wires")
def test_two_runs_for_one_folder_load_it_once(mart: Mart, airflow: Airflow, prefix: str) -> None:
    folder = f"{prefix}twice/"
    sent = send(mart, folder, "twice")["twice"]
    runs = [airflow.trigger(folder), airflow.trigger(folder)]
    assert [run.ended() for run in runs] == ["success", "success"]
    verdicts = sorted(run.verdicts()[sent.arrival.key]["verdict"] for run in runs)
    assert verdicts == ["duplicate", "loaded"]
    assert_sound(mart, sent)


def test_two_loaders_at_the_same_time_load_it_once(mart: Mart, prefix: str) -> None:
    sent = send(mart, f"{prefix}both/", "both")["both"]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(mart.load, [sent.arrival, sent.arrival]))
    assert sorted(outcome.verdict for outcome in outcomes) == [Verdict.DUPLICATE, Verdict.LOADED]
    assert_sound(mart, sent)


def test_an_attempt_that_records_its_failure_does_not_stop_one_that_succeeds(
    mart: Mart, admin: Admin, wires: Wires, prefix: str
) -> None:
    sent = send(mart, f"{prefix}race/", "race")["race"]
    failing = PostgresWarehouse(mart.by_way_of(warehouse_port=wires.warehouse.port).uri)
    held = wires.warehouse.add(Rule(CLIENT, rb"\AQ.{4}COMMIT", stall, after=rb"INSERT INTO ops\.loads.*failed"))
    with ThreadPoolExecutor(2) as pool:
        failed = pool.submit(mart.loader(failing).fail, sent.arrival, Mode.UPSERT, "S3 was silent.")
        until("the failure is about to be committed", held.met.is_set)
        loaded = pool.submit(mart.load, sent.arrival)
        admin.wait_for_waiters()
        wires.warehouse.clear()
        assert failed.result().verdict is Verdict.FAILED
        assert loaded.result().verdict is Verdict.LOADED
    failing.close()
    assert_sound(mart, sent)
