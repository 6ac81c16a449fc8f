"""The data dictionary: the only place that knows a table.

Column order, types, key and references live here; DDL, CSV columns, parquet schemas, routing and answers are
derived. Adding a table is one more :class:`Table` in ``TABLES``. Rules for values are in ``rules``, not here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from datamart.errors import ConfigurationError, ImpossibleRequest

if TYPE_CHECKING:
    import pyarrow as pa

LOAD_ID = "_load_id"
"""The column of every table that names the load which brought the row."""
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")


class Type(StrEnum):
    """What a column holds; each value has one SQL and one Arrow type."""

    INTEGER = "integer"
    TEXT = "text"
    DATETIME = "datetime"

    @property
    def sql(self) -> str:
        """The column type that PostgreSQL and Redshift share (VARCHAR's 256 is bytes on Redshift)."""
        return {"integer": "INTEGER", "text": "VARCHAR(256)", "datetime": "TIMESTAMP"}[self.value]

    @property
    def arrow(self) -> pa.DataType:
        """The type in clean parquet: datetimes are UTC moments in microseconds without a zone."""
        import pyarrow as pa  # not above: a Dag file that names tables must not pay for it at every parse

        return {"integer": pa.int32(), "text": pa.string(), "datetime": pa.timestamp("us")}[self.value]


@dataclass(frozen=True)
class Column:
    """One column; ``references`` names the table whose key it holds.

    ``line_ends``: a quoted value may hold lines that look like records of the table. Elsewhere such a value is taken
    for the work of a stray quote.
    """

    name: str
    type: Type
    references: str | None = None
    line_ends: bool = False


@dataclass(frozen=True)
class Table:
    """One table: its columns in file order, and the column that identifies a row."""

    name: str
    columns: tuple[Column, ...]
    key: str = "id"
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = tuple(column.name for column in self.columns)
        for name in (self.name, *names):
            if not _IDENTIFIER.match(name):
                raise ConfigurationError(f"'{name}' cannot name a table or column: use a-z, 0-9 and _ only.")
        if len(set(names)) != len(names):
            raise ConfigurationError(f"Table {self.name} names a column twice.")
        if self.column_types.get(self.key) is not Type.INTEGER:
            raise ConfigurationError(f"Table {self.name} needs its key '{self.key}' as an integer column.")
        object.__setattr__(self, "names", names)

    @property
    def column_types(self) -> dict[str, Type]:
        """Types by column name, in file order."""
        return {column.name: column.type for column in self.columns}

    @property
    def references(self) -> dict[str, str]:
        """Referenced table by referring column."""
        return {column.name: column.references for column in self.columns if column.references}

    @property
    def arrow_schema(self) -> pa.Schema:
        """The schema of accepted rows."""
        import pyarrow as pa

        return pa.schema([pa.field(column.name, column.type.arrow, nullable=False) for column in self.columns])

    @property
    def kept_schema(self) -> pa.Schema:
        """The schema of rows as they are kept in backups: with the load that brought each."""
        import pyarrow as pa

        return self.arrow_schema.append(pa.field(LOAD_ID, pa.int64(), nullable=False))


TABLES: tuple[Table, ...] = (
    Table("departments", (Column("id", Type.INTEGER), Column("department", Type.TEXT))),
    Table("jobs", (Column("id", Type.INTEGER), Column("job", Type.TEXT))),
    Table(
        "hired_employees",
        (
            Column("id", Type.INTEGER),
            Column("name", Type.TEXT),
            Column("datetime", Type.DATETIME),
            Column("department_id", Type.INTEGER, references="departments"),
            Column("job_id", Type.INTEGER, references="jobs"),
        ),
    ),
)


def table_named(name: str, tables: tuple[Table, ...] = TABLES) -> Table:
    """The table of that exact name.

    Raises:
        ImpossibleRequest: there is none; the message lists those there are.
    """
    for table in tables:
        if table.name == name:
            return table
    known = ", ".join(table.name for table in tables)
    raise ImpossibleRequest(f"There is no table '{name}'. Choose one of: {known}.")


def load_order(tables: tuple[Table, ...]) -> tuple[tuple[Table, ...], ...]:
    """Tables in waves: a table comes after those it references (an unknown or circular one does not wait)."""
    waves: list[tuple[Table, ...]] = []
    left = list(tables)
    while left:
        names = {table.name for table in left}
        ready = [t for t in left if not (set(t.references.values()) - {t.name}) & names] or left
        waves.append(tuple(ready))
        left = [table for table in left if table not in ready]
    return tuple(waves)
