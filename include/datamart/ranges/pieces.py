"""Bytes of a large object, fetched by several requests at once and handed on in order.

One request of a far server brings less than the network and the core that reads could take.
"""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from datamart.loads import Arrival
from datamart.objects import ObjectStore

_REQUESTS = 4


class Pieces(io.BytesIO):
    """Pieces as the stream that records are cut from, whatever size is asked for; it knows the SHA-256 of them all."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what was read so far, as hexadecimal digits."""
        return self._digest.hexdigest()

    def read(self, _size: int | None = -1) -> bytes:
        piece = next(self._pieces, b"")
        self._digest.update(piece)
        return piece


def spans(start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """The bytes from ``start`` to before ``end``, ``size`` of them at a time."""
    return ((first, min(first + size, end)) for first in range(start, end, size))


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
