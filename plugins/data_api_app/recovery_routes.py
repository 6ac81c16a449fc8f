"""``POST /backup``, ``/restore``, ``/undo`` and ``/drill``, and ``GET /backups``: runs of those Dags and their ends.

A backup or a drill is started and not waited for; a restore or an undo is answered when it is done, or else with the
address to ask again. How their runs are started and answered is the matter of ``change_runs``.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse

from data_api_app import openapi, rights
from data_api_app.change_runs import RESTORES, UNDOS, ChangeRun, answer_of, known_run, start, started, wait_for
from data_api_app.recovery_checks import require_backup, require_restorable, require_undoable, table_of
from data_api_app.refusals import parameter
from data_api_app.rights import BACKUP_DAG, DRILL_DAG, RESTORE_DAG, UNDO_DAG
from datamart.loads import LARGEST_ID
from datamart.moments import moment_of
from datamart.recovery.backup_list import MOST_LISTED, backup_list, proven
from datamart.recovery.catalogue import Catalogue
from datamart.recovery.point import Wanted
from datamart.tables import TABLES, table_named

router = APIRouter(tags=["recovery"])

TableName = Annotated[str, Query(max_length=63, description="departments, jobs or hired_employees.")]
BackupId = Annotated[
    str | None, Query(pattern="^[0-9A-Za-z_-]{2,64}$", description="Which backup; by default the newest.")
]
DryRun = Annotated[bool, Query(description="Only say what would change.")]
ChangeId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="As the request that started it was told.")]


class LaterRows(StrEnum):
    """What an undo does where later loads have the same rows."""

    REFUSE = "refuse"
    KEEP = "keep"


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
    run_id = await start(request, caller, BACKUP_DAG, {"tables": names})
    return started(request, BACKUP_DAG, run_id, f"Backup process for {', '.join(names)} started.", began)


@router.post("/drill", summary="Prove that a backup can be restored", responses=openapi.DRILL)
async def drill(request: Request, backup_id: BackupId = None) -> JSONResponse:
    """Start a drill: the backup is restored into a scratch schema and compared. `GET /backups` shows when it was
    proven; a drill that fails alerts, and the log of its run says why."""
    began = time.monotonic()
    caller = await rights.trigger(request, DRILL_DAG)
    await require_backup(request, backup_id)
    run_id = await start(request, caller, DRILL_DAG, {"backup_id": backup_id or "latest"})
    return started(request, DRILL_DAG, run_id, f"Drill with backup {backup_id or 'latest'} started.", began)


@router.post("/restore", summary="Bring a table back", responses=openapi.RESTORE)
async def restore(
    request: Request,
    table: TableName,
    backup_id: BackupId = None,
    at: Annotated[
        str | None, Query(max_length=40, description="Or which moment, as 2026-11-25T14:05:00Z; UTC without an offset.")
    ] = None,
    dry_run: DryRun = False,
    seen: Annotated[
        int | None,
        Query(ge=0, le=LARGEST_ID, description="`changed_seq` of a dry run: refused if the table has changed since."),
    ] = None,
    wait: openapi.WaitSeconds = 30.0,
) -> JSONResponse:
    """Bring one table to a backup, or to any moment after the oldest one, in one step. Needs an operator's rights.

    Files that were loaded after that point count as new when they come again; what is replaced is in the history.
    Where nothing was different, `note` says that nothing changed.
    """
    caller = await rights.operate(request, RESTORE_DAG)
    with parameter():
        name = table_named(table).name
        moment = moment_of(at) if at is not None else None
    await require_restorable(request, Wanted(name, backup_id, moment))
    conf = {
        "table": name,
        "backup_id": backup_id or "latest",
        "at": moment.isoformat() if moment else None,
        "into": None,
        "dry_run": dry_run,
        "seen": seen,
    }
    run_id = await start(request, caller, RESTORE_DAG, conf)
    return await wait_for(request, caller, ChangeRun(RESTORES, run_id, name, dry_run), wait)


@router.get("/restore/{restore_id}", summary="What became of a restore", responses=openapi.RESTORE_STATUS)
async def restore_status(request: Request, restore_id: ChangeId) -> JSONResponse:
    """The answer that `POST /restore` would have given, once there is one; until then 202."""
    caller = await rights.read(request, RESTORE_DAG)
    conf, state = await known_run(request, caller, RESTORES, restore_id)
    run = ChangeRun(RESTORES, f"{RESTORE_DAG}__{restore_id}", conf.get("table", "?"), conf.get("dry_run", True))
    return await answer_of(request, caller, run, state)


@router.post("/undo", summary="Take back what one load did", responses=openapi.UNDO)
async def undo(
    request: Request,
    load_id: Annotated[str, Query(pattern=r"^[0-9]{1,19}$", description="Id of the load to undo.")],
    dry_run: DryRun = False,
    later_rows: Annotated[
        LaterRows, Query(description="Where later loads have the same rows: refuse, or keep those as they are.")
    ] = LaterRows.REFUSE,
    wait: openapi.WaitSeconds = 30.0,
) -> JSONResponse:
    """Rows that the load added are removed, rows that it changed are what they were before. Needs an operator's rights.

    The file counts as new when it comes again.
    """
    caller = await rights.operate(request, UNDO_DAG)
    table = await require_undoable(request, load_id)
    conf = {"load_id": load_id, "dry_run": dry_run, "later_rows": later_rows.value}
    run_id = await start(request, caller, UNDO_DAG, conf)
    return await wait_for(request, caller, ChangeRun(UNDOS, run_id, table, dry_run, load_id), wait)


@router.get("/undo/{undo_id}", summary="What became of an undo", responses=openapi.UNDO_STATUS)
async def undo_status(request: Request, undo_id: ChangeId) -> JSONResponse:
    """The answer that `POST /undo` would have given, once there is one; until then 202."""
    caller = await rights.read(request, UNDO_DAG)
    conf, state = await known_run(request, caller, UNDOS, undo_id)
    load_id = conf.get("load_id", "0")
    table = await table_of(request, load_id)
    run = ChangeRun(UNDOS, f"{UNDO_DAG}__{undo_id}", table, conf.get("dry_run", True), load_id)
    return await answer_of(request, caller, run, state)


@router.get("/backups", summary="The backups, newest first", responses=openapi.BACKUPS)
async def backups(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED, description="At most so many.")] = 50,
    after: Annotated[
        str | None, Query(pattern="^[0-9A-Za-z_-]{2,64}$", description="`next` of the page before.")
    ] = None,
) -> JSONResponse:
    """What each holds, and which one was proven restorable last, by a drill."""
    await rights.read(request, BACKUP_DAG)
    sources = request.app.state.sources
    known = await sources.ask(proven)
    found = await sources.thread(lambda: backup_list(Catalogue(sources.backups()), known, limit, after))
    return JSONResponse(found, headers={"Cache-Control": "no-store"})
