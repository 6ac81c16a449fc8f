"""A warehouse and a bucket as the tests reach them, not by way of a proxy."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import psycopg2

from datamart.load import Loader
from datamart.loads import Arrival, Outcome
from datamart.objects import ObjectStore
from datamart.settings import load_settings
from datamart.warehouse.postgres import PostgresWarehouse
from tests.stack import REPOSITORY, Stack


@dataclass(frozen=True)
class Mart:
    """Where rows, ledger and files are."""

    uri: str
    store: ObjectStore
    access: tuple[str, str]
    s3_url: str

    @classmethod
    def of(cls, stack: Stack) -> Mart:
        """The one of a started stack."""
        env = stack.env
        access = env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
        client = stack.s3
        return cls(env["WAREHOUSE_URI"], ObjectStore(client, env["DATA_BUCKET"]), access, env["S3_ENDPOINT_URL"])

    def by_way_of(self, *, warehouse_port: int) -> Mart:
        """The same, with a proxy before the warehouse."""
        before, database = self.uri.rsplit("/", 1)
        return replace(self, uri=f"{before.rsplit(':', 1)[0]}:{warehouse_port}/{database}")

    def in_database(self, name: str) -> Mart:
        """The same servers, another database."""
        return replace(self, uri=f"{self.uri.rsplit('/', 1)[0]}/{name}")

    @property
    def database(self) -> str:
        """The database's name."""
        return self.uri.rsplit("/", 1)[1]

    def run(self, statement: str) -> None:
        """One statement, as the product's role."""
        with psycopg2.connect(self.uri) as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with psycopg2.connect(self.uri) as connection, connection.cursor() as cursor:
            cursor.execute(text, values)
            return list(cursor.fetchall())

    def read(self, key: str) -> bytes:
        """An object's bytes."""
        return bytes(self.store.client.get_object(Bucket=self.store.bucket, Key=key)["Body"].read())

    def load(self, arrival: Arrival) -> Outcome:
        """What another run, here and now, answers for an arrival.

        What was moved away since is asked for by the landing folder alone, which looks at no rows.
        """
        there = any(one.arrival_id == arrival.arrival_id for one in self.store.list(arrival.key, exact=True))
        warehouse = PostgresWarehouse(self.uri)
        try:
            return self.loader(warehouse).load(arrival, recheck=there)
        finally:
            warehouse.close()

    def loader(self, warehouse: PostgresWarehouse) -> Loader:
        """A loader for a run of its own, which fills an empty table whatever the file's size."""
        run = {"dag_id": "historic_load", "run_id": f"test-{uuid4().hex}"}
        return Loader(warehouse, self.store, load_settings({}), run, fill_from_bytes=0)

    def start_loading(
        self, arrival: Arrival, env: dict[str, str] | None = None, before: str = ""
    ) -> subprocess.Popen[str]:
        """Load an arrival in a process of its own; ``before`` is Python that runs first."""
        return subprocess.Popen(
            [sys.executable, "-c", f"{before}\nfrom tests.faults.loading import main; main()", arrival.key],
            cwd=REPOSITORY,
            env={
                "PYTHONPATH": f"{REPOSITORY / 'include'}:{REPOSITORY}",
                "URI": self.uri, "S3_URL": self.s3_url, "BUCKET": self.store.bucket,
                "AWS_ACCESS_KEY_ID": self.access[0], "AWS_SECRET_ACCESS_KEY": self.access[1],
                "AWS_DEFAULT_REGION": "us-east-1",
                **(env or {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
