"""How much is to be measured, and on what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

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
    started: list[Servers] = field(default_factory=list)

    def rows_or(self, usual: int) -> int:
        """Rows of a benchmark that usually has ``usual``."""
        return self.rows or (usual // QUICK_SHARE if self.quick else usual)

    def runs_or(self, usual: int) -> int:
        """Rounds of a benchmark that usually has ``usual``."""
        return self.runs or (QUICK_RUNS if self.quick else usual)

    @property
    def servers(self) -> Servers:
        """PostgreSQL and S3, with the reference tables filled."""
        if not self.started:
            servers = Servers()
            self.started.append(servers)
            servers.start()
            fill_references(servers)
        return self.started[0]


@contextmanager
def prepared(bench: Bench) -> Iterator[Bench]:
    """The bench; its servers end with it."""
    try:
        yield bench
    finally:
        for servers in bench.started:
            servers.end()
