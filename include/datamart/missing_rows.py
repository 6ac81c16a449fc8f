"""A file that is in the ledger already, asked for by another run: are its rows still there?

The ledger knows what the product did, not what people did to the table by hand. So a file is said to have changed
nothing only when its rows are found. Those that are gone are loaded again; rows that are there with other values stay,
and so does what newer files hold: an older arrival takes nothing back. A file that today's
rules refuse is reported as refused when its rows are gone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from datamart.clean import write_keys
from datamart.late import LateFiles
from datamart.loads import SUPERSEDED, Arrival, Outcome
from datamart.objects import left_key
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


@dataclass(frozen=True)
class MissingRows:
    """Loads what is gone of a file that ``known``, a load of another run, has brought."""

    late: LateFiles
    table: Table
    known: Outcome

    @property
    def warehouse(self) -> Warehouse:
        """Where rows are looked for."""
        return self.late.warehouse

    def in_its_place(self, arrival: Arrival) -> Arrival:
        """The arrival with its place in the order of arrivals: that of its load, or of a replacement that held it."""
        listed_at = self.warehouse.query(
            "SELECT MAX(COALESCE(listed_at, finished_at)) FROM ops.loads WHERE load_id = %(load_id)s"
            " OR (table_name = %(table)s AND sha256 = %(sha256)s AND mode = 'replace' AND undone_by IS NULL"
            " AND verdict IN ('loaded', 'duplicate'))",
            {"load_id": self.known.load_id, "table": self.table.name, "sha256": self.known.sha256},
        )[0][0]
        return replace(arrival, listed_at=listed_at, late=True)

    def judge(self, staged: Staged, outcome: Outcome, done: Outcome) -> Outcome:
        """What a load of the staged rows that are gone comes to; all others are taken away from what is staged.

        It is a load of its own - ``outcome``, with counts or refused - when there is something to do or to tell; else
        it is ``done``, the ledger's answer.

        Raises:
            ChangeRefused: it is not known any more whether newer files hold what is gone.
        """
        return self._judge(staged, outcome, done)[0]

    def merge(self, staged: Staged, outcome: Outcome, done: Outcome, commit_seq: int) -> Outcome:
        """The same, and it is done. Needs the lock."""
        outcome, left = self._judge(staged, outcome, done)
        if outcome.load_id != staged.load_id:
            return outcome
        outcome = replace(outcome, commit_seq=commit_seq)
        if staged.refused:
            return outcome
        if len(left):
            key = left_key(self.table.name, staged.load_id, commit_seq)
            write_keys(self.late.store, key, self.table, left)
        merged = self.warehouse.merge(self.table, staged.staging, staged.load_id, commit_seq)
        unchanged = merged.unchanged + len(left)
        counts = replace(merged, read=staged.read, rejected=staged.rejects.count, unchanged=unchanged)
        return replace(outcome, counts=counts)

    def _judge(self, staged: Staged, outcome: Outcome, done: Outcome) -> tuple[Outcome, npt.NDArray[np.int64]]:
        """What it comes to, and the keys of the rows that were taken away."""
        left = np.empty(0, np.int64)
        if self._replaced(staged.arrival):
            return done, left
        gone = self._gone(staged) if staged.whole else 0
        if staged.refused:
            seen = staged.whole and not gone and not self._refused_now(staged)
            return (done if seen else outcome), left
        if not gone:
            return self._all_found(staged, done), left
        left = self._leave(staged)
        found = self._gone(staged)
        held = gone - found
        if not found:
            message = (
                f"This very file was loaded before (load {self.known.load_id}); nothing changed. {held} of its rows "
                "are gone, but files that came later hold them: send those again."
            )
            return replace(done, message=message), left
        message = f"{found} rows of this file (load {self.known.load_id}) were gone and are loaded again.{_held(held)}"
        if len(left) > held:
            message += f" {len(left) - held} rows are there with other values, and stay."
        warnings = {**outcome.warnings, SUPERSEDED: len(left)} if len(left) else outcome.warnings
        rows = outcome.counts
        counts = replace(rows, inserted=found, unchanged=rows.read - rows.rejected - found)
        return replace(outcome, counts=counts, warnings=warnings, message=message), left

    def _all_found(self, staged: Staged, done: Outcome) -> Outcome:
        refused = self._refused_now(staged)
        if not refused:
            return done
        message = (
            f"This very file was loaded before (load {self.known.load_id}). Today's rules refuse {refused} of the rows "
            "that were accepted then, so whether those are still there is not known; all others are, and nothing "
            "changed."
        )
        return replace(done, message=message)

    def _gone(self, staged: Staged) -> int:
        """Staged rows whose key is not in the table."""
        return self.warehouse.preview(self.table, staged.staging).inserted

    def _refused_now(self, staged: Staged) -> int:
        """Rows of the file that its load accepted, and that are refused today: they are not staged."""
        return max(0, staged.rejects.count - self.known.counts.rejected)

    def _leave(self, staged: Staged) -> npt.NDArray[np.int64]:
        """Take staged rows away that are there with other values, or that newer files hold: their keys."""
        names = self.warehouse.names(self.table, staged.staging)
        differing = keys_in(self.warehouse.query(self.warehouse.sql("staged_and_differing", **names)))
        newer = self.late.newer_keys(staged.arrival, self.table, staged.sha256)
        keys = np.unique(np.concatenate([differing, newer]))
        return self.warehouse.leave_to_newer(self.table, staged.staging, keys) if len(keys) else keys

    def _replaced(self, arrival: Arrival) -> bool:
        """A later replacement, without this file, is the whole table: what it removed is not gone by mistake.

        It is later if it was committed later, or if its place in the order is later than that of ``arrival``.
        """
        values = {
            "table": self.table.name, "sha256": self.known.sha256, "commit_seq": self.known.commit_seq,
            "listed_at": arrival.listed_at,
        }  # fmt: skip
        return bool(self.warehouse.query(self.warehouse.sql("replaced_since"), values)[0][0])


def _held(rows: int) -> str:
    return f" {rows} more are gone, but files that came later hold them: send those again." if rows else ""
