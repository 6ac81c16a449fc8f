"""How Airflow is, from its metadata database: the one place that uses Airflow's internals, for server processes only.

Tasks have no access to that database; the API server has, and a process that called ``become_server_process``.
"""

from __future__ import annotations

import os
import time
from datetime import datetime
from typing import Any

from datamart.asked import answer_of, asked
from datamart.errors import TransientFault
from datamart.health import AirflowState, Part

OWNER = "datamart"
PATIENCE_SECONDS = 20.0
_PARTS = ("scheduler", "dag_processor", "triggerer")


def become_server_process() -> None:
    """Let hooks read connections from Airflow's database, as in its API server; to be called before any is read."""
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    # A silent database would keep one more thread at each check.
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")


def airflow_state() -> AirflowState:
    """Parts of Airflow and this project's Dags; when the database does not answer, a state that says so."""
    try:
        return answer_of(asked(_read), time.monotonic() + PATIENCE_SECONDS)
    except TransientFault as error:
        why = str(error)
    except Exception as error:  # noqa: BLE001 - told as the state's fault
        why = f"It refused ({type(error).__name__})."
    return AirflowState(fault=f"Its metadata database does not answer. {why} Look at that database's server.")


def _read() -> AirflowState:
    from airflow.api.common.airflow_health import HEALTHY, get_airflow_health
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        known = session.execute(
            select(DagModel.dag_id, DagModel.is_paused, DagModel.owners).where(DagModel.is_stale.is_(False))
        ).all()
    ours = {dag_id: paused for dag_id, paused, owners in known if OWNER in (owners or "").split(", ")}
    health = get_airflow_health()
    if health["metadatabase"]["status"] != HEALTHY:
        raise TransientFault("It broke off while it was asked.")
    return AirflowState(
        parts=tuple(_part(name, health[name], HEALTHY) for name in _PARTS),
        dags=frozenset(ours),
        paused=frozenset(dag_id for dag_id, paused in ours.items() if paused),
    )


def _part(name: str, told: dict[str, Any], healthy: str) -> Part:
    last = told[f"latest_{name}_heartbeat"]
    return Part(name, told["status"] == healthy, datetime.fromisoformat(last) if last else None)
