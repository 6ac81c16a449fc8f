"""Runs an iterator in a thread of its own, a bounded number of items ahead of who takes them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

T = TypeVar("T")

_LOOK_SECONDS = 0.2


class Ahead(Generic[T]):
    """What a thread has made so far; ``take`` hands it out in order and raises what the thread raised."""

    def __init__(self, items: Iterable[T], depth: int) -> None:
        self._made: Queue[tuple[T] | None] = Queue(depth)
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._make, args=(items,), daemon=True)
        self._thread.start()

    def take(self) -> T | None:
        """The next item, None after the last one, however often that is asked for."""
        while not self._over:
            try:
                found = self._made.get(timeout=_LOOK_SECONDS)
            except Empty:
                if self._thread.is_alive() or not self._made.empty():
                    continue
                found = None
            if found is not None:
                return found[0]
            self._thread.join()
            self._over = True
        self.raise_failure()
        return None

    def raise_failure(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End the thread, wherever it is; nothing more is handed out."""
        self._stop.set()
        with suppress(Empty):
            self._made.get_nowait()  # the thread may wait for room
        self._thread.join()

    def _make(self, items: Iterable[T]) -> None:
        try:
            for item in items:
                if not self._put((item,)):
                    return
        except BaseException as error:  # noqa: BLE001 - handed to the thread that takes
            self._failure = error
        self._put(None)

    def _put(self, item: tuple[T] | None) -> bool:
        while not self._stop.is_set():
            try:
                self._made.put(item, timeout=_LOOK_SECONDS)
            except Full:
                continue
            return not self._stop.is_set()
        return False


@contextmanager
def ahead(items: Iterable[T], depth: int) -> Iterator[Ahead[T]]:
    """An :class:`Ahead` whose thread has ended when the block has."""
    running = Ahead(items, depth)
    try:
        yield running
    finally:
        running.stop()
