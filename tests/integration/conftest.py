"""A migrated database for each test, on the session's servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import count
from uuid import uuid4

import psycopg2
import pytest

from datamart.migrations import migrate
from datamart.objects import ObjectStore
from datamart.warehouse.postgres import PostgresWarehouse
from tests.bucket import own_bucket
from tests.databases import own_database
from tests.integration.landing_sound import assert_landed
from tests.integration.landing_zone import Dated, Zone
from tests.integration.sound import assert_converged, assert_sound
from tests.integration.vault import Vault
from tests.integration.world import Database, World
from tests.stack import Stack

_numbers = count(1)


@pytest.fixture(scope="module")
def database(warehouse_and_s3: Stack) -> Iterator[Database]:
    """A fresh migrated database for the module: dropping one costs a checkpoint, too much for each test."""
    with own_database(warehouse_and_s3, f"integration_{next(_numbers)}") as own:
        with closing(PostgresWarehouse(own.dsn)) as warehouse:
            migrate(warehouse, reader_role=own.reader.username, analyst_role=own.analyst.username)
        with closing(psycopg2.connect(own.dsn)) as observer:
            observer.autocommit = True
            opened = Database(own.dsn, own.reader_dsn, observer, analyst_dsn=own.analyst_dsn)
            opened.sql("SET lock_timeout = '20s'")  # who locks readers out is to fail, not to hang
            yield opened


@pytest.fixture(scope="session")
def object_store(warehouse_and_s3: Stack) -> ObjectStore:
    env = warehouse_and_s3.env
    client = warehouse_and_s3.s3
    return ObjectStore(client, env["DATA_BUCKET"])


@pytest.fixture
def spoiled(database: Database, object_store: ObjectStore) -> Iterator[World]:
    """A world that the test may leave in any state."""
    database.empty()
    with closing(PostgresWarehouse(database.dsn)) as warehouse:
        yield World(database, object_store, f"landing/{uuid4().hex}/", warehouse)


@pytest.fixture
def world(spoiled: World) -> Iterator[World]:
    """A world that every test leaves as docs/reliability.md promises; that is asserted at its end."""
    yield spoiled
    assert_sound(spoiled)
    assert_converged(spoiled)


@pytest.fixture(scope="module")
def landing_store(warehouse_and_s3: Stack) -> Iterator[Dated]:
    """A bucket for the module: what others left in their landing folder is not to be found."""
    client = warehouse_and_s3.s3
    with own_bucket(client, "landing") as bucket:
        yield Dated(client, bucket)


@pytest.fixture
def spoiled_zone(database: Database, landing_store: Dated) -> Iterator[Zone]:
    """A landing folder that the test may leave in any state."""
    with closing(PostgresWarehouse(database.dsn)) as warehouse:
        zone = Zone(World(database, landing_store, "landing/", warehouse), landing_store)
        zone.clear()
        yield zone


@pytest.fixture
def zone(spoiled_zone: Zone) -> Iterator[Zone]:
    """A landing folder that every test leaves as docs/reliability.md promises; that is asserted at its end."""
    yield spoiled_zone
    assert_landed(spoiled_zone)


@pytest.fixture(scope="module")
def backup_store(warehouse_and_s3: Stack) -> Iterator[ObjectStore]:
    """A bucket of backups for the module."""
    client = warehouse_and_s3.s3
    with own_bucket(client, "backup") as bucket:
        yield ObjectStore(client, bucket)


@pytest.fixture
def vault(spoiled: World, backup_store: ObjectStore) -> Iterator[Vault]:
    """A world with an empty backup bucket, left as docs/reliability.md promises."""
    vault = Vault(spoiled, backup_store)
    vault.clear()
    yield vault
    assert_sound(spoiled)
