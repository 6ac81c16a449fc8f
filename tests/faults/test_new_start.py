"""37, 38: Airflow stands still, new code is deployed in the middle of a run, and later all that Airflow knows is lost.

All on one stack of their own, which runs from a copy of this repository, watches closely and tells a webhook.
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
from tests.faults.standstill import PARTS, frozen, metadata_away, tells
from tests.listeners import Calls, web_server
from tests.product import Product
from tests.stack import REPOSITORY, Stack

NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "tests", "bench", "docs", "deploy")
FOLDER = "faults/deployed/"
# Whether there is a backup is not a matter of these tests.
WATCHED = {"DATAMART_BACKUP_HOURS": "", "DATAMART_ALERT_WEBHOOK": "test_webhook", "DATAMART_WATCH_SECONDS": "1"}


@dataclass
class CopiedStack(Stack):
    """A stack whose code can be changed while it runs."""

    code: Path = field(default=REPOSITORY)

    def command(self, name: str, **variables: str) -> CompletedProcess[str]:
        with patch("tests.stack.REPOSITORY", self.code):
            return super().command(name, **variables)

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
        own.variables |= WATCHED
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


@pytest.fixture(scope="module")
def web() -> Iterator[Calls]:
    with web_server() as calls:
        yield calls


@pytest.fixture(scope="module")
def watched(copied: CopiedStack, web: Calls) -> CopiedStack:
    """Its alerts come to ``web``."""
    connection = {"connection_id": "test_webhook", "conn_type": "http", "host": f"http://127.0.0.1:{web.port}"}
    Product(copied).api.post("/connections", connection)
    return copied


def health(stack: Stack, **variables: str) -> tuple[int, str]:
    """Exit code and output of what `make health` runs."""
    done = stack.command("health", **variables)
    return done.returncode, done.stdout + done.stderr


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


def test_dags_that_vanish_are_told_by_name(watched: CopiedStack, web: Calls) -> None:
    gone = watched.code / "dags/restore_drill.py"
    text = gone.read_text()
    gone.unlink()
    watched.deploy("dags/backup.py", "def backup():", "def backup(:")
    try:
        for dag in ("backup", "restore_drill"):
            web.wait_for(tells("findings", "dag_missing", dag), 120)
        code, output = health(watched, DATAMART_BACKUP_HOURS="26")
        assert code == 1
        broken, absent = (line for line in output.splitlines() if " dag_missing " in line)
        assert broken.startswith("critical"), output
        assert "The Dag backup is missing: none of its runs starts." in broken
        assert "Airflow cannot import backup.py (SyntaxError)" in broken
        assert "The Dag restore_drill is missing: none of its runs starts. Airflow knew it" in absent
        assert " no_backup " in output, "the alarm does not depend on the Dag"
    finally:
        gone.write_text(text)
        watched.deploy("dags/backup.py", "def backup(:", "def backup():")
    for dag in ("backup", "restore_drill"):
        web.wait_for(tells("findings_over", "dag_missing", dag), 120)
    assert health(watched) == (0, "All is well.\n")


def test_airflow_that_stands_still_is_told_and_that_it_goes_on_too(watched: CopiedStack, web: Calls) -> None:
    # The last test of this stack: a part of Airflow may end when its database comes back, and the stack with it.
    with frozen(watched, "triggerer", "scheduler"):
        for part in ("triggerer", "scheduler"):
            alert = web.wait_for(tells("findings", "part_dead", part), 60)
            assert f"Airflow's {part} has given no sign of life since" in alert["text"]
            assert alert["link"] == watched.env["AIRFLOW_URL"]
        code, output = health(watched)
        assert code == 1
        assert [line.split()[0] for line in output.splitlines()[1:]] == ["critical"] * 2
    for part in ("triggerer", "scheduler"):
        web.wait_for(tells("findings_over", "part_dead", part), 60)
    assert health(watched) == (0, "All is well.\n")

    # Who cannot ask Airflow's database for the webhook's address must know it.
    with frozen(watched, *PARTS):
        with metadata_away(watched):
            alert = web.wait_for(tells("findings", "airflow_away"), 60)
            assert "metadata database does not answer" in alert["text"]
            assert {one["code"] for one in alert["findings"]} == {"airflow_away"}, "the warehouse and S3 answer"
        web.wait_for(tells("findings_over", "airflow_away"), 60)
    lines = (watched.directory / "logs" / "watch.log").read_text().splitlines()
    told = [word for line in lines for word in ("FOUND airflow_away", "OVER airflow_away") if word in line]
    assert told == ["FOUND airflow_away", "OVER airflow_away"]
    assert [line for line in lines if "[error" in line] == []
