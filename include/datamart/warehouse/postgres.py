"""PostgreSQL by psycopg2: COPY for bulk, real locks, temporary tables."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import psycopg2
import psycopg2.errors
import pyarrow as pa
from psycopg2.extensions import ISOLATION_LEVEL_READ_COMMITTED
from pyarrow import csv

from datamart.errors import TerminalFault, TransientFault
from datamart.statements import table_names
from datamart.tables import Table
from datamart.validation import Reject
from datamart.warehouse.base import Warehouse

# Classes of SQLSTATE that another try may mend: connection, resources, rollback, operator, system, lock.
_TRANSIENT = ("08", "40", "53", "55", "57", "58")


class PostgresWarehouse(Warehouse):
    """One connection to PostgreSQL."""

    dialect = "postgres"

    def __init__(self, dsn: str) -> None:
        """Connect with a libpq connection string or URI.

        Raises:
            TransientFault, TerminalFault: as the server, or its absence, answers.
        """
        with _faults():
            self._connection = psycopg2.connect(dsn, connect_timeout=10, application_name="datamart")
            self._connection.set_session(isolation_level=ISOLATION_LEVEL_READ_COMMITTED, autocommit=True)
        self._open = False

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
                self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")

    def stage(self, table: Table, staging: str, batches: Iterable[pa.RecordBatch]) -> None:
        names = table_names(table, staging)
        self.execute(self.sql("create_staging", **names))
        self._copy(f"COPY {staging} ({names['columns']}) FROM STDIN (FORMAT csv)", batches)
        self.execute(f"ANALYZE {staging}")

    def _copy(self, text: str, batches: Iterable[pa.RecordBatch]) -> None:
        """Send batches while they are made: one thread writes a pipe, this one lets the server read it."""
        reading, writing = os.pipe()
        failure: list[BaseException] = []

        def produce() -> None:
            options = csv.WriteOptions(include_header=False)
            try:
                with os.fdopen(writing, "wb", buffering=1 << 20) as out:
                    for batch in batches:
                        csv.write_csv(batch, out, options)
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                failure.append(error)

        producer = threading.Thread(target=produce, daemon=True)
        producer.start()
        with os.fdopen(reading, "rb") as source:
            try:
                with _faults(), self._connection.cursor() as cursor:
                    cursor.copy_expert(text, _Failing(source, failure, producer), 1 << 16)
            except Exception:
                source.close()
                producer.join()
                if failure and not isinstance(failure[0], BrokenPipeError):
                    raise failure[0] from None
                raise
        producer.join()

    def copy_rejects(self, load_id: int, rejects: Iterable[Reject]) -> None:
        with _faults(), self._connection.cursor() as cursor:
            cursor.copy_expert(
                "COPY ops.rejected_rows (load_id, line, reasons, raw) FROM STDIN",
                _Lines(
                    f"{load_id}\t{r.line}\t{';'.join(map(str, r.reasons))}\t\\\\x{r.raw.hex()}\n".encode()
                    for r in rejects
                ),
            )

    def lock(self, table: Table) -> tuple[int, int]:
        found = self.query(
            "SELECT commit_seq, changed_seq FROM ops.tables WHERE table_name = %(table)s FOR UPDATE",
            {"table": table.name},
        )
        if not found:
            raise TerminalFault(f"The warehouse does not know table {table.name}. Run its migrations first.")
        return int(found[0][0]), int(found[0][1])

    def close(self) -> None:
        self._connection.close()


class _Failing:
    """The reading end of a copy: when the producer failed, the copy fails too instead of ending early."""

    def __init__(self, source: IO[bytes], failure: list[BaseException], producer: threading.Thread) -> None:
        self._source, self._failure, self._producer = source, failure, producer

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        if not data:
            self._producer.join()
            if self._failure:
                raise self._failure[0]
        return data


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
