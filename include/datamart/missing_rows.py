"""A file that is in the ledger already, asked for by another run: are its rows still there?

The ledger knows what the product did, not what people did to the table by hand. So a file is said to have changed
nothing only when its rows are found. Those that are gone are loaded again; rows that are there with other values stay,
and so does what newer files hold: an older arrival takes nothing back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from datamart.clean import write_keys
from datamart.late import LateFiles
from datamart.loads import SUPERSEDED, Arrival, Mode, Outcome
from datamart.objects import ObjectStore, left_key
from datamart.staging import Staged
from datamart.tables import Table
from datamart.warehouse.base import Warehouse
from datamart.warehouse.values import keys_in

FEW_ROWS = 100_000
"""A file of fewer rows is always compared row by row; a larger one when nothing else proves that its rows are there."""


def all_there(warehouse: Warehouse, table: Table, load: Outcome) -> bool:
    """The table holds every row of a load of many rows just as the load left it.

    False where that is not known without looking at each row: of small files, of loads that found rows as they were,
    and where the server cannot tell.
    """
    counts = load.counts
    if counts.read < FEW_ROWS or counts.unchanged:
        return False
    return warehouse.rows_as_loaded(table, load.load_id) == counts.inserted + counts.updated


def with_missing(outcome: Outcome, gone: int) -> Outcome:
    """What a load of so many rows that are gone would come to."""
    rows = outcome.counts
    return replace(outcome, counts=replace(rows, inserted=gone, unchanged=rows.read - rows.rejected - gone))


@dataclass(frozen=True)
class MissingRows:
    """Loads what is gone of a file that ``known``, a load of another run, has brought."""

    warehouse: Warehouse
    store: ObjectStore
    table: Table
    known: Outcome

    def in_its_place(self, arrival: Arrival) -> Arrival:
        """The arrival with its place in the order of arrivals, which is that of its first load."""
        text = "SELECT COALESCE(listed_at, finished_at) FROM ops.loads WHERE load_id = %(load_id)s"
        listed_at = self.warehouse.query(text, {"load_id": self.known.load_id})[0][0]
        return replace(arrival, listed_at=listed_at, late=True)

    def count(self, staging: str) -> int:
        """Staged rows whose key is not in the table, unless a replacement has removed them."""
        return 0 if self._replaced() else self.warehouse.preview(self.table, staging).inserted

    def merge(self, staged: Staged, outcome: Outcome, commit_seq: int) -> Outcome:
        """Merge what is gone, and nothing else; without changes when nothing is. Needs the lock."""
        if not self.count(staged.staging):
            return outcome
        left, gone = self._leave(staged)
        merged = self.warehouse.merge(self.table, staged.staging, staged.load_id, commit_seq)
        counts = replace(
            merged, read=staged.read, rejected=staged.rejects.count, unchanged=merged.unchanged + len(left)
        )
        warnings = dict(outcome.warnings)
        if len(left):
            warnings[SUPERSEDED] = len(left)
            write_keys(self.store, left_key(self.table.name, staged.load_id, commit_seq), self.table, left)
        message = f"{merged.inserted} rows of this file (load {self.known.load_id}) were gone and are loaded again."
        if gone:
            message += f" {gone} more are gone, but files that came later hold them: send those again."
        if len(left) - gone:
            message += f" {len(left) - gone} rows are there with other values, and stay."
        return replace(outcome, counts=counts, warnings=warnings, message=message)

    def _leave(self, staged: Staged) -> tuple[npt.NDArray[np.int64], int]:
        """Take staged rows away that are there with other values, or that newer files hold: their keys; how many of
        them are gone from the table.
        """
        names = self.warehouse.names(self.table, staged.staging)
        differing = keys_in(self.warehouse.query(self.warehouse.sql("staged_and_differing", **names)))
        newer = LateFiles(self.warehouse, self.store).newer_keys(staged.arrival, self.table, staged.sha256)
        keys = np.unique(np.concatenate([differing, newer]))
        if not len(keys):
            return keys, 0
        left = self.warehouse.leave_to_newer(self.table, staged.staging, keys)
        with self.warehouse.key_list(self.table, f"{staged.staging}_left", left) as listed:
            text = (
                f"SELECT COUNT(*) FROM {listed} AS listed"  # noqa: S608
                f" INNER JOIN {names['target']} AS target ON listed.{names['key']} = target.{names['key']}"
            )
            there = int(self.warehouse.query(text)[0][0])
        return left, len(left) - there

    def _replaced(self) -> bool:
        """A later replacement is the whole table: what it removed is not gone by mistake."""
        text = (
            "SELECT COUNT(*) FROM ops.loads WHERE table_name = %(table)s AND mode = %(mode)s AND undone_by IS NULL"
            " AND verdict IN ('loaded', 'duplicate') AND commit_seq > %(commit_seq)s"
        )
        values = {"table": self.table.name, "mode": Mode.REPLACE.value, "commit_seq": self.known.commit_seq}
        return bool(self.warehouse.query(text, values)[0][0])
