"""Redshift's column types, and how PostgreSQL keeps what they keep."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from tests.redshift.failure import refused
from tests.redshift.reader import Reader

PLAIN = ("integer", "bigint", "smallint", "boolean", "date", "timestamp", "timestamptz")
SIZED = {"varchar": 65535, "char": 4096, "varbyte": 16_777_216}
BYTES_CHECK = "standin_bytes_"
"""How constraints begin that count a value's bytes."""


@dataclass(frozen=True)
class ColumnType:
    """A type; ``size`` counts bytes."""

    name: str
    size: int | None = None

    @property
    def sql(self) -> str:
        """PostgreSQL's type for it."""
        if self.name == "varbyte":
            return "bytea"
        return self.name if self.size is None else f"{self.name}({self.size})"

    def check(self, column: str) -> str:
        """The constraint that counts bytes, or nothing."""
        if self.size is None:
            return ""
        name = f"{BYTES_CHECK}{crc32(column.encode()):08x}"
        return f'CONSTRAINT {name} CHECK (octet_length("{column}") <= {self.size})'


def column_type(reader: Reader) -> ColumnType:
    """The type that is next in the definition of a column."""
    if reader.accept("double", "precision"):
        return ColumnType("double precision")
    name = reader.choice(*PLAIN, *SIZED)
    if name not in SIZED:
        return ColumnType(name)
    reader.expect("(")
    size = reader.whole(SIZED[name])
    reader.expect(")")
    return ColumnType(name, size)


def cast_type(reader: Reader) -> None:
    """Pass over the type that is next in a cast."""
    if reader.accept("interval"):
        return
    if column_type(reader).name == "varbyte":
        raise refused("casts to VARBYTE")
