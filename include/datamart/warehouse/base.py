"""A warehouse as the rest of the project sees it: staging, one transaction, merge, history, ledger.

The common subset of SQL is here and in ``sql/common``; a dialect overrides what differs and nothing else asks
which dialect it is. Driver errors become ``TerminalFault`` or ``TransientFault`` where they enter.
"""

from __future__ import annotations

import json
import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datamart.clean import ZSTD
from datamart.errors import BalanceError, Conflict
from datamart.loads import SUPERSEDED, Arrival, Counts, Mode, Outcome, Verdict
from datamart.reasons import Reject
from datamart.statements import WORDS, statement, table_names
from datamart.tables import Column, Table, Type
from datamart.warehouse.values import (
    LEDGER,
    Ended,
    KnownContent,
    Merged,
    NewerLoad,
    Numbers,
    keys_in,
    outcome_of,
    require_one,
)

T = TypeVar("T")

log = logging.getLogger(__name__)

_TRIES = 6
_FIRST_PAUSE = 0.2


class Filler(Protocol):
    """Copies rows straight into an empty table, within the open transaction that holds its lock."""

    def append(self, table: Table, load_id: int, batches: Iterable[pa.RecordBatch]) -> None:
        """Copy ``batches`` into the table itself."""

    def savepoint(self) -> str:
        """A place in the open transaction to roll back to."""

    def roll_back_to(self, savepoint: str) -> None:
        """Undo what the open transaction did since ``savepoint``."""


class Warehouse(ABC):
    """One connection. Temporary staging lives as long as it does; ``transaction`` is the unit of truth."""

    dialect: str
    parquet: Mapping[str, Any] = ZSTD
    """How clean parquet is written, so that the server can read it if it reads files."""

    @abstractmethod
    def execute(self, text: str, values: Mapping[str, object] | None = None) -> int:
        """Run a statement with bound values; rows affected."""

    @abstractmethod
    def query(self, text: str, values: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """All rows of a query with bound values."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """A context manager: commits at its end, rolls back on any error."""

    def atomically(self, work: Callable[[], T]) -> T:
        """What ``work`` gives, done in one transaction; all of it is done again when another one was in its way.

        Raises:
            Conflict: others were in the way each time.
        """

        def once() -> T:
            with self.transaction():
                return work()

        return self.despite_conflicts(once)

    def despite_conflicts(self, once: Callable[[], T]) -> T:
        """What a whole transaction gives, tried some times."""
        for attempt in range(1, _TRIES + 1):
            try:
                return once()
            except Conflict as conflict:
                if attempt == _TRIES:
                    raise
                log.info("%s The transaction is tried again (%d of %d).", conflict, attempt, _TRIES - 1)
                time.sleep(_FIRST_PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # nosec B311  # nothing to guess
        raise AssertionError("unreachable")

    def exclusively(self, work: Callable[[], T]) -> T:
        """The same for what looks for a row before it writes it, where no key keeps it from being written twice."""
        return self.atomically(work)

    def filler(self, table: Table) -> Filler | None:  # noqa: ARG002 - a dialect may look at it
        """What fills the table while it is empty; None when it is not, or where rows are always staged."""
        return None

    @abstractmethod
    def stage(self, table: Table, staging: str, batches: Iterable[pa.RecordBatch]) -> None:
        """Create temporary table ``staging`` and copy ``batches`` into it."""

    @abstractmethod
    def stage_kept(self, table: Table, staging: str, batches: Iterable[pa.RecordBatch]) -> int:
        """The same for rows that bring their ``_load_id`` along; how many."""

    @abstractmethod
    def append_kept(self, table: Table, relation: str, batches: Iterable[pa.RecordBatch]) -> int:
        """Copy rows with their ``_load_id`` into ``relation``, a table of the same columns; how many."""

    @abstractmethod
    def rows_of(self, table: Table, relation: str, condition: str = "") -> Iterator[pa.RecordBatch]:
        """Rows of ``relation``, a table of the columns of ``table`` and ``_load_id``, in batches of bounded size."""

    @abstractmethod
    def one_moment(self, relations: Sequence[str] = ()) -> AbstractContextManager[None]:
        """A transaction that only reads, and sees all tables - these for certain - as they are when it begins."""

    @abstractmethod
    def refreshing(self, work: Callable[[], T]) -> T:
        """What ``work`` gives, done in one transaction that reads one moment, while no other one refreshes insights."""

    @abstractmethod
    def hold_moment(self) -> None:
        """Let all that the transaction reads be of one moment; its first statement."""

    @abstractmethod
    def migrating(self) -> AbstractContextManager[None]:
        """A transaction that no other one of its kind runs beside."""

    @abstractmethod
    def exists(self, relation: str) -> bool:
        """There is a table or view of this name (``schema.name``)."""

    @abstractmethod
    def analyze(self, relation: str) -> None:
        """Let the planner know a table that has been filled."""

    @abstractmethod
    def index_staging(self, table: Table, staging: str) -> None:
        """Prepare staged rows for being looked up by key many times."""

    @abstractmethod
    def replay_load(self, names: Mapping[str, str], load_id: int) -> int:
        """Put the rows of ``staging`` into ``target`` as that load's, where they are not the same; how many."""

    @abstractmethod
    def replay_change(self, names: Mapping[str, str]) -> int:
        """Put all rows of ``staging`` into ``target``, with the loads that they name; how many."""

    @abstractmethod
    def version(self) -> str:
        """The server's name and version."""

    @abstractmethod
    def copy_rejects(self, load_id: int, rejects: Iterable[Reject]) -> None:
        """Add rejected rows to ``ops.rejected_rows`` within the open transaction."""

    @abstractmethod
    def lock(self, table: Table) -> Numbers:
        """Take the table's lock for this transaction; the numbers it guards."""

    def create_table(self, table: Table) -> None:
        """Make a table of the dictionary, and its history, unless they are there."""
        self.execute(self.sql("create_table", **self.names(table)))

    def add_backup(self, values: Mapping[str, object]) -> bool:
        """Add a row to ``ops.backups`` unless the backup has one; whether it had none."""
        return self.execute(self.sql("insert_backup"), values) == 1

    def put_hold(self, values: Mapping[str, object]) -> None:
        """Write a row of ``ops.holds``, in the place of the one that the arrival may have."""
        self.execute(self.sql("put_hold"), values)

    def bytes_in(self, value: Any) -> bytes:
        """The bytes that a query has given back."""
        return bytes(value)

    @abstractmethod
    def alive(self) -> bool:
        """The session has not ended."""

    @abstractmethod
    def close(self) -> None:
        """End the connection; temporary tables go with it."""

    def names(self, table: Table, staging: str = "", target: str | None = None) -> dict[str, str]:
        """What statements about a table call things."""
        return table_names(table, staging, target)

    def sql(self, name: str, **names: str) -> str:
        """The dialect's statement ``name`` with identifiers filled in."""
        return statement(self.dialect, name).format(**WORDS[self.dialect], **names)

    @contextmanager
    def looking_up(self, staging: str, target: str) -> Iterator[None]:  # noqa: ARG002 - a dialect may make use of it
        """Statements that join what is staged, often few rows, to a table, often a large one."""
        yield

    def drop_staging(self, staging: str) -> None:
        """Remove a temporary table."""
        self.execute(f"DROP TABLE IF EXISTS {staging}")

    def keys_of(self, table: Table, load_id: int | None = None) -> npt.NDArray[np.int64]:
        """All keys of a table, or of the rows that a load put there."""
        condition = "" if load_id is None else " WHERE _load_id = %(load_id)s"
        rows = self.query(f'SELECT "{table.key}" FROM public.{table.name}{condition}', {"load_id": load_id})  # noqa: S608
        return keys_in(rows)

    def changed_number(self, table: Table) -> int:
        """The number of the newest commit that changed rows of the table, read without its lock."""
        found = self.query("SELECT changed_seq FROM ops.tables WHERE table_name = %(table)s", {"table": table.name})
        return int(found[0][0]) if found else 0

    @abstractmethod
    def now(self) -> datetime:
        """The time by the warehouse's clock, which is one for all workers; of this statement, in a transaction too."""

    def missed_turn(self, arrival_id: int) -> datetime | None:
        """When an arrival was listed for the turn that a fault made it miss; None when it missed none."""
        found = self.query(
            "SELECT MIN(listed_at) FROM ops.loads"
            " WHERE arrival_id = %(arrival_id)s AND verdict = 'failed' AND mode = 'upsert'",
            {"arrival_id": arrival_id},
        )
        listed_at: datetime | None = found[0][0]
        return listed_at

    def has_newer_version(self, arrival: Arrival) -> bool:
        """The ledger has a verdict on an object of the same key that arrived later."""
        return bool(
            self.query(
                "SELECT 1 FROM ops.loads WHERE source_bucket = %(bucket)s AND source_key = %(key)s"
                " AND arrived_at > %(arrived_at)s AND verdict <> 'failed' LIMIT 1",
                {"bucket": arrival.bucket, "key": arrival.key, "arrived_at": arrival.last_modified},
            )
        )

    def newer_loads(self, table: Table, arrival: Arrival) -> list[NewerLoad]:
        """Loads of the files whose turn came after that of ``arrival``; of its own listing, if it is not late."""
        place = {
            "listed_at": arrival.listed_at,
            "listed_until": _END if arrival.late else arrival.listed_at,
            "arrived_at": arrival.last_modified,
            "key": arrival.key,
        }
        found = self.query(self.sql("newer_loads"), {"table": table.name, **place})
        return [NewerLoad(int(load_id), int(parts), Mode(mode)) for load_id, parts, mode in found]

    def leave_to_newer(self, table: Table, staging: str, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Remove staged rows that have one of these keys; the keys of those there were."""
        with self.key_list(table, f"{staging}_newer", keys) as newer:
            names = self.names(table, staging) | {"newer": newer}
            left = keys_in(self.query(self.sql("left_to_newer", **names)))
            self.execute(self.sql("leave_to_newer", **names))
        return left

    @contextmanager
    def key_list(self, table: Table, name: str, keys: npt.NDArray[np.int64]) -> Iterator[str]:
        """Temporary table ``name`` of keys of the table, for as long as the block lasts."""
        listed = Table(f"{table.name}_keys", (Column(table.key, Type.INTEGER),), key=table.key)
        batch = pa.RecordBatch.from_arrays([pa.array(keys.astype(np.int32))], schema=listed.arrow_schema)
        self.stage(listed, name, [batch])
        yield name
        self.drop_staging(name)

    def size_of(self, relation: str) -> int:
        """Rows of a table, live or temporary."""
        return int(self.query(f"SELECT COUNT(*) FROM {relation}")[0][0])  # noqa: S608

    def count_of(self, table: Table, load_id: int) -> int:
        """Rows of the table that a load put there."""
        counted = self.query(
            f"SELECT COUNT(*) FROM public.{table.name} WHERE _load_id = %(load_id)s",  # noqa: S608
            {"load_id": load_id},
        )
        return int(counted[0][0])

    def rows_as_loaded(self, table: Table, load_id: int) -> int:  # noqa: ARG002 - a dialect may know
        """Rows that a load wrote and that were not written since, as the server can prove; -1: it cannot."""
        return -1

    def find_load(self, load_id: int) -> Outcome | None:
        """The ledger's answer for a load that came to a verdict (a fault is none)."""
        found = self._ledger("load_id = %(load_id)s AND verdict <> 'failed'", {"load_id": load_id})
        return found[0] if found else None

    def ended_loads(self, load_ids: Sequence[int]) -> list[Ended]:
        """The loads with these ids (at least one) that came to a verdict."""
        text = (
            f"SELECT {', '.join(LEDGER)}, listed_at, finished_at FROM ops.loads"  # noqa: S608
            " WHERE load_id IN %(load_ids)s AND verdict <> 'failed'"
        )
        return [Ended(outcome_of(row[:-2]), *row[-2:]) for row in self.query(text, {"load_ids": tuple(load_ids)})]

    def loads_of(self, arrival_id: int) -> list[Outcome]:
        """The loads of one arrival that came to a verdict, replacements aside: settled ones first, oldest first.

        Those that were undone are among them.
        """
        return self._ledger(
            "arrival_id = %(arrival_id)s AND mode = 'upsert' AND verdict <> 'failed'"
            " ORDER BY CASE WHEN verdict = 'rejected' THEN 1 ELSE 0 END, commit_seq, finished_at",
            {"arrival_id": arrival_id},
        )

    def has_load_of(self, table: Table, size: int, rules: str, rows: int) -> bool:
        """Some file of that many bytes and as many rows or more was loaded by the same rules: worth hashing one."""
        found = self.query(
            "SELECT 1 FROM ops.loads WHERE table_name = %(table)s AND bytes = %(size)s AND rules = %(rules)s"
            " AND rows_read >= %(rows)s AND verdict = 'loaded' AND undone_by IS NULL LIMIT 1",
            {"table": table.name, "size": size, "rules": rules, "rows": rows},
        )
        return bool(found)

    def first_load_of_content(self, table: Table, sha256: str, rules: str | None = None) -> KnownContent | None:
        """The first load of the same bytes - with ``rules``, of those that were judged by them - or None.

        A load that was undone, or whose rows gave way to newer ones, does not count: the table does not hold what it
        brought.
        """
        found = self._ledger(
            "sha256 = %(sha256)s AND table_name = %(table)s AND verdict IN ('loaded', 'duplicate')"
            " AND undone_by IS NULL"
            " AND rules = COALESCE(%(rules)s, rules) AND warnings NOT LIKE %(gave_way)s ORDER BY commit_seq",
            {"sha256": sha256, "table": table.name, "rules": rules, "gave_way": f'%"{SUPERSEDED}"%'},
        )
        loaded = [outcome for outcome in found if outcome.verdict is Verdict.LOADED]
        return KnownContent(loaded[0], found[-1].commit_seq or 0, loaded[-1]) if loaded else None

    def _ledger(self, condition: str, values: Mapping[str, object]) -> list[Outcome]:
        text = f"SELECT {', '.join(LEDGER)} FROM ops.loads WHERE {condition}"  # noqa: S608
        return [outcome_of(row) for row in self.query(text, values)]

    def merge(self, table: Table, staging: str, load_id: int, commit_seq: int) -> Counts:
        """Upsert ``staging`` into the table; replaced rows go to the history. Needs the lock.

        Raises:
            BalanceError: staged rows are neither inserted nor matched exactly once.
        """
        names = self.names(table, staging)
        values = {"load_id": load_id, "commit_seq": commit_seq}
        staged, keys = self.query(f"SELECT COUNT(*), COUNT(DISTINCT {names['key']}) FROM {staging}")[0]  # noqa: S608
        merged = self._merge_rows(names, values, staged)
        told = merged.inserted + merged.updated + merged.unchanged
        if not staged == keys == told or merged.kept != merged.updated:
            raise BalanceError(
                f"{table.name}, load {load_id}: {staged} staged rows of {keys} keys, but {merged.inserted} inserted, "
                f"{merged.updated} updated and {merged.unchanged} unchanged; {merged.kept} kept in the history. "
                "Nothing was committed."
            )
        return Counts(inserted=merged.inserted, updated=merged.updated, unchanged=merged.unchanged)

    def _merge_rows(self, names: Mapping[str, str], values: Mapping[str, object], staged: int) -> Merged:  # noqa: ARG002 - spares a dialect a count
        """Statement by statement, in the SQL that all dialects share."""
        matched = int(self.query(self.sql("merge_matched", **names))[0][0])
        kept = self.execute(self.sql("merge_history", **names), values)
        updated = self.execute(self.sql("merge_update", **names), values)
        inserted = self.execute(self.sql("merge_insert", **names), values)
        return Merged(inserted, updated, matched - updated, kept)

    def preview(self, table: Table, staging: str) -> Counts:
        """What a merge of ``staging`` would do now."""
        found = self.query(self.sql("merge_preview", **self.names(table, staging)))
        staged, matched, differing = (int(number) for number in found[0])
        return Counts(inserted=staged - matched, updated=differing, unchanged=matched - differing)

    def count_absent(self, table: Table, staging: str) -> int:
        """Rows whose key is not in ``staging``: what a replacement would remove."""
        return int(self.query(self.sql("replace_preview", **self.names(table, staging)))[0][0])

    def remove_absent(self, table: Table, staging: str, load_id: int, commit_seq: int) -> int:
        """Take rows whose key is not in ``staging`` to the history; how many. Needs the lock.

        Raises:
            BalanceError: rows removed and rows kept in the history differ.
        """
        names = self.names(table, staging)
        kept = self.execute(self.sql("replace_history", **names), {"load_id": load_id, "commit_seq": commit_seq})
        removed = self.execute(self.sql("replace_delete", **names))
        if kept != removed:
            raise BalanceError(f"{table.name}, load {load_id}: {removed} rows removed, {kept} kept in the history.")
        return removed

    def keys_removed_by(self, table: Table, change_id: int, commit_seq: int) -> npt.NDArray[np.int64]:
        """Keys of rows that the history has from this commit and that are not in the table any more."""
        text = self.sql("removed_keys", **self.names(table))
        return keys_in(self.query(text, {"change_id": change_id, "commit_seq": commit_seq}))

    def join_keys(self, table: Table, stagings: list[str], joined: str) -> None:
        """Make temporary table ``joined`` of the keys in all ``stagings``."""
        parts = " UNION ".join(f'SELECT "{table.key}" FROM {name}' for name in stagings)  # noqa: S608
        self.execute(f"CREATE TEMPORARY TABLE {joined} AS {parts}")

    def rejected_count(self, load_id: int) -> int:
        """Rows that the ledger's table of rejects holds for a load."""
        found = self.query("SELECT COUNT(*) FROM ops.rejected_rows WHERE load_id = %(load_id)s", {"load_id": load_id})
        return int(found[0][0])

    def rejected_bytes(self, load_id: int) -> tuple[int, int]:
        """Bytes of all the rejected rows that the warehouse holds of a load, and of the largest."""
        lengths = "COALESCE(SUM(OCTET_LENGTH(raw)), 0), COALESCE(MAX(OCTET_LENGTH(raw)), 0)"
        text = f"SELECT {lengths} FROM ops.rejected_rows WHERE load_id = %(load_id)s"  # noqa: S608
        total, largest = self.query(text, {"load_id": load_id})[0]
        return int(total), int(largest)

    def rejects_of(self, load_id: int, at_once: int = 2000) -> Iterator[tuple[int, str, bytes]]:
        """Line, reasons and raw bytes of each rejected row of a load, in file order, so many ``at_once``."""
        values, text = {"load_id": load_id, "after": 0, "limit": at_once}, self.sql("read_rejects_page")
        while found := self.query(text, values):
            yield from ((int(line), str(reasons), self.bytes_in(raw)) for line, reasons, raw in found)
            values["after"] = int(found[-1][0])

    def set_sequence(self, table: Table, numbers: Numbers) -> None:
        """Write the table's numbers back. Needs the lock."""
        written = self.execute(
            "UPDATE ops.tables SET commit_seq = %(commit)s, changed_seq = %(changed)s, committed_at = %(at)s"
            " WHERE table_name = %(table)s",
            {"table": table.name, **vars(numbers)},
        )
        require_one(written, f"the commit number of {table.name}")

    def record(self, outcome: Outcome, arrival: Arrival, mode: Mode, run: Mapping[str, str], times: Times) -> None:
        """Add the load to the ledger within the open transaction, in the place of an attempt that failed."""
        self.execute(self.sql("forget_failed_load"), {"load_id": outcome.load_id})
        counts = outcome.counts
        row: dict[str, object] = {
            "load_id": outcome.load_id, "arrival_id": arrival.arrival_id, "table_name": outcome.table,
            "source_bucket": arrival.bucket,
            "source_key": arrival.key, "source_version": arrival.version, "sha256": outcome.sha256,
            "bytes": arrival.size, "mode": mode.value, "verdict": outcome.verdict.value, "code": outcome.code,
            "message": outcome.message[:4096], "rows_read": counts.read, "rows_inserted": counts.inserted,
            "rows_updated": counts.updated, "rows_unchanged": counts.unchanged, "rows_rejected": counts.rejected,
            "rows_removed": counts.removed, "blank_lines": outcome.blank_lines,
            "line_counts": json.dumps(asdict(outcome.lines)) if outcome.lines else None,
            "warnings": json.dumps(outcome.warnings), "started_at": times[0], "finished_at": times[1],
            "dag_id": run.get("dag_id"), "run_id": run.get("run_id"), "repairs": outcome.repairs,
            "duplicate_of": outcome.duplicate_of, "commit_seq": outcome.commit_seq,
            "rules": outcome.rules, "listed_at": arrival.listed_at, "arrived_at": arrival.last_modified,
            "clean_parts": outcome.clean_parts,
        }  # fmt: skip
        columns = {"columns": ", ".join(row), "values": ", ".join(f"%({name})s" for name in row)}
        require_one(
            self.execute(self.sql("insert_load", **columns), row), f"the ledger's row of load {outcome.load_id}"
        )

    def end_together(self, load_ids: Sequence[int], ended_at: datetime) -> None:
        """Loads of one commit end at one moment, so that no moment lies between them."""
        self.execute(
            "UPDATE ops.loads SET finished_at = %(ended_at)s WHERE load_id IN %(load_ids)s",
            {"load_ids": tuple(load_ids), "ended_at": ended_at},
        )


Times = tuple[datetime, datetime]


_END = datetime.max.replace(tzinfo=UTC)
