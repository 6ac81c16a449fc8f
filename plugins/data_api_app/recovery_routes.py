"""``POST /backup``, ``POST /restore`` and ``GET /backups``: runs of the Dags ``backup`` and ``restore`` and their ends.

A backup is started and not waited for; a restore is answered when it is done, or else with the address to ask again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote
from uuid import uuid4

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse

from data_api_app import openapi, rights
from data_api_app.guard import Caller
from data_api_app.refusals import Refused, parameter, unavailable
from data_api_app.rights import BACKUP_DAG, RESTORE_DAG
from datamart.recovery.backup_list import MOST_LISTED, backup_list, proven
from datamart.recovery.catalogue import Catalogue
from datamart.recovery.ledger import change_id, find_change
from datamart.recovery.point import moment_of
from datamart.recovery.restore import RESTORE
from datamart.tables import TABLES, table_named

router = APIRouter(tags=["recovery"])

_TASK = "bring_back"
_OVER = ("success", "failed")
_REFUSED = {"ConfigurationError": 400, "ChangeRefused": 409, "BackupDamaged": 409}
"""Statuses of what a restore refuses; anything else is a fault."""

TableName = Annotated[str, Query(max_length=63, description="departments, jobs or hired_employees.")]


@dataclass(frozen=True)
class _Run:
    """A run of the Dag that restores."""

    run_id: str
    table: str
    dry_run: bool

    @property
    def restore_id(self) -> str:
        """As clients are told it."""
        return self.run_id.removeprefix(f"{RESTORE_DAG}__")


@router.post("/backup", summary="Start a backup", responses=openapi.BACKUP)
async def backup(
    request: Request,
    table: Annotated[str | None, Query(max_length=63, description="Only this table; by default all of them.")] = None,
) -> JSONResponse:
    """Start a backup to AVRO of one table, or of all at one moment. `GET /backups` shows it when it is complete."""
    began = time.monotonic()
    caller = await rights.trigger(request, BACKUP_DAG)
    with parameter():
        names = [table_named(table).name] if table else [one.name for one in TABLES]
    run_id = await _start(request, caller, BACKUP_DAG, {"tables": names})
    content = {
        "result": f"Backup process for {', '.join(names)} started.",
        "duration(s)": round(time.monotonic() - began, 3),
        "run_id": run_id,
        "links": {"run": _run_page(request, BACKUP_DAG, run_id), "backups": f"{_root(request)}/backups"},
    }
    return JSONResponse(content)


@router.post("/restore", summary="Bring a table back", responses=openapi.RESTORE)
async def restore(
    request: Request,
    table: TableName,
    backup_id: Annotated[
        str | None, Query(pattern="^[0-9A-Za-z_-]{2,64}$", description="Which backup; by default the newest.")
    ] = None,
    at: Annotated[
        str | None, Query(max_length=40, description="Or which moment, as 2026-11-25T14:05:00Z; UTC without an offset.")
    ] = None,
    dry_run: Annotated[bool, Query(description="Only say what would change.")] = False,
    wait: openapi.WaitSeconds = 30.0,
) -> JSONResponse:
    """Bring one table to a backup, or to any moment after the oldest one, in one step. Needs an operator's rights.

    Files that were loaded after that point count as new when they come again; what is replaced is in the history.
    """
    caller = await rights.operate(request, RESTORE_DAG)
    with parameter():
        name = table_named(table).name
        moment = moment_of(at).isoformat() if at is not None else None
    conf = {"table": name, "backup_id": backup_id or "latest", "at": moment, "into": None, "dry_run": dry_run}
    run_id = await _start(request, caller, RESTORE_DAG, conf)
    end = await request.app.state.waiting.end_of(RESTORE_DAG, run_id, None, caller.token, wait)
    return await _answer(request, caller, _Run(run_id, name, dry_run), end.state if end else None)


@router.get("/restore/{restore_id}", summary="What became of a restore", responses=openapi.RESTORE_STATUS)
async def status(
    request: Request,
    restore_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="As `POST /restore` has given it.")],
) -> JSONResponse:
    """The answer that `POST /restore` would have given, once there is one; until then 202."""
    caller = await rights.read(request, RESTORE_DAG)
    run_id = f"{RESTORE_DAG}__{restore_id}"
    answer = await request.app.state.airflow.call("GET", f"/dags/{RESTORE_DAG}/dagRuns/{quote(run_id)}", caller.token)
    if answer.status_code == 404:
        raise Refused(404, "There is no such restore.")
    if answer.status_code != 200:
        raise unavailable("Airflow cannot be asked for the run now.")
    run = answer.json()
    state = run["state"] if run["state"] in _OVER else None
    conf = run["conf"] or {}
    return await _answer(request, caller, _Run(run_id, conf.get("table", "?"), conf.get("dry_run", True)), state)


@router.get("/backups", summary="The backups, newest first", responses=openapi.BACKUPS)
async def backups(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED, description="At most so many.")] = 50,
) -> JSONResponse:
    """What each holds, and which one was proven restorable last, by a drill."""
    await rights.read(request, BACKUP_DAG)
    sources = request.app.state.sources
    known = await sources.ask(proven)
    found = await sources.thread(lambda: backup_list(Catalogue(sources.backups()), known, limit))
    return JSONResponse(found, headers={"Cache-Control": "no-store"})


async def _start(request: Request, caller: Caller, dag_id: str, conf: Mapping[str, Any]) -> str:
    airflow, run_id = request.app.state.airflow, f"{dag_id}__{uuid4().hex}"
    await airflow.require_ready(dag_id, caller.token)
    body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf)}
    started = await airflow.call("POST", f"/dags/{dag_id}/dagRuns", caller.token, json=body)
    if started.status_code != 200:
        raise unavailable(f"Airflow did not start a run of the Dag {dag_id}. Try again in a moment.")
    return run_id


async def _answer(request: Request, caller: Caller, run: _Run, state: str | None) -> JSONResponse:
    links = {
        "status": f"{_root(request)}/restore/{run.restore_id}",
        "run": _run_page(request, RESTORE_DAG, run.run_id),
    }
    if state is None:
        wording = f"Table {run.table} is being restored. Ask again at the address under links.status."
        content = {"result": wording, "restore_id": run.restore_id, "links": links}
        return JSONResponse(content, 202, {"Location": links["status"], "Retry-After": "2"})
    told = await _told(request, caller, run)
    if told is None and run.dry_run:
        raise Refused(503, "What the dry run has found is not there (any more). Ask again.", links=links)
    if told is None:
        raise Refused(503, f"Table {run.table} was not restored; the log of its run says why.", links=links)
    if "error" in told:
        code = _REFUSED.get(str(told.get("kind")), 503)
        message = f"Table {run.table} was not restored. {told['error']}"
        raise Refused(code, message, restore_id=run.restore_id, links=links)
    names = ("message", "backup_id", "added", "changed", "removed", "rows", "commit_seq", "notes", "dry_run")
    content = {
        "result": told["message"] if told["dry_run"] else f"Table {run.table} restored from backup.",
        "duration(s)": await _seconds(request, caller, run.run_id),
        **{name: told[name] for name in names},
        "at": told["target_at"],
        "restore_id": run.restore_id,
        "links": links,
    }
    return JSONResponse(content)


async def _told(request: Request, caller: Caller, run: _Run) -> dict[str, Any] | None:
    """What a run that has ended did: by the ledger, which knows what was committed, or else by what its task said."""
    number = change_id(RESTORE, run.table, {"dag_id": RESTORE_DAG, "run_id": run.run_id})
    done = await request.app.state.sources.ask(lambda opened: find_change(opened, number))
    if done is not None:
        told: dict[str, Any] = done.as_json()
        return told
    path = f"/dags/{RESTORE_DAG}/dagRuns/{quote(run.run_id)}/taskInstances/{_TASK}/xcomEntries/return_value"
    found = await request.app.state.airflow.call("GET", path, caller.token)
    said = found.json().get("value") if found.status_code == 200 else None
    known = isinstance(said, dict) and ("error" in said or said.get("dry_run"))
    return dict(said) if known else None


async def _seconds(request: Request, caller: Caller, run_id: str) -> float | None:
    path = f"/dags/{RESTORE_DAG}/dagRuns/{quote(run_id)}"
    answer = await request.app.state.airflow.call("GET", path, caller.token)
    seconds = answer.json().get("duration") if answer.status_code == 200 else None
    return round(seconds, 3) if seconds is not None else None


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", ""))


def _run_page(request: Request, dag_id: str, run_id: str) -> str:
    """Airflow's own page of a run."""
    return f"{_root(request).rpartition('/')[0]}/dags/{dag_id}/runs/{run_id}"
