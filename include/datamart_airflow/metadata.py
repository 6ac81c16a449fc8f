"""Airflow's own database, cleaned by Airflow's own command in a process of its own.

Tasks have no access to that database: a connection that only this task asks for is the way to it. Its password passes
through the environment of that process, never through a command line, and is cut out of what the process says.

What is still going on is left alone: while a run that began before the given time has not ended, as one of a paused
Dag may, nothing is removed that is younger than it. (Leaving out its Dag alone would need ``--exclude-dag-ids``, which
fails in Airflow 3.3.2: https://github.com/apache/airflow/issues/69030.)
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote, urlencode

import psycopg2

from datamart.errors import TransientFault
from datamart.statements import statement

log = logging.getLogger(__name__)

CLEANED = (
    "asset_event", "callback", "celery_taskmeta", "celery_tasksetmeta", "connection_test_request", "dag_run",
    "dag_version", "deadline", "import_error", "job", "log", "partitioned_asset_key_log", "revoked_token",
    "task_instance", "task_instance_history", "task_reschedule", "task_state_store", "xcom",
)  # fmt: skip
"""Tables of runs and of what has happened; those that Airflow does not have are passed over."""
LEFT_ALONE = ("_xcom_archive", "dag", "trigger")
"""A Dag's row says whether it is paused; a trigger takes the task that waits for it along, and goes with it."""
_ROWS_AT_ONCE = 50_000
_CHECKED = re.compile(r"Checking table (\w+)")
_FOUND = re.compile(r"Found (\d+) rows meeting deletion criteria")


@dataclass(frozen=True)
class AirflowDatabase:
    """Where Airflow's database is; ``options`` are libpq's, such as ``sslmode``."""

    host: str
    port: int
    name: str
    user: str
    password: str = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """For libpq."""
        user, password, name = (quote(text, safe="") for text in (self.user, self.password, self.name))
        options = f"?{urlencode(self.options)}" if self.options else ""
        return f"postgresql://{user}:{password}@{self.host}:{self.port}/{name}{options}"

    def without_password(self, text: str) -> str:
        """The text, should the password be in it, without it."""
        for secret in filter(None, {self.password, quote(self.password, safe="")}):
            text = text.replace(secret, "***")
        return text


def clean(database: AirflowDatabase, before: datetime, *, dry_run: bool = False) -> dict[str, int]:
    """Remove what is older than ``before``; rows by table, without those that go along with them.

    Raises:
        TransientFault: the database cannot be reached, or the command did not do all.
    """
    rows = _rows_by_table(_said(database, _command(_before_what_goes_on(database, before), dry_run)))
    return {table: number for table, number in rows.items() if number}


def _before_what_goes_on(database: AirflowDatabase, before: datetime) -> datetime:
    """The given time, or the beginning of the oldest run from before it that has not ended."""
    try:
        with closing(psycopg2.connect(database.uri, connect_timeout=10)) as connection, connection.cursor() as cursor:
            cursor.execute(statement("postgres", "airflow_unfinished_runs"), {"before": before})
            unfinished = cursor.fetchall()
    except psycopg2.Error as error:
        reason = database.without_password(str(error).strip()) or type(error).__name__
        raise TransientFault(f"Airflow's database did not answer or refused: {reason}") from None
    for dag_id, run_id, began_at in unfinished:
        log.warning(
            "Run %s of %s has not ended since %s: nothing younger is removed. If it should not go on, mark it failed.",
            run_id,
            dag_id,
            began_at,
        )
    return unfinished[0][2] if unfinished else before


def _command(before: datetime, dry_run: bool) -> list[str]:
    """The command line; Airflow waits for no answer and tells by its exit code when a table was not cleaned."""
    return [
        sys.executable, "-m", "airflow", "db", "clean",
        "--clean-before-timestamp", before.isoformat(),
        "--tables", ",".join(CLEANED),
        "--batch-size", str(_ROWS_AT_ONCE),
        "--skip-archive", "--yes", "--error-on-cleanup-failure",
        *(["--dry-run"] if dry_run else []),
    ]  # fmt: skip


def _environment(database: AirflowDatabase) -> dict[str, str]:
    """That of this process, with access to the database in the place of the block that a task has."""
    foreign = ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__CORE__SQL_ALCHEMY_CONN", "_AIRFLOW_PROCESS_CONTEXT")
    own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    uri = database.uri.replace("postgresql://", "postgresql+psycopg2://", 1)
    return own | {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": uri}


def _said(database: AirflowDatabase, command: list[str]) -> Iterator[str]:
    """What the command says, line by line, into the log too; it ends with whoever waits for it."""
    with subprocess.Popen(  # nosec B603  # a fixed command and a time
        command,
        env=_environment(database),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stdout or ():
                text = database.without_password(line.rstrip())
                log.info("%s", text)
                yield text
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise TransientFault(
            f"airflow db clean ended with exit code {process.returncode}; the log above has its last words."
        )


def _rows_by_table(lines: Iterable[str]) -> dict[str, int]:
    rows, table = {}, ""
    for line in lines:
        if found := _CHECKED.search(line):
            table = found[1]
        elif found := _FOUND.search(line):
            rows[table] = int(found[1])
    return rows
