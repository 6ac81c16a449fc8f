"""Files that a run leaves out: the task that plans the run records them, and the task ``gate`` reports them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from datamart.file_names import LeftOut

log = logging.getLogger(__name__)

LEFT_OUT = "left_out"
"""The key of the XCom, and of the entry in the result of ``gate``."""


def record_left_out(context: Context, left_out: LeftOut) -> None:
    """Log the files, and keep how many there are and the first names for ``gate``."""
    for line in left_out.sentences():
        log.info("%s", line)
    if left_out.counts:
        context["ti"].xcom_push(LEFT_OUT, left_out.as_json())


def with_left_out(result: Mapping[str, Any], planning_task: str) -> dict[str, Any]:
    """The result of ``gate`` with the files that ``planning_task`` left out, if there are any."""
    found = get_current_context()["ti"].xcom_pull(task_ids=planning_task, key=LEFT_OUT)
    if not found:
        return dict(result)
    for reason, files in found.items():
        log.info("%d files %s, first: %s", files["files"], reason, ", ".join(files["first"]))
    return {**result, LEFT_OUT: found}
