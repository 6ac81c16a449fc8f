"""Both insights and the charts of a year computed a second time from plain rows, without SQL.

Unknown references are one null group. In the job report and in the charts made of it a department and a job are
their *names*: two ids that share a name are one line. In the above-mean report a department is its id, and the null
group is a group like any other: it counts in the mean and is listed when it is above it.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import NamedTuple

Hire = tuple[int, str, datetime, int, int]
JobLine = tuple[str | None, str | None, int, int, int, int]
DepartmentLine = tuple[int | None, str | None, int]
PairLine = tuple[str | None, str | None, int]
QuarterLine = tuple[str | None, int, int, int, int, int]


class Tables(NamedTuple):
    """The live rows of the three tables, each in its column order."""

    departments: list[tuple[int, str]]
    jobs: list[tuple[int, str]]
    hired_employees: list[Hire]


def hires_department_job(rows: Tables, year: int) -> list[JobLine]:
    """Hires per UTC quarter by department and job names, sorted by code point, nulls last."""
    departments, jobs = dict(rows.departments), dict(rows.jobs)
    quarters: dict[tuple[str | None, str | None], list[int]] = {}
    for _, _, moment, department_id, job_id in rows.hired_employees:
        moment = _utc(moment)
        if moment.year == year:
            key = (departments.get(department_id), jobs.get(job_id))
            quarters.setdefault(key, [0, 0, 0, 0])[(moment.month - 1) // 3] += 1
    lines = [(department, job, q[0], q[1], q[2], q[3]) for (department, job), q in quarters.items()]
    return sorted(lines, key=lambda line: (_nulls_last(line[0]), _nulls_last(line[1])))


def hires_by_department_job(rows: Tables, year: int) -> list[PairLine]:
    """Pairs of names with more than five hires, most first, ties by code point, nulls last."""
    lines = [(line[0], line[1], sum(line[2:])) for line in hires_department_job(rows, year)]
    # The lines come sorted by name, and sorting keeps the order of equals.
    return sorted((line for line in lines if line[2] > 5), key=lambda line: -line[2])


def top_jobs(rows: Tables, year: int) -> list[QuarterLine]:
    """The nine job names with most hires, by UTC quarter and in the year; ties by code point, null last."""
    return sorted(_by_quarter(rows, year, 1), key=lambda line: -line[5])[:9]


def departments_by_quarter(rows: Tables, year: int) -> list[QuarterLine]:
    """All department names that hired, by UTC quarter and in the year, sorted by code point, null last."""
    return _by_quarter(rows, year, 0)


def quarter_means(rows: Tables, year: int) -> list[float | None]:
    """Of each quarter, the mean of the department names that hired in it; None when nobody did."""
    hired = [[line[quarter] for line in departments_by_quarter(rows, year) if line[quarter]] for quarter in range(1, 5)]
    return [sum(counts) / len(counts) if counts else None for counts in hired]


def year_mean(rows: Tables, year: int) -> float | None:
    """The mean of the departments that hired in `year`; None when nobody did."""
    hired = _hired(rows, year)
    return sum(hired.values()) / len(hired) if hired else None


def departments_hired_above_mean(rows: Tables, year: int) -> list[DepartmentLine]:
    """Departments above the mean of those that hired in `year`: most hires first, ties by id, null last."""
    names, hired = dict(rows.departments), _hired(rows, year)
    total = sum(hired.values())
    # Compared as integers, so that no rounding can decide.
    above: list[DepartmentLine] = [
        (key, None if key is None else names[key], count) for key, count in hired.items() if count * len(hired) > total
    ]
    return sorted(above, key=lambda line: (-line[2], line[0] is None, line[0] or 0))


def years(rows: Tables) -> list[int]:
    """The UTC years that have hires, in order."""
    return sorted({_utc(hire[2]).year for hire in rows.hired_employees})


def _hired(rows: Tables, year: int) -> Counter[int | None]:
    """Hires in `year` by department id; of unknown departments together by None."""
    known = dict(rows.departments)
    return Counter(
        department_id if department_id in known else None
        for _, _, moment, department_id, _ in rows.hired_employees
        if _utc(moment).year == year
    )


def _by_quarter(rows: Tables, year: int, place: int) -> list[QuarterLine]:
    """The job report added up by the names at one of its places."""
    found: dict[str | None, list[int]] = {}
    for line in hires_department_job(rows, year):
        counts = found.setdefault(line[:2][place], [0, 0, 0, 0])
        for quarter, hires in enumerate(line[2:]):
            counts[quarter] += hires
    lines = [(name, q[0], q[1], q[2], q[3], sum(q)) for name, q in found.items()]
    return sorted(lines, key=lambda line: _nulls_last(line[0]))


def _utc(moment: datetime) -> datetime:
    """A naive moment is UTC by definition: the warehouse holds no zones."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _nulls_last(name: str | None) -> tuple[bool, str]:
    return (name is None, name or "")
