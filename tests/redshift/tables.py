"""Redshift's definitions of tables, and what PostgreSQL makes of them: keys are dropped, bytes are counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.redshift.failure import Failure, refused
from tests.redshift.lexer import Kind
from tests.redshift.plans import Run
from tests.redshift.query import checked
from tests.redshift.reader import Reader
from tests.redshift.types import ColumnType, column_type
from tests.redshift.words import UNKNOWN


@dataclass
class _Column:
    name: str
    type: ColumnType
    required: bool = False
    default: str = ""

    @property
    def sql(self) -> str:
        parts = [f'"{self.name}"', self.type.sql, self.type.check(self.name)]
        parts += ["NOT NULL" if self.required else "", f"DEFAULT {self.default}" if self.default else ""]
        return " ".join(part for part in parts if part)


@dataclass
class _Attributes:
    """How the rows are laid out over the nodes: checked, and of no consequence here."""

    style: str = ""
    distribution: str = ""
    sorting: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    @property
    def columns(self) -> list[str]:
        return [name for name in (self.distribution, *self.sorting) if name]


def create_table(reader: Reader, *, temporary: bool) -> Run:
    """CREATE TABLE after these words."""
    exists = reader.accept("if", "not", "exists")
    table = reader.name()
    kind = "TEMPORARY TABLE" if temporary else "TABLE"
    if not reader.accept("("):
        if exists:
            raise refused("IF NOT EXISTS of a table made from a query")
        return _create_as(reader, kind, table)
    columns = _columns(reader)
    _check_columns(_attributes(reader), {column.name for column in columns})
    reader.end()
    condition = "IF NOT EXISTS " if exists else ""
    return Run(f"CREATE {kind} {condition}{table} ({', '.join(column.sql for column in columns)})")


def _create_as(reader: Reader, kind: str, table: str) -> Run:
    laid_out = _attributes(reader)
    reader.expect("as")
    rest = reader.rest()
    query = checked(rest)
    if not rest.tokens[0].means("select", "with"):
        raise refused(f"AS {rest.tokens[0].value.upper()}")
    if query.asks_counts:
        raise refused("counts of the last COPY or UNLOAD in a table")
    quoted = "".join(f", '{name}'" for name in laid_out.columns)
    # Both in one message: one without the other would be a table whose bytes nobody counts.
    settle = f"SELECT public.standin_settle('{table}', ARRAY[NULL{quoted}]::varchar[])"
    return Run(f"CREATE {kind} {table} AS {rest.text}; {settle}", passed=False, tag="SELECT")


def _columns(reader: Reader) -> list[_Column]:
    columns: dict[str, _Column] = {}
    keys: list[str] = []
    while True:
        if reader.accept("primary", "key"):
            keys += reader.columns()
            _check_known(keys, columns)
        elif reader.accept("unique"):
            _check_known(reader.columns(), columns)
        else:
            column = _column(reader)
            if column.name in columns:
                raise Failure("42701", f'column "{column.name}" specified more than once')
            columns[column.name] = column
        if not reader.accept(","):
            break
    reader.expect(")")
    for name in keys:
        columns[name].required = True
    return list(columns.values())


def _check_known(names: list[str], columns: dict[str, _Column]) -> None:
    for name in names:
        if name not in columns:
            raise Failure("42703", f'column "{name}" named in key does not exist')


def _column(reader: Reader, *, keys: bool = True) -> _Column:
    token = reader.token(Kind.WORD, Kind.QUOTED)
    if token.kind is Kind.WORD and token.value in UNKNOWN | {"datetime"}:
        raise refused(f"column {token.value.upper()} without quotes")
    column = _Column(token.value, column_type(reader))
    while reader.next is not None and not reader.next.means(",", ")"):
        if reader.accept("not", "null"):
            column.required = True
        elif not column.default and reader.accept("default"):
            column.default = _literal(reader)
        elif keys and reader.accept("primary", "key"):
            column.required = True
        elif not (keys and reader.accept("unique")):
            raise reader.unexpected()
    return column


def _literal(reader: Reader) -> str:
    sign = "-" if reader.accept("-") else ""
    token = reader.token(Kind.NUMBER) if sign else reader.token(Kind.NUMBER, Kind.STRING, Kind.WORD)
    if token.kind is Kind.WORD and token.value not in ("true", "false", "null"):
        raise refused(f"DEFAULT {token.value.upper()}")
    return sign + reader.statement.text[token.start : token.end]


def _once(laid_out: _Attributes, name: str) -> None:
    if name in laid_out.seen:
        raise refused(f"{name.upper()} twice")
    laid_out.seen.add(name)


def _attributes(reader: Reader) -> _Attributes:
    laid_out = _Attributes()
    while reader.next is not None and not reader.next.means("as"):
        if reader.accept("compound", "sortkey") or reader.accept("sortkey"):
            _once(laid_out, "sortkey")
            if not reader.accept("auto"):
                laid_out.sorting = reader.columns()
            continue
        word = reader.choice("diststyle", "distkey", "backup")
        _once(laid_out, word)
        if word == "diststyle":
            laid_out.style = reader.choice("auto", "even", "all", "key")
        elif word == "distkey":
            reader.expect("(")
            laid_out.distribution = reader.column()
            reader.expect(")")
        else:
            reader.choice("yes", "no")
    if laid_out.style == "key" and not laid_out.distribution:
        raise Failure("42P16", "DISTKEY must be specified when DISTSTYLE KEY is used")
    if laid_out.distribution and laid_out.style not in ("", "key"):
        raise Failure("42P16", f"Cannot specify DISTKEY column for DISTSTYLE {laid_out.style.upper()}")
    return laid_out


def _check_columns(laid_out: _Attributes, known: set[str]) -> None:
    for name in laid_out.columns:
        if name not in known:
            raise Failure("42703", f'column "{name}" named in DISTKEY or SORTKEY does not exist')


def alter_table(reader: Reader) -> Run:
    """ALTER TABLE after these words: one new column."""
    table = reader.name()
    reader.expect("add", "column")
    column = _column(reader, keys=False)
    reader.end()
    if column.required and column.default.lower() in ("", "null"):
        raise Failure("0A000", "ALTER TABLE ADD COLUMN defined as NOT NULL must have a non-null default expression")
    return Run(f"ALTER TABLE {table} ADD COLUMN {column.sql}")
