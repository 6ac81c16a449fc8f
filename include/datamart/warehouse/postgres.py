"""PostgreSQL by psycopg2: COPY for bulk, real locks, temporary tables."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from typing import TypeVar

import pyarrow as pa

from datamart.ahead import Ahead, ahead
from datamart.errors import DatamartError, TerminalFault
from datamart.reasons import Reject, reasons_text
from datamart.tables import Table
from datamart.warehouse.base import Filler
from datamart.warehouse.binarycopy import encoded
from datamart.warehouse.binaryread import decoded
from datamart.warehouse.session import SessionWarehouse
from datamart.warehouse.values import Merged, Numbers

T = TypeVar("T")

_PIECES_AHEAD = 8
_WORTH_STATISTICS = 1000
_RETURNS_OLD_ROWS = 180_000  # the first server version whose RETURNING knows "old"
# A table of at least so many times the staged rows is looked into by key.
_PROBE_SHARE = 4
_PAGES_AT_ONCE = 2048
_PAGES_OF = "SELECT pg_relation_size(CAST(%(relation)s AS REGCLASS)) / CAST(current_setting('block_size') AS INTEGER)"
_MIGRATION_LOCK = 4_207_849_484
# The server too notices that a client is gone, and lets nobody wait for ever.
_OPTIONS = (
    "-c default_transaction_isolation=read\\ committed -c timezone=UTC"
    " -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
    " -c tcp_user_timeout=60000 -c client_connection_check_interval=5s -c lock_timeout=600s"
    " -c idle_in_transaction_session_timeout=900s"
)


class PostgresWarehouse(SessionWarehouse):
    """One connection to PostgreSQL."""

    dialect = "postgres"

    def __init__(self, dsn: str) -> None:
        """Connect with a libpq connection string or URI.

        Raises:
            TransientFault, TerminalFault: as the server, or its absence, answers.
        """
        super().__init__(dsn, _OPTIONS)

    def filler(self, table: Table) -> Filler | None:
        filled = self.query(f"SELECT 1 FROM public.{table.name} LIMIT 1")  # noqa: S608
        return None if filled else self

    def rows_as_loaded(self, table: Table, load_id: int) -> int:
        return int(self.query(self.sql("rows_as_loaded", **self.names(table)), {"load_id": load_id})[0][0])

    def append(self, table: Table, load_id: int, batches: Iterable[pa.RecordBatch]) -> None:
        names = self.names(table)
        self._copy(f"COPY {names['target']} ({names['columns']}, _load_id)", encoded(table, batches, load_id))

    def stage(self, table: Table, staging: str, batches: Iterable[pa.RecordBatch]) -> None:
        names = self.names(table, staging)
        self.execute(self.sql("create_staging", **names))
        rows = self._copy(f"COPY {staging} ({names['columns']})", encoded(table, batches))
        if rows >= _WORTH_STATISTICS:
            self.analyze(staging)

    def stage_kept(self, table: Table, staging: str, batches: Iterable[pa.RecordBatch]) -> int:
        self.execute(self.sql("create_staging_kept", **self.names(table, staging)))
        rows = self.append_kept(table, staging, batches)
        if rows >= _WORTH_STATISTICS:
            self.analyze(staging)
        return rows

    def append_kept(self, table: Table, relation: str, batches: Iterable[pa.RecordBatch]) -> int:
        return self._copy(f"COPY {relation} ({self.names(table)['columns']}, _load_id)", encoded(table, batches))

    def rows_of(self, table: Table, relation: str, condition: str = "") -> Iterator[pa.RecordBatch]:
        """A range of pages at a time: each is a COPY of its own, so that no more is read than is asked for."""
        pages = int(self.query(_PAGES_OF, {"relation": relation})[0][0])
        columns = f"{self.names(table)['columns']}, _load_id"
        for first in range(0, max(pages, 1), _PAGES_AT_ONCE):
            end = first + _PAGES_AT_ONCE
            # Pages that were added since lie in the last range.
            until = f" AND ctid < '({end},0)'" if end < pages else ""
            wanted = f" AND {condition}" if condition else ""
            chosen = f"SELECT {columns} FROM {relation} WHERE ctid >= '({first},0)'{until}{wanted}"  # noqa: S608
            rows = _Rows()
            with self._faults(), self._connection.cursor() as cursor:
                cursor.copy_expert(f"COPY ({chosen}) TO STDOUT (FORMAT binary)", rows)
            batch = decoded(table.kept_schema, rows)
            if batch.num_rows:
                yield batch

    def now(self) -> datetime:
        found: datetime = self.query("SELECT clock_timestamp()")[0][0]
        return found

    def version(self) -> str:
        return f"PostgreSQL {self.query('SHOW server_version')[0][0]}"

    def analyze(self, relation: str) -> None:
        self.execute(f"ANALYZE {relation}")

    def index_staging(self, table: Table, staging: str) -> None:
        self.execute(f'CREATE UNIQUE INDEX {staging}_key ON {staging} ("{table.key}")')

    @contextmanager
    def one_moment(self, relations: Sequence[str] = ()) -> Iterator[None]:
        self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            # Before anything is read, as a table that is truncated meanwhile would look empty at an earlier moment.
            for relation in relations:
                self.execute(f"LOCK TABLE {relation} IN ACCESS SHARE MODE")
            yield
        finally:
            self._roll_back()

    def refreshing(self, work: Callable[[], T]) -> T:
        """The lock comes before the moment: who waits for it sees what the other one has written."""

        def locked() -> T:
            self.hold_moment()
            self.execute("LOCK TABLE ops.insight_refreshes IN EXCLUSIVE MODE")
            return work()

        return self.atomically(locked)

    def hold_moment(self) -> None:
        self.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

    @contextmanager
    def migrating(self) -> Iterator[None]:
        with self.transaction():
            self.execute("SELECT pg_advisory_xact_lock(%(key)s)", {"key": _MIGRATION_LOCK})
            yield

    def exists(self, relation: str) -> bool:
        return self.query("SELECT to_regclass(%(name)s)", {"name": relation})[0][0] is not None

    def _copy(self, target: str, pieces: Iterable[bytes]) -> int:
        """Send pieces while they are made: another thread makes them, this one waits for the server. Rows copied."""
        with ahead(pieces, _PIECES_AHEAD) as made:
            try:
                with self._faults(), self._connection.cursor() as cursor:
                    cursor.copy_expert(f"{target} FROM STDIN (FORMAT binary)", _Source(made))
                    return int(cursor.rowcount)
            except DatamartError:
                # The server reports its own side of a stream that broke off; the reason is ours.
                made.raise_failure()
                raise

    def savepoint(self) -> str:
        self.execute("SAVEPOINT before_rows")
        return "before_rows"

    def roll_back_to(self, savepoint: str) -> None:
        self.execute(f"ROLLBACK TO SAVEPOINT {savepoint}")

    def _merge_rows(self, names: Mapping[str, str], values: Mapping[str, object], staged: int) -> Merged:
        """One statement where the server can give back the rows that it replaces."""
        if self._connection.server_version < _RETURNS_OLD_ROWS:
            return super()._merge_rows(names, values, staged)
        touched, updated, kept = map(int, self.query(self.sql("merge_at_once", **names), values)[0])
        unchanged = self._unchanged(names, values) if touched < staged else 0
        return Merged(touched - updated, updated, unchanged, kept)

    def _unchanged(self, names: Mapping[str, str], values: Mapping[str, object]) -> int:
        """Staged rows that the table holds with equal values, from a load before this one."""
        with self.looking_up(names["staging"], names["target"]):
            return int(self.query(self.sql("merge_unchanged", **names), values)[0][0])

    def replay_load(self, names: Mapping[str, str], load_id: int) -> int:
        return self.execute(self.sql("replay_load", **names), {"load_id": load_id})

    def replay_change(self, names: Mapping[str, str]) -> int:
        return self.execute(self.sql("replay_change", **names))

    @contextmanager
    def looking_up(self, staging: str, target: str) -> Iterator[None]:
        staged, rows = self.query(self.sql("merge_sizes"), {"staging": staging, "target": target})[0]
        # The planner would read a whole table for what a few look-ups in its key find sooner.
        methods = ("hashjoin", "mergejoin") if staged * _PROBE_SHARE <= rows else ()
        for method in methods:
            self.execute(f"SET enable_{method} = off")
        yield
        for method in methods:
            self.execute(f"RESET enable_{method}")

    def copy_rejects(self, load_id: int, rejects: Iterable[Reject]) -> None:
        lines = (f"{load_id}\t{r.line}\t{reasons_text(r.reasons)}\t\\\\x{r.raw.hex()}\n".encode() for r in rejects)
        first = next(lines, None)
        if first is None:
            return
        with self._faults(), self._connection.cursor() as cursor:
            cursor.copy_expert(
                "COPY ops.rejected_rows (load_id, line, reasons, raw) FROM STDIN", _Lines(chain((first,), lines))
            )

    def lock(self, table: Table) -> Numbers:
        found = self.query(
            "SELECT commit_seq, changed_seq, committed_at FROM ops.tables WHERE table_name = %(table)s FOR UPDATE",
            {"table": table.name},
        )
        if not found:
            raise TerminalFault(f"The warehouse does not know table {table.name}. Run its migrations first.")
        return Numbers(int(found[0][0]), int(found[0][1]), found[0][2])


class _Rows(list[bytes]):
    """The messages of a COPY, one a row, as the file that it writes to; no Python function is called for each."""

    write = list.append


class _Source:
    """Pieces that another thread makes, as the file that COPY reads; the driver takes any size."""

    def __init__(self, made: Ahead[bytes]) -> None:
        self._made = made

    def read(self, _size: int = -1) -> bytes:
        return self._made.take() or b""


class _Lines(io.RawIOBase):
    """An iterator of lines as the file that COPY reads."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        parts, have = [self._left], len(self._left)
        while size < 0 or have < size:
            line = next(self._lines, None)
            if line is None:
                break
            parts.append(line)
            have += len(line)
        data = b"".join(parts)
        if size < 0:
            size = len(data)
        self._left = data[size:]
        return data[:size]
