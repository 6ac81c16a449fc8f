"""A stand-in before the session's servers, with a database and a bucket of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from tests.bucket import own_bucket
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
    env, s3 = warehouse_and_s3.env, warehouse_and_s3.s3
    at = urlsplit(env["WAREHOUSE_URI"])
    secrets = json.loads((warehouse_and_s3.directory / "secrets" / "secrets.json").read_text())
    server = {
        "host": at.hostname,
        "port": at.port,
        "user": "postgres",
        "password": secrets["postgres_superuser"],
    }
    with closing(psycopg2.connect(**server, dbname="postgres")) as administration:
        administration.autocommit = True
        with administration.cursor() as cursor:
            cursor.execute(
                f"CREATE DATABASE {DATABASE} OWNER {at.username} "
                "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
            )
            with closing(psycopg2.connect(**server, dbname=DATABASE)) as made:
                prepare(made)
            with (
                own_bucket(s3, "standin") as bucket,
                Standin(host=str(at.hostname), port=int(at.port or 0), s3=s3, role=ROLE) as redshift,
            ):
                login = {"host": "127.0.0.1", "port": redshift.port, "dbname": DATABASE}
                yield Cluster(redshift, s3, bucket, login | {"user": at.username, "password": at.password})
            cursor.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")
