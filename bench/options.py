"""How much is to be measured, and on what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.loading import fill_references
from bench.servers import Servers

QUICK_SHARE = 200
QUICK_RUNS = 2


@dataclass
class Bench:
    """The command line's wishes, and servers that start when they are first asked for."""

    rows: int | None = None
    runs: int | None = None
    quick: bool = False
    _started: Servers | None = None

    def rows_or(self, usual: int) -> int:
        """Rows of a benchmark that usually has ``usual``."""
        return self.rows or (usual // QUICK_SHARE if self.quick else usual)

    def runs_or(self, usual: int) -> int:
        """Rounds of a benchmark that usually has ``usual``."""
        return self.runs or (QUICK_RUNS if self.quick else usual)

    @property
    def servers(self) -> Servers:
        """PostgreSQL and S3, with the reference tables filled."""
        return self._running(airflow=False)

    @property
    def with_airflow(self) -> Servers:
        """The whole stack, Airflow included, as it is on its first start; it runs alone."""
        return self._running(airflow=True)

    def _running(self, *, airflow: bool) -> Servers:
        if self._started is None or self._started.airflow != airflow:
            self.end()
            self._started = Servers(airflow=airflow)
            self._started.start()
            if not airflow:
                fill_references(self._started)
        return self._started

    def end(self) -> None:
        """End what was started."""
        if self._started is not None:
            self._started.end()
            self._started = None


@contextmanager
def prepared(bench: Bench) -> Iterator[Bench]:
    """The bench; its servers end with it."""
    try:
        yield bench
    finally:
        bench.end()
