"""What is worth counting and timing, as values: a list of all metrics, and what happened in terms of them.

Who sends them is ``datamart_airflow.metrics``; ``docs/monitoring.md`` has the same list for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from datamart.ingest import GONE, ON_HOLD
from datamart.loads import Outcome, Verdict

if TYPE_CHECKING:  # a task that loads a file is not to wait for what backups and health checks are made of
    from datamart.health import Ledger, Seen
    from datamart.recovery.ledger import Change
    from datamart.recovery.manifest import Manifest

NO_TABLE = "none"
"""The table of a file whose name fits none."""


class Kind(StrEnum):
    """How values of a metric go together: added up, the newest one, or spread over time."""

    COUNTER = "counter"
    GAUGE = "gauge"
    TIMER = "timer"


@dataclass(frozen=True)
class Metric:
    """One metric; its tags are always all there, in this order. Timers are in milliseconds, as Airflow's own are."""

    name: str
    kind: Kind
    tags: tuple[str, ...]
    unit: str
    meaning: str

    def of(self, value: float, **tags: str) -> Measure:
        """One value of it."""
        if tuple(tags) != self.tags:
            raise ValueError(f"{self.name} has the tags {self.tags}, not {tuple(tags)}.")
        return Measure(self, value, tags)


@dataclass(frozen=True)
class Measure:
    """One value of one metric."""

    metric: Metric
    value: float
    tags: Mapping[str, str] = field(default_factory=dict)


def _counter(name: str, tags: str, unit: str, meaning: str) -> Metric:
    return Metric(f"datamart.{name}", Kind.COUNTER, tuple(tags.split()), unit, meaning)


def _gauge(name: str, tags: str, unit: str, meaning: str) -> Metric:
    return Metric(f"datamart.{name}", Kind.GAUGE, tuple(tags.split()), unit, meaning)


def _timer(name: str, tags: str, meaning: str) -> Metric:
    return Metric(f"datamart.{name}", Kind.TIMER, tuple(tags.split()), "ms", meaning)


ROWS = {
    what: _counter(f"rows.{what}", "way table", "rows", meaning)
    for what, meaning in {
        "read": "in files that came to a verdict",
        "inserted": "new in the table",
        "updated": "changed in the table",
        "unchanged": "that the table had already",
        "rejected": "refused, each kept with its reasons",
        "removed": "removed by a replacement",
    }.items()
}
FILES = _counter("files", "way table verdict", "files", "that came to this verdict; `failed` counts every try")
GIVEN_UP = _counter("failures", "way table", "files", "that a fault has kept from being loaded, and no try is left")
LOAD_DURATION = _timer(
    "load.duration",
    "way table",
    "of one file, from when its task begins with it to the commit; without `split` and `clean`",
)

BACKUP_ROWS = _gauge("backup.rows", "table", "rows", "in the newest backup of the table")
BACKUP_BYTES = _gauge("backup.bytes", "table", "bytes", "of the newest backup of the table")
BACKUP_DURATION = _timer("backup.duration", "", "of a backup of all tables that it was asked for")
RECOVERY_ROWS = _counter("recovery.rows", "what table change", "rows", "that a restore or an undo changed so")
RECOVERY_DURATION = _timer("recovery.duration", "what", "of a restore, undo, drill or adoption that was done")
RECOVERY_FAILURES = _counter("recovery.failures", "what", "tasks", "of recovery that failed, and no try is left")
REFRESH_ROWS = _gauge("refresh.rows", "insight", "rows", "that the newest refresh wrote")
REFRESH_DURATION = _timer("refresh.duration", "", "of a refresh of all insights")

LOOKS = _counter("watch.looks", "", "looks", "at whether all is well: while they come, the process that watches lives")
FINDINGS = _gauge(
    "findings",
    "code",
    "findings",
    "of this kind now; 0 is well, none is sent while it is unknown; of files on hold at most 11",
)
LANDING_FILES = _gauge("landing.files", "", "files", "that lie in the landing folder; 10001 are that many or more")
LANDING_AGE = _gauge("landing.age", "", "seconds", "since the oldest of them came; 0 when none lies there")
HOLDS = _gauge("holds", "", "files", "on hold, which a fault kept from being loaded")
TABLE_AGE = _gauge("table.age", "table", "seconds", "since rows of the table last changed")
INSIGHT_AGE = _gauge("insight.age", "insight", "seconds", "since its last refresh")
INSIGHT_BEHIND = _gauge("insight.behind", "insight", "seconds", "since the oldest change that it lacks; 0 if none")
BACKUP_AGE = _gauge("backup.age", "table", "seconds", "since the newest backup of the table; if none, of the ledger")

BY_TASKS = (
    *ROWS.values(), FILES, GIVEN_UP, LOAD_DURATION, BACKUP_ROWS, BACKUP_BYTES, BACKUP_DURATION, RECOVERY_ROWS,
    RECOVERY_DURATION, RECOVERY_FAILURES, REFRESH_ROWS, REFRESH_DURATION,
)  # fmt: skip
BY_THE_WATCH = (
    LOOKS, FINDINGS, LANDING_FILES, LANDING_AGE, HOLDS, TABLE_AGE, INSIGHT_AGE, INSIGHT_BEHIND, BACKUP_AGE,
)  # fmt: skip
METRICS = (*BY_TASKS, *BY_THE_WATCH)
"""All that there are."""


def of_load(outcome: Outcome, way: str) -> list[Measure]:
    """What became of one file by one try; nothing where another try has told of it, or nothing was to be done."""
    if outcome.from_ledger or outcome.code == ON_HOLD or outcome.verdict is Verdict.DRY_RUN:
        return []
    table, verdict = outcome.table or NO_TABLE, GONE if outcome.code == GONE else outcome.verdict.value
    found = [metric.of(getattr(outcome.counts, what), way=way, table=table) for what, metric in ROWS.items()]
    found.append(FILES.of(1, way=way, table=table, verdict=verdict))
    if outcome.seconds is not None:
        found.append(LOAD_DURATION.of(outcome.seconds * 1000, way=way, table=table))
    return found


def of_given_up(table: str | None, way: str) -> list[Measure]:
    """A file that will not be tried again; what landed is never given up, but on hold."""
    return [GIVEN_UP.of(1, way=way, table=table or NO_TABLE)]


def of_backup(manifest: Manifest, seconds: float) -> list[Measure]:
    """A backup that was taken."""
    found = [BACKUP_DURATION.of(seconds * 1000)]
    for name, table in manifest.tables.items():
        found += [BACKUP_ROWS.of(table.rows, table=name), BACKUP_BYTES.of(table.size, table=name)]
    return found


def of_change(change: Change, seconds: float) -> list[Measure]:
    """A restore or an undo that was done by this try."""
    if change.dry_run or change.from_ledger:
        return []
    rows = {"added": change.added, "changed": change.changed, "removed": change.removed}
    if change.into is not None:
        rows = {}
    what = change.kind
    found = [RECOVERY_ROWS.of(number, what=what, table=change.table, change=how) for how, number in rows.items()]
    return [*found, RECOVERY_DURATION.of(seconds * 1000, what=what)]


def of_recovery(what: str, seconds: float) -> list[Measure]:
    """A drill or an adoption that was done."""
    return [RECOVERY_DURATION.of(seconds * 1000, what=what)]


def of_failure(what: str) -> list[Measure]:
    """A recovery task that failed for good."""
    return [RECOVERY_FAILURES.of(1, what=what)]


def of_refresh(rows: Mapping[str, int], seconds: float) -> list[Measure]:
    """A refresh of all insights."""
    return [
        REFRESH_DURATION.of(seconds * 1000),
        *(REFRESH_ROWS.of(number, insight=insight) for insight, number in rows.items()),
    ]


def of_look(seen: Seen, now: datetime) -> list[Measure]:
    """What a look at the whole has found; nothing of whom could not be asked."""
    from datamart.health import NEEDS, Code

    codes = [finding.code for finding in seen.findings]
    found = [LOOKS.of(1)]
    found += [
        FINDINGS.of(codes.count(code), code=code.value)
        for code in Code
        if code in codes or not NEEDS.get(code, set()) & {*codes}
    ]
    if seen.files is not None:
        oldest = min((one.last_modified for one in seen.files), default=now)
        found += [LANDING_FILES.of(len(seen.files)), LANDING_AGE.of(_age(oldest, now))]
    return found if seen.ledger is None else found + _of_ledger(seen.ledger, now)


def _of_ledger(ledger: Ledger, now: datetime) -> list[Measure]:
    found = [HOLDS.of(len(ledger.holds))]
    found += [TABLE_AGE.of(_age(at, now), table=table) for table, at in ledger.changed.items()]
    for insight, at in ledger.refreshed.items():
        lacks = [one.since for one in ledger.behind if one.insight == insight and one.since]
        found.append(INSIGHT_BEHIND.of(_age(min(lacks, default=now), now), insight=insight))
        found += [INSIGHT_AGE.of(_age(at, now), insight=insight)] if at else []
    if ledger.backups is not None:
        since = ledger.backups.since
        found += [BACKUP_AGE.of(_age(at or since, now), table=table) for table, at in ledger.backups.by_table.items()]
    return found


def _age(moment: datetime, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds())
