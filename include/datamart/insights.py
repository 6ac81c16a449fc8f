"""The insight tables: refreshed for every year present in one transaction, and read back in their order."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from datamart.errors import ConfigurationError
from datamart.warehouse.base import Warehouse

log = logging.getLogger(__name__)

REFRESH_TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class Insight:
    """One insight: its table, which names its statements too, and the keys of a record."""

    name: str
    keys: tuple[str, ...]
    beside: tuple[str, ...] = ()
    """Columns of the table that are no part of a record."""


INSIGHTS = (
    Insight("hires_department_job", ("department", "job", "q1", "q2", "q3", "q4")),
    Insight("departments_hired_above_mean", ("id", "department", "hired"), beside=("mean_hired",)),
)


def refresh(warehouse: Warehouse, run: Mapping[str, str] | None = None) -> dict[str, int]:
    """Recompute all insight tables at one moment; readers see the old rows until the commit. Rows by insight."""
    return _refresh(warehouse, run)[0]


def _refresh(warehouse: Warehouse, run: Mapping[str, str] | None) -> tuple[dict[str, int], dict[str, int]]:
    """Rows by insight, and the number of the last commit by table that is in them."""

    def refreshed() -> tuple[dict[str, int], dict[str, int]]:
        rows: dict[str, int] = {}
        numbers = warehouse.query("SELECT table_name, commit_seq FROM ops.tables ORDER BY table_name")
        for insight in INSIGHTS:
            started = time.monotonic()
            warehouse.execute(f"DELETE FROM public.{insight.name}")  # noqa: S608
            columns = ", ".join(("year", *insight.keys, *insight.beside))
            computed = warehouse.sql(insight.name)
            rows[insight.name] = warehouse.execute(f"INSERT INTO public.{insight.name} ({columns}) {computed}")
            warehouse.execute(
                warehouse.sql("insert_insight_refresh"),
                {
                    "insight": insight.name,
                    "refreshed_at": _next_refresh(warehouse, insight),
                    "rows_written": rows[insight.name],
                    "seconds": time.monotonic() - started,
                    "complete_up_to": json.dumps(dict(numbers)),
                    "dag_id": (run or {}).get("dag_id"),
                    "run_id": (run or {}).get("run_id"),
                },
            )
        return rows, dict(numbers)

    return warehouse.refreshing(refreshed)


def refresh_until_current(
    warehouse: Warehouse, run: Mapping[str, str] | None = None, timeout_seconds: float = REFRESH_TIMEOUT_SECONDS
) -> Iterator[tuple[dict[str, int], float]]:
    """Refresh, and refresh again while tables changed meanwhile; rows by insight and seconds of each pass.

    A change that commits during a pass is not in it. Airflow reports the change by an event, but events that arrive
    while a run is active may be lost, so the warehouse itself is asked. Under a steady stream of loads the last pass
    is the one after ``timeout_seconds``: the loads to come bring events of their own.
    """
    end = time.monotonic() + timeout_seconds
    while True:
        started = time.monotonic()
        rows, complete_up_to = _refresh(warehouse, run)
        yield rows, time.monotonic() - started
        changed = warehouse.query("SELECT table_name, changed_seq FROM ops.tables")
        if time.monotonic() > end or all(number <= complete_up_to.get(table, 0) for table, number in changed):
            return
        log.info("Rows changed during the refresh; the insights are refreshed again.")


def _next_refresh(warehouse: Warehouse, insight: Insight) -> datetime:
    """The warehouse's time, after that of every refresh before this one."""
    text = "SELECT MAX(refreshed_at) FROM ops.insight_refreshes WHERE insight = %(insight)s"
    newest: datetime | None = warehouse.query(text, {"insight": insight.name})[0][0]
    now = warehouse.now()
    return max(now, newest + timedelta(microseconds=1)) if newest else now


def insight_named(name: str) -> Insight:
    """The insight of that name, in any case.

    Raises:
        ConfigurationError: there is none; the message lists those there are.
    """
    for insight in INSIGHTS:
        if insight.name == name.lower():
            return insight
    known = ", ".join(insight.name.upper() for insight in INSIGHTS)
    raise ConfigurationError(f"There is no insight '{name}'. Choose one of: {known}.")


def read(
    warehouse: Warehouse, insight: Insight, year: int = 2021, limit: int = 100, *, fresh: bool = False
) -> list[dict[str, Any]]:
    """Records of one insight for one year, in its order, at most ``limit``; ``fresh`` computes them from the tables."""
    source = f"({warehouse.sql(insight.name)}) AS computed" if fresh else f"public.{insight.name}"
    found = warehouse.query(warehouse.sql(f"read_{insight.name}", source=source), {"year": year, "limit": limit})
    return [dict(zip(insight.keys, row, strict=True)) for row in found]


@dataclass(frozen=True)
class Freshness:
    """Up to which moment and which commit of each table an insight is complete; behind, when tables changed since."""

    refreshed_at: datetime | None
    complete_up_to: dict[str, int]
    behind: bool


def freshness(warehouse: Warehouse, insight: Insight) -> Freshness:
    """How fresh an insight's table is."""
    newest = warehouse.query(warehouse.sql("newest_insight_refresh"), {"insight": insight.name})
    complete = json.loads(newest[0][0]) if newest else {}
    changed = warehouse.query("SELECT table_name, changed_seq FROM ops.tables")
    behind = any(number > complete.get(table, 0) for table, number in changed)
    return Freshness(newest[0][1] if newest else None, complete, behind)


def now_fresh(warehouse: Warehouse) -> Freshness:
    """What an insight that is computed now is complete up to."""
    found = warehouse.query("SELECT table_name, commit_seq FROM ops.tables ORDER BY table_name")
    return Freshness(warehouse.now(), {table: int(number) for table, number in found}, behind=False)
