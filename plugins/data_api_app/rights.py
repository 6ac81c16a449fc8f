"""What a caller may do is what he may do in Airflow. Its auth manager is asked in a thread: it may ask a database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from data_api_app import airflow_app
from data_api_app.guard import Caller, caller_of
from data_api_app.refusals import Refused

UPLOAD_DAG = "ingest_upload"
INSIGHTS_DAG = "refresh_insights"
BACKUP_DAG = "backup"
RESTORE_DAG = "restore"
UNDO_DAG = "undo_load"
DRILL_DAG = "restore_drill"


async def trigger(request: Request, dag_id: str) -> Caller:
    """The caller, who may start runs of the Dag.

    Raises:
        Refused: 403.
    """
    return await _who(request, airflow_app.may_trigger, "start", dag_id)


async def operate(request: Request, dag_id: str) -> Caller:
    """The caller, who may start runs of the Dag and change the warehouse's connection: an operator.

    Raises:
        Refused: 403.
    """
    caller = await trigger(request, dag_id)
    if not await run_in_threadpool(airflow_app.may_operate, caller.user):
        raise Refused(403, "This needs an operator's rights in Airflow. Ask an administrator of Airflow for them.")
    return caller


async def read(request: Request, dag_id: str) -> Caller:
    """The caller, who may see the Dag.

    Raises:
        Refused: 403.
    """
    return await _who(request, airflow_app.may_read, "see", dag_id)


async def _who(request: Request, may: Callable[[Any, str], bool], do: str, dag_id: str) -> Caller:
    caller = caller_of(request)
    if not await run_in_threadpool(may, caller.user, dag_id):
        raise Refused(403, f"You may not {do} the Dag {dag_id}. Ask an administrator of Airflow for the right to.")
    return caller
