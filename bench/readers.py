r"""``readers``: whether a load into an empty table makes readers wait, versus ``psql \copy``.

While a load runs, two connections with the read-only role ask the table something every 100 ms, with a lock time-out
of one second: one counts its rows, one only takes the lock that every query takes (LIMIT 0) and so shows waiting for
locks alone. A read that fails in any way, a missing right on a swapped table included, is a refused read. The count
must always be none or all: nothing in between may be seen.

``\copy`` is the measure: it takes no lock that a reader minds, so what its readers wait is the machine's doing.
"""

# Statements are put together from constants of this program.
# ruff: noqa: S608
from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

import psycopg2

from bench import inputs, loading
from bench.inputs import Input
from bench.measure import Contender, Result, Run, interleave, require
from bench.options import Bench
from bench.report import say
from bench.servers import Servers

ROWS = 10_000_000
RUNS = 3
EVERY_SECONDS = 0.1
LOCK_TIMEOUT = "1s"
STATEMENT_TIMEOUT = "30s"
Measured = TypeVar("Measured")
COUNT = f"SELECT count(*) FROM {loading.TABLE}"
LOCK = f"SELECT count(*) FROM (SELECT 1 FROM {loading.TABLE} LIMIT 0) nothing"


@dataclass
class Reader:
    """Asks the same again and again on a connection of its own, until told to end."""

    dsn: str
    query: str
    waits: list[float] = field(default_factory=list)
    answers: set[int] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to ask."""
        self._thread = threading.Thread(target=self._ask_on, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Ask no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _ask_on(self) -> None:
        connection = psycopg2.connect(
            self.dsn, options=f"-c lock_timeout={LOCK_TIMEOUT} -c statement_timeout={STATEMENT_TIMEOUT}"
        )
        connection.autocommit = True
        due = time.perf_counter()
        with connection.cursor() as cursor:
            while not self._ended.is_set():
                self._ask(cursor)
                due = max(due + EVERY_SECONDS, time.perf_counter())
                self._ended.wait(due - time.perf_counter())
        connection.close()

    def _ask(self, cursor: psycopg2.extensions.cursor) -> None:
        started = time.perf_counter()
        try:
            cursor.execute(self.query)
            self.answers.add(int(cursor.fetchone()[0]))
        except psycopg2.Error as error:
            self.refused.append(f"{error.pgcode} {str(error).strip().splitlines()[0]}")
        self.waits.append(time.perf_counter() - started)


@dataclass
class Readers:
    """Both readers of one run."""

    dsn: str
    count: Reader = field(init=False)
    lock: Reader = field(init=False)

    def __post_init__(self) -> None:
        self.count, self.lock = Reader(self.dsn, COUNT), Reader(self.dsn, LOCK)

    def beside(self, load: Callable[[], Measured]) -> Measured:
        """Do the load while both ask."""
        for reader in (self.count, self.lock):
            reader.start()
        try:
            return load()
        finally:
            for reader in (self.count, self.lock):
                reader.end()

    @property
    def refused(self) -> list[str]:
        """What refused reads were told."""
        return self.count.refused + self.lock.refused

    def numbers(self) -> dict[str, float]:
        """What the readers saw."""
        return {
            "reads": len(self.count.waits) + len(self.lock.waits),
            "refused (max)": len(self.refused),
            "longest wait for a lock, s (max)": max(self.lock.waits),
            "longest count, s (max)": max(self.count.waits),
            "median count, s": median(self.count.waits),
        }


def run(bench: Bench) -> Result:
    """Measure."""
    rows = bench.rows_or(ROWS)
    source, twin = inputs.dirty(rows), inputs.cleaned(rows)
    servers = bench.servers
    key = servers.put(source.path, f"{loading.LANDING}_readers.csv")
    refusals: set[str] = set()
    contenders = [
        Contender("ours", lambda: beside_ours(servers, source, key, refusals)),
        Contender(r"psql \copy", lambda: beside_copy(servers, twin, refusals)),
    ]
    say(f"readers: {rows:,} rows")
    runs = interleave(contenders, bench.runs_or(RUNS))
    notes = [
        f"Two readers, every {EVERY_SECONDS * 1000:.0f} ms each, with the read-only role and a lock time-out of "
        f"{LOCK_TIMEOUT}. The longest of all runs is given. A count takes as long as its scan does, which the last "
        "column gives for the full table with nothing beside it.",
        f"Refused reads were told: {'; '.join(sorted(refusals)) or 'there were none'}.",
    ]
    question = r"Do readers wait while a load into an empty table runs? Ours, and `psql \copy`."
    return Result("readers", question, rows, r"psql \copy", runs, contenders, notes)


def beside_ours(servers: Servers, source: Input, key: str, refusals: set[str]) -> Run:
    """Our load with readers beside it: prepared, measured, verified."""
    loading.prepare_ours(servers, source, key)
    readers = Readers(servers.read_dsn)
    cost, report = readers.beside(lambda: loading.load(servers, [key]))
    loading.verify_ours(servers, source, report["outcomes"][0])
    return _judged(loading.run_of(cost, report, source.rows), readers, servers, source, refusals)


def beside_copy(servers: Servers, source: Input, refusals: set[str]) -> Run:
    """The copy with readers beside it: prepared, measured, verified."""
    loading.prepare_copy(servers, source)
    readers = Readers(servers.read_dsn)
    cost = readers.beside(lambda: loading.copy(servers, source))
    loading.verify_table(servers, source.good)
    return _judged(Run(cost.seconds, source.rows, cost), readers, servers, source, refusals)


def _judged(measured: Run, readers: Readers, servers: Servers, source: Input, refusals: set[str]) -> Run:
    require(readers.count.answers <= {0, source.good}, f"readers saw part of a load: {sorted(readers.count.answers)}")
    require(bool(readers.count.answers or readers.refused), "the readers read nothing")
    refusals.update(readers.refused)
    started = time.perf_counter()
    servers.sql(COUNT)
    measured.numbers = readers.numbers() | {"a count alone, s": time.perf_counter() - started}
    return measured
