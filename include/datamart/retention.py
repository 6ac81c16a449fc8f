"""What is kept for how long: clean parquet, rejected rows, refused files, and holds of files that are gone.

A backup is brought forward to a later moment with the clean parquet of the loads that committed after it, so that of
a table stays as long as its oldest backup that has not expired needs it. Nothing needs rejected rows in this way; they
hold personal data and go when their time is over, whatever else stays. What is of no load is an orphan: it is removed
when a load that may still run cannot have written it.

Files go first, then rows, then the ledger says so: what breaks off in between is finished by the next run, and a file
of rejected rows that is gone keeps a copy of its load from being judged by rows that are about to go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from itertools import islice
from typing import Any

from datamart.errors import TransientFault
from datamart.holds import Holds
from datamart.landing import PREFIX as LANDING
from datamart.loads import Arrival
from datamart.objects import EXCHANGE, ObjectStore
from datamart.s3_errors import Reaction, error_for, fault_of
from datamart.s3_errors import s3_faults as faults
from datamart.settings import Settings
from datamart.tables import TABLES, Table
from datamart.uploads import PREFIX as UPLOADS
from datamart.warehouse.base import Warehouse

ORPHAN_AGE = timedelta(days=7)
"""A load may run for so long before the ledger knows of it."""
SLACK = timedelta(days=1)
"""A load is told to have finished a little before it commits, and each machine has a clock of its own."""
_NEVER = datetime.min.replace(tzinfo=UTC)
_PAGE = 1000
"""Objects in one answer of S3, and the most that one request removes."""
_LOADS_AT_ONCE = 500
_CLEAN = re.compile(r"clean/[^/]+/(\d{1,19})/(?:\d{1,19}-)?(?:part-(\d+)|left|removed)\.parquet")
_REJECTED = re.compile(r"rejected/[^/]+/[^/]+_rejected_(\d{1,19})\.(?:csv|raw)")


@dataclass(frozen=True)
class Removed:
    """What was removed, or would be by a run that is not dry."""

    loads: int = 0
    """Loads whose files or rows have expired."""
    rows: int = 0
    """Rows of the warehouse: rejected ones, or holds."""
    objects: int = 0
    """Objects in S3 whose time is over."""
    orphans: int = 0
    """Objects in S3 that are of no load."""
    bytes: int = 0
    """Of all objects."""

    def __add__(self, other: Removed) -> Removed:
        return Removed(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class _Load:
    """What the ledger says of a load that came to a verdict."""

    clean_parts: int
    rows_rejected: int
    started_at: datetime


@dataclass(frozen=True)
class Retention:
    """Removes what the settings say is over at ``now``; with ``dry_run`` it only counts."""

    warehouse: Warehouse
    store: ObjectStore
    settings: Settings
    now: datetime
    dry_run: bool = False
    tables: tuple[Table, ...] = field(default=TABLES, repr=False)

    def clean(self) -> Removed:
        """Clean parquet that no backup needs, and what tries that did not end have left."""
        due, removed = self.warehouse.sql("due_clean"), Removed()
        before, needed = self._before(self.settings.clean_keep_days), self._needed_since()
        for table in self._known_tables():
            free = needed[table] - SLACK if table in needed else _NEVER
            values = {"table": table, "refused_before": before, "applied_before": min(before, free)}
            removed += self._sweep(f"clean/{table}/", _CLEAN, self._is_stray_part, due, values)
            removed += Removed(loads=self._mark_clean(due, values))
        return removed + self._exchange()

    def _exchange(self) -> Removed:
        """Files on their way into or out of the warehouse whose process was ended before it removed them."""
        removed = Removed()
        for page in _pages(self.store.walk(EXCHANGE)):
            removed += self._remove([], [one for one in page if one.last_modified < self.now - SLACK])
        return removed

    def rejects(self) -> Removed:
        """Rejected rows in S3 and in the warehouse; the ledger keeps their counts."""
        due, removed = self.warehouse.sql("due_rejects"), Removed()
        before = self._before(self.settings.rejects_keep_days)
        for table in self._known_tables():
            values = {"table": table, "before": before}
            removed += self._sweep(f"rejected/{table}/", _REJECTED, self._is_stray_reject, due, values)
            removed += self._forget_rows(table, due, values)
        return removed

    def quarantine(self) -> Removed:
        """Refused files; the note beside one outlives it by a day, so that none lies there without its reason."""
        removed, before = Removed(), self._before(self.settings.quarantine_keep_days)
        if before == _NEVER:
            return removed
        for page in _pages(self.store.walk("quarantine/")):
            notes = before - SLACK
            old = [one for one in page if one.last_modified < (notes if one.key.endswith(".json") else before)]
            removed += self._remove(expired=old)
        return removed

    def uploads(self) -> Removed:
        """Uploads that were not loaded, as those that were are in the archive, and answers of dry runs."""
        removed, before = Removed(), self._before(self.settings.uploads_keep_days)
        for page in _pages(self.store.walk(UPLOADS)) if before != _NEVER else ():
            removed += self._remove(expired=[one for one in page if one.last_modified < before])
        return removed

    def holds(self) -> Removed:
        """Holds of files that are not in the landing folder any more."""
        holds = Holds(self.warehouse, self.settings)
        gone = set(holds.all())
        for arrival in self.store.walk(LANDING) if gone else ():
            gone.discard(arrival.arrival_id)
        if not self.dry_run:
            holds.release(gone)
        return Removed(rows=len(gone))

    def _before(self, keep_days: int | None) -> datetime:
        return _NEVER if keep_days is None else self.now - timedelta(days=keep_days)

    def _known_tables(self) -> list[str]:
        """Every table that was ever loaded, also one that the dictionary has no more."""
        return [name for (name,) in self.warehouse.query("SELECT table_name FROM ops.tables ORDER BY table_name")]

    def _needed_since(self) -> dict[str, datetime]:
        """By table, when the oldest backup of it that has not expired was taken."""
        found = self.warehouse.query(
            "SELECT taken_at, tables FROM ops.backups WHERE expired_at IS NULL AND kind = 'taken'"
        )
        return {
            table: taken_at for taken_at, tables in sorted(found, reverse=True) for table in re.findall(r"\w+", tables)
        }

    @cached_property
    def _migrated_at(self) -> dict[str, datetime]:
        return dict(self.warehouse.query("SELECT name, applied_at FROM ops.migrations"))

    def _is_old(self, arrival: Arrival) -> bool:
        return arrival.last_modified < self.now - ORPHAN_AGE

    def _may_be_of_another_ledger(self, arrival: Arrival) -> bool:
        """The object is older than the ledger: it may be all that is left of one that was lost."""
        return arrival.last_modified < min(self._migrated_at.values()) + SLACK

    def _is_stray_part(self, arrival: Arrival, name: re.Match[str], load: _Load | None) -> bool:
        if load is None:
            return not self._may_be_of_another_ledger(arrival)
        counted = self._migrated_at.get("migrate_0002_landing")
        # Loads from before the ledger counted parts have none there.
        if counted is None or name[2] is None:  # lists of keys are not counted
            return False
        return load.started_at >= counted + SLACK and int(name[2]) >= load.clean_parts

    def _is_stray_reject(self, arrival: Arrival, _name: re.Match[str], load: _Load | None) -> bool:
        if load is not None:
            return load.rows_rejected == 0
        over = arrival.last_modified < self._before(self.settings.rejects_keep_days)
        return over or not self._may_be_of_another_ledger(arrival)

    def _sweep(
        self,
        prefix: str,
        pattern: re.Pattern[str],
        is_stray: Callable[[Arrival, re.Match[str], _Load | None], bool],
        due: str,
        values: dict[str, Any],
    ) -> Removed:
        """Remove expired and stray objects, a page at a time: each is judged and gone before the next is listed."""
        removed = Removed()
        for page in _pages(self.store.walk(prefix)):
            named = [(one, name, int(name[1])) for one in page if (name := pattern.fullmatch(one.key))]
            if not named:
                continue
            ids = {"ids": tuple({load_id for _, _, load_id in named})}
            over = {row[0] for row in self.warehouse.query(f"{due} AND load_id IN %(ids)s", values | ids)}
            loads = self._loads(ids)
            removed += self._remove(
                expired=[one for one, _, load_id in named if load_id in over],
                orphans=[
                    one
                    for one, name, load_id in named
                    if load_id not in over and self._is_old(one) and is_stray(one, name, loads.get(load_id))
                ],
            )
        return removed

    def _loads(self, ids: dict[str, Any]) -> dict[int, _Load]:
        found = self.warehouse.query(
            "SELECT load_id, clean_parts, rows_rejected, started_at FROM ops.loads"
            " WHERE verdict <> 'failed' AND load_id IN %(ids)s"
            " UNION ALL SELECT restore_id, clean_parts, 0, finished_at FROM ops.restores WHERE restore_id IN %(ids)s",
            ids,
        )
        return {load_id: _Load(*facts) for load_id, *facts in found}

    def _remove(self, expired: list[Arrival], orphans: Iterable[Arrival] = ()) -> Removed:
        """Remove at most a page of objects."""
        orphans = list(orphans)
        chosen = expired + orphans
        if chosen and not self.dry_run:
            with faults(f"s3://{self.store.bucket}/{chosen[0].key}"):
                wanted = {"Objects": [{"Key": one.key} for one in chosen], "Quiet": True}
                answer = self.store.client.delete_objects(Bucket=self.store.bucket, Delete=wanted)
            _raise_refusals(answer.get("Errors", []))
        return Removed(objects=len(expired), orphans=len(orphans), bytes=sum(one.size for one in chosen))

    def _mark_clean(self, due: str, values: dict[str, Any]) -> int:
        """Let the ledger say that the clean parquet of loads is gone; how many loads."""
        counted = self._migrated_at.get("migrate_0002_landing", self.now) + SLACK
        values = values | {"now": self.now, "counted": counted}
        chosen = f"clean_expired_at IS NULL AND (clean_parts > 0 OR started_at < %(counted)s) AND load_id IN ({due})"
        if self.dry_run:
            return self._count(f"SELECT COUNT(*) FROM ops.loads WHERE {chosen}", values)  # noqa: S608
        told = f"SET clean_expired_at = %(now)s WHERE clean_expired_at IS NULL AND restore_id IN ({due})"
        self.warehouse.execute(f"UPDATE ops.restores {told}", values)
        return self.warehouse.execute(f"UPDATE ops.loads SET clean_expired_at = %(now)s WHERE {chosen}", values)  # noqa: S608

    def _forget_rows(self, table: str, due: str, values: dict[str, Any]) -> Removed:
        """Delete the rejected rows of loads whose files are gone, and let the ledger say so."""
        due = f"{due} AND rejects_expired_at IS NULL"
        if self.dry_run:
            return Removed(
                loads=self._count(f"SELECT COUNT(*) FROM ({due}) AS due", values),  # noqa: S608
                rows=self._count(f"SELECT COUNT(*) FROM ops.rejected_rows WHERE load_id IN ({due})", values),  # noqa: S608
            )
        removed = Removed()
        batch = self._some_loads(due, values)
        if batch:
            self._let_copies_end(table)
        while batch:
            ids = {"ids": batch, "now": self.now}
            removed += self.warehouse.atomically(partial(self._forget, ids))
            batch = self._some_loads(due, values)
        return removed

    def _forget(self, ids: dict[str, Any]) -> Removed:
        rows = self.warehouse.execute("DELETE FROM ops.rejected_rows WHERE load_id IN %(ids)s", ids)
        said = "UPDATE ops.loads SET rejects_expired_at = %(now)s WHERE load_id IN %(ids)s"
        return Removed(loads=self.warehouse.execute(said, ids), rows=rows)

    def _some_loads(self, due: str, values: dict[str, Any]) -> tuple[int, ...]:
        return tuple(row[0] for row in self.warehouse.query(f"{due} LIMIT {_LOADS_AT_ONCE}", values))

    def _let_copies_end(self, table: str) -> None:
        """Wait for a load that may have seen the files before they went: it takes the rows under the table's lock."""
        for known in self.tables:
            if known.name == table:
                with self.warehouse.transaction():
                    self.warehouse.lock(known)

    def _count(self, text: str, values: dict[str, Any]) -> int:
        return int(self.warehouse.query(text, values)[0][0])


def _pages(walked: Iterator[Arrival]) -> Iterator[list[Arrival]]:
    while page := list(islice(walked, _PAGE)):
        yield page


def _raise_refusals(errors: list[dict[str, str]]) -> None:
    """S3 answers for each object by itself; one that was not there is as good as removed."""
    left = [error for error in errors if error_for(str(error.get("Code"))).reaction is not Reaction.CHANGED]
    if left:
        codes = sorted({str(error.get("Code")) for error in left})
        faults_of = [
            fault_of(code, f"S3 did not remove {len(left)} objects, first {left[0].get('Key')}") for code in codes
        ]
        raise next((one for one in faults_of if not isinstance(one, TransientFault)), faults_of[0])
