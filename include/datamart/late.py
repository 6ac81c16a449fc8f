"""A file that missed its turn: where files that came after it were loaded first, their rows stay.

Files of a table are loaded in the order of their arrival, so the newer one wins. A fault may keep one from its turn,
and the tasks of a historic load run beside each other; nobody waits for anybody. A file that comes after newer ones of
its listing - or, when a fault has made it late, of later listings too - gives way: rows that a newer file has brought
or found as they were stay, so the table ends as if each file had been loaded in its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datamart.clean import read_keys, write_keys
from datamart.loads import Arrival, Mode
from datamart.objects import ObjectStore, clean_key, left_key
from datamart.tables import Table
from datamart.warehouse.base import Warehouse
from datamart.warehouse.values import NewerLoad, keys_in


@dataclass(frozen=True)
class LateFiles:
    """Looks for files whose turn came after one that missed its own."""

    warehouse: Warehouse
    store: ObjectStore

    def give_way(self, arrival: Arrival, identity: tuple[int, int], table: Table, staging: str) -> int:
        """Take staged rows away whose keys a newer file holds; how many. Needs the table's lock.

        After a newer replacement nothing is left of them; it is the whole table. Their keys are kept beside the load's
        clean rows, so that what the load did can be done again; ``identity`` is its id and the number of its commit.
        """
        newer = self.warehouse.newer_loads(table, arrival) if arrival.listed_at else []
        if not newer:
            return 0
        if any(load.mode is Mode.REPLACE for load in newer):
            left = keys_in(self.warehouse.query(f'SELECT "{table.key}" FROM {staging}'))  # noqa: S608
            self.warehouse.execute(f"DELETE FROM {staging}")  # noqa: S608
        else:
            left = self.warehouse.leave_to_newer(table, staging, self._keys_of_all(table, newer))
        if len(left):
            write_keys(self.store, left_key(table.name, *identity), table, left)
        return len(left)

    def newer_keys(self, arrival: Arrival, table: Table, sha256: str) -> npt.NDArray[np.int64]:
        """Keys that newer files of other bytes hold. Needs the table's lock."""
        text = "SELECT load_id FROM ops.loads WHERE sha256 = %(sha256)s AND table_name = %(table)s"
        same = {row[0] for row in self.warehouse.query(text, {"sha256": sha256, "table": table.name})}
        newer = [load for load in self.warehouse.newer_loads(table, arrival) if load.load_id not in same]
        return self._keys_of_all(table, newer) if newer else np.empty(0, np.int64)

    def _keys_of_all(self, table: Table, newer: Sequence[NewerLoad]) -> npt.NDArray[np.int64]:
        """The keys that newer files hold; where that cannot be told any more, all that are in the table."""
        found = []
        for load in newer:
            for part in range(max(load.parts, 1)):
                keys = read_keys(self.store, clean_key(table.name, load.load_id, part), table)
                if keys is None:
                    return self.warehouse.keys_of(table)
                found.append(keys)
        return np.unique(np.concatenate(found))


def left_message(rows: int) -> str:
    """What the ledger says of rows that gave way."""
    return f"{rows} rows were left as files that came after this one, and were loaded before it, have them."
