"""Bodies of the maintenance's tasks that need Airflow's context: what has outlived its use, Airflow's own included."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.sdk import BaseHook
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, AirflowSkipException

from datamart.errors import DatamartError, TransientFault
from datamart.retention import Retention
from datamart.settings import load_settings
from datamart_airflow import metadata
from datamart_airflow.clients import object_store, warehouse
from datamart_airflow.task_logs import remove_task_logs

log = logging.getLogger(__name__)

CONNECTION = "airflow_metadata"
_KINDS = {
    "clean": Retention.clean,
    "rejects": Retention.rejects,
    "quarantine": Retention.quarantine,
    "uploads": Retention.uploads,
    "holds": Retention.holds,
}


def expire(kind: str, dry_run: bool) -> dict[str, int]:
    """Remove one kind of what the settings say is over; how much it was."""
    with _useless_retries(), warehouse() as opened:
        retention = Retention(opened, object_store(), load_settings(), opened.now(), dry_run)
        removed = asdict(_KINDS[kind](retention))
    _tell(kind, removed, dry_run)
    return removed


def clean_metadata(dry_run: bool) -> dict[str, int]:
    """Remove old runs from Airflow's database, where the connection to it is defined; rows by table."""
    before = _remembered_from()
    try:
        found = BaseHook.get_connection(CONNECTION)
    except AirflowNotFoundException:
        raise AirflowSkipException(
            f"Airflow's database stays as it is: there is no connection {CONNECTION}, and tasks have no other way to "
            "it. Define it, or let another job run airflow db clean."
        ) from None
    database = metadata.AirflowDatabase(
        host=found.host or "",
        port=found.port or 5432,
        name=found.schema or "",
        user=found.login or "",
        password=found.password or "",
        options={name: str(value) for name, value in found.extra_dejson.items()},
    )
    with _useless_retries():
        removed = metadata.clean(database, before, dry_run=dry_run)
    _tell("metadata", removed, dry_run)
    return removed


def clean_task_logs(dry_run: bool) -> dict[str, int]:
    """Remove old log files of tasks on the machine of this task; how many, and their bytes."""
    before = _remembered_from()
    folder = Path(conf.get("logging", "base_log_folder"))
    if not (folder.is_absolute() and folder.is_dir()):
        raise AirflowSkipException(f"Airflow's base_log_folder ({folder}) is no folder of this machine.")
    removed = asdict(remove_task_logs(folder.resolve(), before, dry_run=dry_run))
    _tell("task logs", removed, dry_run)
    return removed


def _remembered_from() -> datetime:
    with _useless_retries():
        days = load_settings().metadata_keep_days
    if days is None:
        raise AirflowSkipException("DATAMART_METADATA_KEEP_DAYS is empty: what Airflow remembers is kept for ever.")
    return datetime.now(UTC) - timedelta(days=days)


def _tell(kind: str, removed: dict[str, int], dry_run: bool) -> None:
    numbers = ", ".join(f"{number} {name}" for name, number in removed.items() if number) or "nothing"
    log.info("%s: %s %s", kind, numbers, "would be removed" if dry_run else "removed")


@contextmanager
def _useless_retries() -> Iterator[None]:
    """A fault that another try cannot mend ends the task at once."""
    try:
        yield
    except TransientFault:
        raise
    except DatamartError as error:
        raise AirflowFailException(str(error)) from None
