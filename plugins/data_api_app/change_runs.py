"""Runs of Dags that back up, drill, restore and undo: started, waited for, and answered when they have ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from fastapi import Request
from starlette.responses import JSONResponse

from data_api_app.guard import Caller
from data_api_app.refusals import Refused, unavailable
from data_api_app.rights import RESTORE_DAG, UNDO_DAG
from datamart.recovery.ledger import change_id, find_change
from datamart.recovery.restore import RESTORE
from datamart.recovery.undo import UNDO

_OVER = ("success", "failed")
_REFUSED = {"ImpossibleRequest": 400, "ConfigurationError": 400, "ChangeRefused": 409, "BackupDamaged": 409}
"""Statuses of what a change refuses; anything else is a fault. ``ConfigurationError`` is what runs of older versions
report for an impossible request."""
_TOLD = (
    "message",
    "backup_id",
    "added",
    "changed",
    "removed",
    "rows",
    "commit_seq",
    "notes",
    "dry_run",
    "refused",
    "changed_seq",
)


@dataclass(frozen=True)
class Kind:
    """A kind of change: its Dag and the Dag's task, its route, and the name of its id."""

    dag_id: str
    task: str
    route: str
    id_name: str


RESTORES = Kind(RESTORE_DAG, "bring_back", "restore", "restore_id")
UNDOS = Kind(UNDO_DAG, "take_back", "undo", "undo_id")


@dataclass(frozen=True)
class ChangeRun:
    """A run of a Dag that changes a table; ``load_id`` is the one that it undoes."""

    kind: Kind
    run_id: str
    table: str
    dry_run: bool
    load_id: str | None = None

    @property
    def own_id(self) -> str:
        """As clients are told it."""
        return self.run_id.removeprefix(f"{self.kind.dag_id}__")

    @property
    def number(self) -> int:
        """The ledger's number of what it did."""
        what = RESTORE if self.load_id is None else f"{UNDO} {int(self.load_id)}"
        return change_id(what, self.table, {"dag_id": self.kind.dag_id, "run_id": self.run_id})

    @property
    def under_way(self) -> str:
        """What happens while it runs."""
        return (
            f"Table {self.table} is being restored."
            if self.load_id is None
            else f"Load {self.load_id} is being undone."
        )

    @property
    def in_vain(self) -> str:
        """What has not happened when it fails."""
        return f"Table {self.table} was not restored" if self.load_id is None else f"Load {self.load_id} was not undone"

    @property
    def done(self) -> str:
        """What has happened when it succeeds."""
        return f"Table {self.table} restored from backup." if self.load_id is None else f"Load {self.load_id} undone."


async def start(request: Request, caller: Caller, dag_id: str, conf: Mapping[str, Any]) -> str:
    """Start a run; its id.

    Raises:
        Refused: 503, when Airflow starts none.
    """
    airflow, run_id = request.app.state.airflow, f"{dag_id}__{uuid4().hex}"
    await airflow.require_ready(dag_id, caller.token)
    body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf)}
    answer = await airflow.call("POST", f"/dags/{dag_id}/dagRuns", caller.token, json=body)
    if answer.status_code != 200:
        raise unavailable(f"Airflow did not start a run of the Dag {dag_id}. Try again in a moment.")
    return run_id


def started(request: Request, dag_id: str, run_id: str, result: str, began: float) -> JSONResponse:
    """The answer for a run that is not waited for; ``began`` is when its request came, by the monotonic clock."""
    content = {
        "result": result,
        "duration(s)": round(time.monotonic() - began, 3),
        "run_id": run_id,
        "links": {"run": _run_page(request, dag_id, run_id), "backups": f"{_root(request)}/backups"},
    }
    return JSONResponse(content)


async def wait_for(request: Request, caller: Caller, run: ChangeRun, seconds: float) -> JSONResponse:
    """The answer for a run, when it ends in time; or else 202."""
    end = await request.app.state.waiting.end_of(run.kind.dag_id, run.run_id, None, caller.token, seconds)
    return await answer_of(request, caller, run, end.state if end else None)


async def known_run(request: Request, caller: Caller, kind: Kind, own_id: str) -> tuple[Mapping[str, Any], str | None]:
    """What a run was asked for, and its state once it has ended.

    Raises:
        Refused: 404, when there is none.
    """
    path = f"/dags/{kind.dag_id}/dagRuns/{quote(f'{kind.dag_id}__{own_id}')}"
    answer = await request.app.state.airflow.call("GET", path, caller.token)
    if answer.status_code == 404:
        raise Refused(404, f"There is no such {kind.route}.")
    if answer.status_code != 200:
        raise unavailable("Airflow cannot be asked for the run now.")
    run = answer.json()
    return run["conf"] or {}, run["state"] if run["state"] in _OVER else None


async def answer_of(request: Request, caller: Caller, run: ChangeRun, state: str | None) -> JSONResponse:
    """What became of a run: done, refused, or not over yet."""
    kind = run.kind
    links = {
        "status": f"{_root(request)}/{kind.route}/{run.own_id}",
        "run": _run_page(request, kind.dag_id, run.run_id),
    }
    own = {kind.id_name: run.own_id, "links": links}
    if state is None:
        content = {"result": f"{run.under_way} Ask again at the address under links.status.", **own}
        return JSONResponse(content, 202, {"Location": links["status"], "Retry-After": "2"})
    told = await _told(request, caller, run)
    if told is None and run.dry_run:
        raise Refused(503, "What the dry run has found is not there (any more). Ask again.", links=links)
    if told is None:
        raise Refused(503, f"{run.in_vain}; the log of its run says why.", links=links)
    if "error" in told:
        raise Refused(_REFUSED.get(str(told.get("kind")), 503), f"{run.in_vain}. {told['error']}", **own)
    content = {
        "result": told["message"] if told["dry_run"] else run.done,
        "duration(s)": await _seconds(request, caller, run),
        **{name: told[name] for name in _TOLD},
        "note": _note(run, told),
        "at": told["target_at"],
        "table": run.table,
        **own,
    }
    return JSONResponse(content)


def _note(run: ChangeRun, told: Mapping[str, Any]) -> str | None:
    """That a change which was done has found nothing to change: its result alone would not say so."""
    if told["dry_run"] or told["added"] or told["changed"] or told["removed"]:
        return None
    if run.load_id is not None:
        return f"No row of the table {run.table} changed."
    state = "what it was at that moment" if told["target_at"] else "the backup"
    return f"The table was already equal to {state}; nothing changed."


async def _told(request: Request, caller: Caller, run: ChangeRun) -> dict[str, Any] | None:
    """What a run that has ended did: by the ledger, which knows what was committed, or else by what its task said."""
    done = await request.app.state.sources.ask(lambda opened: find_change(opened, run.number))
    if done is not None:
        told: dict[str, Any] = done.as_json()
        return told
    path = f"{_path(run)}/taskInstances/{run.kind.task}/xcomEntries/return_value"
    found = await request.app.state.airflow.call("GET", path, caller.token)
    said = found.json().get("value") if found.status_code == 200 else None
    known = isinstance(said, dict) and ("error" in said or said.get("dry_run"))
    return dict(said) if known else None


async def _seconds(request: Request, caller: Caller, run: ChangeRun) -> float | None:
    answer = await request.app.state.airflow.call("GET", _path(run), caller.token)
    seconds = answer.json().get("duration") if answer.status_code == 200 else None
    return round(seconds, 3) if seconds is not None else None


def _path(run: ChangeRun) -> str:
    return f"/dags/{run.kind.dag_id}/dagRuns/{quote(run.run_id)}"


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", ""))


def _run_page(request: Request, dag_id: str, run_id: str) -> str:
    """Airflow's own page of a run."""
    return f"{_root(request).rpartition('/')[0]}/dags/{dag_id}/runs/{run_id}"
