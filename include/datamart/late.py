"""A file that missed its turn: where files that came after it were loaded first, their rows stay.

Files of a table are loaded in the order of their arrival, so the newer one wins. A fault may keep one from its turn;
others are not held up by it. When it is loaded at last, its rows give way to every row that a newer file has brought
or found as it was, so the table ends as if each file had been loaded in its turn.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from datamart.loads import Arrival
from datamart.objects import ObjectStore, clean_key
from datamart.tables import Column, Table, Type
from datamart.warehouse.base import Warehouse


@dataclass(frozen=True)
class LateFiles:
    """Looks for files whose turn came after one that missed its own."""

    warehouse: Warehouse
    store: ObjectStore

    def give_way(self, arrival: Arrival, table: Table, staging: str) -> int:
        """Take staged rows away whose keys a newer file holds; how many. Needs the table's lock."""
        turn = self.warehouse.missed_turn(arrival.arrival_id)
        newer = self.warehouse.newer_loads(table, turn) if turn else []
        if not newer:
            return 0
        keys = np.unique(np.concatenate([part for load in newer for part in self._keys(table, *load)]))
        return self.warehouse.leave_to_newer(table, staging, _as_table(table), _batches(table, keys))

    def _keys(self, table: Table, load_id: int, parts: int) -> Iterator[npt.NDArray[np.int64]]:
        """The keys of a load's accepted rows; of those that are still its own where its clean parquet has expired."""
        for part in range(parts):
            body = self.store.fetch(clean_key(table.name, load_id, part))
            if body is None:
                yield self.warehouse.keys_of(table, load_id)
                return
            column = parquet.read_table(io.BytesIO(body), columns=[table.key]).column(table.key)
            yield column.to_numpy().astype(np.int64)


def _as_table(table: Table) -> Table:
    return Table(f"{table.name}_newer", (Column(table.key, Type.INTEGER),), key=table.key)


def _batches(table: Table, keys: npt.NDArray[np.int64]) -> list[pa.RecordBatch]:
    return [pa.RecordBatch.from_arrays([pa.array(keys.astype(np.int32))], schema=_as_table(table).arrow_schema)]
