"""Rows that refer to nothing (yet) are a warning of their load, until what they refer to is there."""

from __future__ import annotations

from tests.integration.world import Row, World

DEPARTMENTS = b"1,Engineering\n"
JOBS = b"1,Developer\n"


def hires(*pairs: tuple[int, int], first: int = 1) -> bytes:
    """One hire for each department and job."""
    return b"".join(
        b"%d,Ada,2021-03-04T05:06:07Z,%d,%d\n" % (first + number, department, job)
        for number, (department, job) in enumerate(pairs)
    )


def warnings(world: World, load_id: int) -> list[Row]:
    return world.sql(
        "SELECT column_name, rows_warned, rows_open, resolved FROM ops.warnings WHERE load_id = %s ORDER BY 1", load_id
    )


def test_21_a_warning_is_resolved_once_the_department_is_there(world: World) -> None:
    world.load("jobs.csv", JOBS)
    outcome = world.load("hired_employees.csv", hires((1, 1), (1, 1), (2, 1), (1, 9)))
    assert warnings(world, outcome.load_id) == [("department_id", 4, 4, False), ("job_id", 1, 1, False)]
    world.load("departments.csv", DEPARTMENTS)
    assert warnings(world, outcome.load_id) == [("department_id", 4, 1, False), ("job_id", 1, 1, False)]
    world.load("departments_2.csv", b"2,Sales\n")
    assert warnings(world, outcome.load_id) == [("department_id", 4, 0, True), ("job_id", 1, 1, False)]


def test_a_warning_is_over_when_the_row_was_corrected(world: World) -> None:
    world.load("jobs.csv", JOBS)
    world.load("departments.csv", DEPARTMENTS)
    outcome = world.load("hired_employees.csv", hires((5, 1)))
    corrected = world.load("hired_employees_corrected.csv", hires((1, 1)))
    assert warnings(world, outcome.load_id) == [("department_id", 1, 0, True)]
    assert warnings(world, corrected.load_id) == []


def test_a_row_that_refers_to_nothing_is_told_with_the_load_that_put_it_there(world: World) -> None:
    world.load("jobs.csv", JOBS)
    first = world.load("hired_employees.csv", hires((1, 1)))
    copy = world.load("hired_employees_copy.csv", hires((1, 1)) + b"\n")
    assert [warnings(world, one.load_id) for one in (first, copy)] == [[("department_id", 1, 1, False)], []]


def test_a_load_without_warnings_shows_none(world: World) -> None:
    world.load("jobs.csv", JOBS)
    world.load("departments.csv", DEPARTMENTS)
    assert warnings(world, world.load("hired_employees.csv", hires((1, 1))).load_id) == []
    assert world.sql("SELECT * FROM ops.warnings") == []
