"""What is measured of loads and of the whole, in every dialect: each file once, ages by the ledger's own times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from datamart import insights
from datamart.health import AirflowState, Seen, look
from datamart.loads import Verdict
from datamart.measures import ROWS, Measure, of_load, of_look
from datamart.settings import load_settings
from datamart.warehouse.base import Warehouse
from tests.integration.vault import Vault
from tests.integration.world import World

HOUR = timedelta(hours=1)


def inserted(measures: list[Measure]) -> float:
    return sum(one.value for one in measures if one.metric is ROWS["inserted"])


def test_a_file_is_counted_by_the_try_that_loads_it_alone(world: World) -> None:
    arrival = world.put("jobs.csv", b"1,a\n2,b\n3,\n")
    first = world.judge(arrival, run="one")
    assert first.seconds is not None
    assert inserted(of_load(first, "landing")) == 2
    retried, again = world.judge(arrival, run="one"), world.judge(arrival, run="another")
    assert (retried.verdict, again.verdict) == (Verdict.LOADED, Verdict.DUPLICATE)
    assert of_load(retried, "landing") == of_load(again, "landing") == []


def test_a_copy_has_a_row_in_the_ledger_and_is_counted(world: World) -> None:
    world.load("jobs.csv", b"1,a\n2,b\n")
    copy = world.load("jobs_copy.csv", b"1,a\n2,b\n")
    assert copy.verdict is Verdict.DUPLICATE
    told = {one.metric.name: one for one in of_load(copy, "landing")}
    assert told["datamart.files"].tags["verdict"] == "duplicate"
    assert (told["datamart.rows.read"].value, told["datamart.rows.unchanged"].value) == (2, 2)


def test_a_replacement_is_timed_once(world: World) -> None:
    arrivals = [world.put(f"jobs{number}.csv", b"%d,a\n" % number) for number in (1, 2)]
    found = world.replace("jobs", *arrivals, run="one")
    assert [one.seconds is not None for one in found] == [False, True]
    assert [of_load(one, "history") for one in world.replace("jobs", *arrivals, run="one")] == [[], []]


def seen(world: World, now: datetime) -> tuple[Seen, dict[str, float]]:
    """A look, and the ages and numbers that it tells."""

    @contextmanager
    def opened() -> Iterator[Warehouse]:
        yield world.warehouse

    found = look(opened, lambda: world.store, load_settings({}), AirflowState(), now)
    told = of_look(found, now)
    return found, {" ".join([one.metric.name.removeprefix("datamart."), *one.tags.values()]): one.value for one in told}


def test_ages_are_those_since_rows_changed(world: World, vault: Vault) -> None:
    world.load("jobs.csv", b"1,a\n")
    insights.refresh(world.warehouse)
    vault.backup("jobs")
    world.load("departments.csv", b"1,a\n")
    world.load("departments2.csv", b"x,bad\n")
    world.load("departments3.csv", b"1,a\n")
    ended = dict(world.sql("SELECT table_name, MIN(finished_at) FROM ops.loads GROUP BY table_name"))
    now = datetime.now(UTC) + HOUR
    found, told = seen(world, now)
    assert found.ledger is not None
    assert found.ledger.changed == ended, "neither a rejected file nor one that changes nothing is a change"
    assert told["table.age jobs"] == (now - ended["jobs"]).total_seconds()
    assert "table.age hired_employees" not in told
    assert told["insight.behind hires_department_job"] == (now - ended["departments"]).total_seconds()
    assert HOUR.total_seconds() <= told["backup.age jobs"] < HOUR.total_seconds() + 600
    assert told["backup.age departments"] > told["backup.age jobs"], "it has none yet"
    insights.refresh(world.warehouse)
    assert seen(world, now)[1]["insight.behind hires_department_job"] == 0


def test_a_restore_is_a_change_too(world: World, vault: Vault) -> None:
    world.load("jobs.csv", b"1,a\n")
    vault.backup("jobs")
    world.load("jobs2.csv", b"2,b\n")
    before = seen(world, datetime.now(UTC))[0].ledger
    vault.restore("jobs")
    after = seen(world, datetime.now(UTC))[0].ledger
    assert before is not None
    assert after is not None
    ((finished,),) = world.sql("SELECT finished_at FROM ops.restores")
    assert after.changed["jobs"] == finished > before.changed["jobs"]
