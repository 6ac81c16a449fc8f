"""A TCP proxy that sees what its clients and the server say, and misbehaves where a rule says so.

A ``Rule`` names a message (who says it, what it looks like, what the client has said before) and a fault. A fault
is a function of the connection; it answers whether the message is still delivered.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from tests.faults.blackhole import swallow_packets
from tests.faults.framing import Framing, Framings

CLIENT, SERVER = "client", "server"
_CHUNK = 16 * 1024
_REMEMBERED = 2048


class Fate(Enum):
    """What becomes of the message that a rule has met."""

    DELIVER = "deliver"
    SWALLOW = "swallow"
    END = "end"


@dataclass
class Connection:
    """One client's connection, and what it has asked for on it."""

    client: socket.socket
    server: socket.socket
    said: list[bytes] = field(default_factory=list)
    flowing: threading.Event = field(default_factory=threading.Event)
    server_is_told: bool = True
    """Whether the server hears that the client has gone."""
    broken: bool = False
    """The client's end was reset."""

    def __post_init__(self) -> None:
        for end in (self.client, self.server):
            # Messages are passed on one by one: each would wait for the acknowledgement of the one before.
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.flowing.set()
        self.client_ports: tuple[int, int] = (self.client.getpeername()[1], self.client.getsockname()[1])
        self.server_port: int = self.server.getsockname()[1]

    def end(self, which: str) -> None:
        """One side has ended: tell the other, unless nobody is to know."""
        if which == CLIENT and not self.server_is_told:
            return
        for end in (self.server,) if self.broken else (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """The client's end breaks without a goodbye: that takes a close while nobody reads."""
        self.broken = True
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.shutdown(socket.SHUT_RD)
        self.client.close()
        self.end(SERVER)

    def partition(self) -> None:
        """Neither side hears of the other again, nor of its own end."""
        self.flowing.clear()
        self.server_is_told = False
        swallow_packets(self.client)
        swallow_packets(self.server)


Fault = Callable[[Connection], Fate]


@dataclass
class Rule:
    """A message, and the fault it meets: ``skip`` messages later, ``times`` times."""

    side: str
    pattern: bytes
    fault: Fault
    after: bytes = b""
    skip: int = 0
    times: int = 1
    met: threading.Event = field(default_factory=threading.Event)
    hits: int = 0
    by: Connection | None = None
    """The connection that met it last."""

    def __post_init__(self) -> None:
        self._pattern, self._after = re.compile(self.pattern, re.S), re.compile(self.after, re.S)
        self._lock = threading.Lock()

    def meets(self, side: str, message: bytes, said: list[bytes]) -> bool:
        """Whether the fault happens now."""
        if side != self.side or self.hits >= self.times or not self._pattern.search(message):
            return False
        if self.after and not any(self._after.search(earlier) for earlier in said):
            return False
        with self._lock:
            if self.skip:
                self.skip -= 1
                return False
            self.hits += 1
            return self.hits <= self.times

    def lift(self) -> None:
        """No more of it."""
        self.times = 0


class Proxy:
    """Listens on a port of its own and forwards to ``server``."""

    def __init__(self, server: tuple[str, int], framings: Framings) -> None:
        self._target, self._framings = server, framings
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.rules: list[Rule] = []
        self._connections: list[Connection] = []
        self._open = True
        threading.Thread(target=self._accept, daemon=True).start()

    def add(self, rule: Rule) -> Rule:
        """Put a rule in force."""
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """No rule is in force; what was stalled goes on; what was partitioned stays so until the end."""
        self.rules.clear()
        for connection in self._connections:
            if connection.server_is_told:
                connection.flowing.set()

    def close(self) -> None:
        """End everything."""
        self._open = False
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            connection.server_is_told = True
            connection.end(SERVER)
            connection.flowing.set()
            connection.client.close()
            connection.server.close()

    def _accept(self) -> None:
        while self._open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                connection = Connection(client, socket.create_connection(self._target))
            except OSError:
                client.close()
                continue
            self._connections.append(connection)
            for side, framing in zip((CLIENT, SERVER), self._framings, strict=True):
                threading.Thread(target=self._carry, args=(connection, side, framing()), daemon=True).start()

    def _carry(self, connection: Connection, side: str, framing: Framing) -> None:
        source, target = (
            (connection.client, connection.server) if side == CLIENT else (connection.server, connection.client)
        )
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                for message in framing.feed(data):
                    if not self._pass_on(connection, side, message, target):
                        connection.end(SERVER)
                        return
        connection.end(side)

    def _pass_on(self, connection: Connection, side: str, message: bytes, target: socket.socket) -> bool:
        if side == CLIENT:
            connection.said.append(message[:_REMEMBERED])
        fate = Fate.DELIVER
        for rule in [rule for rule in self.rules if rule.meets(side, message, connection.said)]:
            rule.by = connection
            fate = rule.fault(connection)
            rule.met.set()
        connection.flowing.wait()
        if fate is Fate.DELIVER:
            target.sendall(message)
        return fate is not Fate.END
