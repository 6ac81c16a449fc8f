"""From a statement to what is to be done for it; a statement that is not listed here is refused."""

from __future__ import annotations

from collections.abc import Callable

from tests.redshift.failure import refused
from tests.redshift.lexer import Kind, Statement, statements
from tests.redshift.plans import Copy, Plan, Run, Unload
from tests.redshift.query import checked
from tests.redshift.reader import Reader
from tests.redshift.tables import alter_table, create_table

VERSION = (
    "PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC gcc (GCC) 3.4.2 20041017 (Red Hat 3.4.2-6.fc3), "
    "Redshift 1.0.100000"
)
MEGABYTE = 1024 * 1024


def plan(statement: Statement, role: str, *, parameters: bool = False) -> Plan:
    """What is to be done; COPY and UNLOAD must name the warehouse's own role.

    Raises:
        Failure: the statement, or something in it, is not emulated.
    """
    reader = Reader(statement)
    first = reader.token(Kind.WORD).value
    if first in ("select", "with", "insert", "update", "delete"):
        return _query(statement, parameters)
    if first == "copy":
        return _copy(reader, role)
    if first == "unload":
        return _unload(reader, role)
    if first not in _FORMS:
        raise refused(first.upper())
    made = _FORMS[first](reader)
    reader.end()
    return made


def _query(statement: Statement, parameters: bool) -> Run:
    words = [token.value for token in statement.tokens]
    if words == ["select", "sysdate"]:
        return Run("SELECT (transaction_timestamp() AT TIME ZONE 'UTC') AS sysdate")
    if words == ["select", "greatest", "(", "sysdate", ",", "getdate", "(", ")", ")"]:
        begun, now = (f"({name}() AT TIME ZONE 'UTC')" for name in ("transaction_timestamp", "statement_timestamp"))
        return Run(f"SELECT GREATEST({begun}, date_trunc('second', {now})) AS greatest")
    if words == ["select", "version", "(", ")"]:
        return Run(f"SELECT CAST('{VERSION}' AS VARCHAR) AS version")
    return Run(statement.text, counts=checked(statement, parameters=parameters).asks_counts)


def _as_sent(reader: Reader) -> Run:
    return Run(reader.statement.text)


def _transaction(reader: Reader) -> Run:
    # redshift_connector begins with BEGIN TRANSACTION.
    if not reader.accept("transaction"):
        reader.accept("work")
    return _as_sent(reader)


def _create(reader: Reader) -> Run:
    if reader.accept("table"):
        return create_table(reader, temporary=False)
    if reader.accept("temp", "table") or reader.accept("temporary", "table"):
        return create_table(reader, temporary=True)
    if reader.accept("schema"):
        reader.accept("if", "not", "exists")
        reader.column()
        return _as_sent(reader)
    if not reader.accept("view"):
        reader.expect("or", "replace", "view")
    return _view(reader)


def _view(reader: Reader) -> Run:
    reader.name()
    reader.expect("as")
    rest = reader.rest()
    if not rest.tokens[0].means("select", "with") or checked(rest).asks_counts:
        raise refused(f"VIEW AS {rest.tokens[0].value.upper()}")
    return _as_sent(reader)


def _drop(reader: Reader) -> Run:
    kind = reader.choice("table", "view", "schema")
    reader.accept("if", "exists")
    if kind == "schema":
        reader.column()
    else:
        reader.name()
    reader.accept("cascade")
    return _as_sent(reader)


def _alter(reader: Reader) -> Run:
    reader.expect("table")
    return alter_table(reader)


def _lock(reader: Reader) -> Run:
    reader.accept("table")
    reader.name()
    while reader.accept(","):
        reader.name()
    return _as_sent(reader)


def _grant(reader: Reader) -> Run:
    if reader.accept("usage"):
        reader.expect("on", "schema")
        reader.column()
    else:
        reader.expect("select", "on")
        if reader.accept("all", "tables", "in", "schema"):
            reader.column()
        else:
            reader.name()
    reader.expect("to")
    if reader.next is not None and reader.next.means("group", "role", "public"):
        raise reader.unexpected()
    reader.column()
    return _as_sent(reader)


def _truncate(reader: Reader) -> Run:
    reader.accept("table")
    reader.name()
    return Run(reader.statement.text, passed=False, commits=True)


def _analyze(reader: Reader) -> Run:
    reader.name()
    return Run(reader.statement.text, passed=False, outside=True)


def _set(reader: Reader) -> Run:
    if reader.accept("timezone"):
        _equals(reader)
        if reader.token(Kind.STRING).value == "UTC":
            return _as_sent(reader)
        raise refused("SET timezone to anything but 'UTC'")
    reader.expect("statement_timeout")
    _equals(reader)
    if reader.token(Kind.NUMBER).value.isdigit():
        return _as_sent(reader)
    raise refused("SET statement_timeout to anything but whole milliseconds")


def _equals(reader: Reader) -> None:
    if not reader.accept("="):
        reader.expect("to")


_FORMS: dict[str, Callable[[Reader], Run]] = {
    "begin": _transaction,
    "commit": _transaction,
    "rollback": _transaction,
    "create": _create,
    "drop": _drop,
    "alter": _alter,
    "lock": _lock,
    "grant": _grant,
    "truncate": _truncate,
    "analyze": _analyze,
    "set": _set,
}


def _once(seen: set[str], option: str) -> None:
    if option in seen:
        raise refused(f"{option.upper()} twice")
    seen.add(option)


def _shared(reader: Reader, option: str, role: str) -> None:
    """Options that COPY and UNLOAD share."""
    if option == "format":
        reader.expect("as", "parquet")
    elif option == "iam_role" and not reader.accept("default") and reader.token(Kind.STRING).value != role:
        raise refused("an IAM_ROLE other than the warehouse's")


def _place(reader: Reader) -> str:
    """An object's or a prefix's address."""
    url = reader.token(Kind.STRING).value
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not url.startswith("s3://") or not bucket or not key:
        raise refused(f"'{url}' as a place in S3")
    return url


def _copy(reader: Reader, role: str) -> Copy:
    table = reader.name()
    reader.expect("from")
    manifest = _place(reader)
    needed, seen = {"iam_role", "format", "manifest"}, set[str]()
    while reader.next is not None:
        option = reader.choice(*needed)
        _once(seen, option)
        _shared(reader, option, role)
    if needed - seen:
        raise refused(f"COPY without {min(needed - seen).upper()}")
    return Copy(table, manifest)


def _unload(reader: Reader, role: str) -> Unload:
    reader.expect("(")
    query = reader.token(Kind.STRING).value
    reader.expect(")", "to")
    prefix = _place(reader)
    needed, seen = {"iam_role", "format", "manifest"}, set[str]()
    parallel, size = True, None
    while reader.next is not None:
        option = reader.choice(*needed, "parallel", "maxfilesize")
        _once(seen, option)
        _shared(reader, option, role)
        if option == "manifest":
            reader.expect("verbose")
        elif option == "parallel":
            parallel = reader.choice("on", "off") == "on"
        elif option == "maxfilesize":
            size = _file_size(reader)
    if needed - seen:
        raise refused(f"UNLOAD without {min(needed - seen).upper()}")
    _check_unloaded(query)
    return Unload(query, prefix, parallel, size)


def _file_size(reader: Reader) -> int:
    megabytes = reader.whole(6348)
    reader.expect("mb")
    if megabytes < 5:
        raise refused("MAXFILESIZE under 5 MB")
    return megabytes * MEGABYTE


def _check_unloaded(query: str) -> None:
    inner = statements(query)
    if len(inner) != 1 or not inner[0].tokens[0].means("select", "with"):
        raise refused("UNLOAD of anything but one SELECT")
    found = checked(inner[0])
    if found.outer_limit:
        raise refused("UNLOAD of a SELECT with a LIMIT, which Redshift takes only in a subquery")
    if found.asks_counts:
        raise refused("UNLOAD of a leader node's function")
    if any(name.startswith("information_schema.") for name in found.relations):
        raise refused("UNLOAD of a leader node's relation")
