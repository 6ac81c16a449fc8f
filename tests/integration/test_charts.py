"""The charts of a year against a second computation from the tables' rows, how fresh they are, and up to what."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg2.extras import execute_values

from datamart import insights, migrations
from datamart.charts import CHARTS, QUARTERS, all_charts, chart_named, records
from datamart.errors import ConfigurationError
from datamart.loads import Outcome, Verdict
from datamart.migrations import migrate
from datamart.moments import utc
from datamart.statements import SQL, WORDS, statement
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.vault import Vault
from tests.integration.world import World
from tests.oracle import insights as oracle
from tests.oracle.insights import Tables

NAMES = ("departments", "jobs", "hired_employees")
NOTHING = {"year": None, "years": [], "quarter_means": [None] * 4, "year_mean": None}

Hires = tuple[int, str, int, int]
"""So many on a day, of a department and a job."""


def reference(names: Iterable[tuple[int, str]]) -> bytes:
    return "".join(f'{key},"{name}"\n' for key, name in names).encode()


def hired(*spec: Hires) -> bytes:
    """A file of hires, with ids from 1 on."""
    each = [one for count, *one in spec for _ in range(count)]
    lines = (f"{key},x,{day}T23:59:59Z,{department},{job}\n" for key, (day, department, job) in enumerate(each, 1))
    return "".join(lines).encode()


def rows_of(world: World) -> Tables:
    return Tables(*(world.rows(name) for name in NAMES))


def computed(rows: Tables, year: int) -> dict[str, Any]:
    """What is shown of a year, by the other computation."""
    mean = oracle.year_mean(rows, year)
    lines: dict[str, list[tuple[Any, ...]]] = {
        "hires_by_department_job": [*oracle.hires_by_department_job(rows, year)],
        "top_jobs": [*oracle.top_jobs(rows, year)],
        "departments_by_quarter": [*oracle.departments_by_quarter(rows, year)],
        "departments_above_mean": [(*line, mean) for line in oracle.departments_hired_above_mean(rows, year)],
    }
    keys = {
        "hires_by_department_job": ("department", "job", "hires"),
        "top_jobs": ("job", "q1", "q2", "q3", "q4", "hires"),
        "departments_by_quarter": ("department", "q1", "q2", "q3", "q4", "hires"),
        "departments_above_mean": ("id", "department", "hired", "mean_hired"),
    }
    return {
        "year": year,
        "years": sorted(oracle.years(rows), reverse=True),
        "charts": {name: [dict(zip(keys[name], line, strict=True)) for line in found] for name, found in lines.items()},
        "quarter_means": oracle.quarter_means(rows, year),
        "year_mean": mean if lines["departments_above_mean"] else None,
    }


def shown(world: World, year: int | None = None) -> dict[str, Any]:
    """What the page is told of a year by a connection that may only read; it is what the other computation has."""
    with closing(PostgresWarehouse(world.database.reader_dsn)) as warehouse:
        found = all_charts(warehouse, year)
        told = {one.name: records(warehouse, one, found["year"]) for one in CHARTS}
    rows = rows_of(world)
    own = {name: value for name, value in found.items() if name not in ("refreshed_at", "behind", "complete_up_to")}
    assert own == computed(rows, year or max(oracle.years(rows)))
    assert told == found["charts"]
    assert json.loads(json.dumps(found)) == found
    return found


def loaded(world: World, departments: list[tuple[int, str]], jobs: list[tuple[int, str]], *hires: Hires) -> None:
    """These rows are the tables', and the insights have them."""
    world.load("departments.csv", reference(departments))
    world.load("jobs.csv", reference(jobs))
    world.load("hired_employees.csv", hired(*hires))
    insights.refresh(world.warehouse)


def chart(found: dict[str, Any], name: str, *keys: str) -> list[Any]:
    """One chart, of each record these values."""
    lines = [tuple(record[key] for key in keys) for record in found["charts"][name]]
    return [line[0] for line in lines] if len(keys) == 1 else lines


def test_each_year_is_its_own_and_the_newest_is_shown_unless_another_is_asked_for(world: World) -> None:
    loaded(
        world, [(1, "Engineering"), (2, "Sales")], [(1, "Developer"), (2, "Seller")],
        (7, "2021-03-31", 1, 1), (6, "2021-04-01", 2, 2), (1, "2021-12-31", 2, 1),
        (8, "2020-12-31", 1, 1), (1, "2022-01-01", 2, 2), (2, "2022-10-01", 1, 1),
    )  # fmt: skip
    assert shown(world) == shown(world, 2022)
    assert shown(world)["years"] == [2022, 2021, 2020]
    assert chart(shown(world, 2020), "hires_by_department_job", "hires") == [8]
    assert chart(shown(world, 2021), "hires_by_department_job", "hires") == [7, 6]
    assert chart(shown(world, 2022), "departments_above_mean", "department", "hired", "mean_hired") == [
        ("Engineering", 2, 1.5)
    ]


@pytest.mark.parametrize("year", [1999, 2022, 9999, 1])
def test_a_year_without_hires_has_empty_charts(world: World, year: int) -> None:
    loaded(world, [(1, "a")], [(1, "x")], (6, "2021-05-05", 1, 1))
    found = shown(world, year)
    assert {name: found[name] for name in NOTHING} == NOTHING | {"year": year, "years": [2021]}
    assert found["charts"] == {one.name: [] for one in CHARTS}


def test_an_empty_warehouse_has_no_year_and_was_never_refreshed(world: World) -> None:
    nothing = NOTHING | {"charts": {one.name: [] for one in CHARTS}, "complete_up_to": [], "behind": False}
    assert all_charts(world.warehouse) == nothing | {"refreshed_at": None}
    assert all_charts(world.warehouse, 2021) == nothing | {"refreshed_at": None, "year": 2021}
    insights.refresh(world.warehouse)
    found = all_charts(world.warehouse)
    assert (found.pop("refreshed_at") is not None, found) == (True, nothing)


def test_more_than_five_hires_are_six(world: World) -> None:
    loaded(
        world, [(1, "five"), (2, "six")], [(1, "x"), (2, "y")],
        (5, "2021-01-01", 1, 1), (2, "2021-02-01", 2, 1), (4, "2021-12-01", 2, 1), (5, "2021-01-01", 2, 2),
        (1, "2020-01-01", 1, 1),
    )  # fmt: skip
    assert chart(shown(world, 2021), "hires_by_department_job", "department", "job", "hires") == [("six", "x", 6)]


def test_unknown_departments_and_jobs_are_one_group_and_come_last(world: World) -> None:
    loaded(
        world, [(1, "a"), (2, "z")], [(1, "x")],
        (4, "2021-01-01", 8, 1), (4, "2021-04-01", 9, 1), (4, "2021-07-01", 7, 8), (4, "2021-10-01", 6, 9),
        (8, "2021-01-01", 2, 1), (8, "2021-01-01", 1, 9), (8, "2021-01-01", 1, 1),
    )  # fmt: skip
    found = shown(world)
    pairs = [("a", "x"), ("a", None), ("z", "x"), (None, "x"), (None, None)]
    assert chart(found, "hires_by_department_job", "department", "job") == pairs
    assert chart(found, "top_jobs", "job", "hires") == [("x", 24), (None, 16)]
    assert chart(found, "departments_by_quarter", "department", "hires") == [("a", 16), ("z", 8), (None, 16)]
    assert chart(found, "departments_above_mean", "id", "department", "hired") == [(1, "a", 16), (None, None, 16)]
    assert (found["quarter_means"], found["year_mean"]) == ([28 / 3, 4.0, 4.0, 4.0], 40 / 3)


TIED = [
    (key, name) for key, name in enumerate(["ä", "z", "a", "Z", "_", "10", "9", "é", "A", "a b", "aa", "😀", "～"], 1)
]
BY_CODE_POINT = ["10", "9", "A", "Z", "_", "a", "a b", "aa", "z", "ä", "é", "～", "😀"]


def test_ties_are_sorted_by_code_point(world: World) -> None:
    """Of jobs that are tied at the ninth place too, the first by name are among the nine."""
    loaded(world, TIED, TIED, *((6, "2021-01-01", key, key) for key, _ in TIED))
    found = shown(world)
    assert chart(found, "hires_by_department_job", "department") == BY_CODE_POINT
    assert chart(found, "departments_by_quarter", "department") == BY_CODE_POINT
    assert chart(found, "top_jobs", "job") == BY_CODE_POINT[:9]


def by_locale(text: str) -> list[str]:
    """The names that a statement sorts as the database's locale has it."""
    return re.findall(r"(?<!OCTET_LENGTH\()\b(?:department|job)\b(?!\{bytewise\})", text.partition("ORDER BY")[2])


@pytest.mark.parametrize("name", [one.name for one in CHARTS])
def test_no_locale_sorts_names(name: str) -> None:
    """Read in the statements, as the tests' server knows no locale that sorts otherwise."""
    text = statement("postgres", f"chart_{name}")
    assert ("ORDER BY" in text, by_locale(text)) == (True, [])
    assert by_locale("SELECT job FROM x ORDER BY hires DESC, job ASC, department{bytewise}") == ["job"]
    assert WORDS["postgres"]["bytewise"] == ' COLLATE "C"'


def test_jobs_tied_at_the_ninth_place_are_cut_by_name_after_those_with_more_hires(world: World) -> None:
    jobs = [(key, f"job {key:02}") for key in range(1, 13)]
    loaded(
        world, [(1, "a")], jobs,
        *((1, "2021-01-01", 1, key) for key in range(1, 13)), (1, "2021-06-06", 1, 12), (1, "2021-06-06", 1, 99),
    )  # fmt: skip
    assert chart(shown(world), "top_jobs", "job", "hires") == [
        ("job 12", 2), *((f"job {key:02}", 1) for key in range(1, 9))
    ]  # fmt: skip


def test_fewer_jobs_than_nine_are_all_shown_with_the_unknown_ones_last(world: World) -> None:
    loaded(world, [(1, "a")], [(1, "x"), (2, "y")], *((1, "2021-01-01", 1, job) for job in (2, 9, 1)))
    assert chart(shown(world), "top_jobs", "job") == ["x", "y", None]


def test_departments_that_share_a_name_are_one_where_names_count_and_two_where_ids_do(world: World) -> None:
    loaded(
        world, [(1, "twin"), (2, "twin"), (3, "other")], [(1, "x"), (2, "x")],
        (3, "2021-01-01", 1, 1), (4, "2021-05-01", 2, 2), (1, "2021-05-01", 3, 1),
    )  # fmt: skip
    found = shown(world)
    assert chart(found, "hires_by_department_job", "department", "job", "hires") == [("twin", "x", 7)]
    assert chart(found, "departments_by_quarter", "department", "hires") == [("other", 1), ("twin", 7)]
    assert chart(found, "top_jobs", "job", "hires") == [("x", 8)]
    assert chart(found, "departments_above_mean", "id", "hired") == [(2, 4), (1, 3)]
    assert found["year_mean"] == 8 / 3


def test_departments_with_the_same_number_are_sorted_by_id(world: World) -> None:
    loaded(
        world, [(10, "a"), (9, "b"), (2, "c"), (1, "z")], [(1, "x")],
        *((3, "2021-01-01", key, 1) for key in (10, 9, 2, 77)), (1, "2021-01-01", 1, 1),
    )  # fmt: skip
    assert chart(shown(world), "departments_above_mean", "id") == [2, 9, 10, None]


def test_a_quarter_without_hires_has_no_mean_and_who_did_not_hire_in_a_quarter_is_not_in_its_mean(world: World) -> None:
    loaded(
        world, [(1, "once"), (2, "often"), (3, "never")], [(1, "x")],
        (4, "2021-02-03", 1, 1), (1, "2021-01-01", 2, 1), (1, "2021-09-30", 2, 1), (5, "2021-10-01", 2, 1),
    )  # fmt: skip
    found = shown(world)
    assert found["quarter_means"] == [2.5, None, 1.0, 5.0]
    assert chart(found, "departments_by_quarter", "department", *QUARTERS) == [
        ("often", 1, 0, 1, 5),
        ("once", 4, 0, 0, 0),
    ]
    assert found["year_mean"] == 5.5


def test_where_all_hired_the_same_number_nobody_is_above_the_mean(world: World) -> None:
    loaded(
        world, [(1, "a"), (2, "b")], [(1, "x")],
        (2, "2021-01-01", 1, 1), (2, "2021-04-01", 2, 1), (2, "2021-07-01", 9, 1),
    )  # fmt: skip
    found = shown(world)
    assert (found["charts"]["departments_above_mean"], found["quarter_means"]) == ([], [2.0, 2.0, 2.0, None])


def test_hires_are_of_the_quarter_and_the_year_in_utc(world: World) -> None:
    loaded(
        world, [(1, "a")], [(1, "x")],
        *((1, day, 1, 1) for day in ("2020-12-31", "2021-03-31", "2021-06-30", "2021-09-30", "2021-12-31")),
    )  # fmt: skip
    with world.connected() as warehouse:
        warehouse.execute("SET timezone = 'Pacific/Kiritimati'")
        insights.refresh(warehouse)
        found = all_charts(warehouse, 2021)
    assert chart(found, "top_jobs", *QUARTERS, "hires") == [(1, 1, 1, 1, 4)]
    assert found == shown(world, 2021)


def test_names_are_shown_as_they_are(world: World) -> None:
    name = '<b onclick="x">&amp; %s {y} \\n'
    loaded(world, [(1, name.replace('"', '""'))], [(1, name.replace('"', '""'))], (6, "2021-01-01", 1, 1))
    assert chart(shown(world), "hires_by_department_job", "department", "job") == [(name, name)]


def scattered(seed: int) -> Tables:
    """Rows at random: few names for many ids, ids that refer to nothing, hires that heap up."""
    chance = random.Random(seed)
    few = ["a", "A", "ä", "Z", "z", "_", "é", "10", "9", "a b", "aa", "B", "ß"]
    departments, jobs = ([(key, chance.choice(few)) for key in range(1, chance.randint(2, most))] for most in (7, 20))
    start, moments = datetime(2020, 11, 1), chance.choice([30, 400, 800])
    hires = [
        (
            key, "x", start + timedelta(days=chance.randrange(moments), seconds=chance.randrange(86400)),
            chance.randint(1, 1 + chance.randint(1, 7)), chance.randint(1, 1 + chance.randint(1, 20)),
        )
        for key in range(1, chance.choice([2, 40, 300]))
    ]  # fmt: skip
    return Tables(departments, jobs, hires)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_rows_both_computations_agree(spoiled: World, seed: int) -> None:
    rows = scattered(seed)
    with spoiled.database.observer.cursor() as cursor:
        for name, table in zip(NAMES, rows, strict=True):
            execute_values(cursor, f"INSERT INTO public.{name} VALUES %s", [(*row, 1) for row in table])
    insights.refresh(spoiled.warehouse)
    for year in oracle.years(rows):
        shown(spoiled, year)
    shown(spoiled)


# How fresh they are


def named(*outcomes: Outcome) -> list[tuple[str, str]]:
    return [(str(one.table), str(one.load_id)) for one in outcomes]


def up_to(world: World) -> list[tuple[str, str]]:
    return [(one["table"], one["load_id"]) for one in all_charts(world.warehouse)["complete_up_to"]]


def test_after_a_load_the_charts_are_behind_until_they_are_refreshed(world: World) -> None:
    loaded(world, [(1, "a")], [(1, "x")], (6, "2021-05-05", 1, 1))
    before = shown(world)
    assert before["behind"] is False
    later = world.load("jobs_2.csv", b"1,renamed\n")
    behind = all_charts(world.warehouse)
    assert behind == before | {"behind": True}
    insights.refresh(world.warehouse)
    found = shown(world)
    assert (found["behind"], chart(found, "top_jobs", "job")) == (False, ["renamed"])
    assert found["refreshed_at"] > before["refreshed_at"]
    assert found["complete_up_to"][2]["load_id"] == str(later.load_id)


@pytest.mark.parametrize("body", [b"1,x\n", b"bad\n"], ids=["found all as it was", "rejected"])
def test_a_load_that_changes_nothing_leaves_them_complete(world: World, body: bytes) -> None:
    loaded(world, [(1, "a")], [(1, "x")], (1, "2021-05-05", 1, 1))
    world.load("jobs_2.csv", body)
    assert shown(world)["behind"] is False


def test_the_newest_load_of_each_table_that_is_in_the_numbers_is_told_and_no_later_one(world: World) -> None:
    world.load("jobs.csv", b"1,x\n")
    newest = [world.load("folder/departments_1.csv", b"1,a\n"), world.load("jobs_2.csv", b"2,y\n")]
    assert up_to(world) == []
    insights.refresh(world.warehouse)
    found = all_charts(world.warehouse)["complete_up_to"]
    assert found == [
        {
            "table": one.table,
            "load_id": str(one.load_id),
            "file": one.key.rsplit("/", 1)[-1],
            "finished_at": utc(world.ledger(one.load_id, "finished_at")[0]),
        }
        for one in newest
    ]
    assert [one["file"] for one in found] == ["departments_1.csv", "jobs_2.csv"]
    world.load("jobs_3.csv", b"3,z\n")
    first_hires = world.load("hired_employees.csv", hired((1, "2021-01-01", 1, 1)))
    assert all_charts(world.warehouse)["complete_up_to"] == found
    insights.refresh(world.warehouse)
    assert up_to(world)[1] == named(first_hires)[0]
    assert len(up_to(world)) == 3


def test_a_copy_counts_as_a_load_and_a_refused_file_does_not(world: World) -> None:
    world.load("jobs.csv", b"1,x\n")
    copy = world.load("jobs_copy.csv", b"1,x\n")
    assert world.load("jobs_bad.csv", b"bad\n").verdict is Verdict.REJECTED
    insights.refresh(world.warehouse)
    assert (copy.verdict, up_to(world)) == (Verdict.DUPLICATE, named(copy))


def test_a_replacement_is_told_by_its_file(world: World) -> None:
    world.load("jobs.csv", b"1,x\n")
    (whole,) = world.replace("jobs", world.put("jobs_whole.csv", b"2,y\n"))
    insights.refresh(world.warehouse)
    assert up_to(world) == named(whole)


def test_a_load_that_was_undone_is_not_in_the_numbers(vault: Vault) -> None:
    world = vault.world
    stays = world.load("jobs.csv", b"1,x\n")
    undone = world.load("jobs_2.csv", b"2,y\n")
    insights.refresh(world.warehouse)
    assert up_to(world) == named(undone)
    vault.undo(undone.load_id)
    insights.refresh(world.warehouse)
    assert up_to(world) == named(stays)
    vault.undo(stays.load_id)
    insights.refresh(world.warehouse)
    assert up_to(world) == []


def test_a_load_that_a_restore_took_back_is_not_in_the_numbers(vault: Vault) -> None:
    world = vault.world
    stays = world.load("jobs.csv", b"1,x\n")
    backup = vault.backup()
    world.load("jobs_2.csv", b"2,y\n")
    vault.restore("jobs", backup_id=backup.backup_id)
    insights.refresh(world.warehouse)
    assert up_to(world) == named(stays)


def test_what_is_undone_after_the_refresh_is_still_in_the_numbers(vault: Vault) -> None:
    world = vault.world
    world.load("jobs.csv", b"1,x\n")
    undone = world.load("jobs_2.csv", b"2,y\n")
    insights.refresh(world.warehouse)
    vault.undo(undone.load_id)
    assert (up_to(world), all_charts(world.warehouse)["behind"]) == (named(undone), True)


def test_the_moment_is_that_of_the_insight_that_was_refreshed_first(world: World) -> None:
    loaded(world, [(1, "a")], [(1, "x")], (1, "2021-05-05", 1, 1))
    ((oldest,),) = world.sql("SELECT min(refreshed_at) FROM ops.insight_refreshes")
    assert shown(world)["refreshed_at"] == utc(oldest)


@pytest.mark.parametrize("insight", [one.name for one in insights.INSIGHTS])
def test_an_insight_that_was_never_refreshed_makes_none_of_the_numbers_true(world: World, insight: str) -> None:
    loaded(world, [(1, "a")], [(1, "x")], (1, "2021-05-05", 1, 1))
    world.sql("DELETE FROM ops.insight_refreshes WHERE insight = %s", insight)
    found = all_charts(world.warehouse)
    assert (found["refreshed_at"], found["behind"], found["complete_up_to"]) == (None, True, [])


# What there is not, and what was there before


@pytest.mark.parametrize("name", ["", "TOP_JOBS", "jobs", "top_jobs.csv", "x'; DROP TABLE jobs; --"])
def test_a_chart_that_there_is_none_of_is_told_with_those_there_are(name: str) -> None:
    with pytest.raises(ConfigurationError, match="hires_by_department_job, top_jobs, departments_by_quarter, depart"):
        chart_named(name)
    assert [chart_named(one.name) for one in CHARTS] == list(CHARTS)


@pytest.fixture
def of_before(spoiled: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A warehouse as the version before the pages has left it: with its insights, but without their means."""
    folder = tmp_path / "sql"
    shutil.copytree(SQL, folder)
    (folder / "postgres" / "migrate_0005_pages.sql").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "SQL", folder)
        spoiled.sql("DROP SCHEMA public, ops CASCADE")
        spoiled.sql("CREATE SCHEMA public")
        migrate(spoiled.warehouse, reader_role="datamart_read")
    spoiled.load("departments.csv", b"1,a\n2,b\n")
    spoiled.load("jobs.csv", b"1,x\n")
    spoiled.load(
        "hired_employees.csv", hired((7, "2021-01-01", 1, 1), (1, "2021-05-05", 2, 1), (1, "2020-05-05", 1, 1))
    )
    rows = rows_of(spoiled)
    for year in oracle.years(rows):
        for line in oracle.departments_hired_above_mean(rows, year):
            spoiled.sql("INSERT INTO public.departments_hired_above_mean VALUES (%s, %s, %s, %s)", year, *line)
        for line in oracle.hires_department_job(rows, year):
            spoiled.sql("INSERT INTO public.hires_department_job VALUES (%s, %s, %s, %s, %s, %s, %s)", year, *line)
    yield spoiled
    migrate(spoiled.warehouse, reader_role="datamart_read")


def test_a_warehouse_of_before_has_its_charts_and_gets_the_mean_with_the_next_refresh(of_before: World) -> None:
    assert "migrate_0005_pages" in migrate(of_before.warehouse, reader_role="datamart_read")
    expected, found = computed(rows_of(of_before), 2021), all_charts(of_before.warehouse)
    assert [one.pop("mean_hired") for one in found["charts"]["departments_above_mean"]] == [None]
    assert [one.pop("mean_hired") for one in expected["charts"]["departments_above_mean"]] == [4.0]
    assert (found["charts"], found["years"]) == (expected["charts"], [2021, 2020])
    assert (found["quarter_means"], found["year_mean"]) == (expected["quarter_means"], None)
    insights.refresh(of_before.warehouse)
    assert shown(of_before)["year_mean"] == 4.0
