"""One warehouse and one corner of the bucket for one test, and the short way of a file through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from datamart.load import Loader
from datamart.loads import Arrival, Outcome
from datamart.objects import ObjectStore
from datamart.settings import load_settings
from datamart.tables import table_named
from datamart.warehouse.base import Warehouse
from datamart.warehouse.postgres import PostgresWarehouse
from tests.oracle import rules

Row = tuple[Any, ...]
Rejected = tuple[int, bytes, frozenset[rules.Reason]]


@dataclass(frozen=True)
class Database:
    """A migrated database; ``observer`` is a connection that the product does not know and sees what is committed."""

    dsn: str
    reader_dsn: str
    observer: Any
    analyst_dsn: str = field(default="", kw_only=True)

    def connect(self) -> Warehouse:
        """A session of the product."""
        return PostgresWarehouse(self.dsn)

    def sql(self, text: str, *values: object) -> list[Row]:
        """Run and commit one statement; its rows, if it has any."""
        with self.observer.cursor() as cursor:
            cursor.execute(text, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    def empty(self) -> None:
        """Make it as it was after its migration."""
        tables = self.sql(
            "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('public', 'ops')"
            " AND tablename NOT IN ('migrations', 'tables')"
        )
        self.sql(f"TRUNCATE {', '.join(name for (name,) in tables)}")
        self.sql("UPDATE ops.tables SET commit_seq = 0, changed_seq = 0")


@dataclass
class World:
    """Every call of ``loader`` without a run's name is another run's; ``asked`` remembers what was to be upserted.

    The files of tests are small: so that an empty table is filled and not merged into, any size is large enough.
    """

    database: Database
    store: ObjectStore
    prefix: str
    warehouse: Warehouse
    fill_from_bytes: int = 0
    asked: list[tuple[Arrival, dict[str, Any]]] = field(default_factory=list)
    kept_at: datetime | None = None
    """A moment that the test wants to go back to."""
    _runs: Iterator[int] = field(default_factory=lambda: count(1))

    def put(self, name: str, body: bytes, folder: str = "") -> Arrival:
        """Write an object and list it."""
        key = f"{self.prefix}{folder}{name}"
        self.store.write(key, body)
        return self.listed(key)

    def unique(self, table: str) -> str:
        """A file name that no other test uses."""
        return f"{table}_{self.prefix.strip('/').rsplit('/', 1)[-1]}.csv"

    def put_later(self, name: str, body: bytes, earlier: Arrival) -> Arrival:
        """Write it over again until S3's clock has moved on from ``earlier``."""
        while True:
            arrival = self.put(name, body)
            if arrival.last_modified > earlier.last_modified:
                return arrival

    def listed(self, key: str) -> Arrival:
        """The object of exactly this key, as a listing gives it."""
        return next(arrival for arrival in self.store.list(key) if arrival.key == key)

    def loader(self, run: str | None = None, warehouse: Warehouse | None = None, **settings: Any) -> Loader:
        return Loader(
            warehouse or self.warehouse,
            self.store,
            load_settings({f"DATAMART_{name.upper()}": str(value) for name, value in settings.items()}),
            {"dag_id": "integration", "run_id": run or f"run-{next(self._runs)}"},
            fill_from_bytes=self.fill_from_bytes,
        )

    def load(self, name: str, body: bytes, **settings: Any) -> Outcome:
        return self.judge(self.put(name, body), **settings)

    def judge(self, arrival: Arrival, run: str | None = None, **settings: Any) -> Outcome:
        """Load an object that is there, as a run of its own unless one is named."""
        self.asked.append((arrival, settings))
        return self.loader(run, **settings).load(arrival)

    def replace(self, table: str, *arrivals: Arrival, run: str | None = None, **settings: Any) -> list[Outcome]:
        return self.loader(run, **settings).replace(arrivals, table_named(table))

    @contextmanager
    def connected(self, kind: Callable[[str], Warehouse] | None = None) -> Iterator[Warehouse]:
        """One more connection to the warehouse."""
        with closing(kind(self.database.dsn) if kind else self.database.connect()) as warehouse:
            yield warehouse

    def sql(self, text: str, *values: object) -> list[Row]:
        return self.database.sql(text, *values)

    def rows(self, table: str) -> list[Row]:
        """The live rows by id, in the judge's types."""
        columns = ", ".join(f'"{name}"' for name in rules.COLUMNS[table])
        return [_typed(row) for row in self.sql(f"SELECT {columns} FROM public.{table} ORDER BY id")]

    def rejected(self, load_id: int) -> list[Rejected]:
        """The rejected rows of a load by line, in the judge's types."""
        found = self.sql("SELECT line, raw, reasons FROM ops.rejected_rows WHERE load_id = %s ORDER BY line", load_id)
        return [(line, bytes(raw), frozenset(map(_reason, reasons.split(";")))) for line, raw, reasons in found]

    def ledger(self, load_id: int, *columns: str) -> Row:
        """Columns of a load's one ledger row."""
        (row,) = self.sql(f"SELECT {', '.join(columns)} FROM ops.loads WHERE load_id = %s", load_id)
        return row

    def read(self, key: str) -> bytes:
        body: bytes = self.store.client.get_object(Bucket=self.store.bucket, Key=key)["Body"].read()
        return body

    def keys(self, prefix: str) -> list[str]:
        return sorted(arrival.key for arrival in self.store.list(prefix))

    def snapshot(self) -> dict[str, list[Row]]:
        """Everything that a load may change in the warehouse."""
        names = [f"public.{table}" for table in rules.COLUMNS] + [f"ops.{table}_history" for table in rules.COLUMNS]
        names += ["ops.tables", "ops.loads", "ops.rejected_rows"]
        return {name: self.sql(f"SELECT t::text FROM {name} AS t ORDER BY 1") for name in names}


def _typed(row: Row) -> Row:
    return tuple(value.replace(tzinfo=UTC) if isinstance(value, datetime) else value for value in row)


def _reason(text: str) -> rules.Reason:
    column, _, code = text.rpartition(":")
    return column, code


def upserted(table: str, *files: bytes) -> list[Row]:
    """The rows that a table must hold after these files, by the judge: later ones win."""
    rows = {row[0]: row for body in files for row in rules.judge(table, body).accepted}
    return [rows[key] for key in sorted(rows)]
