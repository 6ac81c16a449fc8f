"""Bodies of the tasks that back up, restore, undo and drill: what they did is the task's result, and so is why not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException

from datamart import datasets
from datamart.errors import ChangeRefused, DatamartError, ImpossibleRequest, TransientFault, sentence
from datamart.measures import of_backup, of_change, of_failure, of_recovery
from datamart.moments import moment_of
from datamart.recovery.adopt import Adopt
from datamart.recovery.backup import Backup
from datamart.recovery.drill import Drill
from datamart.recovery.expiry import Expiry
from datamart.recovery.ledger import Change
from datamart.recovery.manifest import Manifest
from datamart.recovery.point import Wanted
from datamart.recovery.restore import Restore
from datamart.recovery.undo import Undo
from datamart.settings import load_settings
from datamart_airflow import lineage, metrics
from datamart_airflow.assets import announce
from datamart_airflow.clients import backup_store, current_run, object_store, warehouse
from datamart_airflow.tries import by_hand, no_try_is_left

log = logging.getLogger(__name__)


def take_backup(tables: list[str]) -> dict[str, Any]:
    """Back up these tables; what the backup holds."""

    def work() -> dict[str, Any]:
        with warehouse() as opened:
            manifest = Backup(opened, backup_store(), load_settings()).take(tables)
        metrics.send(of_backup(manifest, seconds()))
        lineage.tell(lambda places: datasets.of_backup(manifest, places))
        return _summary(manifest)

    seconds = _clock()
    return _done("backup", work)


def expire_backups() -> dict[str, int]:
    """Remove backups whose time is over; how many."""

    def work() -> dict[str, Any]:
        with warehouse() as opened:
            return asdict(Expiry(opened, backup_store(), load_settings(), opened.now()).run())

    return _done("expire", work)


def adopt_backup(folder: str) -> dict[str, Any]:
    """Make a backup of another program's AVRO files; what it holds."""

    def work() -> dict[str, Any]:
        with warehouse() as opened:
            manifest = Adopt(opened, backup_store()).adopt(folder)
        metrics.send(of_recovery("adopt", seconds()))
        lineage.tell(lambda places: datasets.of_adoption(folder, manifest, places))
        return _summary(manifest)

    seconds = _clock()
    return _done("adopt", work)


def restore_table(params: Mapping[str, Any]) -> dict[str, Any]:
    """Restore a table as the form says; what changed, or would."""

    def work() -> dict[str, Any]:
        wanted = Wanted(
            params["table"],
            params["backup_id"] or None,
            moment_of(params["at"]) if params["at"] is not None else None,
            params["into"] or None,
            params["dry_run"],
            params.get("seen"),
        )
        with warehouse() as opened:
            restore = Restore(opened, object_store(), backup_store(), load_settings(), current_run())
            return _told(restore.restore(wanted), seconds())

    seconds = _clock()
    return _done("restore", work, dry_run=params["dry_run"])


def undo_load(params: Mapping[str, Any]) -> dict[str, Any]:
    """Undo a load as the form says; what changed, or would."""

    def work() -> dict[str, Any]:
        keep_later = params["later_rows"] == "keep"
        with warehouse() as opened:
            undo = Undo(opened, object_store(), load_settings(), current_run())
            change = undo.undo(_load_id(params["load_id"]), keep_later=keep_later, dry_run=params["dry_run"])
            return _told(change, seconds())

    seconds = _clock()
    return _done("undo", work, dry_run=params["dry_run"])


def drill(backup_id: str) -> dict[str, Any]:
    """Prove that a backup can be restored; the evidence."""

    def work() -> dict[str, Any]:
        with warehouse() as opened:
            evidence = Drill(opened, backup_store(), current_run()).drill(backup_id)
        metrics.send(of_recovery("drill", seconds()))
        lineage.tell(lambda places: datasets.of_drill(evidence, places))
        return evidence

    seconds = _clock()
    return _done("drill", work)


def _clock() -> Callable[[], float]:
    """Seconds since now."""
    started = time.monotonic()
    return lambda: time.monotonic() - started


def _load_id(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) >= 2**63:
        raise ImpossibleRequest(f"'{text[:32]}' is not a valid load id. Send the number that ops.loads has.")
    return int(text)


def _summary(manifest: Manifest) -> dict[str, Any]:
    tables = {name: table.rows for name, table in manifest.tables.items()}
    found = {
        "backup_id": manifest.backup_id,
        "taken_at": manifest.taken_at.isoformat(),
        "rows": tables,
        "bytes": manifest.size,
    }
    log.info("Backup %s: %s rows, %d bytes", manifest.backup_id, tables, manifest.size)
    return found


def _told(change: Change, seconds: float) -> dict[str, Any]:
    metrics.send(of_change(change, seconds))
    lineage.tell(lambda places: datasets.of_change(change, places))
    if change.any and change.into is None and not change.dry_run:
        announce([change.table])
    for line in (change.message, *change.notes):
        log.info("%s", line)
    return change.as_json()


@metrics.delivery()
def _done(what: str, work: Callable[[], dict[str, Any]], *, dry_run: bool = False) -> dict[str, Any]:
    """What was done; or its failure, told as the result too, and tried again only where that can help.

    A dry run that finds that the change would be refused succeeds; the refusal is its result.
    """
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - told as the result, then raised
        message = sentence(error)
        refusal = {"error": message, "kind": type(error).__name__}
        if dry_run and _declined(error):
            # That it would be refused is what a dry run is asked for.
            log.warning("%s", message)
            return refusal
        get_current_context()["ti"].xcom_push("return_value", refusal)
        log.error("%s", message)
        final = isinstance(error, DatamartError) and not isinstance(error, TransientFault)
        fault = AirflowFailException(message) if final else RuntimeError(message)
        if not dry_run and not _declined(error) and no_try_is_left(fault):
            metrics.send(of_failure(what))
        raise fault from None


def _declined(error: Exception) -> bool:
    """Whether nothing has failed: the caller asked for what cannot be done, and the answer says so."""
    return isinstance(error, ChangeRefused) or (isinstance(error, ImpossibleRequest) and by_hand())
