"""A file that missed its turn: where files that came after it were loaded first, their rows stay.

Files of a table are loaded in the order of their arrival, so the newer one wins. A fault may keep one from its turn,
and the tasks of a historic load run beside each other; nobody waits for anybody. A file that comes after newer ones of
its listing - or, when a fault has made it late, of later listings too - gives way: rows that a newer file has brought
or found as they were stay, so the table ends as if each file had been loaded in its turn.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from datamart.loads import Arrival, Mode
from datamart.objects import ObjectStore, clean_key
from datamart.tables import Column, Table, Type
from datamart.warehouse.base import NewerLoad, Warehouse


@dataclass(frozen=True)
class LateFiles:
    """Looks for files whose turn came after one that missed its own."""

    warehouse: Warehouse
    store: ObjectStore

    def give_way(self, arrival: Arrival, table: Table, staging: str) -> int:
        """Take staged rows away whose keys a newer file holds; how many. Needs the table's lock.

        After a newer replacement nothing is left of them; it is the whole table.
        """
        newer = self.warehouse.newer_loads(table, arrival) if arrival.listed_at else []
        if not newer:
            return 0
        if any(load.mode is Mode.REPLACE for load in newer):
            return self.warehouse.execute(f"DELETE FROM {staging}")  # noqa: S608
        keys = self._keys_of_all(table, newer)
        return self.warehouse.leave_to_newer(table, staging, _as_table(table), _batches(table, keys))

    def _keys_of_all(self, table: Table, newer: Sequence[NewerLoad]) -> npt.NDArray[np.int64]:
        """The keys that newer files hold; where that cannot be told any more, all that are in the table."""
        found = []
        for load in newer:
            for part in range(max(load.parts, 1)):
                keys = self._keys(table, load.load_id, part)
                if keys is None:
                    return self.warehouse.keys_of(table)
                found.append(keys)
        return np.unique(np.concatenate(found))

    def _keys(self, table: Table, load_id: int, part: int) -> npt.NDArray[np.int64] | None:
        """The keys in a part of clean parquet; None when it is not there or cannot be read."""
        body = self.store.fetch(clean_key(table.name, load_id, part))
        if body is None:
            return None
        try:
            column = parquet.read_table(io.BytesIO(body), columns=[table.key]).column(table.key)
        except (pa.ArrowInvalid, OSError):
            return None
        keys: npt.NDArray[np.int64] = column.to_numpy().astype(np.int64)
        return keys


def _as_table(table: Table) -> Table:
    return Table(f"{table.name}_newer", (Column(table.key, Type.INTEGER),), key=table.key)


def _batches(table: Table, keys: npt.NDArray[np.int64]) -> list[pa.RecordBatch]:
    return [pa.RecordBatch.from_arrays([pa.array(keys.astype(np.int32))], schema=_as_table(table).arrow_schema)]


def left_message(rows: int) -> str:
    """What the ledger says of rows that gave way."""
    return f"{rows} rows were left as files that came after this one, and were loaded before it, have them."
