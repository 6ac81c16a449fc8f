"""Does a backup fit the table as it is today? Said before anything is touched.

A column that the backup lacks is taken from the live rows of the same ids; one that only the backup has is left out;
one that only the live table has stays as it is. What cannot be done without losing or inventing values is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from datamart.errors import ChangeRefused, ConfigurationError, ImpossibleRequest
from datamart.recovery.avro import avro_schema
from datamart.recovery.manifest import Manifest, column_types
from datamart.tables import LOAD_ID, Table
from datamart.warehouse.base import Warehouse

_NAME = re.compile(r"[a-z][a-z0-9_]{0,50}\Z")
_LIVE_TYPES = {
    "integer": {"integer"},
    "text": {"character varying", "text"},
    "datetime": {"timestamp without time zone"},
}


@dataclass(frozen=True)
class Fit:
    """How a backup's rows become rows of the table."""

    table: Table
    stored: Table
    """The table as far as the backup has its columns."""
    comparable: bool
    """The backup has exactly these columns, so its digest can be computed of them."""
    notes: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    """Live columns that the dictionary does not know and that no row can be added without."""

    @property
    def whole(self) -> bool:
        """The backup has all columns."""
        return self.stored.names == self.table.names

    def fill(self, warehouse: Warehouse, partly: str, staging: str, rows: int) -> None:
        """Make ``staging`` of ``partly``, whose rows lack columns: the live rows still know them.

        Raises:
            ChangeRefused: a row is not live any more, so nobody knows.
        """
        lacking = [name for name in self.table.names if name not in self.stored.names]
        filled = ", ".join(f'{"target" if name in lacking else "partly"}."{name}"' for name in self.table.names)
        names = warehouse.names(self.table, staging) | {"partly": partly, "filled_columns": filled}
        warehouse.execute(warehouse.sql("fill_columns", **names))
        known = warehouse.size_of(staging)
        if known != rows:
            raise ChangeRefused(
                f"The backup is older than the columns {', '.join(lacking)} of {self.table.name}, and {rows - known} "
                "of its rows are not in the table any more, so nobody knows what these columns would hold. Nothing was "
                "touched. Restore into another table and copy the rows you need."
            )

    def require_insertable(self, added: int) -> None:
        """Rows can be added, if any are.

        Raises:
            ChangeRefused: the live table asks for values that no backup has.
        """
        if added and self.needed:
            raise ChangeRefused(
                f"{added} rows would be added to {self.table.name}, whose columns {', '.join(self.needed)} ask for a "
                "value and have no default. Nothing was touched. Give these columns a default, or restore into another "
                "table."
            )


def fit(warehouse: Warehouse, table: Table, manifest: Manifest, *, live: bool) -> Fit:
    """How the backup's columns and the live table's become one; ``live`` is False when another table is made.

    Raises:
        ChangeRefused: a column has another type now.
        ConfigurationError: the live table is not what the dictionary says.
    """
    had = manifest.tables[table.name].columns
    wanted = column_types(avro_schema(table.name, table.kept_schema))
    if table.key not in had:
        raise ChangeRefused(f"Backup {manifest.backup_id} of {table.name} has no column {table.key}, which names rows.")
    other = [name for name in table.names if name in had and had[name] != wanted[name]]
    if other:
        types = "; ".join(f"{name} was {had[name]} and is {wanted[name]}" for name in other)
        raise ChangeRefused(
            f"Columns of {table.name} have another type than in backup {manifest.backup_id}: {types}. Nothing was "
            "touched. Restore with the version of this project that took the backup."
        )
    stored = replace(table, columns=tuple(column for column in table.columns if column.name in had))
    left_out = sorted(set(had) - set(wanted))
    lacking = [name for name in table.names if name not in had]
    notes = []
    if left_out:
        notes.append(f"The backup's columns {', '.join(left_out)} are left out: the table has none of that name.")
    if lacking and live:
        notes.append(f"The backup lacks the columns {', '.join(lacking)}: the live rows keep theirs.")
    comparable = not left_out and not lacking
    found = Fit(table, stored, comparable, tuple(notes))
    return _with_live(warehouse, found) if live else found


def _with_live(warehouse: Warehouse, found: Fit) -> Fit:
    table = found.table
    rows = warehouse.query(warehouse.sql("live_columns"), {"table": table.name})
    live = {str(name): (str(kind), bool(needs)) for name, kind, needs in rows}
    wrong = [
        f"{column.name} ({live[column.name][0] if column.name in live else 'missing'})"
        for column in table.columns
        if column.name not in live or live[column.name][0] not in _LIVE_TYPES[column.type.value]
    ]
    if wrong:
        raise ConfigurationError(
            f"The live table {table.name} is not what this version expects: {', '.join(wrong)}. Nothing was touched. "
            "Bring the warehouse to this version first, or restore into another table."
        )
    more = [name for name in live if name not in table.names and name != LOAD_ID]
    note = f"The live table has more columns ({', '.join(more)}): rows that stay keep them, others do not have them."
    needed = tuple(name for name in more if live[name][1])
    return replace(found, notes=(*found.notes, *([note] if more else [])), needed=needed)


def require_free_name(warehouse: Warehouse, name: str, tables: tuple[Table, ...]) -> None:
    """A table of this name can be made beside the others.

    Raises:
        ImpossibleRequest: it names one of the project's tables or schemas, is taken, or is no plain name.
    """
    if not _NAME.match(name):
        raise ImpossibleRequest(f"'{name[:64]}' cannot name a table: use a-z, 0-9 and _, at most 51 of them.")
    if name in {table.name for table in tables}:
        raise ImpossibleRequest(f"{name} is a live table. Leave the other table's name empty to restore it itself.")
    if warehouse.exists(f"public.{name}"):
        raise ImpossibleRequest(f"public.{name} exists already. Choose another name, or drop it first.")
