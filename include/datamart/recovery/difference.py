"""What must be done to a live table so that it becomes what is wanted: shown, or applied in the open transaction.

It is a temporary table of rows with ``_change``: added, changed, removed, or moved - equal values that another load
brought. Rows are taken out and put in where they are: the table stays itself, with its grants, views and keys, and
readers see it as it was until the commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datamart.clean import CleanParts, write_keys
from datamart.errors import BalanceError
from datamart.objects import ObjectStore, change_key, removed_key
from datamart.tables import Table
from datamart.warehouse.base import Warehouse
from datamart.warehouse.values import keys_in

MOST_EXAMPLES = 10


@dataclass(frozen=True)
class Sizes:
    """Rows of a difference by what must be done to them."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    moved: int = 0

    @property
    def put(self) -> int:
        """Rows that get values."""
        return self.added + self.changed + self.moved


@dataclass(frozen=True)
class Difference:
    """A difference in one session; ``drop`` it at the end."""

    warehouse: Warehouse
    table: Table
    name: str

    def to_staged(self, staging: str, change_id: int) -> None:
        """Find what makes the table equal to ``staging``, whose rows bring their ``_load_id``."""
        self._make("restore_difference", {"change_id": change_id}, staging)

    def to_compared(self, staging: str, surplus: str, change_id: int) -> None:
        """The same of staged rows that differ from the live ones, and a table of keys of live rows to remove."""
        with self.warehouse.looking_up(staging, f"public.{self.table.name}"):
            self._make("compared_difference", {"change_id": change_id}, staging, surplus)

    def to_before(self, load_id: int, commit_seq: int) -> None:
        """Find what takes back a load's rows that are still as it left them."""
        values = {"load_id": load_id, "commit_seq": commit_seq, "table": self.table.name}
        self._make("undo_difference", values, self.name)
        names = self.warehouse.names(self.table, self.name) | {"difference": self.name}
        while self.warehouse.execute(self.warehouse.sql("undo_deeper", **names)):
            pass
        self.warehouse.execute(self.warehouse.sql("undo_nothing_before", **names))
        self.warehouse.execute(f"DELETE FROM {self.name} WHERE _change = 'none'")  # noqa: S608

    def _make(self, statement: str, values: Mapping[str, object], staging: str, keys: str = "") -> None:
        names = self.warehouse.names(self.table, staging) | {"difference": self.name, "newer": keys}
        self.warehouse.execute(self.warehouse.sql(statement, **names), values)
        self.warehouse.analyze(self.name)

    def sizes(self) -> Sizes:
        """How much there is to do."""
        found = self.warehouse.query(f"SELECT _change, COUNT(*) FROM {self.name} GROUP BY _change")  # noqa: S608
        return Sizes(**{str(change): int(rows) for change, rows in found})

    def examples(self) -> dict[str, list[int]]:
        """The first keys of each kind."""
        text = (
            f'SELECT "{self.table.key}" FROM {self.name} WHERE _change = %(change)s'  # noqa: S608
            f' ORDER BY "{self.table.key}" LIMIT {MOST_EXAMPLES}'
        )
        kinds = ("added", "changed", "removed")
        return {kind: [int(row[0]) for row in self.warehouse.query(text, {"change": kind})] for kind in kinds}

    def keys(self) -> npt.NDArray[np.int64]:
        """All keys in it."""
        return keys_in(self.warehouse.query(f'SELECT "{self.table.key}" FROM {self.name}'))  # noqa: S608

    def leave(self, keys: npt.NDArray[np.int64]) -> None:
        """Do nothing to the rows of these keys."""
        self.warehouse.leave_to_newer(self.table, self.name, keys)

    def keep(self, store: ObjectStore, change_id: int, commit_seq: int, part_rows: int) -> int:
        """Keep what will be done as clean parquet, so that it can be done again; the number of parts of rows."""
        sizes, name = self.sizes(), self.table.name
        parts = CleanParts(
            store, self.table, change_id, part_rows, schema=self.table.kept_schema,
            key_of=lambda part: change_key(name, change_id, commit_seq, part),
        )  # fmt: skip
        if sizes.put:
            for _ in parts.keep(self.warehouse.rows_of(self.table, self.name, "_change <> 'removed'")):
                pass
        if sizes.removed:
            text = f"SELECT \"{self.table.key}\" FROM {self.name} WHERE _change = 'removed'"  # noqa: S608
            write_keys(store, removed_key(name, change_id, commit_seq), self.table, keys_in(self.warehouse.query(text)))
        return parts.sent

    def apply(self, change_id: int, commit_seq: int) -> Sizes:
        """Do it; what is replaced or removed goes to the history. Needs the lock.

        Raises:
            BalanceError: the table has changed since the difference was found.
        """
        names, sizes = self.warehouse.names(self.table, self.name), self.sizes()
        values = {"change_id": change_id, "commit_seq": commit_seq}

        def done(statement: str) -> int:
            return self.warehouse.execute(self.warehouse.sql(statement, **names), values)

        with self.warehouse.looking_up(self.name, names["target"]):
            kept, removed = done("apply_history"), done("apply_delete")
            updated, inserted = done("apply_update"), done("apply_insert")
        wanted = (sizes.changed + sizes.removed, sizes.removed, sizes.changed + sizes.moved, sizes.added)
        if (kept, removed, updated, inserted) != wanted:
            raise BalanceError(
                f"{self.table.name}: {kept} rows kept in the history, {removed} removed, {updated} changed and "
                f"{inserted} added, not {wanted[0]}, {wanted[1]}, {wanted[2]} and {wanted[3]} as was found before. "
                "Somebody else has changed the table meanwhile; nothing was committed. Try again."
            )
        return sizes

    def drop(self) -> None:
        """Forget it."""
        self.warehouse.drop_staging(self.name)
