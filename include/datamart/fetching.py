"""Small files fetched ahead of their turn: many of them are mostly waiting for S3, and the wait of one hides another's.

A file is still loaded in its turn, and only if it was the listed object when it was fetched.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from datamart.loads import Arrival
from datamart.objects import ObjectStore

SMALL = 1 << 20
AHEAD = 8


@dataclass(frozen=True)
class FetchingStore(ObjectStore):
    """An object store that is told which files come next."""

    _bodies: dict[int, Future[bytes]] = field(default_factory=dict)

    def next_are(self, arrivals: Sequence[Arrival], threads: ThreadPoolExecutor) -> None:
        """Begin to fetch those of ``arrivals`` that are small and not asked for yet; others are forgotten."""
        for gone in set(self._bodies) - {arrival.arrival_id for arrival in arrivals}:
            del self._bodies[gone]
        for arrival in arrivals:
            if arrival.size <= SMALL and arrival.arrival_id not in self._bodies:
                self._bodies[arrival.arrival_id] = threads.submit(self._fetch, arrival)

    @contextmanager
    def read(self, arrival: Arrival) -> Iterator[BinaryIO]:
        """What was fetched; where that failed, whoever reads it again asks S3."""
        fetched = self._bodies.get(arrival.arrival_id)
        if fetched is None:
            with super().read(arrival) as body:
                yield body
            return
        if fetched.exception():
            del self._bodies[arrival.arrival_id]
        yield io.BytesIO(fetched.result())

    def _fetch(self, arrival: Arrival) -> bytes:
        with super().read(arrival) as body:
            return body.read()
