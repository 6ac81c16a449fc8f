"""A file that missed its turn: where files that came after it were loaded first, their rows stay.

Files of a table are loaded in the order of their arrival, so the newer one wins. A fault may keep one from its turn,
and the tasks of a historic load run beside each other; nobody waits for anybody. A file that comes after newer ones of
its listing - or, when a fault has made it late, of later listings too - gives way: rows that a newer file has brought
or found as they were stay, so the table ends as if each file had been loaded in its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from datamart.clean import read_keys, write_keys
from datamart.errors import ChangeRefused
from datamart.loads import Arrival, Mode
from datamart.objects import ObjectStore, clean_key, left_key
from datamart.tables import Table
from datamart.warehouse.base import Warehouse
from datamart.warehouse.values import NewerLoad, keys_in

_SAME_BYTES = (
    "SELECT same.load_id, same.clean_parts FROM ops.loads AS gone"
    " INNER JOIN ops.loads AS same ON gone.sha256 = same.sha256 AND gone.table_name = same.table_name"
    " AND gone.rules = same.rules"
    " WHERE gone.load_id = %(load_id)s AND same.load_id <> gone.load_id AND same.clean_parts > 0"
    " AND same.verdict IN ('loaded', 'duplicate') ORDER BY same.commit_seq DESC"
)


@dataclass(frozen=True)
class LateFiles:
    """Looks for files whose turn came after one that missed its own."""

    warehouse: Warehouse
    store: ObjectStore
    _read: dict[int, npt.NDArray[np.int64]] = field(default_factory=dict, init=False, repr=False)

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
        """Keys that newer files of other bytes hold.

        Raises:
            ChangeRefused: it is not known any more.
        """
        text = "SELECT load_id FROM ops.loads WHERE sha256 = %(sha256)s AND table_name = %(table)s"
        same = {row[0] for row in self.warehouse.query(text, {"sha256": sha256, "table": table.name})}
        found = [np.empty(0, np.int64)]
        for load in self.warehouse.newer_loads(table, arrival):
            if load.load_id in same:
                continue
            keys = self._keys_of(table, load)
            if keys is None:
                keys = self._keys_of_same_bytes(table, load)
            if keys is None:
                raise ChangeRefused(_unknown(arrival, table, load))
            found.append(keys)
        return np.unique(np.concatenate(found))

    def _keys_of_all(self, table: Table, newer: Sequence[NewerLoad]) -> npt.NDArray[np.int64]:
        """The keys that newer files hold; where that is not known any more, all that are in the table."""
        found = []
        for load in newer:
            keys = self._keys_of(table, load)
            if keys is None:
                return self.warehouse.keys_of(table)
            found.append(keys)
        return np.unique(np.concatenate(found))

    def _keys_of(self, table: Table, load: NewerLoad) -> npt.NDArray[np.int64] | None:
        """The keys in a load's clean parquet; None when that is gone."""
        if load.load_id not in self._read:
            found = []
            for part in range(max(load.parts, 1)):
                keys = read_keys(self.store, clean_key(table.name, load.load_id, part), table)
                if keys is None:
                    return None
                found.append(keys)
            self._read[load.load_id] = np.concatenate(found)
        return self._read[load.load_id]

    def _keys_of_same_bytes(self, table: Table, gone: NewerLoad) -> npt.NDArray[np.int64] | None:
        """The keys that a load held, from another load of the same bytes by the same rules."""
        for load_id, parts in self.warehouse.query(_SAME_BYTES, {"load_id": gone.load_id}):
            keys = self._keys_of(table, NewerLoad(int(load_id), int(parts), gone.mode))
            if keys is not None:
                return keys
        return None


def _unknown(arrival: Arrival, table: Table, load: NewerLoad) -> str:
    return (
        f"Rows of {arrival.key} are gone from {table.name}, but cannot be loaded again in its place: a file that came "
        f"later (load {load.load_id}) may hold them, and its clean rows are not kept any more under "
        f"clean/{table.name}/{load.load_id}/. Nothing was loaded. Restore the table from a backup, or send the files "
        "again as new objects, the newest last."
    )


def left_message(rows: int) -> str:
    """What the ledger says of rows that gave way."""
    return f"{rows} rows were left as files that came after this one, and were loaded before it, have them."
