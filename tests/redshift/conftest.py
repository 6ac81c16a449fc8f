"""A stand-in before the session's servers, with a database and a bucket of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest

from tests.bucket import own_bucket
from tests.databases import own_database
from tests.redshift.standin import Standin, prepare
from tests.stack import Stack

ROLE = "arn:aws:iam::123456789012:role/datamart-warehouse"
DATABASE = "standin"


@dataclass
class Cluster:
    """The stand-in with what is needed to reach it and to look behind it."""

    redshift: Standin
    s3: Any
    bucket: str
    login: dict[str, Any]

    def connect(self, **changes: Any) -> Any:
        """A psycopg2 connection in which every statement is a transaction of its own."""
        connection = psycopg2.connect(**(self.login | changes))
        connection.autocommit = True
        return connection


@pytest.fixture(scope="session")
def cluster(warehouse_and_s3: Stack) -> Iterator[Cluster]:
    s3 = warehouse_and_s3.s3
    with own_database(warehouse_and_s3, DATABASE, bytewise=True) as own, own_bucket(s3, "standin") as bucket:
        with closing(psycopg2.connect(**own.superuser)) as made:
            prepare(made)
        at = own.superuser
        with Standin(host=at["host"], port=at["port"], s3=s3, role=ROLE) as redshift:
            login = {"host": "127.0.0.1", "port": redshift.port, "dbname": DATABASE}
            yield Cluster(redshift, s3, bucket, login | {"user": own.owner.username, "password": own.owner.password})
