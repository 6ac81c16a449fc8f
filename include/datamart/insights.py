"""The insight tables: refreshed for every year present in one transaction, and read back in their order."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from datamart.errors import ConfigurationError
from datamart.warehouse.base import Warehouse


@dataclass(frozen=True)
class Insight:
    """One insight: its table, which names its statements too, and the keys of a record."""

    name: str
    keys: tuple[str, ...]


INSIGHTS = (
    Insight("hires_department_job", ("department", "job", "q1", "q2", "q3", "q4")),
    Insight("departments_hired_above_mean", ("id", "department", "hired")),
)


def refresh(warehouse: Warehouse, run: Mapping[str, str] | None = None) -> dict[str, int]:
    """Recompute all insight tables at one moment; readers see the old rows until the commit. Rows by insight."""
    rows: dict[str, int] = {}
    with warehouse.transaction():
        warehouse.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        numbers = warehouse.query("SELECT table_name, commit_seq FROM ops.tables ORDER BY table_name")
        for insight in INSIGHTS:
            started = time.monotonic()
            warehouse.execute(f"DELETE FROM public.{insight.name}")  # noqa: S608
            rows[insight.name] = warehouse.execute(warehouse.sql(insight.name))
            warehouse.execute(
                warehouse.sql("insert_insight_refresh"),
                {
                    "insight": insight.name,
                    "refreshed_at": datetime.now(UTC),
                    "rows_written": rows[insight.name],
                    "seconds": time.monotonic() - started,
                    "complete_up_to": json.dumps(dict(numbers)),
                    "dag_id": (run or {}).get("dag_id"),
                    "run_id": (run or {}).get("run_id"),
                },
            )
    return rows


def read(warehouse: Warehouse, name: str, year: int = 2021, limit: int = 100) -> list[dict[str, Any]]:
    """Records of one insight for one year, in its order, at most ``limit``.

    Raises:
        ConfigurationError: there is no such insight.
    """
    for insight in INSIGHTS:
        if insight.name == name:
            found = warehouse.query(warehouse.sql(f"read_{name}"), {"year": year, "limit": limit})
            return [dict(zip(insight.keys, row, strict=True)) for row in found]
    raise ConfigurationError(f"There is no insight '{name}'. Choose one of: {', '.join(i.name for i in INSIGHTS)}.")
