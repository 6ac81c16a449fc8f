"""How Airflow is, from its metadata database: the one place that uses Airflow's internals, for server processes only.

Tasks have no access to that database; the API server has, and a process that called ``become_server_process``.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Any

from datamart.asked import answer_of, asked
from datamart.dag_ids import EXPECTED_DAGS
from datamart.errors import TransientFault
from datamart.health import AirflowState, Part

OWNER = "datamart"
PATIENCE_SECONDS = 20.0
_ERROR_LINE = re.compile(r"^(?:\w+\.)*(\w+(?:Error|Exception|Timeout|Exit))(?=:|$)", re.MULTILINE)
FIRST_PARSE = timedelta(minutes=5)
"""How long after the first start of a Dag processor a Dag that it has not read yet does not count as missing."""
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
    from airflow.jobs.dag_processor_job_runner import DagProcessorJobRunner
    from airflow.jobs.job import Job
    from airflow.models.dag import DagModel
    from airflow.models.errors import ParseImportError
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    with create_session() as session:
        rows = session.execute(
            select(DagModel.dag_id, DagModel.is_stale, DagModel.is_paused, DagModel.owners, DagModel.relative_fileloc)
        ).all()
        failed = session.execute(select(ParseImportError.filename, ParseImportError.stacktrace)).all()
        started = session.scalar(select(func.min(Job.start_date)).where(Job.job_type == DagProcessorJobRunner.job_type))
    errors = {file or "": trace or "" for file, trace in failed}
    known = {row[0]: KnownDag(*row[1:]) for row in rows}
    active = {dag_id: dag for dag_id, dag in known.items() if not dag.stale}
    ours = {dag_id: dag.paused for dag_id, dag in active.items() if OWNER in (dag.owners or "").split(", ")}
    health = get_airflow_health()
    if health["metadatabase"]["status"] != HEALTHY:
        raise TransientFault("It broke off while it was asked.")
    unparsed = unparsed_dags(known, errors, started, datetime.now(UTC))
    return AirflowState(
        parts=tuple(_part(name, health[name], HEALTHY) for name in _PARTS),
        dags=frozenset(ours),
        paused=frozenset(dag_id for dag_id, paused in ours.items() if paused),
        missing=missing_dags(known, errors, EXPECTED_DAGS - unparsed),
        unparsed=unparsed,
    )


@dataclass(frozen=True)
class KnownDag:
    """A Dag as Airflow's database describes it."""

    stale: bool
    """Airflow does not find it any more, or cannot import its file, and starts none of its runs."""
    paused: bool = False
    owners: str | None = None
    file: str | None = None
    """Its path within the Dag folder."""


def unparsed_dags(
    known: Mapping[str, KnownDag],
    errors: Mapping[str, str],
    started: datetime | None,
    now: datetime,
    expected: Iterable[str] = EXPECTED_DAGS,
) -> frozenset[str]:
    """Expected Dags that Airflow has never seen, while its Dag processor may still be reading the Dag folder.

    ``started`` is the oldest start of a Dag processor that Airflow's database holds, None where there is none: one that
    is restarted again and again does not begin the time anew. After ``FIRST_PARSE`` such Dags are missing. A Dag
    processor that has never started is a dead part of Airflow.
    """
    if started is not None and now - started > FIRST_PARSE:
        return frozenset()
    failing = {PurePath(file).stem for file in errors}
    return frozenset(one for one in expected if one not in known and one not in failing)


def missing_dags(
    known: Mapping[str, KnownDag], errors: Mapping[str, str], expected: Iterable[str] = EXPECTED_DAGS
) -> dict[str, str]:
    """The reason, as a sentence, for each expected Dag that Airflow cannot run.

    ``errors`` has the stack traces of files that cannot be imported, by path within the Dag folder. Of a trace only
    the kind of the error is repeated: its message may quote anything.
    """
    absent = {one: known.get(one) for one in expected if one not in known or known[one].stale}
    # A Dag's file has its name; one that was never parsed has no other trace in the database.
    failing = {PurePath(file).stem: (file, _kind_of(trace)) for file, trace in errors.items()}
    found = {}
    for one, dag in absent.items():
        file, kind = failing.get(PurePath(dag.file).stem if dag and dag.file else one, (None, ""))
        if file:
            found[one] = f"Airflow cannot import {file} ({kind}); the page Dags in Airflow shows the stack trace."
        elif dag:
            found[one] = "Airflow knew it, but does not find it in the Dag folder any more."
        else:
            found[one] = "Airflow has never found it in the Dag folder."
    return found


def _kind_of(trace: str) -> str:
    """The name of the error at the end of a stack trace."""
    names = _ERROR_LINE.findall(trace)
    return names[-1] if names else "import error"


def _part(name: str, told: dict[str, Any], healthy: str) -> Part:
    last = told[f"latest_{name}_heartbeat"]
    return Part(name, told["status"] == healthy, datetime.fromisoformat(last) if last else None)
