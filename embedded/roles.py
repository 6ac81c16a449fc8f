"""Roles and databases of a PostgreSQL server: what `embedded/` and `deploy/compose/` both begin with."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from psycopg2 import sql

METADATA = "airflow"
OWNER = "datamart"
READER = "datamart_read"
ANALYST = "datamart_analyst"
DATABASES = {"airflow": METADATA, "warehouse": OWNER}
_LIMITS = {
    READER: {"default_transaction_read_only": "on"},
    ANALYST: {
        "default_transaction_read_only": "on",
        "statement_timeout": "60s",
        # A transaction that is left open keeps a migration waiting.
        "idle_in_transaction_session_timeout": "60s",
        "temp_file_limit": "1GB",
    },
}
_ANALYST_SESSIONS = 10
_LARGE_OBJECTS = ("lo_creat(integer)", "lo_create(oid)", "lo_from_bytea(oid, bytea)")
"""Functions with which anybody who may connect could fill the disk."""

Opens = Callable[[str], AbstractContextManager[Any]]
"""A superuser's connection to a database, which commits each statement by itself."""


def ensure(opens: Opens, passwords: Mapping[str, str]) -> set[str]:
    """Make the roles that have a password here, which follows, and the databases; names of those that were made now."""
    with opens("postgres") as connection, connection.cursor() as cursor:
        for role, password in passwords.items():
            _ensure_role(cursor, role, password)
        made = {name for name, owner in DATABASES.items() if _ensure_database(cursor, name, owner)}
        for database in ("postgres", "template1"):  # of these nobody but a superuser needs anything
            cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))
        for role in {READER, ANALYST} & passwords.keys():
            cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE warehouse TO {}").format(sql.Identifier(role)))
    with opens("warehouse") as connection, connection.cursor() as cursor:
        for function in _LARGE_OBJECTS:
            cursor.execute(f"REVOKE EXECUTE ON FUNCTION pg_catalog.{function} FROM PUBLIC")
    return made


def _ensure_role(cursor: Any, role: str, password: str) -> None:
    name = sql.Identifier(role)
    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
    verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
    cursor.execute(sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, name, sql.Literal(password)))
    for limit, value in _LIMITS.get(role, {}).items():
        cursor.execute(sql.SQL("ALTER ROLE {} SET {} = {}").format(name, sql.Identifier(limit), sql.Literal(value)))
    if role == ANALYST:
        limited = sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}")
        cursor.execute(limited.format(name, sql.Literal(_ANALYST_SESSIONS)))


def _ensure_database(cursor: Any, database: str, owner: str) -> bool:
    """Whether it was made now."""
    name = sql.Identifier(database)
    cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
    known = cursor.fetchone()
    if not known:
        cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, sql.Identifier(owner)))
    cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    return not known
