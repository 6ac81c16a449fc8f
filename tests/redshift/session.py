"""One client's session: its statements are checked, then run by a PostgreSQL session of its own."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.redshift import wire
from tests.redshift.backend import Backend
from tests.redshift.copying import copy
from tests.redshift.failure import Dropped, Failure, conflict, refused
from tests.redshift.grammar import plan
from tests.redshift.lexer import Statement, statements
from tests.redshift.plans import Copy, Plan, Run, Unload
from tests.redshift.unloading import unload
from tests.redshift.wire import Channel, text

_VERSION, _SSL, _GSS, _CANCEL = 196608, 80877103, 80877104, 80877102
_UNHEEDED = {
    "application_name",
    "client_protocol_version",
    "driver_version",
    "os_version",
    "driver_discovery_version",
}
"""What clients tell about themselves; client_protocol_version is answered by silence, which means the base version."""
_REPORTED = {
    "server_version": "8.0.2",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "TimeZone": "UTC",
    "integer_datetimes": "on",
}


@dataclass(frozen=True)
class Warehouse:
    """What all sessions share."""

    host: str
    port: int
    s3: Any
    role: str
    slices: Callable[[], int]
    heard: Callable[[str], None]
    fault: Callable[[str], str | None]
    """The fault that is due for a statement, or none."""
    isolation: Callable[[], str]


@dataclass
class _Prepared:
    """A statement of the extended protocol; ``own`` when the backend was not asked to prepare it."""

    statement: Statement
    plan: Plan | None
    description: tuple[bytes, bytes] = (b"n", b"")
    parameters: bytes = b"\0\0"
    bytes_columns: frozenset[int] = frozenset()

    @property
    def own(self) -> bool:
        return not (isinstance(self.plan, Run) and self.plan.passed)


@dataclass(eq=False)
class Session:
    """One connection of a client."""

    warehouse: Warehouse
    socket: socket.socket
    client: Channel = field(init=False)
    backend: Backend | None = None
    copied: int = 0
    unloaded: int = 0
    prepared: dict[str, _Prepared] = field(default_factory=dict)
    portals: dict[str, _Prepared] = field(default_factory=dict)
    skipping: bool = False
    """After an error of the extended protocol, until the client's next Sync."""

    def __post_init__(self) -> None:
        self.client = Channel(self.socket)

    def serve(self) -> None:
        """Answer the client until one side ends."""
        try:
            with suppress(Dropped, OSError, ValueError):
                if self._start():
                    self._converse()
        finally:
            self.close()

    def _converse(self) -> None:
        while True:
            kind, payload = self.client.receive()
            if kind == b"X":
                return
            self._answer(kind, payload)

    def close(self) -> None:
        """End both sides; also from another thread."""
        self.client.close()
        if self.backend is not None:
            self.backend.close()

    @property
    def _backend(self) -> Backend:
        assert self.backend is not None
        return self.backend

    def _start(self) -> bool:
        parameters = self._startup()
        if parameters is None:
            return False
        try:
            login = self._login(parameters)
            self.client.send(b"R", struct.pack("!i", 3))
            self.client.flush()
            kind, payload = self.client.receive()
            if kind != b"p":
                raise Failure("08P01", "expected password response")
            login["password"] = wire.take_text(payload)[0]
            self.backend = Backend(
                self.warehouse.host, self.warehouse.port, login, self.socket, self.warehouse.isolation()
            )
        except Failure as failure:
            self.client.send(b"E", wire.error(failure, "FATAL"))
            self.client.flush()
            return False
        self.client.send(b"R", struct.pack("!i", 0))
        for name, value in _REPORTED.items():
            self.client.send(b"S", text(name) + text(value))
        self.client.send(b"K", struct.pack("!ii", self._backend.pid, 0))
        self._ready()
        return True

    def _startup(self) -> dict[str, str] | None:
        """What the client says about itself; nothing when it came for something else."""
        while True:
            size, code = struct.unpack("!ii", self.client.exactly(8))
            payload = self.client.exactly(size - 8)
            if code in (_SSL, _GSS):
                self.socket.sendall(b"N")
            elif code == _VERSION:
                parts = payload.decode().split("\0")
                return dict(zip(parts[:-2:2], parts[1:-1:2], strict=True))
            else:
                if code != _CANCEL:
                    self.socket.sendall(
                        wire.message(b"E", wire.error(Failure("0A000", "unsupported protocol"), "FATAL"))
                    )
                return None

    def _login(self, parameters: dict[str, str]) -> dict[str, str]:
        unknown = set(parameters) - _UNHEEDED - {"user", "database", "client_encoding"}
        if unknown:
            raise refused(f"startup parameter {min(unknown)}")
        if parameters.get("client_encoding", "utf8").lower().strip("'") not in ("utf8", "utf-8", "unicode"):
            raise refused(f"client_encoding {parameters['client_encoding']}")
        return {"user": parameters["user"], "dbname": parameters.get("database", parameters["user"])}

    def _ready(self) -> None:
        self.client.send(b"Z", self._backend.status)
        self.client.flush()

    def _failed(self, failure: Failure) -> None:
        self.client.send(b"E", wire.error(failure))

    # The simple protocol.

    def _answer(self, kind: bytes, payload: bytes) -> None:
        if kind == b"Q":
            self.skipping = False
            self._simple(wire.take_text(payload)[0])
        elif kind == b"S":
            self.skipping = False
            self._synchronize()
        elif kind == b"H":
            self.client.flush()
        elif not self.skipping:
            self._extended(kind, payload)

    def _simple(self, sent: str) -> None:
        try:
            found = statements(sent)
        except Failure as failure:
            self.warehouse.heard(sent)
            self._lose(failure)
            self._ready()
            return
        if not found:
            self.client.send(b"I")
        for statement in found:
            self.warehouse.heard(statement.text)
            try:
                self._misbehave(statement)
                if not self._run(plan(statement, self.warehouse.role)):
                    break
            except Failure as failure:
                self._lose(failure)
                break
        self._ready()

    def _lose(self, failure: Failure) -> None:
        """Answer with an error, and leave a transaction only its rollback."""
        if self._backend.in_transaction:
            self._backend.abort()
        self._failed(failure)

    def _misbehave(self, statement: Statement) -> None:
        fault = self.warehouse.fault(statement.text)
        if fault == "drop_after":
            self._backend.run(statement.text)
        if fault in ("drop", "drop_after"):
            raise Dropped
        if fault == "conflict":
            if statement.tokens[0].means("commit"):
                self._backend.run("ROLLBACK")
            raise conflict()

    def _run(self, todo: Plan) -> bool:
        """Do it and tell the client; whether it went well."""
        if isinstance(todo, Run):
            return self._run_there(todo)
        if self._backend.status == b"E":
            raise Failure("25P02", "current transaction is aborted, commands ignored until end of transaction block")
        if isinstance(todo, Copy):
            self.copied = 0
            self.copied = copy(todo, self._backend, self.warehouse.s3)
        else:
            self.unloaded = 0
            self.unloaded = unload(todo, self._backend, self.warehouse.s3, self.warehouse.slices())
        self.client.send(b"C", text("UNLOAD" if isinstance(todo, Unload) else "COPY"))
        return True

    def _run_there(self, todo: Run) -> bool:
        if todo.outside and self._backend.in_transaction:
            raise Failure("25001", f"{todo.sql.split()[0].upper()} cannot run inside a transaction block")
        if todo.counts:
            self._tell_counts()
        columns: frozenset[int] = frozenset()
        fine, done = True, b""
        for kind, payload in self._backend.query(todo.sql):
            if kind == b"C" and (todo.tag or todo.commits):
                done = done or payload
                continue
            if todo.tag and kind in (b"T", b"D"):
                continue
            fine = fine and kind != b"E"
            columns = self._relay(kind, payload, columns)
        if fine and todo.commits and self._backend.in_transaction:
            self._backend.run("COMMIT")
        if fine and done:
            self.client.send(b"C", text(todo.tag) if todo.tag else done)
        return fine

    def _tell_counts(self) -> None:
        if self._backend.status != b"E":
            self._backend.run(f"SET standin.copied = {self.copied}")
            self._backend.run(f"SET standin.unloaded = {self.unloaded}")

    def _relay(self, kind: bytes, payload: bytes, columns: frozenset[int]) -> frozenset[int]:
        """Hand the backend's message on as Redshift's; which of the columns that follow are VARBYTE."""
        if kind == b"T":
            payload, columns = wire.redescribed(payload)
        elif kind == b"D":
            payload = wire.rewritten(payload, columns)
        elif kind == b"E":
            payload = wire.error(wire.as_failure(payload))
        elif kind == b"C" and payload.startswith(b"SELECT"):
            payload = text("SELECT")
        elif kind in (b"S", b"A"):
            return columns
        self.client.send(kind, payload)
        return columns

    # The extended protocol.

    def _extended(self, kind: bytes, payload: bytes) -> None:
        steps = {b"P": self._parse, b"B": self._bind, b"D": self._describe, b"E": self._execute, b"C": self._close}
        try:
            if kind not in steps:
                raise refused(f"message {kind!r}")
            steps[kind](payload)
        except Failure as failure:
            self.skipping = True
            self._backend.abort()
            self._failed(failure)

    def _synchronize(self) -> None:
        self._backend.send(b"S")
        self._backend.channel.flush()
        while self._backend.receive()[0] != b"Z":
            pass
        self._ready()

    def _ask(self, *messages: tuple[bytes, bytes], until: tuple[bytes, ...]) -> list[tuple[bytes, bytes]]:
        """The backend's answers up to one of ``until``; after an error it waits for Sync, and so do we."""
        for kind, payload in messages:
            self._backend.send(kind, payload)
        self._backend.send(b"H")
        self._backend.channel.flush()
        answers = []
        while True:
            kind, payload = self._backend.receive()
            answers.append((kind, payload))
            if kind == b"E":
                self.skipping = True
                return answers
            if kind in until:
                return answers

    def _relay_all(self, answers: list[tuple[bytes, bytes]], columns: frozenset[int] = frozenset()) -> None:
        for kind, payload in answers:
            self._relay(kind, payload, columns)

    def _parse(self, payload: bytes) -> None:
        name, at = wire.take_text(payload)
        sent, at = wire.take_text(payload, at)
        try:
            found = statements(sent)
            if len(found) > 1:
                raise Failure("42601", "cannot insert multiple commands into a prepared statement")
            todo = plan(found[0], self.warehouse.role, parameters=True) if found else None
        except Failure:
            self.warehouse.heard(sent)
            raise
        prepared = _Prepared(found[0] if found else Statement("", ()), todo)
        if not prepared.own:
            assert isinstance(todo, Run)
            asked = text(name) + text(todo.sql) + payload[at:]
            answers = self._ask((b"P", asked), (b"D", b"S" + text(name)), until=(b"T", b"n"))
            if self.skipping:
                self._relay_all([answer for answer in answers if answer[0] == b"E"])
                return
            self._learn(prepared, answers)
        self.prepared[name] = prepared
        self.client.send(b"1")

    def _learn(self, prepared: _Prepared, answers: list[tuple[bytes, bytes]]) -> None:
        for kind, payload in answers:
            if kind == b"t":
                prepared.parameters = payload
            elif kind == b"T":
                described, prepared.bytes_columns = wire.redescribed(payload)
                prepared.description = (kind, described)

    def _named(self, known: dict[str, _Prepared], name: str) -> _Prepared:
        if name not in known:
            raise Failure("26000", f'prepared statement or portal "{name}" does not exist')
        return known[name]

    def _bind(self, payload: bytes) -> None:
        portal, at = wire.take_text(payload)
        name, at = wire.take_text(payload, at)
        prepared = self._named(self.prepared, name)
        self._check_formats(prepared, payload, at)
        self.portals[portal] = prepared
        if isinstance(prepared.plan, Run) and prepared.plan.counts:
            # A simple query takes the unnamed statement away; the number must be there before this one begins.
            if not name:
                raise refused("counts of the last COPY or UNLOAD by an unnamed statement")
            self._tell_counts()
        if prepared.own:
            self.client.send(b"2")
        else:
            self._relay_all(self._ask((b"B", payload), until=(b"2",)))

    def _check_formats(self, prepared: _Prepared, payload: bytes, at: int) -> None:
        """VARBYTE is emulated as text only."""
        at += 2 + 2 * struct.unpack_from("!h", payload, at)[0]
        count, at = struct.unpack_from("!h", payload, at)[0], at + 2
        for _ in range(count):
            at += 4 + max(struct.unpack_from("!i", payload, at)[0], 0)
        if prepared.own and count:
            raise refused("parameters of a statement that is no query")
        formats = struct.unpack_from(f"!{struct.unpack_from('!h', payload, at)[0]}h", payload, at + 2)
        for column in prepared.bytes_columns:
            if formats and (formats[0] if len(formats) == 1 else formats[column]):
                raise refused("VARBYTE in binary")

    def _describe(self, payload: bytes) -> None:
        name = wire.take_text(payload, 1)[0]
        if payload[:1] == b"S":
            prepared = self._named(self.prepared, name)
            self.client.send(b"t", prepared.parameters)
            self.client.send(*prepared.description)
            return
        prepared = self._named(self.portals, name)
        if prepared.own:
            self.client.send(*prepared.description)
        else:
            self._relay_all(self._ask((b"D", payload), until=(b"T", b"n")))

    def _execute(self, payload: bytes) -> None:
        prepared = self._named(self.portals, wire.take_text(payload)[0])
        if prepared.plan is None:
            self.client.send(b"I")
            return
        self.warehouse.heard(prepared.statement.text)
        self._misbehave(prepared.statement)
        if prepared.own:
            if not self._run(prepared.plan):
                self.skipping = True
            return
        self._relay_all(self._ask((b"E", payload), until=(b"C", b"s", b"I")), prepared.bytes_columns)

    def _close(self, payload: bytes) -> None:
        name = wire.take_text(payload, 1)[0]
        known = self.prepared if payload[:1] == b"S" else self.portals
        closed = known.pop(name, None)
        if closed is None or closed.own:
            self.client.send(b"3")
        else:
            self._relay_all(self._ask((b"C", payload), until=(b"3",)))
