"""Amazon Redshift by psycopg2: rows come and go as parquet in S3, and no key keeps a row from being there twice.

What this relies on is in docs/aws.md, with what has not been tried on the real service.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar

import pyarrow as pa

from datamart.errors import BalanceError, TerminalFault
from datamart.reasons import Reject, reasons_text
from datamart.statements import table_names
from datamart.tables import Table
from datamart.warehouse.exchange import PARQUET, Exchange
from datamart.warehouse.session import SessionWarehouse
from datamart.warehouse.sqlstates import REDSHIFT_RULES
from datamart.warehouse.values import Numbers

T = TypeVar("T")

_VERSION = re.compile(r"Redshift [\w.]+")
_REJECTS = pa.schema(
    [
        pa.field("load_id", pa.int64(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("reasons", pa.string(), nullable=False),
        pa.field("raw", pa.binary(), nullable=False),
    ]
)
_REJECTS_BYTES = 8 * 1024 * 1024
_REJECTS_ROWS = 50_000
_LOCK_SECONDS = 600


class RedshiftWarehouse(SessionWarehouse):
    """One connection to Amazon Redshift, and the bucket by which rows reach it."""

    dialect = "redshift"
    rules = REDSHIFT_RULES
    parquet = PARQUET

    def __init__(self, dsn: str, exchange: Callable[[], Exchange]) -> None:
        """Connect with a libpq connection string or URI; ``exchange`` is made when rows first go or come by S3.

        Raises:
            TransientFault, TerminalFault: as the server, or its absence, answers.
        """
        super().__init__(dsn)
        self.execute("SET timezone TO 'UTC'")
        self._make_exchange = exchange

    @cached_property
    def _exchange(self) -> Exchange:
        return self._make_exchange()

    def names(self, table: Table, staging: str = "", target: str | None = None) -> dict[str, str]:
        """Blanks at a text's end do not count in comparisons there.

        Source: https://docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html.
        """
        return table_names(table, staging, target, blanks_count=False)

    def execute(self, text: str, values: Mapping[str, object] | None = None) -> int:
        return self._tried(lambda: super(RedshiftWarehouse, self).execute(text, values))

    def query(self, text: str, values: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        return self._tried(lambda: super(RedshiftWarehouse, self).query(text, values))

    def _tried(self, run: Callable[[], T]) -> T:
        """A statement outside of a transaction is one of its own, and tried again like one."""
        return self.despite_conflicts(run) if self.idle else run()

    def has_load_of(self, table: Table, size: int, rules: str, rows: int) -> bool:  # noqa: ARG002 - none is known
        """No copy is worth hashing: the server does not tell whether rows are as a load left them."""
        return False

    def stage(self, table: Table, staging: str, batches: Iterable[pa.RecordBatch]) -> None:
        self.execute(self.sql("create_staging", **self.names(table, staging)))
        self._copy(staging, table.arrow_schema, batches)

    def stage_kept(self, table: Table, staging: str, batches: Iterable[pa.RecordBatch]) -> int:
        self.execute(self.sql("create_staging_kept", **self.names(table, staging)))
        return self.append_kept(table, staging, batches)

    def append_kept(self, table: Table, relation: str, batches: Iterable[pa.RecordBatch]) -> int:
        return self._copy(relation, table.kept_schema, batches)

    def rows_of(self, table: Table, relation: str, condition: str = "") -> Iterator[pa.RecordBatch]:
        wanted = f" WHERE {condition}" if condition else ""
        chosen = f"SELECT {self.names(table)['columns']}, _load_id FROM {relation}{wanted}"  # noqa: S608
        with self._exchange.place() as place:
            text, values = self.sql("unload", role=self._exchange.role_sql), {"query": chosen}
            super().execute(text, values | {"place": self._exchange.address(place)})  # a second try would find files
            rows = int(self.query("SELECT PG_LAST_UNLOAD_COUNT()")[0][0])
            yield from self._exchange.received(place, table.kept_schema, rows)

    def copy_rejects(self, load_id: int, rejects: Iterable[Reject]) -> None:
        self._copy("ops.rejected_rows", _REJECTS, _reject_batches(load_id, rejects))

    def _copy(self, relation: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
        """Let the server read rows from S3, by position; how many.

        Raises:
            BalanceError: it has read another number of them.
        """
        with self._exchange.sent(schema, batches) as sent:
            if sent is None:
                return 0
            text = self.sql("copy", relation=relation, role=self._exchange.role_sql)
            self.execute(text, {"manifest": sent.manifest})
            copied = int(self.query("SELECT PG_LAST_COPY_COUNT()")[0][0])
        if copied != sent.rows:
            raise BalanceError(f"{relation}: {sent.rows} rows lay in S3, but {copied} were copied.")
        return copied

    @contextmanager
    def one_moment(self, relations: Sequence[str] = ()) -> Iterator[None]:  # noqa: ARG002 - nothing truncates a table here
        self.execute("BEGIN")
        try:
            yield
        finally:
            self._roll_back()

    def hold_moment(self) -> None:
        """Every transaction reads what was committed when it began to read."""

    def lock(self, table: Table) -> Numbers:
        """Of a table of its own, as readers would wait for a lock on the rows; it takes no snapshot yet."""
        self._lock(f"ops.lock_{table.name}")
        found = self.query(
            "SELECT commit_seq, changed_seq, committed_at FROM ops.tables WHERE table_name = %(table)s",
            {"table": table.name},
        )
        if not found:
            raise TerminalFault(f"The warehouse does not know table {table.name}. Run its migrations first.")
        return Numbers(int(found[0][0]), int(found[0][1]), found[0][2])

    def _lock(self, relation: str) -> None:
        """Wait for it, but not for ever: its holder may be a machine that is gone."""
        self.execute(f"SET statement_timeout TO {_LOCK_SECONDS * 1000}")
        self.execute(f"LOCK TABLE {relation}")
        self.execute("SET statement_timeout TO 0")

    def add_backup(self, values: Mapping[str, object]) -> bool:
        return self.exclusively(lambda: self.execute(self.sql("insert_backup"), values) == 1)

    def put_hold(self, values: Mapping[str, object]) -> None:
        def put() -> None:
            self.execute(self.sql("forget_hold"), values)
            self.execute(self.sql("insert_hold"), values)

        self.exclusively(put)

    def exclusively(self, work: Callable[[], T]) -> T:
        """Under one lock for all that is written so; it is taken before anything is read."""
        return self._under("ops.lock_ledger", work)

    def refreshing(self, work: Callable[[], T]) -> T:
        return self._under("ops.lock_insights", work)

    def _under(self, lock: str, work: Callable[[], T]) -> T:
        def locked() -> T:
            self._lock(lock)
            return work()

        return self.atomically(locked)

    @contextmanager
    def migrating(self) -> Iterator[None]:
        self.execute(self.sql("begin_migrations"))
        with self.transaction():
            self._lock("ops.lock_ledger")
            yield

    def create_table(self, table: Table) -> None:
        self.execute(self.sql("create_table", **self.names(table), distribution=distribution(table)))

    def exists(self, relation: str) -> bool:
        schema, _, name = relation.partition(".")
        return bool(self.query(self.sql("relation_exists"), {"schema": schema, "name": name}))

    def analyze(self, relation: str) -> None:
        """The server does it by itself: https://docs.aws.amazon.com/redshift/latest/dg/r_ANALYZE.html."""

    def index_staging(self, table: Table, staging: str) -> None:
        """There are no indexes; staging is sorted by its key."""

    def replay_load(self, names: Mapping[str, str], load_id: int) -> int:
        values = {"load_id": load_id}
        updated = self.execute(self.sql("merge_update", **names), values)
        return updated + self.execute(self.sql("merge_insert", **names), values)

    def replay_change(self, names: Mapping[str, str]) -> int:
        self.execute(self.sql("replay_delete", **names))
        return self.execute(self.sql("replay_insert", **names))

    def now(self) -> datetime:
        """SYSDATE is when the transaction began, GETDATE this statement, but to the second."""
        moment: datetime = self.query("SELECT GREATEST(SYSDATE, GETDATE())")[0][0]
        return moment.replace(tzinfo=UTC)

    def version(self) -> str:
        told = str(self.query("SELECT VERSION()")[0][0])
        found = _VERSION.search(told)
        return found.group() if found else told

    def bytes_in(self, value: Any) -> bytes:
        """VARBYTE comes as hexadecimal digits."""
        return bytes.fromhex(value)


def distribution(table: Table) -> str:
    """What refers to other tables is large and is spread by its key; what does not is small and is on every node."""
    return f'DISTSTYLE KEY DISTKEY ("{table.key}")' if table.references else "DISTSTYLE ALL"


def _reject_batches(load_id: int, rejects: Iterable[Reject]) -> Iterator[pa.RecordBatch]:
    """Rejects as columns, some mebibytes at a time."""
    waiting: list[Reject] = []
    size = 0
    for reject in rejects:
        waiting.append(reject)
        size += len(reject.raw)
        if size >= _REJECTS_BYTES or len(waiting) >= _REJECTS_ROWS:
            yield _reject_batch(load_id, waiting)
            waiting, size = [], 0
    if waiting:
        yield _reject_batch(load_id, waiting)


def _reject_batch(load_id: int, rejects: list[Reject]) -> pa.RecordBatch:
    columns = [
        [load_id] * len(rejects),
        [one.line for one in rejects],
        [reasons_text(one.reasons) for one in rejects],
        [one.raw for one in rejects],
    ]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, _REJECTS, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_REJECTS)
