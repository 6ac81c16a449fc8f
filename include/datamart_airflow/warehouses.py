"""An Airflow connection as a warehouse: its type says which dialect, its fields and extras how to reach the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from psycopg2.extensions import make_dsn

from datamart.errors import ConfigurationError
from datamart.warehouse.postgres import PostgresWarehouse

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from datamart.objects import ObjectStore
    from datamart.warehouse.base import Warehouse

_TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey")
"""Extras that libpq is told as they are."""


def open_warehouse(connection: Connection, store: Callable[[], ObjectStore]) -> Warehouse:
    """A session with the warehouse; one that reads S3 by itself shares the bucket of ``store``.

    Raises:
        ConfigurationError: the connection is of no type that is known here.
        TransientFault, TerminalFault: as the server, or its absence, answers.
    """
    opens = _OPENS.get(connection.conn_type or "")
    if opens is None:
        raise ConfigurationError(
            f"The connection {connection.conn_id} is of type {connection.conn_type}; a warehouse is of type "
            f"{' or '.join(sorted(_OPENS))}."
        )
    return opens(connection, store)


def _postgres(connection: Connection, _store: Callable[[], ObjectStore]) -> Warehouse:
    return PostgresWarehouse(_dsn(connection, connection.login, connection.password, connection.port or 5432))


def _redshift(connection: Connection, store: Callable[[], ObjectStore]) -> Warehouse:
    from datamart.warehouse.exchange import Exchange
    from datamart.warehouse.redshift import RedshiftWarehouse

    extra = connection.extra_dejson
    login, password, port = connection.login, connection.password, connection.port or 5439
    if extra.get("iam"):
        login, password, port = _temporary_password(connection)
    role = str(extra.get("iam_role") or "default")
    dsn = _dsn(connection, login, password, port, sslmode="require")
    return RedshiftWarehouse(dsn, lambda: Exchange(store(), role))


def _temporary_password(connection: Connection) -> tuple[str, str, int]:
    """A login by IAM, as the provider's own hook asks AWS for it; extras are those of that hook."""
    from airflow.providers.amazon.aws.hooks.redshift_sql import RedshiftSQLHook

    aws = connection.extra_dejson.get("aws_conn_id", "object_store")
    hook = RedshiftSQLHook(redshift_conn_id=connection.conn_id, aws_conn_id=aws)
    login, password, port = hook.get_iam_token(connection)
    return login, password, int(port)


def _dsn(connection: Connection, login: str | None, password: str | None, port: int, **usual: str) -> str:
    """As libpq reads it; not as a URI, which libpq would show in full when it is none."""
    if not connection.host:
        raise ConfigurationError(f"The connection {connection.conn_id} names no host.")
    told = {name: str(connection.extra_dejson[name]) for name in _TLS if connection.extra_dejson.get(name)}
    found: str = make_dsn(
        host=connection.host, port=port, user=login, password=password, dbname=connection.schema, **(usual | told)
    )
    return found


_OPENS: dict[str, Callable[[Connection, Callable[[], ObjectStore]], Warehouse]] = {
    "postgres": _postgres,
    "redshift": _redshift,
}
