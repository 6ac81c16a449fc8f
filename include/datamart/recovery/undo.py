"""Takes back what one load did: rows it put are again what they were before it, rows it removed are there again.

What it did is told by the rows' ``_load_id`` and by the history. Where later loads have touched the same rows - changed
them, or brought them as they were - it is refused, unless those rows are to stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datamart.clean import read_keys
from datamart.errors import ChangeRefused, ImpossibleRequest, TransientFault
from datamart.loads import Outcome, Verdict
from datamart.objects import ObjectStore, clean_key, left_key
from datamart.recovery.difference import Difference
from datamart.recovery.ledger import Change, change_id, find_change, record_change
from datamart.settings import Settings
from datamart.tables import TABLES, Table, table_named
from datamart.warehouse.base import Warehouse

log = logging.getLogger(__name__)

UNDO = "undo"
_MOST_TOLD = 10


@dataclass(frozen=True)
class Later:
    """Rows of the load that something later has touched."""

    change_id: int
    rows: int
    found_equal: bool
    """It brought them as they were, so nothing shows in them."""


class LaterLoad(NamedTuple):
    """A later load that found rows as they were: where its clean rows are, and its commit if it left some of them."""

    load_id: int
    kept: int
    parts: int
    left_seq: int | None


@dataclass(frozen=True)
class Undo:
    """Undoes loads of one warehouse; ``run`` names the Dag run for the ledger."""

    warehouse: Warehouse
    store: ObjectStore
    settings: Settings
    run: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[Table, ...] = TABLES
    _keys: dict[int, npt.NDArray[np.int64]] = field(default_factory=dict, init=False, repr=False)
    _left: dict[int, npt.NDArray[np.int64]] = field(default_factory=dict, init=False, repr=False)

    def undo(self, load_id: int, *, keep_later: bool = False, dry_run: bool = False) -> Change:
        """Take the load's rows back; with ``keep_later``, but for those that something later has touched.

        Raises:
            ImpossibleRequest: there is no such load, or nothing of it is in a table.
            ChangeRefused: later loads touched its rows, or that cannot be known any more; nothing was touched.
        """
        load = self._load(load_id)
        table = table_named(load.table or "", self.tables)
        number = change_id(f"{UNDO} {load_id}", table.name, self.run)
        done = None if dry_run else find_change(self.warehouse, number)
        if done is not None:
            return done
        if load.undone_by is not None:
            raise ImpossibleRequest(f"Load {load_id} is undone already, by {load.undone_by}.")
        change = Change(number, table.name, UNDO, undone_load_id=load_id, dry_run=dry_run)
        difference = Difference(self.warehouse, table, f"difference_{number}")
        try:
            self._read_ahead(table, load)
            if dry_run:
                return self._found(change, table, load, difference, keep_later)
            return self.warehouse.atomically(lambda: self._apply(change, table, load, difference, keep_later))
        finally:
            with suppress(TransientFault):
                difference.drop()

    def _read_ahead(self, table: Table, load: Outcome) -> None:
        """Read the files of later loads before the lock is taken: there may be many."""
        for later in self._later_loads(table, load):
            self._brought(table, load, later)

    def _later_loads(self, table: Table, load: Outcome) -> list[LaterLoad]:
        """Later loads that found rows as they were, and where their clean rows are."""
        values = {"table": table.name, "commit_seq": load.commit_seq}
        found = self.warehouse.query(self.warehouse.sql("undo_later_loads"), values)
        return [LaterLoad(int(later), int(kept), int(parts), left) for later, kept, parts, left in found]

    def _load(self, load_id: int) -> Outcome:
        load = self.warehouse.find_load(load_id)
        if load is None:
            raise ImpossibleRequest(f"There is no load {load_id} in the ledger. Its id is in ops.loads.")
        if load.verdict not in (Verdict.LOADED, Verdict.DUPLICATE) or load.commit_seq is None:
            raise ImpossibleRequest(f"Load {load_id} ({load.key}) was {load.verdict}: there is nothing to undo.")
        return load

    def _apply(self, change: Change, table: Table, load: Outcome, difference: Difference, keep_later: bool) -> Change:
        numbers = self.warehouse.lock(table).next(changed=False)
        done, again = find_change(self.warehouse, change.change_id), self._load(load.load_id)
        if done is not None:
            return done
        if again.undone_by is not None:
            raise ImpossibleRequest(f"Load {load.load_id} is undone already, by {again.undone_by}.")
        change = self._found(change, table, load, difference, keep_later)
        parts = difference.keep(self.store, change.change_id, numbers.commit, self.settings.part_rows)
        difference.apply(change.change_id, numbers.commit)
        rows = self.warehouse.size_of(f"public.{table.name}")
        change = replace(change, commit_seq=numbers.commit, clean_parts=parts, rows=rows)
        self.warehouse.execute(
            "UPDATE ops.loads SET undone_by = %(change_id)s, undone_seq = %(commit_seq)s WHERE load_id = %(load_id)s",
            {"change_id": change.change_id, "commit_seq": numbers.commit, "load_id": load.load_id},
        )
        numbers = numbers.now(changed=change.any).ended(self.warehouse.now())
        record_change(self.warehouse, change, self.run, numbers.at)
        self.warehouse.set_sequence(table, numbers)
        return change

    def _found(self, change: Change, table: Table, load: Outcome, difference: Difference, keep_later: bool) -> Change:
        """What is to be done; refused when something later is in the way."""
        difference.to_before(load.load_id, load.commit_seq or 0)
        later = self._touched(table, load)
        equal, keys = self._found_equal(table, load, difference.keys())
        notes = [self._sentence(one) for one in (*later, *equal)][:_MOST_TOLD]
        if (later or equal) and not keep_later and not change.dry_run:
            raise ChangeRefused(
                f"Load {load.load_id} ({load.key}) cannot be undone as a whole: later changes touched its rows. "
                f"{' '.join(notes)} Nothing was touched. Undo those first, or let their rows stay as they are."
            )
        if len(keys):
            difference.leave(keys)
        sizes = difference.sizes()
        verb = "would be" if change.dry_run else "were"
        message = (
            f"{sizes.removed} rows {verb} removed, {sizes.changed} set back and {sizes.added} brought back; the file "
            f"{load.key} counts as new when it comes again."
        )
        refused = bool(later or equal) and change.dry_run and not keep_later
        if refused:
            message = f"It would be refused unless later rows are to stay. With that, {message}"
        return replace(
            change, added=sizes.added, changed=sizes.changed, removed=sizes.removed, message=message,
            notes=tuple(notes), refused=refused,
        )  # fmt: skip

    def _touched(self, table: Table, load: Outcome) -> list[Later]:
        """What has changed or removed the load's rows since."""
        values = {"load_id": load.load_id, "commit_seq": load.commit_seq, "table": table.name}
        found = self.warehouse.query(self.warehouse.sql("undo_touched", **self.warehouse.names(table)), values)
        return [Later(int(one), int(rows), found_equal=False) for one, rows in found]

    def _found_equal(
        self, table: Table, load: Outcome, keys: npt.NDArray[np.int64]
    ) -> tuple[list[Later], npt.NDArray[np.int64]]:
        """Later loads that brought the load's rows as they were, and the keys of all these rows."""
        if not len(keys):
            return [], keys
        found, common = [], [np.empty(0, np.int64)]
        for later in self._later_loads(table, load):
            same = np.intersect1d(keys, self._brought(table, load, later))
            if len(same):
                found.append(Later(later.load_id, len(same), found_equal=True))
                common.append(same)
        return found, np.unique(np.concatenate(common))

    def _brought(self, table: Table, load: Outcome, later: LaterLoad) -> npt.NDArray[np.int64]:
        """The keys of all rows that a later load brought."""
        keys = self._keys_kept(table, load, later)
        if later.left_seq is None:
            return keys
        if later.load_id not in self._left:
            left = read_keys(self.store, left_key(table.name, later.load_id, later.left_seq), table)
            self._left[later.load_id] = np.empty(0, np.int64) if left is None else left
        return np.setdiff1d(keys, self._left[later.load_id])

    def _keys_kept(self, table: Table, load: Outcome, later: LaterLoad) -> npt.NDArray[np.int64]:
        """The keys of all rows in the clean parquet that a later load has, or is a copy of."""
        kept = later.kept
        if kept in self._keys:
            return self._keys[kept]
        keys = [read_keys(self.store, clean_key(table.name, kept, part), table) for part in range(max(later.parts, 1))]
        known = [one for one in keys if one is not None]
        if len(known) < len(keys):
            raise ChangeRefused(
                f"Load {load.load_id} ({load.key}) cannot be undone: its rows may be those of load {later.load_id} "
                "too, which came later and found rows as they were, but its clean files are gone. Nothing was touched. "
                "Restore the table to the moment before the load instead."
            )
        self._keys[kept] = np.concatenate(known)
        return self._keys[kept]

    def _sentence(self, later: Later) -> str:
        load = self.warehouse.find_load(later.change_id)
        other = None if load else find_change(self.warehouse, later.change_id)
        what = f"{other.kind if other else 'change'} {later.change_id}"
        if load:
            what = f"load {later.change_id} ({load.key})"
        did = "brought the same values for" if later.found_equal else "changed or removed"
        return f"{what[:1].upper()}{what[1:]} {did} {later.rows} of them."
