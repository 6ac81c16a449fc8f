"""Body of the task that refreshes the insight tables."""

from __future__ import annotations

from datamart import datasets, insights
from datamart.measures import of_refresh
from datamart_airflow import lineage, metrics
from datamart_airflow.clients import current_run, warehouse


@metrics.delivery()
def refresh_insights() -> dict[str, int]:
    """Recompute all insights until they have every change of the tables; rows written by the last pass, by insight."""
    rows: dict[str, int] = {}
    with warehouse() as opened:
        for rows, seconds in insights.refresh_until_current(opened, current_run()):
            metrics.send(of_refresh(rows, seconds))
    lineage.tell(lambda places: datasets.of_refresh(rows, places))
    return rows
