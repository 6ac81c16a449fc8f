"""Databases of their own on a stack's PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import psycopg2

from tests.stack import Stack

_BYTEWISE = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"


@dataclass(frozen=True)
class OwnDatabase:
    """An empty database: addresses of those who own it and who may only connect, and a superuser's login."""

    owner: SplitResult
    reader: SplitResult
    analyst: SplitResult
    superuser: dict[str, Any]

    @property
    def dsn(self) -> str:
        """The owner's address."""
        return self.owner.geturl()

    @property
    def reader_dsn(self) -> str:
        """The reader's address."""
        return self.reader.geturl()

    @property
    def analyst_dsn(self) -> str:
        """The analysts' address."""
        return self.analyst.geturl()


@contextmanager
def own_database(stack: Stack, name: str, *, bytewise: bool = False) -> Iterator[OwnDatabase]:
    """A database for as long as the block lasts; ``bytewise`` lets it order texts by their bytes."""
    kinds = ("WAREHOUSE_URI", "WAREHOUSE_READ_URI", "WAREHOUSE_ANALYST_URI")
    owner, reader, analyst = (urlsplit(stack.env[kind])._replace(path=f"/{name}") for kind in kinds)
    secrets = json.loads((stack.directory / "secrets" / "secrets.json").read_text())
    at = {"host": owner.hostname, "port": owner.port, "user": "postgres", "password": secrets["postgres_superuser"]}
    with closing(psycopg2.connect(**at, dbname="postgres")) as administration:
        administration.autocommit = True
        with administration.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} OWNER {owner.username} {_BYTEWISE if bytewise else ''}")
            cursor.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
            cursor.execute(f"GRANT CONNECT ON DATABASE {name} TO {reader.username}, {analyst.username}")
            try:
                yield OwnDatabase(owner, reader, analyst, at | {"dbname": name})
            finally:
                cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
