"""Bytes of a large object, fetched by several requests at once and handed on in order.

One request of a far server brings less than the network and the core that reads could take.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from datamart.loads import Arrival
from datamart.objects import ObjectStore

_REQUESTS = 2
MOST_AT_ONCE = 32 * 1024 * 1024
"""Bytes that one request asks for; with many smaller ones a server works more for the requests than for the bytes."""


class Pieces(io.BytesIO):
    """Pieces as the stream that records are cut from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._piece = memoryview(b"")

    def read(self, size: int | None = -1) -> bytes:
        """Some bytes, at most ``size`` of them; none at the end."""
        if not self._piece:
            self._piece = memoryview(next(self._pieces, b""))
        wanted = len(self._piece) if size is None or size < 0 else size
        found, self._piece = self._piece[:wanted], self._piece[wanted:]
        return bytes(found)


def spans(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The bytes from ``start`` to before ``end``, as many at a time as one request should bring."""
    return ((first, min(first + MOST_AT_ONCE, end)) for first in range(start, end, MOST_AT_ONCE))


@contextmanager
def pieces_of(store: ObjectStore, arrival: Arrival, wanted: Iterable[tuple[int, int]]) -> Iterator[Iterator[bytes]]:
    """The bytes of each of the wanted spans, if the object is still the one that was listed.

    Raises:
        SourceChanged, TransientFault, TerminalFault: as S3 answers.
    """
    with ThreadPoolExecutor(_REQUESTS, "piece") as threads:
        try:
            yield _in_order(threads, store, arrival, wanted)
        finally:
            threads.shutdown(cancel_futures=True)


def _in_order(
    threads: ThreadPoolExecutor, store: ObjectStore, arrival: Arrival, wanted: Iterable[tuple[int, int]]
) -> Iterator[bytes]:
    waiting: deque[Future[bytes]] = deque()
    for start, end in wanted:
        waiting.append(threads.submit(store.read_span, arrival, start, end))
        if len(waiting) > _REQUESTS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
