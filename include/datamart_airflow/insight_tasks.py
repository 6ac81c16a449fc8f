"""Body of the task that refreshes the insight tables, and what replaces its trigger when a load task failed."""

from __future__ import annotations

import logging

from datamart import datasets, insights
from datamart.errors import DatamartError
from datamart.measures import of_refresh
from datamart_airflow import lineage, metrics
from datamart_airflow.clients import current_run, warehouse

log = logging.getLogger(__name__)


def catch_up() -> None:
    """Refresh the insights if they lack changes. For the last task of a run in which a load task failed.

    Airflow drops the events of a failed task, but the files that the task loaded before it failed are committed. Never
    fails the caller: what keeps the insights behind is a finding of the health check.
    """
    try:
        with warehouse() as opened:
            if any(insights.freshness(opened, insight).behind for insight in insights.INSIGHTS):
                log.info("A failed task may have changed rows without an event: the insights are refreshed here.")
                for _ in insights.refresh_until_current(opened, current_run()):
                    pass
    except DatamartError as error:
        log.warning("The insights may lack rows of this run. %s", error)


@metrics.delivery()
def refresh_insights() -> dict[str, int]:
    """Recompute all insights until they have every change of the tables; rows written by the last pass, by insight."""
    rows: dict[str, int] = {}
    with warehouse() as opened:
        for rows, seconds in insights.refresh_until_current(opened, current_run()):
            metrics.send(of_refresh(rows, seconds))
    lineage.tell(lambda places: datasets.of_refresh(rows, places))
    return rows
