"""Whether a task that fails now has failed for good."""

from __future__ import annotations

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException


def no_try_is_left(error: Exception) -> bool:
    """Whether the current task, ended by this error, is not tried again: it says so itself, or it was its last try."""
    task = get_current_context()["ti"]
    return isinstance(error, AirflowFailException) or task.try_number > task.max_tries


def by_hand() -> bool:
    """Whether somebody has asked for the current run, in a form or by a program, and sees what became of it."""
    return get_current_context()["dag_run"].run_type == "manual"
