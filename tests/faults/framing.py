"""Bytes on the wire as messages: PostgreSQL's frames, HTTP's as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

_START = 8  # length and code of a message before the session has begun
_NEGOTIATIONS = {80877103: "SSL", 80877104: "GSS", 80877102: "cancel"}


class Framing(Protocol):
    """Splits one direction of one connection into messages."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Messages that are complete with ``data``."""


class Chunks:
    """Every chunk is a message; requests of one client begin a chunk, as it waits for each answer."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data


class PostgresClient:
    """What a client says: untyped messages until the session begins, then a type, a length and a body."""

    def __init__(self) -> None:
        self._buffer = b""
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        while len(self._buffer) >= _START or (self._begun and len(self._buffer) >= 5):
            offset = 1 if self._begun else 0
            length = int.from_bytes(self._buffer[offset : offset + 4], "big") + offset
            if len(self._buffer) < length:
                return
            message, self._buffer = self._buffer[:length], self._buffer[length:]
            self._begun = self._begun or int.from_bytes(message[4:8], "big") not in _NEGOTIATIONS
            yield message


class PostgresServer:
    """What a server says: single letters to offers of encryption, then typed messages."""

    def __init__(self) -> None:
        self._buffer = b""
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        while self._buffer:
            if not self._begun and self._buffer[:1] in (b"N", b"S", b"G"):
                yield self._take(1)
                continue
            self._begun = True
            length = int.from_bytes(self._buffer[1:5], "big") + 1
            if len(self._buffer) < max(5, length):
                return
            yield self._take(length)

    def _take(self, length: int) -> bytes:
        message, self._buffer = self._buffer[:length], self._buffer[length:]
        return message


Framings = tuple[Callable[[], Framing], Callable[[], Framing]]
POSTGRES: Framings = (PostgresClient, PostgresServer)
HTTP: Framings = (Chunks, Chunks)
