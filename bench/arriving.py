"""Files that land, and the eyes of one who waits for their rows."""

# Statements are put together from constants of this program.
# ruff: noqa: S608
from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg2

from bench import inputs
from bench.servers import Servers
from embedded.settings import DATA_BUCKET

FILE_ROWS = 100
ASKED_AT_ONCE = 500


@dataclass(frozen=True)
class Drop:
    """Files that are sent together; their ids are ``first`` and those after it."""

    name: str
    first: int
    bodies: tuple[bytes, ...]

    @classmethod
    def of(cls, name: str, first: int, files: int) -> Drop:
        """Newly made files."""
        return cls(name, first, inputs.small_files(files, FILE_ROWS, first))

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return len(self.bodies) * FILE_ROWS

    @property
    def end(self) -> int:
        """The id after the last one."""
        return self.first + self.rows

    @property
    def last_ids(self) -> list[int]:
        """The id of each file's last row: a file is one transaction, so where that is the others are too."""
        return list(range(self.first + FILE_ROWS - 1, self.end, FILE_ROWS))

    def keys(self, folder: str) -> list[str]:
        """Where the files lie under a folder."""
        return [f"{folder}hired_employees_{self.name}_{number:05d}.csv" for number in range(len(self.bodies))]

    def part_of(self, table: str) -> str:
        """The rows of these files in a table, as something to select from."""
        return f"(SELECT * FROM {table} WHERE id >= {self.first} AND id < {self.end}) AS found"


@dataclass(frozen=True)
class Sent:
    """When the first PUT began, and when the last one was answered; seconds of ``time.perf_counter``."""

    first: float
    last: float


class Sending:
    """Sends the files of a drop by some threads, from ``with`` on."""

    def __init__(self, servers: Servers, drop: Drop, folder: str, threads: int) -> None:
        self._client = servers.s3
        self._files = list(zip(drop.keys(folder), drop.bodies, strict=True))
        self._threads = ThreadPoolExecutor(threads, "put")
        self._answers: list[Future[float]] = []
        self._first = 0.0

    def __enter__(self) -> Sending:
        self._first = time.perf_counter()
        self._answers = [self._threads.submit(self._put, key, body) for key, body in self._files]
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def sent(self) -> Sent:
        """Wait for the last answer."""
        return Sent(self._first, max(answer.result() for answer in self._answers))

    def _put(self, key: str, body: bytes) -> float:
        self._client.put_object(Bucket=DATA_BUCKET, Key=key, Body=body)
        return time.perf_counter()


def send(servers: Servers, drop: Drop, folder: str, threads: int = 8) -> Sent:
    """Send all files of a drop."""
    with Sending(servers, drop, folder, threads) as sending:
        return sending.sent()


@dataclass(frozen=True)
class Seen:
    """When the first and the last of some rows were seen, and how many were not until the time was over."""

    first: float
    last: float
    missing: int


class Watch:
    """Looks for rows of a table by their key, again and again on one connection."""

    def __init__(self, dsn: str, table: str) -> None:
        self._connection: Any = psycopg2.connect(dsn)
        self._connection.autocommit = True
        self._query = f"SELECT id FROM {table} WHERE id = ANY(%s)"

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def until(self, ids: Sequence[int], every: float, limit: float) -> Seen:
        """Look every so many seconds until all are there or the limit has passed; a few at a time, to be cheap."""
        pending, end = list(ids), time.perf_counter() + limit
        first = last = 0.0
        while pending and time.perf_counter() < end:
            asked = pending[:ASKED_AT_ONCE]
            there = self._look(asked)
            if there:
                last = time.perf_counter()
                first = first or last
                pending = [one for one in asked if one not in there] + pending[ASKED_AT_ONCE:]
            if len(there) < len(asked):
                time.sleep(every)
        return Seen(first, last, len(pending))

    def _look(self, ids: Sequence[int]) -> set[int]:
        with self._connection.cursor() as cursor:
            cursor.execute(self._query, (list(ids),))
            return {row[0] for row in cursor.fetchall()}
