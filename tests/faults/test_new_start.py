"""37, 38: new code is deployed in the middle of a run, and later all that Airflow knows is lost.

Both on a stack of their own, which runs from a copy of this repository.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

import pytest

from tests.faults import boundaries
from tests.faults.admin import Admin
from tests.faults.detour import detour
from tests.faults.faults import stall
from tests.faults.files import send
from tests.faults.mart import Mart
from tests.faults.processes import Tasks
from tests.faults.runs import DAG, Airflow, Api, until
from tests.faults.sound import assert_kept, assert_sound, state
from tests.product import Product
from tests.stack import REPOSITORY, Stack

NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "tests", "bench", "docs", "deploy")
FOLDER = "faults/deployed/"


@dataclass
class CopiedStack(Stack):
    """A stack whose code can be changed while it runs."""

    code: Path = field(default=REPOSITORY)

    def command(self, name: str) -> CompletedProcess[str]:
        with patch("tests.stack.REPOSITORY", self.code):
            return super().command(name)

    def launch(self) -> None:
        with patch("tests.stack.REPOSITORY", self.code):
            super().launch()

    def deploy(self, file: str, old: str, new: str) -> None:
        """Change one file of the running code in one step."""
        path = self.code / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file} has changed: {old!r} is there {text.count(old)} times"
        draft = path.with_suffix(".draft")
        draft.write_text(text.replace(old, new))
        draft.replace(path)


@pytest.fixture(scope="module")
def copied() -> Iterator[CopiedStack]:
    with tempfile.TemporaryDirectory(prefix="test-", ignore_cleanup_errors=True) as folder:
        code = Path(folder).resolve() / "code"
        shutil.copytree(REPOSITORY, code, ignore=NOT_COPIED)
        own = CopiedStack(Path(folder).resolve() / "stack", code=code)
        try:
            own.start()
            yield own
        finally:
            if own.process is not None and own.process.poll() is None:
                own.stop()
            own.command("down")


def airflow_of(stack: Stack) -> Airflow:
    """Its Airflow, with a token of now."""
    env = stack.env
    return Airflow(Api(env["AIRFLOW_URL"], env["AIRFLOW_USER"], env["AIRFLOW_PASSWORD"]), Product(stack))


def test_new_code_in_the_middle_of_a_run(copied: CopiedStack) -> None:
    assert copied.process is not None
    airflow, mart, tasks = airflow_of(copied), Mart.of(copied), Tasks(copied.process.pid)
    for first in send(mart, "faults/first/", "first").values():
        mart.load(first.arrival)
    sent = send(mart, FOLDER, "deployed")["deployed"]
    with detour(copied, airflow) as wires:
        rule = wires.warehouse.add(boundaries.staged(sent, stall))
        run = airflow.trigger(FOLDER)
        until("a task is in the middle of its work", rule.met.is_set)
        copied.deploy("include/datamart/history.py", '"message": outcome.message,', '"message": "said by new code",')
        copied.deploy("dags/historic_load.py", 'tags=["load"]', 'tags=["load", "new"]')
        until("Airflow has the new Dag", lambda: "new" in [tag["name"] for tag in airflow.dag()["tags"]])
        assert rule.by is not None
        tasks.kill(rule.by)
        assert run.ended() == "success"
    assert run.tries(sent.place) == {1: "failed", 2: "success"}
    assert run.verdicts()[sent.arrival.key]["message"] == "said by new code"
    assert_sound(mart, sent)


def test_what_airflow_knew_is_lost_and_the_ledger_is_not(copied: CopiedStack) -> None:
    mart = Mart.of(copied)
    for sent in send(mart, FOLDER, "kept").values():
        mart.load(sent.arrival)
    copied.stop()
    copied.variables["NO_AIRFLOW"] = "1"
    copied.start()
    landed = send(mart, "landing/", "landed")["landed"]
    mart.load(landed.arrival)  # and its task was ended before it could move it away
    before = state(mart.sql)
    Admin.of(copied).do("DROP DATABASE airflow")
    copied.stop()
    copied.variables["NO_AIRFLOW"] = ""
    copied.start()
    airflow = airflow_of(copied)
    assert airflow.api.get(f"/dags/{DAG}/dagRuns")["total_entries"] == 0
    run = airflow.trigger(FOLDER)
    assert run.ended() == "success"
    assert {verdict["verdict"] for verdict in run.verdicts().values()} == {"duplicate"}
    until("what landed is moved away", lambda: not mart.store.list("landing/"))
    assert state(mart.sql) == before
    assert_kept(mart.sql, sent)
