"""A backup beside the live table: which rows differ, found without putting the others into the warehouse again.

Every live row is known by a 64-bit number (``digest``), kept at its key; a row of the backup that has the same number
at the same key is as it was. That takes 10 bytes for each key up to the largest, so larger tables are staged instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datamart.ahead import ahead
from datamart.errors import TransientFault
from datamart.recovery.difference import Difference
from datamart.recovery.digest import Digest, Numbers, row_numbers
from datamart.recovery.manifest import Manifest
from datamart.recovery.parts import Fetched, key_twice, of_nobody, rows_in
from datamart.tables import LOAD_ID, Table
from datamart.warehouse.base import Warehouse

LARGEST_KEY = 24_000_000


class Live:
    """The live rows' numbers by key."""

    def __init__(self, largest: int) -> None:
        self._numbers = np.zeros(largest + 1, np.uint64)
        self._there = np.zeros(largest + 1, np.bool_)
        self._seen = np.zeros(largest + 1, np.bool_)
        self._asked = 0

    def add(self, keys: npt.NDArray[np.int32], numbers: Numbers) -> None:
        """Rows of the live table.

        Raises:
            TransientFault: a key was not there when the largest was asked for.
        """
        if len(keys) and not 0 <= int(keys.min()) <= int(keys.max()) < len(self._there):
            raise TransientFault("Rows came into the table while it was read. Nothing was touched; it is tried again.")
        self._numbers[keys] = numbers
        self._there[keys] = True

    def differs(self, keys: npt.NDArray[np.int32], numbers: Numbers) -> npt.NDArray[np.bool_]:
        """Which rows of the backup are not there as they are."""
        known = (keys >= 0) & (keys < len(self._there))
        places = keys[known]
        self._seen[places] = True
        self._asked += len(places)
        found = np.ones(len(keys), np.bool_)
        found[known] = ~(self._there[places] & (self._numbers[places] == numbers[known]))
        return found

    @property
    def asked_twice(self) -> bool:
        """Two rows of the backup had the same key, among keys up to the largest live one."""
        return int(np.count_nonzero(self._seen)) != self._asked

    def surplus(self) -> npt.NDArray[np.int64]:
        """Keys of live rows that the backup does not have."""
        return np.flatnonzero(self._there & ~self._seen)


class Compared:
    """The rows of a backup that differ from the live table, for a :class:`Difference`."""

    def __init__(
        self, warehouse: Warehouse, table: Table, manifest: Manifest, fetched: Sequence[Fetched], *, own: bool
    ) -> None:
        """``own``: load ids in the backup name loads of this ledger; if not, they are neither compared nor kept."""
        self.manifest = manifest
        self._warehouse, self._table, self._fetched = warehouse, table, fetched
        self._own = own
        self._names = (*table.names, LOAD_ID) if own else table.names

    @staticmethod
    def possible(warehouse: Warehouse, table: Table, manifest: Manifest) -> bool:
        """Live rows and those of the backup are few enough."""
        key = f'"{table.key}"'
        text = f"SELECT COALESCE(MAX({key}), 0), COALESCE(MIN({key}), 0) FROM public.{table.name}"  # noqa: S608
        largest, smallest = warehouse.query(text)[0]
        return smallest >= 0 and max(int(largest), manifest.tables[table.name].rows) <= LARGEST_KEY

    @staticmethod
    def temporary(difference: Difference) -> tuple[str, str]:
        """Names of the temporary tables that it needs: of rows that differ, and of keys that are too many."""
        return f"{difference.name}_rows", f"{difference.name}_surplus"

    def into(self, difference: Difference, change_id: int, digest: Digest) -> None:
        """Find the difference; ``digest`` counts all rows of the backup."""
        live = self._live()
        staging, too_many = self.temporary(difference)
        with ahead(rows_in(self._fetched, self.manifest, self._table.kept_schema), 1) as read:
            differing = self._differing(live, iter(read.take, None), digest)
            staged = self._warehouse.stage_kept(self._table, staging, differing)
        keys = self._warehouse.query(f'SELECT COUNT(DISTINCT "{self._table.key}") FROM {staging}')[0][0]  # noqa: S608
        if live.asked_twice or keys != staged:
            raise key_twice(self.manifest, self._table)
        with self._warehouse.key_list(self._table, too_many, live.surplus()) as surplus:
            difference.to_compared(staging, surplus, change_id)
        self._warehouse.drop_staging(staging)

    def _differing(self, live: Live, batches: Iterator[pa.RecordBatch], digest: Digest) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            numbers = row_numbers(batch)
            digest.count(numbers)
            if not self._own:
                numbers = row_numbers(batch.select(self._names))
            keys = batch.column(self._table.key).to_numpy(zero_copy_only=False)
            found = batch.filter(pa.array(live.differs(keys, numbers)))
            if found.num_rows:
                yield found if self._own else of_nobody(found)

    def _live(self) -> Live:
        key, name = f'"{self._table.key}"', f"public.{self._table.name}"
        largest = int(self._warehouse.query(f"SELECT COALESCE(MAX({key}), 0) FROM {name}")[0][0])  # noqa: S608
        live = Live(largest)
        with ExitStack() as resources:
            batches = resources.enter_context(ahead(self._warehouse.rows_of(self._table, name), 1))
            while (batch := batches.take()) is not None:
                keys = batch.column(self._table.key).to_numpy(zero_copy_only=False)
                live.add(keys, row_numbers(batch.select(self._names)))
        return live
