"""Airflow connections as clients of the warehouse and the object store; built in a task, never at parse time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, Connection, get_current_context
from airflow.sdk.exceptions import AirflowNotFoundException

from datamart.errors import ConfigurationError
from datamart.fetching import FetchingStore
from datamart.objects import ObjectStore
from datamart.settings import load_settings
from datamart.warehouse.base import Warehouse
from datamart_airflow.warehouses import open_warehouse

if TYPE_CHECKING:
    from datamart.load import Loader
    from datamart.staging import Preparer


@contextmanager
def warehouse(connection_id: str = "warehouse") -> Iterator[Warehouse]:
    """The warehouse behind an Airflow connection, closed at the end; the connection's type says which kind it is."""
    opened = open_warehouse(_connection(connection_id), object_store)
    try:
        yield opened
    finally:
        opened.close()


def login_of(connection_id: str) -> str | None:
    """The user behind an Airflow connection; None when it names none."""
    return _connection(connection_id).login or None


def place_of(connection_id: str) -> tuple[str, str, int | None, str]:
    """Type, host, port and database behind an Airflow connection; no secrets."""
    found = _connection(connection_id)
    return found.conn_type or "", found.host or "", found.port, found.schema or ""


def _connection(connection_id: str) -> Connection:
    try:
        return BaseHook.get_connection(connection_id)
    except AirflowNotFoundException:
        raise ConfigurationError(f"Airflow has no connection {connection_id}. Define it.") from None


def object_store() -> FetchingStore:
    """The data bucket behind the connection ``object_store``."""
    return FetchingStore(_client(), load_settings().data_bucket)


def backup_store() -> ObjectStore:
    """The bucket of backups behind the same connection."""
    return ObjectStore(_client(), load_settings().backup_bucket)


def _client() -> Any:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from botocore.config import Config

    from datamart_airflow.s3_model import S3_MODEL

    _connection("object_store")
    connection = S3Hook(aws_conn_id="object_store")
    patience = Config(
        connect_timeout=10,
        read_timeout=60,
        tcp_keepalive=True,
        max_pool_connections=16,
        retries={"mode": "standard", "total_max_attempts": 4},
    )
    # What the connection itself asks for (addressing style, proxies, time-outs) comes first.
    own = connection.conn_config.botocore_config
    session = connection.get_session()
    # Not by ``get_conn``: it reads all of botocore's endpoints, and the source of its callers to name them, each time.
    session._session.register_component("data_loader", S3_MODEL)
    return session.client(
        "s3",
        endpoint_url=connection.conn_config.get_service_endpoint_url("s3"),
        config=patience.merge(own) if own else patience,
        verify=connection.verify,
    )


def current_run() -> dict[str, str]:
    """Dag and run of the current task, for the ledger."""
    context = get_current_context()
    return {"dag_id": context["dag"].dag_id, "run_id": context["run_id"]}


@contextmanager
def loader(prepared: Preparer | None = None) -> Iterator[Loader]:
    """A loader for the current Dag run, which may know of files that were read beforehand."""
    # Not above: who only waits for files must not import what judges them.
    from datamart.load import Loader
    from datamart.staging import unprepared

    with warehouse() as opened:
        own = (opened, object_store(), load_settings(), current_run())
        yield Loader(*own, prepared=prepared or unprepared)
