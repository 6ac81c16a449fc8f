"""
### The limit: a run of one empty task

What Airflow itself needs to start a run, hand its task to a worker, and say that it has ended.
"""

from __future__ import annotations

from airflow.sdk import dag, task  # noqa: TID251 - Airflow is the limit


@dag(schedule=None, catchup=False, max_active_runs=64, doc_md=__doc__)
def empty_task():
    @task
    def nothing() -> None:
        """No work at all."""

    nothing()


empty_task()
