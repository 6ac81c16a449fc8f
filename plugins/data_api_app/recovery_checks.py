"""What is looked at before a run is started that restores, undoes or drills: whether it can be done at all.

The run itself looks again, as the tables and backups may change meanwhile, and as runs are started in other ways too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fastapi import Request

from data_api_app.refusals import Refused
from datamart.errors import BackupDamaged, ChangeRefused, ImpossibleRequest
from datamart.loads import LARGEST_ID, Outcome, Verdict
from datamart.recovery.catalogue import LATEST, Catalogue
from datamart.recovery.point import Wanted, find_point
from datamart.tables import table_named
from datamart.warehouse.base import Warehouse


async def require_restorable(request: Request, wanted: Wanted) -> None:
    """There is a state of the table to bring it back to.

    Raises:
        Refused: 404, there is no such backup, or it does not hold the table; 409, it is damaged, or there is none at
            all; 422, the moment is in the future or before all backups; 400, both are given.
    """
    named = wanted.backup_id not in (None, LATEST)
    if wanted.at is not None and named:
        raise Refused(400, "Send either backup_id or at: a moment finds its backup itself.")
    sources = request.app.state.sources
    table = table_named(wanted.table)

    def look(warehouse: Warehouse) -> None:
        catalogue = Catalogue(sources.backups())
        newest = wanted.at is None and not named
        if not (newest and _is_in_a_backup(catalogue, table.name)):
            find_point(warehouse, sources.backups(), table, wanted)

    with _refused(422 if wanted.at is not None else 404 if named else 409):
        await sources.ask(look)


async def require_backup(request: Request, backup_id: str | None) -> None:
    """There is such a backup; with None or ``latest``, there is any.

    Raises:
        Refused: 404, there is none of that id; 409, its manifest is damaged, or there is none at all.
    """
    sources = request.app.state.sources

    def look() -> None:
        catalogue = Catalogue(sources.backups())
        if backup_id is not None and backup_id != LATEST:
            catalogue.read(backup_id)
        elif not catalogue.ids:
            raise ImpossibleRequest("There is no backup at all. Take one first, by POST /backup.")

    with _refused(404 if backup_id not in (None, LATEST) else 409):
        await sources.thread(look)


async def require_undoable(request: Request, load_id: str) -> str:
    """The load has brought rows, and they were not taken back; its table.

    One that found all its rows as they were can be undone too: it is in the way of undoing the load before it.

    Raises:
        Refused: 404, there is no such load of a table; 409, there is nothing of it to undo.
    """
    load = await _load(request, load_id)
    if load.verdict not in (Verdict.LOADED, Verdict.DUPLICATE) or load.commit_seq is None:
        raise Refused(409, f"Load {load_id} ({load.key}) was {load.verdict}: there is nothing to undo.")
    if load.undone_by is not None:
        raise Refused(409, f"Load {load_id} ({load.key}) is undone already, by {load.undone_by}.")
    return str(load.table)


async def table_of(request: Request, load_id: str) -> str:
    """The table that a load was for.

    Raises:
        Refused: 404.
    """
    return str((await _load(request, load_id)).table)


async def _load(request: Request, load_id: str) -> Outcome:
    number, load = int(load_id), None
    if number <= LARGEST_ID:
        load = await request.app.state.sources.ask(lambda warehouse: warehouse.find_load(number))
    if load is None or load.table is None:
        raise Refused(404, f"load_id: there is no load {load_id} of a table. See loads for those there are.")
    found: Outcome = load
    return found


def _is_in_a_backup(catalogue: Catalogue, table: str) -> bool:
    """Whether one of the backups that can be read holds the table; the newest are read first."""
    for backup_id in catalogue.ids:
        with suppress(BackupDamaged, ImpossibleRequest):  # another one may do
            if table in catalogue.read(backup_id).tables:
                return True
    return False


@contextmanager
def _refused(status: int) -> Iterator[None]:
    """What cannot be done within is refused with this status; what is damaged, or would lose rows, with 409."""
    try:
        yield
    except ImpossibleRequest as error:
        raise Refused(status, str(error)) from None
    except (BackupDamaged, ChangeRefused) as error:
        raise Refused(409, str(error)) from None
