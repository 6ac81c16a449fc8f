"""Any moment of a table: the last backup before it, then everything that changed rows since, in commit order.

What a load put is in its clean parquet; beside it are the keys of rows that it left to newer files, and of those that a
replacement removed. A restore and an undo keep theirs in the same way. So the rows can be made again without the live
table or its history, whatever happened to these.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datamart.clean import read_keys, read_rows
from datamart.errors import ChangeRefused
from datamart.loads import SUPERSEDED
from datamart.objects import ObjectStore, change_key, clean_key, left_key, removed_key
from datamart.tables import Table
from datamart.warehouse.base import Warehouse

log = logging.getLogger(__name__)

_TELL_EVERY = 100
_MOST_TOLD = 10


@dataclass(frozen=True)
class Event:
    """Something that changed rows of a table."""

    commit_seq: int
    change_id: int
    kind: str
    """load, restore or undo."""
    parts: int
    has_left: bool
    removed: int
    put: int
    """Rows that it added or changed, as the ledger counted them."""
    rows: int | None = None
    """Rows of the table after a restore or an undo."""

    @property
    def name(self) -> str:
        """As people are told it."""
        return f"{self.kind} {self.change_id}"


def commit_at(warehouse: Warehouse, table: Table, at: datetime) -> int:
    """The number of the newest commit of the table up to a moment; 0 when there is none."""
    values = {"table": table.name, "at": at}
    first_after = warehouse.query(warehouse.sql("first_commit_after"), values)[0][0]
    if first_after is not None:
        return int(first_after) - 1
    newest = warehouse.query("SELECT commit_seq FROM ops.tables WHERE table_name = %(table)s", values)
    return int(newest[0][0]) if newest else 0


def events_between(warehouse: Warehouse, table: Table, after: int, until: int) -> list[Event]:
    """What changed rows after one commit up to another, in their order."""
    values = {"table": table.name, "after": after, "until": until, "gave_way": f'%"{SUPERSEDED}"%'}
    found = warehouse.query(warehouse.sql("events_between"), values)
    return [
        Event(int(seq), int(one), str(kind), int(parts), bool(left), int(removed), int(put), rows)
        for seq, one, kind, parts, left, removed, put, rows in found
    ]


@dataclass(frozen=True)
class Replay:
    """Does events again, to rows that are staged in this session."""

    warehouse: Warehouse
    store: ObjectStore
    table: Table

    def apply(self, events: Sequence[Event], staging: str) -> list[str]:
        """Bring ``staging`` forward; a sentence for each event that did not do to it what it did to the table.

        Raises:
            ChangeRefused: what an event did is not kept (any more).
        """
        if not events:
            return []
        self.warehouse.index_staging(self.table, staging)
        strange = []
        for place, event in enumerate(events, 1):
            put, removed = self._put(event, staging), self._remove(event, staging)
            if (put, removed) != (event.put, event.removed):
                strange.append(
                    f"{event.name} changed {event.put} rows and removed {event.removed}, but {put} and {removed} when "
                    "it was done again: somebody else had changed the table."
                )
            elif event.rows is not None and event.rows != (rows := self.warehouse.size_of(staging)):
                strange.append(
                    f"{event.name} left {event.rows} rows, but {rows} when it was done again: somebody else had "
                    "changed the table."
                )
            if place % _TELL_EVERY == 0 or place == len(events):
                log.info("%s: %d of %d later changes are done again", self.table.name, place, len(events))
        more = [f"The same is so of {len(strange) - _MOST_TOLD} later changes."] if len(strange) > _MOST_TOLD else []
        return strange[:_MOST_TOLD] + more

    def _put(self, event: Event, staging: str) -> int:
        left = self._left(event)
        put = 0
        for part in range(event.parts):
            rows = read_rows(self.store, self._key(event, part), self._schema(event))
            if rows is None:
                raise self._gone(event)
            put += self._merge(event, [self._without(batch, left) for batch in rows], staging)
        # A restore or an undo puts all its rows, whatever was there.
        lost = event.put and not event.parts if event.kind == "load" else put != event.put
        if lost:
            raise self._gone(event)
        return put

    def _key(self, event: Event, part: int) -> str:
        if event.kind == "load":
            return clean_key(self.table.name, event.change_id, part)
        return change_key(self.table.name, event.change_id, event.commit_seq, part)

    def _merge(self, event: Event, batches: list[pa.RecordBatch], staging: str) -> int:
        one = f"{staging}_event"
        if event.kind == "load":
            self.warehouse.stage(self.table, one, batches)
        else:
            self.warehouse.stage_kept(self.table, one, batches)
        names = self.warehouse.names(self.table, one, target=staging)
        if event.kind == "load":
            put = self.warehouse.replay_load(names, event.change_id)
        else:
            put = self.warehouse.replay_change(names)
        self.warehouse.drop_staging(one)
        return put

    def _schema(self, event: Event) -> pa.Schema:
        return self.table.arrow_schema if event.kind == "load" else self.table.kept_schema

    def _left(self, event: Event) -> npt.NDArray[np.int64] | None:
        """Keys of rows that the load did not merge, as they gave way to newer files."""
        if not event.has_left:
            return None
        keys = read_keys(self.store, left_key(self.table.name, event.change_id, event.commit_seq), self.table)
        if keys is None:
            raise self._gone(event)
        return keys

    def _without(self, batch: pa.RecordBatch, left: npt.NDArray[np.int64] | None) -> pa.RecordBatch:
        if left is None:
            return batch
        keys = batch.column(self.table.key).to_numpy(zero_copy_only=False)
        return batch.filter(pa.array(~np.isin(keys, left)))

    def _remove(self, event: Event, staging: str) -> int:
        if not event.removed:
            return 0
        keys = read_keys(self.store, removed_key(self.table.name, event.change_id, event.commit_seq), self.table)
        if keys is None:
            raise self._gone(event)
        return len(self.warehouse.leave_to_newer(self.table, staging, keys))

    def _gone(self, event: Event) -> ChangeRefused:
        return ChangeRefused(
            f"{self.table.name} cannot be brought to that moment: what {event.name} did is not kept (any more) under "
            f"clean/{self.table.name}/{event.change_id}/. Choose a backup itself, or a moment before commit "
            f"{event.commit_seq}."
        )
