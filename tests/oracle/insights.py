"""Both insights computed a second time from plain rows, without SQL.

Unknown references are one null group. In the job report a department and a job are their *names*: two ids
that share a name are one line. In the above-mean report a department is its id, and the null group is a
group like any other: it counts in the mean and is listed when it is above it.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import NamedTuple

Hire = tuple[int, str, datetime, int, int]
JobLine = tuple[str | None, str | None, int, int, int, int]
DepartmentLine = tuple[int | None, str | None, int]


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


def departments_hired_above_mean(rows: Tables, year: int) -> list[DepartmentLine]:
    """Departments above the mean of those that hired in `year`: most hires first, ties by id, null last."""
    names = dict(rows.departments)
    hired = Counter(
        department_id if department_id in names else None
        for _, _, moment, department_id, _ in rows.hired_employees
        if _utc(moment).year == year
    )
    total = sum(hired.values())
    # Compared as integers, so that no rounding can decide.
    above: list[DepartmentLine] = [
        (key, None if key is None else names[key], count) for key, count in hired.items() if count * len(hired) > total
    ]
    return sorted(above, key=lambda line: (-line[2], line[0] is None, line[0] or 0))


def years(rows: Tables) -> list[int]:
    """The UTC years that have hires, in order."""
    return sorted({_utc(hire[2]).year for hire in rows.hired_employees})


def _utc(moment: datetime) -> datetime:
    """A naive moment is UTC by definition: the warehouse holds no zones."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _nulls_last(name: str | None) -> tuple[bool, str]:
    return (name is None, name or "")
