"""Roles and databases of a PostgreSQL server: what `embedded/` and `deploy/compose/` both begin with."""

from collections.abc import Mapping
from typing import Any

from psycopg2 import sql

METADATA = "airflow"
OWNER = "datamart"
READER = "datamart_read"
DATABASES = {"airflow": METADATA, "warehouse": OWNER}


def ensure(connection: Any, passwords: Mapping[str, str]) -> set[str]:
    """Make the roles, whose passwords follow, and the databases; the names of those that were made now.

    The connection is a superuser's, and commits each statement by itself.
    """
    made = set()
    with connection.cursor() as cursor:
        for role in (METADATA, OWNER, READER):
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
            verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
            cursor.execute(
                sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, sql.Identifier(role), sql.Literal(passwords[role]))
            )
        cursor.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(sql.Identifier(READER)))
        for database, owner in DATABASES.items():
            name = sql.Identifier(database)
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
            if not cursor.fetchone():
                cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, sql.Identifier(owner)))
                made.add(database)
            cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
        cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE warehouse TO {}").format(sql.Identifier(READER)))
    return made
