"""What a caller may do is what he may do in Airflow. Its auth manager is asked in a thread: it may ask a database."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from data_api_app import airflow_app
from data_api_app.guard import Caller, caller_of
from data_api_app.refusals import Refused

UPLOAD_DAG = "ingest_upload"
INSIGHTS_DAG = "refresh_insights"


async def trigger(request: Request, dag_id: str) -> Caller:
    """The caller, who may start runs of the Dag.

    Raises:
        Refused: 403.
    """
    caller = caller_of(request)
    if not await run_in_threadpool(airflow_app.may_trigger, caller.user, dag_id):
        raise Refused(403, f"You may not start the Dag {dag_id}. Ask an administrator of Airflow for the right to.")
    return caller


async def read(request: Request, dag_id: str) -> Caller:
    """The caller, who may see the Dag.

    Raises:
        Refused: 403.
    """
    caller = caller_of(request)
    if not await run_in_threadpool(airflow_app.may_read, caller.user, dag_id):
        raise Refused(403, f"You may not see the Dag {dag_id}. Ask an administrator of Airflow for the right to.")
    return caller
