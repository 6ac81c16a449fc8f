"""Faults 2, 10, 11, 13 and 21 in the plan of a look into the landing folder: what is loaded now, in which order."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamart.batches import Batch, arrivals_of
from datamart.landing import MOST_BYTES, MOST_FILES, TOGETHER, batches_of
from datamart.loads import Arrival, Verdict
from datamart.tables import Column, Table, Type
from tests.integration.landing_sound import archived, moved
from tests.integration.landing_zone import BEGIN, Zone

BODY = b"1,a\n"
HIRE = b"1,Ann,2021-01-02T03:04:05Z,1,1\n"
KINDS = ("departments", "jobs", "hired_employees", "offices")
REFERRED = {"hired_employees": ("departments", "jobs")}
_numbers = count(1)


def listed(name: str, at: float = 0, size: int = 10) -> Arrival:
    """A file as a listing gives it."""
    return Arrival("bucket", f"landing/{name}", f'"{next(_numbers)}"', BEGIN + timedelta(seconds=at), size)


def planned(arrivals: Iterable[Arrival], *tables: Table) -> dict[str | None, list[Arrival]]:
    """The files of each table's batch, of a listing of these."""
    listing = sorted(arrivals, key=lambda one: (one.last_modified, one.key))
    return by_table(batches_of(listing, tables) if tables else batches_of(listing))


def by_table(batches: list[Batch]) -> dict[str | None, list[Arrival]]:
    return {batch["table"]: arrivals_of(batch) for batch in batches}


def names(arrivals: Iterable[Arrival]) -> list[str]:
    return [one.name for one in arrivals]


def test_2_10_a_batch_is_in_the_order_of_time_then_key(zone: Zone) -> None:
    for name, at in (("jobs_z.csv", 1), ("jobs_b.csv", 2), ("jobs_a.csv", 2), ("jobs_y.csv", -3600), ("jobs_é.csv", 2)):
        zone.drop(name, BODY, at=at)
    (batch,) = zone.plan()
    assert names(arrivals_of(batch)) == ["jobs_y.csv", "jobs_z.csv", "jobs_a.csv", "jobs_b.csv", "jobs_é.csv"]
    assert {one.listed_at for one in arrivals_of(batch)} != {None}
    assert [outcome.key for outcome in zone.ingest(batch)] == [one.key for one in arrivals_of(batch)]


def test_one_batch_a_table_and_one_for_names_that_fit_none(zone: Zone) -> None:
    for name in ("jobs_1.csv", "departments.csv", "notes.txt", "JOBS-2.CSV", "jobsearch.csv", "jobs.csv.gz"):
        zone.drop(name, BODY, at=1)
    found = by_table(zone.plan())
    assert {table: sorted(names(files)) for table, files in found.items()} == {
        "departments": ["departments.csv"],
        "jobs": ["JOBS-2.CSV", "jobs_1.csv"],
        None: ["jobs.csv.gz", "jobsearch.csv", "notes.txt"],
    }
    zone.look()


def test_folder_markers_are_no_files_and_folders_below_are_looked_into(zone: Zone) -> None:
    for marker in ("", "in/", "in/jobs.csv/"):
        zone.store.client.put_object(Bucket=zone.store.bucket, Key=f"landing/{marker}", Body=b"")
    assert zone.plan() == []
    assert not zone.is_awaited()
    for name in ("in/jobs.csv", "in/deeper/jobs.csv", "jobs.csv"):
        zone.drop(name, BODY)
    assert zone.is_awaited()
    assert {outcome.verdict for outcome in zone.look().values()} == {Verdict.LOADED, Verdict.DUPLICATE}
    assert [one.name for one in moved(zone)] == ["jobs.csv"] * 3


ODD = [
    "jobs of 2021.csv", "JOBS.CSV", "Jobs_ñandú_数据_🐝.csv", "jobs+1%20&b=c.csv", "jobs_('x')~!*.csv", "jobs_#1;@.csv",
    "jobs_?x=1.csv", "jobs_%2F.csv", "jobs_:.csv", 'jobs_"q".csv', "jobs_ .csv", "jobs_..csv",
    "jobs_<&>.csv", "jobs_" + "x" * 190 + ".csv",
]  # fmt: skip


def test_13_odd_names_are_loaded_and_archived_under_their_names(zone: Zone) -> None:
    bodies = {name: b"%d,%d\n" % (number, number) for number, name in enumerate(ODD)}
    for name, body in bodies.items():
        zone.drop(name, body)
    assert {outcome.verdict for outcome in zone.look().values()} == {Verdict.LOADED}
    assert archived(zone) == bodies
    assert zone.lying() == []


def test_11_more_files_than_a_page_or_a_batch_holds(spoiled_zone: Zone) -> None:
    keys = {f"landing/jobs_{number:04}.csv" for number in range(MOST_FILES + 5)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: spoiled_zone.store.write(key, BODY), keys))
    (first,) = spoiled_zone.plan()
    chosen = arrivals_of(first)
    assert len(chosen) == MOST_FILES
    assert chosen == spoiled_zone.store.list("landing/")[:MOST_FILES]
    spoiled_zone.store.remove(one.key for one in chosen)
    (second,) = spoiled_zone.plan()
    assert {one.key for one in (*chosen, *arrivals_of(second))} == keys


def test_a_batch_holds_so_many_files_the_oldest_first() -> None:
    files = [listed(f"jobs_{number}.csv", number) for number in range(MOST_FILES + 1)]
    assert planned(files) == {"jobs": files[:MOST_FILES]}


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ([MOST_BYTES, 1], 1), ([MOST_BYTES - 1, 1, 1], 2), ([MOST_BYTES + 1, 1], 1), ([1, MOST_BYTES, 1], 1),
        ([0, 0, MOST_BYTES], 3),
    ],
)  # fmt: skip
def test_a_batch_holds_so_many_bytes_and_a_larger_file_goes_alone(sizes: list[int], chosen: int) -> None:
    files = [listed(f"jobs_{number}.csv", number, size) for number, size in enumerate(sizes)]
    assert planned(files) == {"jobs": files[:chosen]}


@pytest.mark.parametrize(("behind", "waits"), [(-30, True), (0, True), (9, True), (10, False), (60, False)])
def test_21_a_file_waits_for_those_it_refers_to_unless_they_came_well_after(behind: float, waits: bool) -> None:
    """``behind``: seconds by which the department came later."""
    hires, departments = listed("hired_employees.csv"), listed("departments.csv", behind)
    found = planned([hires, departments])
    assert found["departments"] == [departments]
    assert ("hired_employees" in found) is not waits


def test_21_what_waits_is_loaded_by_the_next_look(zone: Zone) -> None:
    zone.drop("hired_employees.csv", HIRE, at=0)
    zone.drop("departments.csv", b"1,Engineering\n", at=5)
    zone.drop("jobs.csv", b"1,Developer\n", at=5)
    assert set(zone.look()) == {"departments.csv", "jobs.csv"}
    found = zone.look()
    assert {name: outcome.warnings for name, outcome in found.items()} == {"hired_employees.csv": {}}


def test_only_the_oldest_that_is_referred_to_counts() -> None:
    early, late = listed("hired_employees_1.csv", 0), listed("hired_employees_2.csv", 95)
    departments = [listed(f"departments_{at}.csv", at) for at in (100, 200)]
    assert planned([early, late, *departments])["hired_employees"] == [early]


def test_a_file_on_hold_holds_up_none_that_refer_to_it(zone: Zone) -> None:
    department = zone.drop("departments.csv", b"1,Engineering\n", at=0)
    zone.drop("hired_employees.csv", HIRE, at=1)
    zone.world.sql(
        "INSERT INTO ops.holds VALUES (%s, %s, 1, 'a fault', now(), now() + interval '1 hour')",
        department.arrival_id, department.key,
    )  # fmt: skip
    assert set(zone.look()) == {"hired_employees.csv"}
    zone.make_due()
    assert set(zone.look()) == {"departments.csv"}


def circle(*names: str) -> list[Table]:
    """Tables each of which refers to the next, the last one to the first."""
    return [
        Table(name, (Column("id", Type.INTEGER), Column("other", Type.INTEGER, references=following)))
        for name, following in zip(names, (*names[1:], names[0]), strict=True)
    ]


@pytest.mark.parametrize("tables", [circle("a"), circle("a", "b"), circle("a", "b", "c")], ids=len)
def test_tables_that_refer_to_each_other_do_not_wait_for_ever(tables: list[Table]) -> None:
    files = [listed(f"{table.name}_1.csv") for table in tables]
    assert [one for chosen in planned(files, *tables).values() for one in chosen] == files


def test_a_table_that_refers_into_a_circle_waits_for_it_once() -> None:
    tables = [*circle("a", "b"), Table("c", (Column("id", Type.INTEGER), Column("a", Type.INTEGER, references="a")))]
    files = [listed("a.csv"), listed("b.csv"), listed("c.csv")]
    first = [one for chosen in planned(files, *tables).values() for one in chosen]
    assert first
    left = [one for one in files if one not in first]
    assert first + [one for chosen in planned(left, *tables).values() for one in chosen] == files


dropped = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 40), st.sampled_from([1, MOST_BYTES // 3, MOST_BYTES])),
    max_size=25,
)


@given(dropped)
def test_nothing_is_overtaken_within_its_table_and_nothing_waits_for_ever(files: list[tuple[str, int, int]]) -> None:
    left = sorted(
        (listed(f"{kind}_{number}.csv", at, size) for number, (kind, at, size) in enumerate(files)),
        key=lambda one: (one.last_modified, one.key),
    )
    while left:
        found = planned(left)
        chosen = {one for batch in found.values() for one in batch}
        assert chosen, "files lie there, and none of them is loaded"
        for table, batch in found.items():
            of_table = [one for one in left if kind_of(one) == (table or "offices")]
            assert batch == of_table[: len(batch)]
        for hires in [one for one in left if kind_of(one) == "hired_employees" and one in chosen]:
            assert not [
                one for one in left
                if kind_of(one) in REFERRED["hired_employees"] and one.last_modified < hires.last_modified + TOGETHER
            ]  # fmt: skip
        left = [one for one in left if one not in chosen]


def test_a_steady_stream_of_referred_files_does_not_starve_those_that_refer() -> None:
    hires, left, looks = listed("hired_employees.csv", 0), [], 0
    left.append(hires)
    while hires in left:
        looks += 1
        left += [listed(f"departments_{looks}_{n}.csv", 5 * looks + n) for n in range(5)]
        chosen = {one for batch in planned(left).values() for one in batch}
        left = [one for one in left if one not in chosen]
        assert looks <= 3


def kind_of(arrival: Arrival) -> str:
    return arrival.name.rsplit("_", 1)[0]
