"""PostgreSQL's wire protocol, version 3: messages in and out of a socket."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from tests.redshift.failure import Dropped, Failure, conflict, too_long
from tests.redshift.types import BYTES_CHECK

BYTEA, VARBYTE = 17, 6551
_FLUSH_BYTES = 1 << 16


def message(kind: bytes, payload: bytes = b"") -> bytes:
    """One message as it is sent."""
    return kind + struct.pack("!i", len(payload) + 4) + payload


class Channel:
    """A socket that speaks in messages."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._received, self._at = b"", 0
        self._unsent = bytearray()

    def exactly(self, size: int, other: socket.socket | None = None) -> bytes:
        """The next ``size`` bytes.

        Raises:
            Dropped: it was closed before, or ``other`` was while nothing came.
        """
        parts, missing = [], size
        while True:
            part = self._received[self._at : self._at + missing]
            self._at += len(part)
            missing -= len(part)
            parts.append(part)
            if not missing:
                return b"".join(parts)
            if other is not None:
                self._wait(other)
            self._received, self._at = self.socket.recv(1 << 16), 0
            if not self._received:
                raise Dropped

    def _wait(self, other: socket.socket) -> None:
        """Wait for bytes for as long as the other side is there."""
        ready, _, _ = select.select([self.socket, other], [], [])
        if self.socket not in ready and not other.recv(1, socket.MSG_PEEK):
            raise Dropped
        # The other side sends ahead: from here on only this one can tell anything.

    def receive(self, other: socket.socket | None = None) -> tuple[bytes, bytes]:
        """The next message: its kind and what it holds."""
        head = self.exactly(5, other)
        return head[:1], self.exactly(struct.unpack("!i", head[1:])[0] - 4)

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Send a message with the next flush, or when enough has gathered."""
        self._unsent += message(kind, payload)
        if len(self._unsent) >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        self.socket.sendall(self._unsent)
        self._unsent.clear()

    def close(self) -> None:
        """End it for both sides, also for a thread that waits for it."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def text(value: str) -> bytes:
    """A string as messages hold it."""
    return value.encode() + b"\0"


def take_text(payload: bytes, at: int = 0) -> tuple[str, int]:
    """The string that begins there, and where it ends."""
    end = payload.index(b"\0", at)
    return payload[at:end].decode(), end + 1


def error_fields(payload: bytes) -> dict[str, str]:
    """What an ErrorResponse says."""
    return {part[:1].decode(): part[1:].decode() for part in payload.split(b"\0") if part}


def error(failure: Failure, severity: str = "ERROR") -> bytes:
    """What an ErrorResponse holds."""
    fields = {"S": severity, "C": failure.code, "M": failure.message, "D": failure.detail}
    return b"".join(text(kind + value) for kind, value in fields.items() if value) + b"\0"


def as_failure(payload: bytes) -> Failure:
    """PostgreSQL's error as Redshift's."""
    fields = error_fields(payload)
    if fields["C"] in ("40001", "40P01"):
        return conflict()
    if fields["C"] == "22001" or fields.get("n", "").startswith(BYTES_CHECK):
        return too_long()
    return Failure(fields["C"], fields["M"], fields.get("D", ""))


def described(payload: bytes) -> list[tuple[str, int]]:
    """Names and types of the columns in a RowDescription."""
    found, at = [], 2
    for _ in range(struct.unpack_from("!h", payload)[0]):
        name, at = take_text(payload, at)
        found.append((name, struct.unpack_from("!ihihih", payload, at)[2]))
        at += 18
    return found


def redescribed(payload: bytes) -> tuple[bytes, frozenset[int]]:
    """The RowDescription in Redshift's types, and which columns are VARBYTE."""
    changed, at, bytes_columns = bytearray(payload), 2, set()
    for index in range(struct.unpack_from("!h", payload)[0]):
        at = payload.index(b"\0", at) + 1
        if struct.unpack_from("!i", payload, at + 6)[0] == BYTEA:
            struct.pack_into("!i", changed, at + 6, VARBYTE)
            bytes_columns.add(index)
        at += 18
    return bytes(changed), frozenset(bytes_columns)


def values(payload: bytes) -> Iterator[bytes | None]:
    """The values of a DataRow."""
    at = 2
    for _ in range(struct.unpack_from("!h", payload)[0]):
        size = struct.unpack_from("!i", payload, at)[0]
        at += 4
        yield None if size < 0 else payload[at : at + size]
        at += max(size, 0)


def rewritten(payload: bytes, bytes_columns: frozenset[int]) -> bytes:
    """The DataRow with VARBYTE as hex digits."""
    if not bytes_columns:
        return payload
    parts = [payload[:2]]
    for index, value in enumerate(values(payload)):
        shown = value.removeprefix(b"\\x") if value is not None and index in bytes_columns else value
        parts.append(struct.pack("!i", -1) if shown is None else struct.pack("!i", len(shown)) + shown)
    return b"".join(parts)
