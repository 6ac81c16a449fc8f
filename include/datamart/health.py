"""Is all well? What waits, is stuck, paused, missed or out of reach, each as a finding that says what to do.

``check`` asks the warehouse and S3 at the same time, each no longer than ``PATIENCE_SECONDS``. Whoever cannot be asked
is a finding of its own; what only he knows is then unknown, which ``NEEDS`` says, and not well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, Literal, TypeVar

from datamart.asked import answer_of, asked
from datamart.dag_ids import BACKUP
from datamart.errors import sentence
from datamart.file_names import is_left_alone
from datamart.holds import Hold, Holds
from datamart.insights import INSIGHTS
from datamart.landing import PREFIX
from datamart.loads import Arrival
from datamart.objects import TAGS_OF_VERSIONS, ObjectStore
from datamart.settings import Settings
from datamart.tables import TABLES
from datamart.warehouse.base import Warehouse

T = TypeVar("T")

PATIENCE_SECONDS = 20.0
_STATEMENT_SECONDS = 10
MOST_LISTED = 10_000
"""Files of the landing folder that are looked at; a check is to stay cheap however many lie there."""
MOST_HOLDS = 10
"""Files on hold that are told one by one; the others are told as a number."""


class Code(StrEnum):
    """What a finding is about, for programs; in the order in which findings are told, critical ones first."""

    AIRFLOW_AWAY = "airflow_away"
    WAREHOUSE_AWAY = "warehouse_away"
    S3_AWAY = "s3_away"
    PART_DEAD = "part_dead"
    DAG_MISSING = "dag_missing"
    BACKUP_MISSED = "backup_missed"
    NO_BACKUP = "no_backup"
    FILES_LATE = "files_late"
    FILE_ON_HOLD = "file_on_hold"
    INSIGHTS_BEHIND = "insights_behind"
    VERSIONS_REFUSED = "versions_refused"
    DAGS_NOT_PARSED = "dags_not_parsed"
    DAG_PAUSED = "dag_paused"


NEEDS: dict[Code, frozenset[Code]] = {
    Code.FILES_LATE: frozenset({Code.S3_AWAY}),
    Code.VERSIONS_REFUSED: frozenset({Code.S3_AWAY}),
    Code.FILE_ON_HOLD: frozenset({Code.WAREHOUSE_AWAY}),
    # A Dag that Airflow cannot run is not switched on.
    Code.DAG_PAUSED: frozenset({Code.AIRFLOW_AWAY, Code.DAG_MISSING, Code.DAGS_NOT_PARSED}),
    Code.PART_DEAD: frozenset({Code.AIRFLOW_AWAY}),
    Code.DAG_MISSING: frozenset({Code.AIRFLOW_AWAY, Code.DAGS_NOT_PARSED}),
    # Dags that are still not parsed after some minutes are missing.
    Code.DAGS_NOT_PARSED: frozenset({Code.AIRFLOW_AWAY, Code.DAG_MISSING}),
    Code.BACKUP_MISSED: frozenset({Code.WAREHOUSE_AWAY}),
    # A first backup that is missed is still not taken.
    Code.NO_BACKUP: frozenset({Code.WAREHOUSE_AWAY, Code.BACKUP_MISSED}),
    Code.INSIGHTS_BEHIND: frozenset({Code.WAREHOUSE_AWAY}),
}
"""While one of these is found, nothing is known of the other: that it is not found does not mean that it is over.

Where both findings name a subject, this holds for the same subject only.
"""


@dataclass(frozen=True)
class Finding:
    """One thing that is not well; code and subject (a file, a Dag, a part of Airflow) are its identity."""

    code: Code
    severity: Literal["warning", "critical"]
    message: str
    since: datetime | None = None
    subject: str = ""

    @property
    def key(self) -> tuple[Code, str]:
        """The same for the same matter, whatever its message says of times and numbers."""
        return self.code, self.subject

    def as_json(self) -> dict[str, Any]:
        """For programs: the fields, with the time as ISO text."""
        since = self.since.isoformat() if self.since else None
        return {"code": self.code.value, "severity": self.severity, "subject": self.subject,
                "message": self.message, "since": since}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A part of Airflow that reports that it lives, by Airflow's name for it."""

    name: str
    alive: bool
    last_heartbeat: datetime | None = None


@dataclass(frozen=True)
class AirflowState:
    """What is known of Airflow; with a ``fault``, why nothing is."""

    parts: tuple[Part, ...] = ()
    dags: frozenset[str] = frozenset()
    """This project's Dags that Airflow can run."""
    paused: frozenset[str] = frozenset()
    missing: Mapping[str, str] = field(default_factory=dict)
    """Expected Dags that Airflow cannot run, each with the reason as a sentence."""
    unparsed: frozenset[str] = frozenset()
    """Expected Dags that Airflow has not read yet, as its Dag processor was first started only minutes ago."""
    fault: str | None = None


_WITHOUT = {
    "scheduler": "no task is started",
    "dag_processor": "new and changed Dags are not noticed",
    "triggerer": "nobody waits for files in the landing folder",
}


@dataclass(frozen=True)
class _Whom:
    """A server that is asked, and where to look when it does not answer."""

    code: Code
    name: str
    look_at: str


_S3 = _Whom(Code.S3_AWAY, "S3", "its server, and at the connection object_store")
_WAREHOUSE = _Whom(Code.WAREHOUSE_AWAY, "The warehouse", "its server, and at its connection")


@dataclass(frozen=True)
class Behind:
    """An insight that lacks a change of a table, and when that change was made."""

    insight: str
    table: str
    since: datetime | None


@dataclass(frozen=True)
class Backups:
    """When each table was backed up last, and since when there is a warehouse."""

    by_table: Mapping[str, datetime | None]
    since: datetime

    @property
    def newest(self) -> datetime | None:
        """The last backup of the table that is backed up the least; None when one has none."""
        found = [at for at in self.by_table.values() if at is not None]
        return min(found) if len(found) == len(self.by_table) else None


@dataclass(frozen=True)
class Ledger:
    """What the warehouse knows."""

    holds: Sequence[Hold] = ()
    behind: Sequence[Behind] = ()
    refreshed: Mapping[str, datetime | None] = field(default_factory=dict)
    """When each insight was refreshed last."""
    changed: Mapping[str, datetime] = field(default_factory=dict)
    """When rows of each table last changed; of a table that never did, nothing."""
    backups: Backups | None = None


@dataclass(frozen=True)
class Seen:
    """What a look has found, and what it has found it from; None is of whom could not be asked."""

    findings: list[Finding]
    files: Sequence[Arrival] | None
    ledger: Ledger | None


def check(
    open_warehouse: Callable[[], AbstractContextManager[Warehouse]],
    open_store: Callable[[], ObjectStore],
    settings: Settings,
    state: AirflowState,
    now: datetime,
) -> list[Finding]:
    """Everything that is not well, critical things first; never raises for a server that is away or silent."""
    return look(open_warehouse, open_store, settings, state, now).findings


def look(
    open_warehouse: Callable[[], AbstractContextManager[Warehouse]],
    open_store: Callable[[], ObjectStore],
    settings: Settings,
    state: AirflowState,
    now: datetime,
) -> Seen:
    """What is not well, as ``check`` tells it, with what else was seen.

    The warehouse is opened for the look alone; a connection that may only read is enough.
    """
    objects, ledger = asked(lambda: _look_at_store(open_store())), asked(lambda: _read(open_warehouse, settings))
    end = time.monotonic() + PATIENCE_SECONDS
    found = airflow_findings(state)
    listed, missing_rights = _answer(objects, end, found, _S3) or (None, ())
    known = _answer(ledger, end, found, _WAREHOUSE)
    if listed is not None:
        found += versions_refused(missing_rights)
        found += _late_files(listed, known.holds if known else (), settings, now)
    if known is not None:
        found += _on_hold(known.holds, listed)
        found += _insights(known.behind, settings, now)
        found += _backup(known.backups, settings, now) if known.backups else []
    return Seen(sorted(found, key=lambda one: list(Code).index(one.code)), listed, known)


def _answer(question: Future[T], end: float, found: list[Finding], whom: _Whom) -> T | None:
    """The answer; or none, and that there is none is found."""
    try:
        return answer_of(question, end)
    except Exception as error:  # noqa: BLE001 - told as the finding
        message = f"{whom.name} cannot be asked whether all is well. {sentence(error)} Look at {whom.look_at}."
        found.append(Finding(whom.code, "critical", message))
        return None


def versions_refused(missing: Sequence[str]) -> list[Finding]:
    """Rights that are missing where the data bucket keeps versions of objects."""
    if not missing:
        return []
    of = " that have tags" if set(missing) == {TAGS_OF_VERSIONS} else ""
    message = (
        f"S3 refuses {', '.join(missing)} in the data bucket, so versions of landed files{of} are not used: a file is "
        "known by its ETag alone, and deleting it leaves a delete marker. Grant the rights that docs/aws.md lists."
    )
    return [Finding(Code.VERSIONS_REFUSED, "warning", message)]


def _look_at_store(store: ObjectStore) -> tuple[list[Arrival], Sequence[str]]:
    """Files in the landing folder, and rights that are missing."""
    return list(islice(store.walk(PREFIX), MOST_LISTED + 1)), store.missing_version_rights()


def _read(open_warehouse: Callable[[], AbstractContextManager[Warehouse]], settings: Settings) -> Ledger:
    with open_warehouse() as warehouse:
        warehouse.execute(f"SET statement_timeout = {_STATEMENT_SECONDS * 1000}")
        holds = sorted(Holds(warehouse, settings).all().values(), key=lambda hold: (hold.since, hold.arrival_id))
        behind, refreshed = _behind(warehouse)
        changed = {table: at for table, at in warehouse.query(warehouse.sql("newest_changes")) if at}
        return Ledger(holds, behind, refreshed, changed, _backups(warehouse))


def _backups(warehouse: Warehouse) -> Backups:
    found = warehouse.query("SELECT taken_at, tables FROM ops.backups WHERE expired_at IS NULL AND kind = 'taken'")
    newest = {
        table.name: max((taken_at for taken_at, tables in found if table.name in tables.split(", ")), default=None)
        for table in TABLES
    }
    return Backups(newest, warehouse.query("SELECT MIN(applied_at) FROM ops.migrations")[0][0])


def _behind(warehouse: Warehouse) -> tuple[list[Behind], dict[str, datetime | None]]:
    """Insights that lack changes, and when each was refreshed.

    The tables' numbers are read first, so that a refresh meanwhile can only help.
    """
    changed = warehouse.query("SELECT table_name, changed_seq FROM ops.tables ORDER BY table_name")
    found, refreshed = [], {}
    for insight in INSIGHTS:
        newest = warehouse.query(warehouse.sql("newest_insight_refresh"), {"insight": insight.name})
        complete: dict[str, int] = json.loads(newest[0][0]) if newest else {}
        refreshed[insight.name] = newest[0][1] if newest else None
        for table, number in changed:
            covered = complete.get(table, 0)
            if number > covered:
                since = warehouse.query(warehouse.sql("oldest_change_after"), {"table": table, "covered": covered})
                found.append(Behind(insight.name, table, since[0][0]))
    return found, refreshed


def _late_files(listed: Sequence[Arrival], holds: Sequence[Hold], settings: Settings, now: datetime) -> list[Finding]:
    """Files that nobody took; those on hold are told by themselves."""
    limit, held = now - timedelta(minutes=settings.late_minutes), {hold.arrival_id for hold in holds}
    late = [
        one
        for one in listed
        if one.last_modified < limit
        and not (held and one.arrival_id in held)
        and not is_left_alone(one, settings, lambda: limit)
    ]
    if not late:
        return []
    oldest = min(late, key=lambda one: (one.last_modified, one.key))
    number = "1 file waits" if len(late) == 1 else f"{len(late)} files wait"
    number = f"More than {MOST_LISTED} files lie, and {number}" if len(listed) > MOST_LISTED else number
    message = (
        f"{number} in s3://{oldest.bucket}/{PREFIX} for longer than {settings.late_minutes:g} min, first "
        f"{oldest.key}, since {utc(oldest.last_modified)}. Look at the newest runs of the Dag ingest_landing."
    )
    return [Finding(Code.FILES_LATE, "warning", message, oldest.last_modified)]


def _on_hold(holds: Sequence[Hold], listed: Sequence[Arrival] | None) -> list[Finding]:
    """Files on hold, but for those that somebody has taken out of the landing folder."""
    whole = listed is not None and len(listed) <= MOST_LISTED
    there = {one.arrival_id for one in listed or ()} if holds and whole else set()
    held = [one for one in holds if not whole or one.arrival_id in there or not one.key.startswith(PREFIX)]
    found = [
        Finding(
            Code.FILE_ON_HOLD,
            "warning",
            f"{hold.key} is on hold since {utc(hold.since)} after {hold.attempts} "
            f"{'try' if hold.attempts == 1 else 'tries'}. {hold.reason} Mend what kept it; it is tried again by "
            f"itself, not before {utc(hold.next_try_at)}.",
            hold.since,
            hold.key,
        )
        for hold in held[:MOST_HOLDS]
    ]
    if len(held) > MOST_HOLDS:
        message = f"{len(held) - MOST_HOLDS} more files are on hold. See ops.holds in the warehouse."
        found.append(Finding(Code.FILE_ON_HOLD, "warning", message, held[MOST_HOLDS].since))
    return found


def _insights(behind: Sequence[Behind], settings: Settings, now: datetime) -> list[Finding]:
    limit = now - timedelta(minutes=settings.late_minutes)
    # A change that no ledger knows the time of has been there for who knows how long.
    late = [one for one in behind if one.since is None or one.since < limit]
    if not late:
        return []
    since = min((one.since for one in late if one.since), default=None)
    message = (
        f"The insights {_named(one.insight for one in late)} lack what was loaded into "
        f"{_named(one.table for one in late)}{f' since {utc(since)}' if since else ''}. Look at the newest runs of "
        "the Dag refresh_insights, or trigger it."
    )
    return [Finding(Code.INSIGHTS_BEHIND, "warning", message, since)]


def _backup(known: Backups, settings: Settings, now: datetime) -> list[Finding]:
    """A newest backup that is too old or not there, whatever is known of the Dag that takes backups.

    While the warehouse is new, a backup that was never taken is a warning: its Dag may not have been due yet.
    """
    hours = settings.backup_hours
    if hours is None:
        return []
    missed = (known.newest or known.since) < now - timedelta(hours=hours)
    if missed:
        last = "There is no backup of every table."
        if known.newest:
            last = f"The newest backup of every table is of {utc(known.newest)}, older than {hours:g} h."
        message = f"{last} Look at the newest runs of the Dag {BACKUP}, or trigger it."
        return [Finding(Code.BACKUP_MISSED, "critical", message, known.newest)]
    if known.newest is None:
        message = (
            "There is no backup of every table yet: what is lost now cannot be brought back. Take the first one now: "
            f"trigger the Dag {BACKUP}, or send POST /data-api/backup. Otherwise the Dag takes it on schedule."
        )
        return [Finding(Code.NO_BACKUP, "warning", message, known.since)]
    return []


def airflow_findings(state: AirflowState) -> list[Finding]:
    """Parts that are dead, Dags that are missing, not parsed yet or paused; one finding where nothing is known."""
    if state.fault is not None:
        return [Finding(Code.AIRFLOW_AWAY, "critical", f"Airflow cannot be asked whether all is well. {state.fault}")]
    paused = [
        Finding(
            Code.DAG_PAUSED,
            "warning",
            f"The Dag {dag} is paused: none of its runs starts. Switch it on again on its page in Airflow.",
            subject=dag,
        )
        for dag in sorted(state.paused)
    ]
    missing = [
        Finding(
            Code.DAG_MISSING,
            "critical",
            f"The Dag {dag} is missing: none of its runs starts. {reason} Restore dags/{dag}.py from the release, or "
            "correct what its import needs.",
            subject=dag,
        )
        for dag, reason in sorted(state.missing.items())
    ]
    return [_dead(part) for part in state.parts if not part.alive] + missing + _unparsed(state) + paused


def _unparsed(state: AirflowState) -> list[Finding]:
    if not state.unparsed:
        return []
    message = (
        f"Dags are not parsed yet: {_named(sorted(state.unparsed))}. Airflow was started for the first time and reads "
        "the Dag folder. If this lasts longer than a few minutes, see the log of the Dag processor, and check that "
        "Airflow's Dag folder (or bundle) is the folder dags/ of the release."
    )
    return [Finding(Code.DAGS_NOT_PARSED, "warning", message)]


def _dead(part: Part) -> Finding:
    since = part.last_heartbeat
    sign = f"has given no sign of life since {utc(since)}" if since else "has never given a sign of life"
    without = _WITHOUT.get(part.name, "what it does is not done")
    message = f"Airflow's {part.name} {sign}: {without}. See its log, and start it again."
    return Finding(Code.PART_DEAD, "critical", message, since, part.name)


def _named(names: Any) -> str:
    return ", ".join(dict.fromkeys(names))


def utc(moment: datetime) -> str:
    """A time as people are told it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
