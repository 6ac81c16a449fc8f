"""The guard around a tiny application that says who asks, and users that Airflow would know."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import httpx
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data_api_app import airflow_app
from data_api_app.guard import Guard, caller_of
from data_api_app.passwords import Passwords

METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
WRITES = ["POST", "PUT", "PATCH", "DELETE"]
OPEN = ("/", "/insights")
HOST = "airflow.example:8080"
URLENCODED = "application/x-www-form-urlencoded"
TOKENS = {"ann-token": "ann", "bob-token": "bob"}
PASSWORDS = {("ann", "sesame"): "ann-token", ("bob", "a:b:ü"): "bob-token", ("odd", "stale"): "stale-token"}

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class User:
    """A user as the auth manager has him."""

    name: str

    def get_name(self) -> str:
        return self.name


@dataclass
class Checker:
    """Stands in for the auth manager's own route."""

    asked: list[tuple[str, str]] = field(default_factory=list)

    async def token_for(self, name: str, password: str) -> str | None:
        self.asked.append((name, password))
        return PASSWORDS.get((name, password))


@dataclass(frozen=True)
class Answer:
    """What was sent back."""

    status: int
    headers: Headers
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Exchange:
    """One request as a server hands it on, and what is sent back."""

    pieces: Iterator[bytes]
    breaks_off: bool = False
    taken: int = 0
    sent: list[Message] = field(default_factory=list)

    async def receive(self) -> Message:
        piece = next(self.pieces, None)
        if piece is not None:
            self.taken += 1
            return {"type": "http.request", "body": piece, "more_body": True}
        if self.breaks_off:
            return {"type": "http.disconnect"}
        self.breaks_off = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def answer(self) -> Answer:
        start, *bodies = self.sent
        assert start["type"] == "http.response.start"
        return Answer(start["status"], Headers(raw=start["headers"]), b"".join(one["body"] for one in bodies))


def scope_of(method: str, target: str, headers: Iterable[tuple[str, str]], address: str = "192.0.2.1") -> Scope:
    """A request line and headers as uvicorn has them: the path is decoded once, nothing else is done to it."""
    raw, _, query = target.partition("?")
    named = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", HOST.encode()), *named],
        "client": (address, 50000),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }


async def who(request: Request) -> JSONResponse:
    """Says who the guard says is calling, and what came of the request's body."""
    body = await request.body()
    found: dict[str, Any] = {"path": request.url.path, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    if "caller" in request.scope["state"]:
        caller = caller_of(request)
        found |= {"name": caller.name, "by": caller.by, "token": caller.token}
    return JSONResponse(found)


async def form(request: Request) -> JSONResponse:
    """Says what it reads in a form."""
    async with request.form() as sent:
        files = {name: (await part.read()).decode() for name, part in sent.items() if not isinstance(part, str)}
        return JSONResponse(files | {name: part for name, part in sent.items() if isinstance(part, str)})


async def breaks(request: Request) -> StreamingResponse:
    """Fails as nobody has foreseen, before its answer or within."""
    await request.body()

    async def rows() -> AsyncIterator[bytes]:
        yield b"first,"
        raise KeyError("a row's own text")

    if request.path_params["when"] == "within":
        return StreamingResponse(rows())
    raise KeyError("a row's own text")


async def secret(scope: Scope, receive: Receive, send: Send) -> None:
    """A mount that answers whatever it is asked, as static files do."""
    await PlainTextResponse("secret")(scope, receive, send)


@dataclass
class World:
    """The guarded application."""

    checker: Any = field(default_factory=Checker)
    guarded: bool = True
    prefix: str = ""

    def __post_init__(self) -> None:
        layer = Middleware(Guard, passwords=Passwords(self.checker), open_paths=OPEN)
        inner = Starlette(
            routes=[
                *(Route(path, who, methods=METHODS) for path in (*OPEN, "/who")),
                Route("/form", form, methods=["POST"]),
                Route("/breaks/{when}", breaks, methods=METHODS),
                Mount("/files", app=secret),
                Mount("/nested", routes=[Route("/who", who, methods=METHODS)]),
            ],
            middleware=[layer] if self.guarded else [],
        )
        inner.router.redirect_slashes = False
        self.app: ASGIApp = Starlette(routes=[Mount(self.prefix, app=inner)]) if self.prefix else inner

    def run(self, scope: Scope, pieces: Iterable[bytes] = (), *, breaks_off: bool = False) -> Exchange:
        exchange = Exchange(iter(pieces), breaks_off)
        asyncio.run(self.app(scope, exchange.receive, exchange.send))
        return exchange

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | Pairs | None = None,
        pieces: Iterable[bytes] = (),
        address: str = "192.0.2.1",
    ) -> Answer:
        pairs = headers.items() if isinstance(headers, Mapping) else headers or []
        return self.run(scope_of(method, self.prefix + target, pairs, address), pieces).answer

    def send(self, request: httpx.Request) -> Answer:
        """A request as a real client writes it."""
        pairs = [(name, value) for name, value in request.headers.items() if name != "host"]
        return self.ask(request.method, request.url.raw_path.decode(), pairs, [request.read()])


def basic(name: str = "ann", password: str = "sesame") -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def cookie(token: str = "bob-token") -> dict[str, str]:
    return {"Cookie": f"other=1; {airflow_app.COOKIE}={token}"}


def posted(path: str = "/who", **options: Any) -> httpx.Request:
    return httpx.Request("POST", f"http://{HOST}{path}", **options)


LOGIN = {"username": "ann", "password": "sesame"}
FILE = {"file": ("jobs.csv", b"1,Baker\n", "text/csv")}


def assert_nobody(answer: Answer) -> None:
    assert answer.status == 401
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json) == ["error"]
    assert answer.json["error"].startswith("Who are you? Send a token")
    assert not {"www-authenticate", "set-cookie", "location"} & set(answer.headers)
