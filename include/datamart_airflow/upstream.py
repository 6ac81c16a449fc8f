"""Results of upstream tasks, for tasks that also run after an upstream task failed, was skipped or was cleared.

Airflow passes None for a result that is not there. A task that reads one calls ``required`` first, so that the run
says which task has no result and why, in place of a TypeError.
"""

from __future__ import annotations

from typing import TypeVar

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException

T = TypeVar("T")

_FAILURE_KEY = "failure"


def record_failure(message: str) -> None:
    """Keep the current task's failure message, so that downstream tasks can repeat it."""
    get_current_context()["ti"].xcom_push(_FAILURE_KEY, message)


def required(result: T | None, task_id: str) -> T:
    """The result of the task ``task_id``.

    Raises:
        AirflowFailException: the task left no result; the message repeats the failure that the task recorded, if any.
    """
    if result is not None:
        return result
    failure = get_current_context()["ti"].xcom_pull(task_ids=task_id, key=_FAILURE_KEY)
    if failure:
        raise AirflowFailException(str(failure))
    raise AirflowFailException(
        f"The task {task_id} has no result: it failed, or was skipped or marked by hand. See its log, then clear it."
    )
