"""What decides the order of commits is the warehouse's clock, read under the table's lock; no worker's clock does."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from datamart import insights
from datamart.migrations import migrate
from tests.integration.vault import Vault
from tests.integration.world import World
from tests.stack import REPOSITORY

HOUR = timedelta(hours=1)


@pytest.fixture(params=[HOUR, -HOUR], ids=["an hour ahead", "an hour behind"])
def wrong_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every module of the product has a clock that is wrong."""
    wrong: timedelta = request.param

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + wrong

    for name, module in list(sys.modules.items()):
        if name.startswith("datamart.") and getattr(module, "datetime", None) is datetime:
            monkeypatch.setattr(module, "datetime", Wrong)
    return


@pytest.mark.usefixtures("wrong_clock")
def test_a_worker_whose_clock_is_wrong_does_not_move_commits(vault: Vault) -> None:
    world = vault.world
    vault.backup("jobs")
    began = world.warehouse.now()
    first = world.load("jobs_a.csv", b"1,a\n")
    at, rows = world.warehouse.now(), vault.table("jobs")
    second = world.load("jobs_b.csv", b"1,b\n2,b\n")
    undone = vault.undo(second.load_id)
    insights.refresh(world.warehouse)
    drilled = vault.drill()
    ended = world.warehouse.now()
    times = [world.ledger(one.load_id, "started_at", "finished_at") for one in (first, second)]
    times += world.sql("SELECT finished_at, finished_at FROM ops.restores WHERE restore_id = %s", undone.change_id)
    times += world.sql("SELECT started_at, finished_at FROM ops.drills")
    times += world.sql("SELECT refreshed_at, refreshed_at FROM ops.insight_refreshes")
    times += world.sql("SELECT taken_at, finished_at FROM ops.backups")
    assert [pair for pair in times[:-1] if not began - timedelta(seconds=1) <= pair[0] <= pair[1] <= ended] == []
    assert times[-1][0] <= times[-1][1] <= began
    assert drilled["passed"]
    vault.restore("jobs", at=at)
    assert vault.table("jobs") == rows


def test_commits_are_told_in_their_order_when_the_warehouses_clock_was_set_back(vault: Vault) -> None:
    world = vault.world
    first = world.load("jobs_a.csv", b"1,a\n")
    ahead = world.warehouse.now() + HOUR
    world.sql("UPDATE ops.tables SET committed_at = %s WHERE table_name = 'jobs'", ahead)
    second = world.load("jobs_b.csv", b"1,b\n")
    third = world.replace("jobs", world.put("jobs_c.csv", b"1,c\n"), world.put("jobs_d.csv", b"2,d\n"))
    undone = vault.undo(second.load_id, keep_later=True)
    others = [world.ledger(one.load_id, "finished_at")[0] for one in (second, *third)]
    others += world.sql("SELECT finished_at FROM ops.restores WHERE restore_id = %s", undone.change_id)[0]
    assert others == [ahead] * 4
    assert world.ledger(first.load_id, "finished_at")[0] < ahead
    assert world.load("departments.csv", b"1,a\n").commit_seq == 1
    world.sql("UPDATE ops.tables SET committed_at = NULL")


def test_a_load_that_waited_for_another_is_told_to_have_ended_after_it(world: World) -> None:
    """``now()`` would be the time before it began to wait."""
    arrival = world.put("jobs_b.csv", b"2,b\n")
    with world.connected() as other, ThreadPoolExecutor(1) as pool:
        with other.transaction():
            other.lock(next(table for table in world.loader().tables if table.name == "jobs"))
            waiting = pool.submit(world.judge, arrival)
            while not world.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                pass
            released = other.now()
        outcome = waiting.result()
    assert world.ledger(outcome.load_id, "finished_at")[0] >= released


def test_an_upgrade_begins_with_the_newest_commit_there_is(vault: Vault) -> None:
    """But a worker's clock that was ahead is not taken over: no commit is later than the upgrade."""
    world = vault.world
    first, others = world.load("jobs.csv", b"1,a\n"), world.load("departments.csv", b"1,a\n")
    undone = vault.undo(world.load("departments_b.csv", b"2,b\n").load_id)
    behind = world.ledger(others.load_id, "finished_at")[0]
    vault.backup("jobs")
    ahead = world.warehouse.now() + 24 * HOUR
    world.sql("UPDATE ops.loads SET started_at = %s, finished_at = %s WHERE table_name = 'jobs'", ahead - HOUR, ahead)
    world.sql("UPDATE ops.restores SET finished_at = %s", ahead)
    world.sql("ALTER TABLE ops.tables DROP COLUMN committed_at")
    (name,) = world.sql("DELETE FROM ops.migrations WHERE name LIKE '%%_commit_times' RETURNING name")[0]
    began = world.warehouse.now()
    assert migrate(world.warehouse) == [name]
    ended = world.warehouse.now()
    committed = dict(world.sql("SELECT table_name, committed_at FROM ops.tables"))
    assert committed["hired_employees"] is None
    at = world.ledger(first.load_id, "started_at", "finished_at")
    assert began <= at[0] == at[1] == committed["jobs"] == committed["departments"] <= ended
    assert world.sql("SELECT finished_at FROM ops.restores WHERE restore_id = %s", undone.change_id) == [(at[1],)]
    assert world.ledger(others.load_id, "finished_at") == (behind,)
    second = world.load("jobs_b.csv", b"2,b\n")
    assert at[1] <= world.ledger(second.load_id, "finished_at")[0] <= world.warehouse.now()
    world.sql("TRUNCATE public.jobs")
    vault.restore("jobs", at=world.warehouse.now())
    assert world.rows("jobs") == [(1, "a"), (2, "b")]
    world.database.empty()
    world.sql("UPDATE ops.tables SET committed_at = NULL")


def test_no_module_asks_a_workers_clock() -> None:
    """But those that look from outside: the process that watches, what looks at or cleans Airflow's own tables, and the
    first of two looks at a partial file's age, which spares asking the warehouse all the time; the second one decides.
    """
    allowed = {"watch.py", "maintenance_tasks.py", "airflow_state.py", "landing.py"}
    asks = re.compile(r"datetime\.(?:now|utcnow|today)\(|time\.time\(|CURRENT_TIMESTAMP|\bnow\(\)", re.IGNORECASE)
    found = []
    for folder in ("include", "sql/common"):
        for path in sorted((REPOSITORY / folder).rglob("*.*")):
            if path.suffix in (".py", ".sql") and path.name not in allowed:
                text = Path(path).read_text(encoding="utf-8").replace("warehouse.now()", "").replace("opened.now()", "")
                found += [f"{path.name}: {match}" for match in asks.findall(text)]
    assert found == []
