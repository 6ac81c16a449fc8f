"""A warehouse that keeps the contract: PostgreSQL, Redshift's stand-in, or a real Redshift."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit
from uuid import uuid4

import boto3
import psycopg2

from datamart.migrations import migrate
from datamart.objects import ObjectStore
from datamart.tables import TABLES
from datamart.warehouse.base import Warehouse
from datamart.warehouse.exchange import Exchange
from datamart.warehouse.postgres import PostgresWarehouse
from datamart.warehouse.redshift import RedshiftWarehouse
from tests.bucket import own_bucket
from tests.databases import own_database
from tests.integration.world import Database
from tests.redshift.standin import Standin, prepare
from tests.stack import Stack

ROLE = "arn:aws:iam::123456789012:role/datamart-warehouse"
LIVE = ("REDSHIFT_URI", "REDSHIFT_BUCKET", "REDSHIFT_IAM_ROLE")
"""Variables that name a real Redshift: a libpq URI of an empty database, a bucket beside it, a role it may take."""

_EMPTIED = (
    *(f"public.{table.name}" for table in TABLES),
    *(f"ops.{table.name}_history" for table in TABLES),
    *(f"ops.{name}" for name in ("loads", "rejected_rows", "backups", "restores", "drills", "holds")),
    "ops.insight_refreshes", "public.hires_department_job", "public.departments_hired_above_mean",
)  # fmt: skip


@dataclass(frozen=True)
class Served(Database):
    """A migrated warehouse, with two buckets beside it; what is asked of it here is asked in SQL of both dialects."""

    dialect: str = ""
    data: ObjectStore = field(kw_only=True)
    backups: ObjectStore = field(kw_only=True)
    opens: Callable[[str], Warehouse] = field(kw_only=True)
    standin: Standin | None = None

    def connect(self) -> Warehouse:
        return self.opens(self.dsn)

    def empty(self) -> None:
        """Make it as it was after its migration."""
        for name in _EMPTIED:
            self.sql(f"DELETE FROM {name}")
        self.sql("UPDATE ops.tables SET commit_seq = 0, changed_seq = 0")


@contextmanager
def postgres(stack: Stack) -> Iterator[Served]:
    """The stack's own server."""
    with own_database(stack, "contract_postgres") as own, _buckets(stack.s3) as (data, backups):
        with closing(PostgresWarehouse(own.dsn)) as warehouse:
            migrate(warehouse, reader_role=own.reader.username, analyst_role=own.analyst.username)
        with closing(_observer(own.dsn)) as observer:
            yield Served(
                own.dsn, own.reader_dsn, observer, "postgres",
                analyst_dsn=own.analyst_dsn, data=data, backups=backups, opens=PostgresWarehouse,
            )  # fmt: skip


@contextmanager
def redshift(stack: Stack) -> Iterator[Served]:
    """The stand-in before a database of the stack's server."""
    with own_database(stack, "contract_redshift", bytewise=True) as own, _buckets(stack.s3) as (data, backups):
        with closing(psycopg2.connect(**own.superuser)) as administration:
            prepare(administration)
        at = own.superuser
        with Standin(host=at["host"], port=at["port"], s3=stack.s3, role=ROLE) as standin:
            users = tuple(
                one._replace(netloc=f"{one.username}:{one.password}@127.0.0.1:{standin.port}")
                for one in (own.owner, own.reader, own.analyst)
            )
            with _redshift(users, ROLE, (data, backups), standin) as served:
                yield served


@contextmanager
def live_redshift() -> Iterator[Served]:
    """The cluster or workgroup that the environment names; what it holds is deleted."""
    dsn, bucket, role = (os.environ[name] for name in LIVE)
    store = ObjectStore(boto3.client("s3"), bucket)
    with _redshift((urlsplit(dsn),), role, (store, store), None) as served:
        yield served


@contextmanager
def _redshift(
    users: tuple[SplitResult, ...], role: str, stores: tuple[ObjectStore, ObjectStore], standin: Standin | None
) -> Iterator[Served]:
    """``users`` are the owner and, where there are any, who reads for the product and the analysts."""
    dsn, reader_dsn, analyst_dsn = (users[place].geturl() if place < len(users) else "" for place in range(3))
    reader, analyst = (user_of(one) or None for one in (reader_dsn, analyst_dsn))

    def opens(address: str) -> Warehouse:
        return RedshiftWarehouse(address, lambda: Exchange(stores[0], role))

    with closing(opens(dsn)) as warehouse:
        migrate(warehouse, reader_role=reader, analyst_role=analyst)
    with closing(_observer(dsn)) as observer:
        yield Served(
            dsn, reader_dsn or dsn, observer, "redshift",
            analyst_dsn=analyst_dsn, data=stores[0], backups=stores[1], opens=opens, standin=standin,
        )  # fmt: skip


@contextmanager
def _buckets(client: Any) -> Iterator[tuple[ObjectStore, ObjectStore]]:
    with own_bucket(client, "contract-data") as data, own_bucket(client, "contract-backup") as backups:
        yield ObjectStore(client, data), ObjectStore(client, backups)


def _observer(dsn: str) -> Any:
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    return connection


def unique_prefix() -> str:
    """Where a test's files go."""
    return f"landing/{uuid4().hex}/"


def user_of(dsn: str) -> str:
    """Who logs in there."""
    return urlsplit(dsn).username or ""
