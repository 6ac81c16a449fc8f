"""The charts of the insights page: what each shows of a year, how fresh it is, and up to which loads.

They read the insight tables, so that they cost the same however many hires there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from datamart import insights
from datamart.errors import ConfigurationError
from datamart.insights import INSIGHTS, Freshness
from datamart.moments import utc
from datamart.warehouse.base import Warehouse

QUARTERS = ("q1", "q2", "q3", "q4")


@dataclass(frozen=True)
class Chart:
    """One chart: its name, which names its statement too, and the keys of a record."""

    name: str
    keys: tuple[str, ...]


CHARTS = (
    Chart("hires_by_department_job", ("department", "job", "hires")),
    Chart("top_jobs", ("job", *QUARTERS, "hires")),
    Chart("departments_by_quarter", ("department", *QUARTERS, "hires")),
    Chart("departments_above_mean", ("id", "department", "hired", "mean_hired")),
)


def chart_named(name: str) -> Chart:
    """The chart of that name.

    Raises:
        ConfigurationError: there is none; the message lists those there are.
    """
    for chart in CHARTS:
        if chart.name == name:
            return chart
    raise ConfigurationError(f"There is no chart '{name}'. Choose one of: {', '.join(one.name for one in CHARTS)}.")


def records(warehouse: Warehouse, chart: Chart, year: int) -> list[dict[str, Any]]:
    """What a chart shows of a year, in its order."""
    found = warehouse.query(warehouse.sql(f"chart_{chart.name}"), {"year": year})
    return [dict(zip(chart.keys, row, strict=True)) for row in found]


def years(warehouse: Warehouse) -> list[int]:
    """Years in which somebody was hired, newest first."""
    found = warehouse.query("SELECT DISTINCT year FROM public.hires_department_job ORDER BY year DESC")
    return [int(year) for (year,) in found]


def all_charts(warehouse: Warehouse, year: int | None = None) -> dict[str, Any]:
    """Everything that the page shows of a year, the newest one by default, as JSON values; one moment's, if the
    transaction sees one."""
    known = years(warehouse)
    shown = year if year is not None else next(iter(known), None)
    charts = {one.name: records(warehouse, one, shown) if shown is not None else [] for one in CHARTS}
    means = {line["mean_hired"] for line in charts["departments_above_mean"]}
    fresh = _oldest(insights.freshness(warehouse, one) for one in INSIGHTS)
    return {
        "year": shown,
        "years": known,
        "charts": charts,
        "quarter_means": [_mean(charts["departments_by_quarter"], quarter) for quarter in QUARTERS],
        "year_mean": means.pop() if means else None,
        "refreshed_at": utc(fresh.refreshed_at) if fresh.refreshed_at else None,
        "behind": fresh.behind,
        "complete_up_to": _loads_up_to(warehouse, fresh.complete_up_to),
    }


def _mean(lines: Iterable[Mapping[str, Any]], quarter: str) -> float | None:
    """Of the departments, told apart by name, that hired in the quarter; the year's mean tells them apart by id."""
    hires = [line[quarter] for line in lines if line[quarter]]
    return sum(hires) / len(hires) if hires else None


def _oldest(known: Iterable[Freshness]) -> Freshness:
    """The insights are refreshed together; one that never was makes none of the page's numbers true."""
    return min(known, key=lambda one: one.refreshed_at.timestamp() if one.refreshed_at else 0.0)


def _loads_up_to(warehouse: Warehouse, complete: Mapping[str, int]) -> list[dict[str, Any]]:
    """The newest load of each table that is in the numbers."""
    found = []
    for table, number in sorted(complete.items()):
        values = {"table": table, "commit_seq": number}
        for load_id, key, finished_at in warehouse.query(warehouse.sql("newest_load_up_to"), values):
            file = key.rsplit("/", 1)[-1]
            found.append({"table": table, "load_id": str(load_id), "file": file, "finished_at": utc(finished_at)})
    return found
