"""The parts of the landing benchmark that need no stack: its files, its eyes, its sums and its report."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench.arriving import FILE_ROWS, Drop, Watch
from bench.dagruns import Task, steps
from bench.inputs import small_files
from bench.landing import OURS, SINCE_LAST, goals, many_phases, since_last
from bench.measure import Contender, Result, Run
from bench.report import markdown


class Table(Watch):
    """A table in which rows appear from look to look."""

    def __init__(self, looks: Sequence[set[int]]) -> None:
        self.looks = list(looks)
        self.asked: list[list[int]] = []

    def _look(self, ids: Sequence[int]) -> set[int]:
        self.asked.append(list(ids))
        there = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return there & set(ids)


def test_files_have_the_rows_and_ids_that_were_asked_for() -> None:
    files = small_files(3, 100, 501)
    ids = [int(line.split(b",")[0]) for body in files for line in body.splitlines()]
    assert [len(body.splitlines()) for body in files] == [100, 100, 100]
    assert ids == list(range(501, 801))
    assert all(body.endswith(b"\r\n") for body in files)


def test_files_of_other_ids_have_other_rows() -> None:
    first, second = (
        [line.split(b",", 1)[1] for line in body.splitlines()]
        for body in (*small_files(1, 50, 1), *small_files(1, 50, 51))
    )
    assert first != second


def test_a_drop_knows_its_last_rows_and_its_keys() -> None:
    drop = Drop.of("x_1", 1, 2)
    assert (drop.rows, drop.end, drop.last_ids) == (2 * FILE_ROWS, 2 * FILE_ROWS + 1, [FILE_ROWS, 2 * FILE_ROWS])
    assert drop.keys("landing/") == ["landing/hired_employees_x_1_00000.csv", "landing/hired_employees_x_1_00001.csv"]


def test_rows_are_seen_in_whatever_order_they_come() -> None:
    table = Table([set(), {3}, {1, 3}, {1, 2, 3}])
    seen = table.until([1, 2, 3], every=0.0, limit=5.0)
    assert (seen.missing, seen.first < seen.last) == (0, True)
    assert table.asked == [[1, 2, 3], [1, 2, 3], [1, 2], [2]]


def test_what_is_not_seen_in_time_is_counted() -> None:
    seen = Table([{1}]).until([1, 2, 3], every=0.01, limit=0.05)
    assert seen.missing == 2


def test_only_some_rows_are_asked_for_at_once() -> None:
    table = Table([set(range(2000))])
    assert table.until(range(1200), every=9.0, limit=5.0).missing == 0
    assert [len(ids) for ids in table.asked] == [500, 500, 200]


def test_steps_leave_out_moments_that_are_not_known() -> None:
    assert steps([("", 10.0), ("a", 11.0), ("b", None), ("c", 14.5)]) == {"a": 1.0, "c": 3.5}


def test_the_parts_of_many_files_add_up() -> None:
    tasks = [
        Task("wait_for_files", 1, 1, 2), Task("load", 2, 3, 10), Task("gate", 10, 10, 11), Task("load", 12, 13, 30),
    ]  # fmt: skip
    phases = many_phases(tasks, first=1.0, last=25.0)
    assert phases == {"loads": 19.0, "before the first load": 2.0, "between loads": 3.0}
    assert sum(phases.values()) == 24.0


@pytest.fixture
def results() -> tuple[Result, Result, Result]:
    def alone(name: str, *seconds: float) -> Result:
        return Result(name, "?", 100, OURS, {OURS: [Run(one, 100) for one in seconds]}, [Contender(OURS, unused)])

    runs = {
        OURS: [Run(10.0, 100_000, numbers={SINCE_LAST: 8.0}), Run(20.0, 100_000, numbers={SINCE_LAST: 16.0})],
        "slow": [Run(40.0, 100_000), Run(60.0, 100_000)],
        "quick": [Run(20.0, 100_000), Run(20.0, 100_000)],
    }
    result = Result("landing", "?", 100_000, OURS, runs, [Contender(name, unused) for name in runs])
    return result, alone("one file", 2.0, 6.0, 3.0), alone("many", 300.0)


def unused() -> Run:
    raise AssertionError


def test_goals_are_judged_by_medians(results: tuple[Result, Result, Result]) -> None:
    found = {goal.what: (goal.found, goal.met) for goal in goals(*results)}
    assert found == {
        "one file, PUT to rows seen": ("3.00 s (2.00 - 6.00)", True),
        "1,000 files": ("15.0 s", True),
        "10,000 files": ("none; 300 s", True),
        "10,000 files, time for each": ("2.00 x", False),
        "1,000 files, slow": ("3.5 x", True),
        "1,000 files, quick": ("1.5 x", False),
    }
    assert since_last(results[0]).endswith("slow 4.38, quick 1.88.")


def test_the_report_holds_goals_and_parts(results: tuple[Result, Result, Result]) -> None:
    result, *parts = results
    result.goals, result.parts = goals(*results), parts
    text = markdown(result)
    assert "| 1,000 files, quick | 3 x | 1.5 x | missed |" in text
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "### landing", "#### one file", "#### many",
    ]  # fmt: skip
    assert text.count("time / ours") == 1
    assert [goal["met"] for goal in result.plain()["goals"]] == [True, True, True, False, True, False]
