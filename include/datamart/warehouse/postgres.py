"""PostgreSQL by psycopg2: COPY for bulk, real locks, temporary tables."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any

import psycopg2
import psycopg2.errors
import pyarrow as pa
from psycopg2.extensions import ISOLATION_LEVEL_READ_COMMITTED

from datamart.ahead import Ahead, ahead
from datamart.errors import DatamartError, TerminalFault, TransientFault
from datamart.reasons import Reject, reasons_text
from datamart.statements import table_names
from datamart.tables import Table
from datamart.warehouse.base import Warehouse
from datamart.warehouse.binarycopy import encoded
from datamart.warehouse.binaryread import decoded
from datamart.warehouse.values import Merged, Numbers

# Classes of SQLSTATE that another try may mend: connection, resources, rollback, operator, system, lock.
_TRANSIENT = ("08", "40", "53", "55", "57", "58")
_PIECES_AHEAD = 8
_WORTH_STATISTICS = 1000
_RETURNS_OLD_ROWS = 180_000  # the first server version whose RETURNING knows "old"
# A table of at least so many times the staged rows is looked into by key.
_PROBE_SHARE = 4
_PAGES_AT_ONCE = 2048
_PAGES_OF = "SELECT pg_relation_size(CAST(%(relation)s AS REGCLASS)) / CAST(current_setting('block_size') AS INTEGER)"
# Both ends notice within about a minute that the other is gone, so that no task waits and no lock is held for ever.
_PATIENCE = {
    "application_name": "datamart",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "options": "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
    " -c tcp_user_timeout=60000 -c client_connection_check_interval=5s -c lock_timeout=600s"
    " -c idle_in_transaction_session_timeout=900s",
}


class PostgresWarehouse(Warehouse):
    """One connection to PostgreSQL."""

    dialect = "postgres"

    def __init__(self, dsn: str) -> None:
        """Connect with a libpq connection string or URI.

        Raises:
            TransientFault, TerminalFault: as the server, or its absence, answers.
        """
        with _faults():
            self._connection = psycopg2.connect(dsn, **_PATIENCE)
            self._connection.set_session(isolation_level=ISOLATION_LEVEL_READ_COMMITTED, autocommit=True)

    def execute(self, text: str, values: Mapping[str, object] | None = None) -> int:
        with _faults(), self._connection.cursor() as cursor:
            cursor.execute(text, values)
            return int(cursor.rowcount)

    def query(self, text: str, values: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        with _faults(), self._connection.cursor() as cursor:
            cursor.execute(text, values)
            return list(cursor.fetchall())

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN .. COMMIT; any error rolls back and goes on."""
        self.execute("BEGIN")
        try:
            yield
        except BaseException:
            if not self._connection.closed:
                with suppress(DatamartError):  # the server rolls back by itself what it cannot be asked to
                    self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")

    def can_fill(self, table: Table) -> bool:
        return not self.query(f"SELECT 1 FROM public.{table.name} LIMIT 1")  # noqa: S608

    def append(self, table: Table, load_id: int, batches: Iterable[pa.RecordBatch]) -> None:
        names = table_names(table, "")
        self._copy(f"COPY {names['target']} ({names['columns']}, _load_id)", encoded(table, batches, load_id))

    def stage(self, table: Table, staging: str, batches: Iterable[pa.RecordBatch]) -> None:
        names = table_names(table, staging)
        self.execute(self.sql("create_staging", **names))
        rows = self._copy(f"COPY {staging} ({names['columns']})", encoded(table, batches))
        if rows >= _WORTH_STATISTICS:
            self.execute(f"ANALYZE {staging}")

    def stage_kept(self, table: Table, staging: str, batches: Iterable[pa.RecordBatch]) -> int:
        self.execute(self.sql("create_staging_kept", **table_names(table, staging)))
        rows = self.append_kept(table, staging, batches)
        if rows >= _WORTH_STATISTICS:
            self.execute(f"ANALYZE {staging}")
        return rows

    def append_kept(self, table: Table, relation: str, batches: Iterable[pa.RecordBatch]) -> int:
        return self._copy(f"COPY {relation} ({table_names(table, '')['columns']}, _load_id)", encoded(table, batches))

    def rows_of(self, table: Table, relation: str, condition: str = "") -> Iterator[pa.RecordBatch]:
        """A range of pages at a time: each is a COPY of its own, so that no more is read than is asked for."""
        pages = int(self.query(_PAGES_OF, {"relation": relation})[0][0])
        columns = f"{table_names(table, '')['columns']}, _load_id"
        for first in range(0, max(pages, 1), _PAGES_AT_ONCE):
            end = first + _PAGES_AT_ONCE
            # Pages that were added since lie in the last range.
            until = f" AND ctid < '({end},0)'" if end < pages else ""
            wanted = f" AND {condition}" if condition else ""
            chosen = f"SELECT {columns} FROM {relation} WHERE ctid >= '({first},0)'{until}{wanted}"  # noqa: S608
            rows = _Rows()
            with _faults(), self._connection.cursor() as cursor:
                cursor.copy_expert(f"COPY ({chosen}) TO STDOUT (FORMAT binary)", rows)
            batch = decoded(table.kept_schema, rows)
            if batch.num_rows:
                yield batch

    def version(self) -> str:
        return f"PostgreSQL {self.query('SHOW server_version')[0][0]}"

    @contextmanager
    def one_moment(self, relations: Sequence[str]) -> Iterator[None]:
        self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            # Before anything is read, as a table that is truncated meanwhile would look empty at an earlier moment.
            for relation in relations:
                self.execute(f"LOCK TABLE {relation} IN ACCESS SHARE MODE")
            yield
        finally:
            if not self._connection.closed:
                with suppress(DatamartError):
                    self.execute("ROLLBACK")

    def _copy(self, target: str, pieces: Iterable[bytes]) -> int:
        """Send pieces while they are made: another thread makes them, this one waits for the server. Rows copied."""
        with ahead(pieces, _PIECES_AHEAD) as made:
            try:
                with _faults(), self._connection.cursor() as cursor:
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
        with _faults(), self._connection.cursor() as cursor:
            cursor.copy_expert(
                "COPY ops.rejected_rows (load_id, line, reasons, raw) FROM STDIN", _Lines(chain((first,), lines))
            )

    def lock(self, table: Table) -> Numbers:
        found = self.query(
            "SELECT commit_seq, changed_seq FROM ops.tables WHERE table_name = %(table)s FOR UPDATE",
            {"table": table.name},
        )
        if not found:
            raise TerminalFault(f"The warehouse does not know table {table.name}. Run its migrations first.")
        return Numbers(int(found[0][0]), int(found[0][1]))

    def alive(self) -> bool:
        return not self._connection.closed

    def close(self) -> None:
        self._connection.close()


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


@contextmanager
def _faults() -> Iterator[None]:
    """Driver errors as terminal or transient faults, without the statement or row contents in the message."""
    try:
        yield
    except psycopg2.Error as error:
        code = error.pgcode
        first = (error.diag.message_primary or str(error).strip().splitlines()[0] if str(error) else "") or "no details"
        if code is None or code[:2] in _TRANSIENT:
            raise TransientFault(f"The warehouse did not answer or gave up ({code or 'connection'}): {first}") from None
        raise TerminalFault(f"The warehouse refused ({code}): {first}") from None
