"""Insights, charts and the ledger's pages: the same answers on every dialect, and those of the judge."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from datamart import insights
from datamart.charts import all_charts
from datamart.errors import TransientFault
from datamart.health import AirflowState, Code, check
from datamart.ledger import Ledger, Wanted, place_of
from datamart.rejected_page import rejected_page
from datamart.settings import load_settings
from datamart.warehouse.base import Warehouse
from datamart_airflow import insight_tasks
from tests.integration.test_charts import computed, rows_of
from tests.integration.world import World
from tests.oracle import insights as oracle

NAMES = ("Sales", "sales", "SALES", "Ärzte", "Zulu", "10", "9", "a b", "a", "_", "😀", "Sales ", "Twice")


def filled(world: World, seed: int = 7) -> None:
    """Hires over some years, with names that sort and group in odd ways, and with references to nothing."""
    chance = random.Random(seed)
    named = "".join(f'{key},"{name}"\n' for key, name in enumerate(NAMES, 1)) + "14,Twice\n"
    world.load("departments.csv", named.encode())
    world.load("jobs.csv", named.encode())
    first = datetime(2020, 12, 30, tzinfo=UTC)
    hires = "".join(
        f"{key},n{key},{first + timedelta(hours=chance.randrange(9600)):%Y-%m-%dT%H:%M:%SZ},"
        f"{chance.choice((1, 1, 2, 5, 12, 13, 14, 99))},{chance.choice((1, 2, 3, 4, 13, 14, 98))}\n"
        for key in range(400)
    )
    world.load("hired_employees.csv", hires.encode())


def test_every_insight_is_what_the_judge_computes(world: World) -> None:
    filled(world)
    assert insights.refresh(world.warehouse)["hires_department_job"] > 0
    rows = rows_of(world)
    for year in (2020, 2021, 2022, 1999):
        expected: dict[str, list[Any]] = {
            "hires_department_job": oracle.hires_department_job(rows, year),
            "departments_hired_above_mean": oracle.departments_hired_above_mean(rows, year),
        }
        for insight in insights.INSIGHTS:
            for fresh in (False, True):
                found = insights.read(world.warehouse, insight, year, 1000, fresh=fresh)
                assert [tuple(record.values()) for record in found] == expected[insight.name]


def test_62_a_change_during_a_refresh_is_in_the_insights_without_an_event_of_its_own(world: World) -> None:
    filled(world)
    passes = []
    for rows, seconds in insights.refresh_until_current(world.warehouse):
        passes.append(rows)
        assert seconds >= 0
        if len(passes) <= 2:  # as if it had come while the pass was computed
            world.load(f"departments_{len(passes)}.csv", b"%d,Late\n" % (100 + len(passes)))
            world.load(
                f"hired_employees_{len(passes)}.csv",
                b"%d,n,2021-03-04T05:06:07Z,%d,1\n" % (1000 + len(passes), 100 + len(passes)),
            )
    assert len(passes) == 3
    assert [insights.freshness(world.warehouse, insight).behind for insight in insights.INSIGHTS] == [False, False]
    found = insights.read(world.warehouse, insights.INSIGHTS[0], 2021, 1000)
    assert sum(record["q1"] for record in found if record["department"] == "Late") == 2


def test_62_the_task_ends_when_the_insights_have_what_came_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(world)
    late = iter([b"100,Late\n"])

    @contextmanager
    def opened() -> Iterator[Warehouse]:
        with world.connected() as warehouse:
            refreshing = warehouse.refreshing

            def refreshing_for_long(work: Any) -> Any:
                answer = refreshing(work)
                for body in late:
                    world.load("departments_late.csv", body)
                return answer

            monkeypatch.setattr(warehouse, "refreshing", refreshing_for_long)
            yield warehouse

    monkeypatch.setattr(insight_tasks, "warehouse", opened)
    monkeypatch.setattr(insight_tasks, "current_run", dict)
    insight_tasks.refresh_insights()
    assert [insights.freshness(world.warehouse, insight).behind for insight in insights.INSIGHTS] == [False, False]


def test_62_what_a_failed_task_has_loaded_is_in_the_insights(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(insight_tasks, "warehouse", world.connected)
    monkeypatch.setattr(insight_tasks, "current_run", dict)
    filled(world)
    insight_tasks.catch_up()
    refreshes = "SELECT count(*) FROM ops.insight_refreshes"
    assert world.sql(refreshes) == [(2,)]
    insight_tasks.catch_up()
    assert world.sql(refreshes) == [(2,)], "nothing has changed since"

    def away() -> Any:
        raise TransientFault("The warehouse is away.")

    monkeypatch.setattr(insight_tasks, "warehouse", away)
    insight_tasks.catch_up()
    assert "The insights may lack rows of this run. The warehouse is away." in caplog.text


def test_62_a_refresh_ends_when_nothing_changed_or_its_time_is_over(world: World) -> None:
    filled(world)
    assert len(list(insights.refresh_until_current(world.warehouse))) == 1
    # A worker whose clock is ahead does not make the others refresh for ever.
    world.sql("UPDATE ops.insight_refreshes SET refreshed_at = refreshed_at + INTERVAL '1 day', complete_up_to = '{}'")
    assert len(list(insights.refresh_until_current(world.warehouse))) == 1
    passes = 0
    for _ in insights.refresh_until_current(world.warehouse, timeout_seconds=0):
        passes += 1
        world.load(f"jobs_{passes}.csv", b"%d,Late\n" % (100 + passes))
    assert passes == 1


def test_every_chart_is_what_the_judge_computes(world: World) -> None:
    filled(world)
    insights.refresh(world.warehouse)
    rows = rows_of(world)
    for year in (2021, 2022):
        found, expected = all_charts(world.warehouse, year), computed(rows, year)
        assert {name: found[name] for name in expected} == expected


def test_insights_tell_how_fresh_they_are(world: World) -> None:
    filled(world)
    insights.refresh(world.warehouse)
    known = insights.freshness(world.warehouse, insights.INSIGHTS[0])
    assert (known.behind, known.complete_up_to["hired_employees"]) == (False, 1)
    world.load("jobs_2.csv", b"1,Other\n")
    assert insights.freshness(world.warehouse, insights.INSIGHTS[0]).behind
    insights.refresh(world.warehouse)
    assert world.sql("SELECT COUNT(*) FROM ops.insight_refreshes") == [(4,)]


def test_two_refreshes_at_once_write_each_row_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.load("jobs.csv", b"1,a\n")
    world.load("departments.csv", b"1,b\n")
    world.load("hired_employees.csv", b"1,n,2021-02-03T04:05:06Z,1,1\n")
    written = threading.Event()
    with world.connected() as first, world.connected() as second, ThreadPoolExecutor(1) as thread:
        own = first.execute

        def slow(text: str, values: Any = None) -> int:
            """The other one begins when this one has written and not yet committed."""
            rows = own(text, values)
            if "INSERT INTO public.hires_department_job" in text:
                written.set()
                time.sleep(0.5)
            return rows

        monkeypatch.setattr(first, "execute", slow)
        refreshing = thread.submit(insights.refresh, first)
        assert written.wait(30)
        insights.refresh(second)
        refreshing.result()
    assert world.sql("SELECT COUNT(*) FROM public.hires_department_job") == [(1,)]
    assert world.sql("SELECT COUNT(*) FROM ops.insight_refreshes") == [(4,)]


def test_the_ledger_is_paged_filtered_and_counted_by_day(world: World) -> None:
    for number in range(5):
        world.load(f"jobs_{number}.csv", f"{number},v\nx,y\n".encode())
    ledger = Ledger(world.warehouse)
    wanted = Wanted(table="jobs", since=datetime(2021, 1, 1, tzinfo=UTC))
    first = ledger.page(2, wanted=wanted)
    second = ledger.page(2, place_of(str(first.after)), wanted)
    names = [load["file"].rpartition("/")[2] for load in (*first.loads, *second.loads)]
    assert names == ["jobs_4.csv", "jobs_3.csv", "jobs_2.csv", "jobs_1.csv"]
    assert sum(day["rows_rejected"] for day in ledger.days(10, wanted)) == 5


def test_rejected_rows_are_paged(world: World) -> None:
    outcome = world.load("jobs.csv", b"1,a\nx,\xffb\n2\n,c\n")
    page = rejected_page(world.warehouse, outcome.load_id, ("id", "job"), 2)
    assert [row["line"] for row in page["rows"]] == [2, 3]
    rest = rejected_page(world.warehouse, outcome.load_id, ("id", "job"), 2, after=page["next"])
    assert [row["values"] for row in rest["rows"]] == [["", "c"]]


def test_health_asks_the_warehouse(world: World) -> None:
    filled(world)
    state, soon = AirflowState(), datetime.now(UTC) + timedelta(minutes=20)
    found = check(world.connected, lambda: world.store, load_settings({}), state, soon)
    assert Code.INSIGHTS_BEHIND in {one.code for one in found}
    insights.refresh(world.warehouse)
    found = check(world.connected, lambda: world.store, load_settings({}), state, soon)
    assert {one.code for one in found} <= {Code.FILES_LATE, Code.NO_BACKUP}
