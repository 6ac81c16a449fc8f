"""Nobody unknown gets past the guard, whatever the route; who is known is known by what he says first."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Literal
from urllib.parse import unquote

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data_api_app import airflow_app, refusals
from data_api_app.airflow_app import Airflow, any_password_passes
from data_api_app.guard import MOST_BODY, Guard, caller_of
from data_api_app.passwords import MOST_GUESSES, Passwords
from data_api_app.refusals import Refused, of_fault, of_file, parameter, unavailable
from datamart.errors import (
    BalanceError,
    ConfigurationError,
    DatamartError,
    FileRejected,
    SourceChanged,
    TerminalFault,
    TransientFault,
)
from datamart.uploads import MOST_BYTES

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


@pytest.fixture(autouse=True)
def _users(monkeypatch: pytest.MonkeyPatch) -> None:
    async def user_of(token: str) -> User | None:
        return User(TOKENS[token]) if token in TOKENS else None

    monkeypatch.setattr(airflow_app, "user_of", user_of)
    monkeypatch.setattr(airflow_app, "any_password_passes", lambda: False)
    monkeypatch.delenv("AIRFLOW__API__BASE_URL", raising=False)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(params=["", "/data-api"], ids=["alone", "mounted"])
def placed(request: pytest.FixtureRequest) -> World:
    """The application by itself, and mounted in another one."""
    return World(prefix=request.param)


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


# Nobody

CLOSED = [
    "/who", "/form", "/files", "/files/", "/files/secret.js", "/nested/who", "/nested/", "/nothing", "/docs",
    "/openapi.json", "/favicon.ico", "/insights/2021", "/health",
]  # fmt: skip


@pytest.mark.parametrize("method", [*METHODS, "TRACE", "CONNECT", "PROPFIND", "get", "GET "])
@pytest.mark.parametrize("path", CLOSED)
def test_nobody_is_asked_who_he_is_whatever_the_route(placed: World, method: str, path: str) -> None:
    assert_nobody(placed.ask(method, path))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["/who", "/files/secret.js", "/nested/who"])
def test_without_the_guard_the_same_routes_answer_anybody(method: str, path: str) -> None:
    assert World(guarded=False).ask(method, path).status == 200


@pytest.mark.parametrize("path", OPEN)
def test_open_paths_are_read_by_anybody(placed: World, path: str) -> None:
    answer = placed.ask("GET", path)
    assert answer.status == 200
    assert "by" not in answer.json


@pytest.mark.parametrize("method", [*METHODS[1:], "TRACE", "get"])
@pytest.mark.parametrize("path", [*OPEN, "//", "/insights/"])
def test_open_paths_are_open_for_reading_alone(placed: World, method: str, path: str) -> None:
    assert_nobody(placed.ask(method, path))


@pytest.mark.parametrize("by", ["Bearer wrong", "Basic !", "Digest x"])
def test_an_open_path_asks_nobody_for_his_credentials(world: World, by: str) -> None:
    assert world.ask("GET", "/", {"Authorization": by}).status == 200


@pytest.mark.parametrize(
    "target",
    ["//", "///", "/%2f", "/%2F%2f/", "/insights/", "/insights//", "/insights%2f", "/insights?x=/who", "/?/who", "/?"],
)
def test_more_slashes_at_the_end_of_an_open_path_are_that_path(placed: World, target: str) -> None:
    answer = placed.ask("GET", target)
    assert answer.status == 200
    assert answer.json["path"].removeprefix(placed.prefix) in OPEN


@pytest.mark.parametrize(
    "target",
    [
        "/.", "/./", "/%2e", "/%2e/", "/..", "/%2e%2e", "/..;/", "/;", "/;/", "/;x=1", "/%3b", "/insights;",
        "/insights/;", "/insights/.", "/insights/..", "/insights/../", "/insights/../who", "/insights%2f..%2fwho",
        "/insights/%2e%2e/who",
        "/insights//../who", "/insights/who", "/./insights", "//insights", "/%2finsights", "//who", "/%2fwho", "/who/",
        "/who//", "/who/.", "/who/..", "/who?/insights", "/who%3f/insights", "/who%23", "/INSIGHTS", "/insights%20",
        "/insights%00", "/%00", "/insights%0a", "/\\", "/%5c", "/insights%5c..%5cwho", "/%252e", "/%252f", "/ｉnsights",
        "/files/..", "/files/../", "/files//", "/nested/../", "/data-api", "/data-api/", "/data-api/insights",
        "/data-api//",
    ],
)  # fmt: skip
def test_no_spelling_of_a_path_makes_it_an_open_one(placed: World, target: str) -> None:
    assert_nobody(placed.ask("GET", target))


@pytest.mark.parametrize("target", ["/who/", "/who//", "/nested/who/"])
def test_routes_are_the_same_with_and_without_a_slash_at_their_end(placed: World, target: str) -> None:
    answer = placed.ask("GET", target, {"Authorization": "Bearer ann-token"})
    assert (answer.status, answer.json["path"]) == (200, placed.prefix + target.rstrip("/"))


@pytest.mark.parametrize("kind", ["websocket", "webtransport"])
def test_what_is_no_request_is_closed(world: World, kind: str) -> None:
    reached: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        reached.append(scope)

    exchange = Exchange(iter(()))
    guard = Guard(app, Passwords(world.checker), OPEN)
    scope = scope_of("GET", "/", {"Authorization": "Bearer ann-token"}.items()) | {"type": kind}
    asyncio.run(guard(scope, exchange.receive, exchange.send))
    assert (exchange.sent, reached) == ([{"type": "websocket.close", "code": 1008}], [])


def test_starting_and_ending_is_the_application_s_matter(world: World) -> None:
    reached: list[str] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        reached.append(scope["type"])

    exchange = Exchange(iter(()))
    asyncio.run(Guard(app, Passwords(world.checker), OPEN)({"type": "lifespan"}, exchange.receive, exchange.send))
    assert (reached, exchange.sent) == (["lifespan"], [])


# Who is known


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("value", "by"),
    [
        ("Bearer ann-token", "bearer"),
        ("bearer ann-token", "bearer"),
        ("BEARER   ann-token ", "bearer"),
        (basic(), "basic"),
        (basic().replace("Basic", "bASIC  "), "basic"),
    ],
)
def test_who_says_it_in_the_header_is_known_for_every_method(placed: World, method: str, value: str, by: str) -> None:
    answer = placed.ask(method, "/who", {"Authorization": value})
    assert answer.status == 200
    assert (answer.json["name"], answer.json["by"], answer.json["token"]) == ("ann", by, "ann-token")


@pytest.mark.parametrize("path", ["/files/secret.js", "/nested/who"])
def test_mounts_are_behind_the_guard_and_not_beyond_it(placed: World, path: str) -> None:
    assert placed.ask("GET", path, {"Authorization": "Bearer ann-token"}).status == 200


def test_what_is_not_there_is_told_to_whom_is_known(placed: World) -> None:
    assert placed.ask("GET", "/nothing", {"Authorization": "Bearer ann-token"}).status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("site", [None, "cross-site", "none"])
def test_the_session_s_cookie_is_enough_to_read(world: World, method: str, site: str | None) -> None:
    answer = world.ask(method, "/who", cookie() | ({"Sec-Fetch-Site": site} if site else {}))
    assert answer.status == 200
    assert (answer.json["name"], answer.json["by"]) == ("bob", "cookie")


@pytest.mark.parametrize(
    "options",
    [
        {"data": LOGIN},
        {"data": LOGIN, "files": FILE},
        {"data": LOGIN | {"x": "1"}, "headers": {"Content-Type": "Application/X-WWW-Form-URLencoded; charset=utf-8"}},
        {"content": b"password=sesame&username=ann", "headers": {"Content-Type": URLENCODED}},
        {"content": b"username=%61nn&password=sesam%65", "headers": {"Content-Type": URLENCODED}},
    ],
    ids=["urlencoded", "multipart", "kind in capitals", "other order", "escapes"],
)  # fmt: skip
def test_name_and_password_may_be_fields_of_a_form(world: World, options: dict[str, Any]) -> None:
    answer = world.send(posted(**options))
    assert answer.status == 200
    assert (answer.json["name"], answer.json["by"], answer.json["token"]) == ("ann", "form", "ann-token")


@pytest.mark.parametrize("kind", ["basic", "urlencoded", "multipart"])
def test_a_password_may_hold_colons_and_any_letters(world: World, kind: str) -> None:
    login = {"username": "bob", "password": "a:b:ü"}
    requests = {
        "basic": posted(headers={"Authorization": basic("bob", "a:b:ü")}),
        "urlencoded": posted(data=login),
        "multipart": posted(data=login, files=FILE),
    }
    assert world.send(requests[kind]).json["name"] == "bob"


@pytest.mark.parametrize(
    "options",
    [
        {"data": {"username": "ann"}},
        {"data": {"password": "sesame"}},
        {"data": {"user": "ann", "pass": "sesame"}},
        {"files": FILE},
        {"files": {"username": ("ann", b"ann"), "password": ("x", b"sesame")}},
        {"json": LOGIN},
        {"content": b"username=ann&password=sesame"},
        {"content": b"username=ann&password=sesame", "headers": {"Content-Type": "text/plain"}},
        {"params": LOGIN},
    ],
    ids=["no password", "no name", "other fields", "a file", "files", "JSON", "no kind", "text", "in the address"],
)
def test_what_is_no_login_form_tells_nobody(world: World, options: dict[str, Any]) -> None:
    assert_nobody(world.send(posted(**options)))
    assert world.checker.asked == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_form_is_not_looked_for_where_nothing_is_written(world: World, method: str) -> None:
    request = httpx.Request(method, f"http://{HOST}/who", data=LOGIN)
    assert_nobody(world.send(request))


EXPLICIT: dict[str, dict[str, Any]] = {
    "bearer": {"headers": {"Authorization": "Bearer ann-token"}},
    "basic": {"headers": {"Authorization": basic()}},
    "form": {"data": LOGIN},
    "multipart": {"data": LOGIN, "files": FILE},
}
WRONG: dict[str, dict[str, Any]] = {
    "bearer": {"headers": {"Authorization": "Bearer wrong"}},
    "basic": {"headers": {"Authorization": basic("ann", "wrong")}},
    "form": {"data": LOGIN | {"password": "wrong"}},
    "multipart": {"data": LOGIN | {"password": "wrong"}, "files": FILE},
    "empty": {"headers": {"Authorization": ""}},
    "unknown scheme": {"headers": {"Authorization": "Digest x"}},
}


def with_cookie(options: dict[str, Any]) -> httpx.Request:
    """The same, from a page of this server in a browser that is logged in as somebody else."""
    own = cookie() | {"Sec-Fetch-Site": "same-origin"}
    return posted(**options | {"headers": own | options.get("headers", {})})


@pytest.mark.parametrize("kind", EXPLICIT)
def test_who_says_his_name_is_not_taken_for_the_cookie_s(world: World, kind: str) -> None:
    answer = world.send(with_cookie(EXPLICIT[kind]))
    assert (answer.status, answer.json["name"]) == (200, "ann")


@pytest.mark.parametrize("kind", WRONG)
def test_who_says_it_wrongly_is_not_let_in_by_the_cookie(world: World, kind: str) -> None:
    answer = world.send(with_cookie(WRONG[kind]))
    assert answer.status == 401
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("kind", ["bearer", "basic", "empty", "unknown scheme"])
def test_nor_is_he_when_he_only_reads(world: World, kind: str) -> None:
    assert world.ask("GET", "/who", cookie() | WRONG[kind]["headers"]).status == 401


def test_the_header_is_believed_before_the_form(world: World) -> None:
    answer = world.send(posted(headers={"Authorization": "Bearer bob-token"}, data=LOGIN))
    assert (answer.json["name"], answer.json["by"]) == ("bob", "bearer")
    assert world.checker.asked == []


def test_a_form_without_a_login_leaves_the_cookie(world: World) -> None:
    answer = world.send(with_cookie({"files": FILE, "data": {"username": "ann"}}))
    assert (answer.status, answer.json["name"], answer.json["by"]) == (200, "bob", "cookie")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer stale-token"}, 401),
        ({"Authorization": basic("odd", "stale")}, 401),
        (cookie("stale-token"), 401),
        (cookie(""), 401),
        ({"Cookie": "ann-token"}, 401),
        ({"Cookie": "token=ann-token"}, 401),
    ],
)
def test_a_token_that_airflow_does_not_know_is_none(world: World, headers: dict[str, str], status: int) -> None:
    for method in ("GET", "POST"):
        answer = world.ask(method, "/who", headers)
        assert (answer.status, list(answer.json)) == (status, ["error"])
        assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize(
    "value",
    [
        "Basic", "Basic ", "Basic !!!", "Basic YW5u", "Basic YW5uOnNlc2FtZQ", "Basic YW5u OnNlc2FtZQ==", "Basic =",
        "Basic ann:sesame", "Basic YW5uOnNlc2FtZQ==;", "Basic /zr/", "Basic gDqA", "Basic \xe9",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_no_name_and_password_is_not_tried(world: World, method: str, value: str) -> None:
    answer = world.ask(method, "/who", {"Authorization": value})
    assert answer.status == 401
    assert answer.json == {"error": "The header Authorization: Basic cannot be read. It holds base64 of name:password."}
    assert "www-authenticate" not in answer.headers
    assert world.checker.asked == []


@pytest.mark.parametrize("value", ["", " ", "Digest x", "Negotiate", "ann-token", "Bearerann-token", "Basic,Bearer x"])
def test_another_scheme_tells_nobody(world: World, value: str) -> None:
    assert_nobody(world.ask("GET", "/who", {"Authorization": value}))


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer wrong", "Bearer ann-token x", "Bearer \xe9"])
def test_a_wrong_token_is_told_where_to_get_one(world: World, value: str) -> None:
    answer = world.ask("GET", "/who", {"Authorization": value})
    assert answer.status == 401
    assert "POST /auth/token" in answer.json["error"]


@pytest.mark.parametrize("login", [("ann", ""), ("ann", ":sesame"), (" ann", " ")])
def test_what_is_sent_is_tried_as_it_is(world: World, login: tuple[str, str]) -> None:
    assert world.ask("GET", "/who", {"Authorization": basic(*login)}).status == 401
    assert world.checker.asked == [login]


@pytest.mark.parametrize("login", [("", ""), ("", "sesame"), ("x" * 257, "x"), ("ann", "x" * 257)])
@pytest.mark.parametrize("kind", ["basic", "form"])
def test_what_can_be_nobody_s_is_not_tried(world: World, kind: str, login: tuple[str, str]) -> None:
    fields = {"data": dict(zip(LOGIN, login, strict=True))}
    answer = world.send(posted(**fields if kind == "form" else {"headers": {"Authorization": basic(*login)}}))
    assert (answer.status, list(answer.json)) == (401, ["error"])
    assert world.checker.asked == []


@pytest.mark.parametrize("kind", ["basic", "form"])
def test_guesses_are_slowed_down_by_address(world: World, kind: str) -> None:
    request = posted(**WRONG[kind])
    headers = [(name, value) for name, value in request.headers.items() if name != "host"]

    def guess(address: str) -> Answer:
        return world.ask("POST", "/who", headers, [request.read()], address)

    assert [guess("192.0.2.1").status for _ in range(MOST_GUESSES)] == [401] * MOST_GUESSES
    refused = guess("192.0.2.1")
    assert (refused.status, list(refused.json)) == (429, ["error"])
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert guess("192.0.2.2").status == 401


def test_a_caller_without_an_address_is_known_too(world: World) -> None:
    scope = scope_of("GET", "/who", {"Authorization": basic()}.items()) | {"client": None}
    assert world.run(scope).answer.json["name"] == "ann"


@pytest.mark.parametrize("kind", ["basic", "form", "multipart"])
def test_passwords_are_refused_where_any_password_passes(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(airflow_app, "any_password_passes", lambda: True)
    answer = world.send(posted(**EXPLICIT[kind]))
    assert answer.status == 401
    assert "checks no passwords" in answer.json["error"]
    assert world.checker.asked == []


def test_tokens_are_good_where_any_password_passes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airflow_app, "any_password_passes", lambda: True)
    assert world.send(posted(**EXPLICIT["bearer"])).status == 200
    assert world.ask("GET", "/who", cookie()).status == 200


@pytest.mark.parametrize(("value", "passes"), [("True", True), ("False", False)])
def test_whether_any_password_passes_is_airflow_s_own_setting(
    monkeypatch: pytest.MonkeyPatch, value: str, passes: bool
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", value)
    assert any_password_passes() is passes


# The body

WHOLE = bytes(range(256)) * 40
PIECES: dict[str, list[bytes]] = {
    "no piece": [],
    "an empty piece": [b""],
    "one piece": [WHOLE],
    "many pieces": [WHOLE[at : at + 7] for at in range(0, len(WHOLE), 7)],
    "empty pieces between": [b"", WHOLE[:1], b"", b"", WHOLE[1:], b""],
    "the largest": [bytes(65536)] * (MOST_BODY // 65536),
}


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("case", PIECES)
def test_the_body_arrives_whole_and_unchanged(world: World, method: str, case: str) -> None:
    whole = b"".join(PIECES[case])
    answer = world.ask(method, "/who", {"Authorization": "Bearer ann-token"}, PIECES[case])
    assert (answer.json["bytes"], answer.json["sha256"]) == (len(whole), hashlib.sha256(whole).hexdigest())


@pytest.mark.parametrize("size", [1, 100, 1 << 20])
@pytest.mark.parametrize("by", ["form", "cookie", "bearer"])
def test_a_form_that_was_looked_into_arrives_whole(world: World, by: str, size: int) -> None:
    text = "1,Bäcker\n" * 30
    fields = LOGIN if by == "form" else {"note": "x"}
    known = {"form": {}, "bearer": {"Authorization": "Bearer ann-token"}, "cookie": cookie()}[by]
    request = posted(
        "/form",
        data=fields,
        files={"file": ("jobs.csv", text.encode())},
        headers=known | {"Sec-Fetch-Site": "same-origin"},
    )
    body = request.read()
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    headers = [(name, value) for name, value in request.headers.items() if name != "host"]
    assert world.ask("POST", "/form", headers, pieces).json == fields | {"file": text}


def test_after_the_body_the_application_hears_of_the_end(world: World) -> None:
    heard: list[str] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        heard.extend([(await receive())["type"], (await receive())["type"]])
        await PlainTextResponse("")(_scope, receive, send)

    world.app = Guard(app, Passwords(world.checker), OPEN)
    assert world.ask("POST", "/who", {"Authorization": "Bearer ann-token"}, [b"x"]).status == 200
    assert heard == ["http.request", "http.disconnect"]


def assert_too_large(answer: Answer) -> None:
    assert (answer.status, list(answer.json)) == (413, ["error", "code"])
    assert answer.json["code"] == "too_large"
    assert "2 MiB" in answer.json["error"]


@pytest.mark.parametrize("declared", [False, True], ids=["chunked", "declared"])
@pytest.mark.parametrize("by", ["bearer", "cookie", "nobody"])
@pytest.mark.parametrize("pieces", [[bytes(MOST_BODY + 1)], [bytes(MOST_BODY), b"x"], [bytes(1000)] * 2200])
def test_a_body_over_the_limit_is_refused(world: World, pieces: list[bytes], by: str, declared: bool) -> None:
    headers = {"bearer": {"Authorization": "Bearer ann-token"}, "cookie": cookie(), "nobody": {}}[by]
    size = sum(map(len, pieces))
    assert size > MOST_BODY
    answer = world.ask("POST", "/who", headers | ({"Content-Length": str(size)} if declared else {}), pieces)
    assert_too_large(answer)


@pytest.mark.parametrize("declared", [False, True], ids=["chunked", "declared"])
def test_a_body_of_just_the_limit_is_not(world: World, declared: bool) -> None:
    headers = {"Authorization": "Bearer ann-token"} | ({"Content-Length": str(MOST_BODY)} if declared else {})
    assert world.ask("POST", "/who", headers, [bytes(MOST_BODY)]).json["bytes"] == MOST_BODY


def test_a_form_with_a_file_of_the_largest_size_fits(world: World) -> None:
    large = {"file": ("hired_employees.csv", bytes(MOST_BYTES), "text/csv")}
    assert world.send(posted(data=LOGIN, files=large)).status == 200


@pytest.mark.parametrize("length", [str(MOST_BODY + 1), "9" * 18])
def test_a_length_over_the_limit_is_believed(world: World, length: str) -> None:
    headers = {"Authorization": "Bearer ann-token", "Content-Length": length}
    assert_too_large(world.ask("POST", "/who", headers, [b"x"]))


@pytest.mark.parametrize("length", ["", "x", "-1", "1e9", "0"])
def test_a_length_that_is_none_or_wrong_changes_nothing(world: World, length: str) -> None:
    headers = {"Authorization": "Bearer ann-token", "Content-Length": length}
    assert world.ask("POST", "/who", headers, [b"xy"]).json["bytes"] == 2


def test_the_rest_of_a_large_body_is_taken_so_that_the_answer_is_read(world: World) -> None:
    scope = scope_of("POST", "/who", {"Authorization": "Bearer ann-token"}.items())
    exchange = world.run(scope, [bytes(1 << 20)] * 20)
    assert (exchange.taken, exchange.answer.status) == (20, 413)


def test_a_body_without_end_is_not_read_for_ever(world: World) -> None:
    scope = scope_of("POST", "/who", {"Authorization": "Bearer ann-token"}.items())
    exchange = world.run(scope, repeat(bytes(1 << 20)))
    assert exchange.answer.status == 413
    assert exchange.taken < 100


@pytest.mark.parametrize("kind", ["bearer", "basic", "empty", "unknown scheme"])
def test_the_body_of_who_says_it_wrongly_is_not_read(world: World, kind: str) -> None:
    exchange = world.run(scope_of("POST", "/who", WRONG[kind]["headers"].items()), [b"x"] * 3)
    assert (exchange.answer.status, exchange.taken) == (401, 0)


def test_a_request_that_breaks_off_does_not_reach_the_application(world: World) -> None:
    scope = scope_of("POST", "/who", {"Authorization": "Bearer ann-token"}.items())
    answer = world.run(scope, [b"half"], breaks_off=True).answer
    assert (answer.status, answer.json) == (400, {"error": "The request broke off."})


# Pages of other sites

BROWSER = {"cookie": cookie("ann-token"), "basic": {"Authorization": basic()}}
OWN = f"http://{HOST}"
SITES: list[tuple[dict[str, str], int]] = [
    ({"Sec-Fetch-Site": "same-origin"}, 200),
    ({"Sec-Fetch-Site": "same-origin", "Origin": OWN}, 200),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "none"}, 403),
    ({"Sec-Fetch-Site": ""}, 403),
    ({"Sec-Fetch-Site": "cross-site", "Origin": OWN}, 403),
    ({"Origin": OWN}, 200),
    ({"Origin": f"https://{HOST}"}, 200),
    ({"Origin": "http://airflow.example"}, 403),
    ({"Origin": "http://airflow.example:8081"}, 403),
    ({"Origin": "https://evil.example"}, 403),
    ({"Origin": f"http://{HOST}.evil.example"}, 403),
    ({"Origin": f"http://evil.example/{HOST}"}, 403),
    ({"Origin": f"http://{HOST}@evil.example"}, 403),
    ({"Origin": f"http://evil.example?{HOST}"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": ""}, 403),
    ({"Origin": HOST}, 403),
]


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("by", BROWSER)
@pytest.mark.parametrize(("site", "status"), SITES)
def test_what_a_browser_sends_by_itself_must_come_from_an_own_page(
    world: World, site: dict[str, str], status: int, by: str, method: str
) -> None:
    answer = world.ask(method, "/who", BROWSER[by] | site)
    assert answer.status == status
    assert ("error" in answer.json) == (status == 403)
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("method", WRITES)
def test_a_program_with_a_password_says_of_no_page_that_it_comes_from(world: World, method: str) -> None:
    assert world.ask(method, "/who", BROWSER["basic"]).status == 200


@pytest.mark.parametrize("method", WRITES)
def test_a_cookie_alone_is_not_enough_to_write(world: World, method: str) -> None:
    answer = world.ask(method, "/who", BROWSER["cookie"])
    assert answer.status == 403
    assert "another site" in answer.json["error"]


@pytest.mark.parametrize("kind", ["bearer", "form", "multipart"])
@pytest.mark.parametrize("site", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
def test_what_no_browser_sends_by_itself_may_come_from_anywhere(world: World, kind: str, site: dict[str, str]) -> None:
    request = posted(**EXPLICIT[kind])
    headers = [(name, value) for name, value in request.headers.items() if name != "host"]
    assert world.ask("POST", "/who", [*headers, *site.items()], [request.read()]).status == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://data.example", 200), ("https://data.example:444", 403), (OWN, 200), ("https://x.data.example", 403)],
)
@pytest.mark.parametrize("by", BROWSER)
def test_the_address_that_airflow_is_known_under_is_an_own_one(
    world: World, monkeypatch: pytest.MonkeyPatch, by: str, origin: str, status: int
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://data.example/airflow")
    assert world.ask("POST", "/who", BROWSER[by] | {"Origin": origin}).status == status


@pytest.mark.parametrize("origin", ["http://[", "http://[x]"])
def test_an_origin_that_is_no_address_is_another_site(world: World, origin: str) -> None:
    assert world.ask("POST", "/who", BROWSER["cookie"] | {"Origin": origin}).status == 403


# Forms that cannot be read


def multipart(head: bytes, value: bytes = b"x") -> bytes:
    return b"--b\r\n" + head + b"\r\n\r\n" + value + b"\r\n--b--\r\n"


FIELD = b'Content-Disposition: form-data; name="%b"'
WITH_BOUNDARY = "multipart/form-data; boundary=b"
BROKEN: dict[str, tuple[str, bytes]] = {
    "no boundary": ("multipart/form-data", multipart(FIELD % b"x")),
    "an endless boundary": (f"multipart/form-data; boundary={'b' * 300}", b"--b"),
    "another boundary": ("multipart/form-data; boundary=c", multipart(FIELD % b"x")),
    "garbage": (WITH_BOUNDARY, b"\0\xff\r\n\r\n--"),
    "JSON": (WITH_BOUNDARY, b'{"username": "ann"}'),
    "a part without a name": (WITH_BOUNDARY, multipart(b"Content-Disposition: form-data")),
    "a part without a head": (WITH_BOUNDARY, b"--b\r\n\r\nx\r\n--b--\r\n"),
    "a broken head": (WITH_BOUNDARY, multipart(b"Content-\0Disposition: form-data")),
    "a long head": (WITH_BOUNDARY, multipart(b"X: " + b"x" * 100_000)),
    "a long field": (WITH_BOUNDARY, multipart(FIELD % b"username", b"x" * ((1 << 20) + 1))),
    "many fields": (WITH_BOUNDARY, multipart(FIELD % b"x") .replace(b"--b--\r\n", b"") * 101 + b"--b--\r\n"),
    "many files": (WITH_BOUNDARY, (b'--b\r\n' + FIELD % b"x" + b'; filename="y"\r\n\r\n\r\n') * 11 + b"--b--\r\n"),
    "many urlencoded fields": (URLENCODED, b"x=1&" * 101),
}  # fmt: skip


@pytest.mark.parametrize("by", ["nobody", "cookie"])
@pytest.mark.parametrize("case", BROKEN)
def test_a_form_that_cannot_be_read_is_told_so(world: World, case: str, by: str) -> None:
    kind, body = BROKEN[case]
    headers = {"Content-Type": kind} | (cookie() if by == "cookie" else {})
    answer = world.ask("POST", "/who", headers | {"Sec-Fetch-Site": "same-origin"}, [body])
    assert (answer.status, list(answer.json)) == (400, ["error"])
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("case", BROKEN)
def test_who_needs_no_form_to_be_known_may_send_any(world: World, case: str) -> None:
    kind, body = BROKEN[case]
    answer = world.ask("POST", "/who", {"Content-Type": kind, "Authorization": "Bearer ann-token"}, [body])
    assert (answer.status, answer.json["bytes"]) == (200, len(body))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (WITH_BOUNDARY, b""),
        (WITH_BOUNDARY, b"--b\r\n" + FIELD % b"username" + b"\r\n\r\nann"),
        (WITH_BOUNDARY, multipart(FIELD % b"username")[:-3]),
        (URLENCODED, b""),
        (URLENCODED, b"&&&=&=;%%%zz&username"),
        (URLENCODED, b"\xff\0=\xfe&username=\xff"),
        (f"{WITH_BOUNDARY}; charset=nothing", multipart(FIELD % b"username")),
        (f"{WITH_BOUNDARY}; charset=hex", multipart(FIELD % b"username")),
        (f"{WITH_BOUNDARY}; charset=utf-16", multipart(FIELD % b"username")),
    ],
)
def test_a_form_that_says_nothing_tells_nobody(world: World, kind: str, body: bytes) -> None:
    assert_nobody(world.ask("POST", "/who", {"Content-Type": kind}, [body]))


@pytest.mark.parametrize(("size", "status"), [(64 * 1024, 401), (64 * 1024 + 1, 413)])
def test_fields_without_a_file_are_no_large_form(world: World, size: int, status: int) -> None:
    answer = world.ask("POST", "/who", {"Content-Type": URLENCODED}, [b"x=" + b"x" * (size - 2)])
    assert (answer.status, list(answer.json)) == (status, ["error"])


def login_in(charset: str, name: bytes) -> tuple[dict[str, str], list[bytes]]:
    """A form of that charset with a login."""
    parts = [
        b"--b\r\n" + FIELD % one + b"\r\n\r\n" + two + b"\r\n"
        for one, two in ((b"username", name), (b"password", b"x"))
    ]
    return {"Content-Type": f"{WITH_BOUNDARY}; charset={charset}"}, [*parts, b"--b--\r\n"]


def test_a_charset_that_decodes_nothing_is_told_so(world: World) -> None:
    headers, pieces = login_in("undefined", b"ann")
    assert world.ask("POST", "/who", headers, pieces).status == 400


async def issue(request: Request) -> JSONResponse:
    """Airflow's own route for tokens, where nobody is known."""
    await request.json()
    return JSONResponse({"detail": "Invalid credentials"}, 401)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("utf-8", b"ann"),
        ("utf-7", b"+AOk-"),
        ("utf-7", b"+2AA-"),
        ("unicode_escape", b"\\ud800"),
    ],
)
def test_a_name_that_airflow_cannot_be_asked_for_is_nobody_s(charset: str, name: bytes) -> None:
    airflow = Airflow()
    airflow.mounted_in(Starlette(routes=[Route("/auth/token", issue, methods=["POST"])]))
    headers, pieces = login_in(charset, name)
    assert World(airflow).ask("POST", "/who", headers, pieces).status == 401


# What is refused, in words


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("too_large", 413),
        ("not_csv", 415),
        ("bad_name", 400),
        ("no_table", 400),
        ("empty", 400),
        ("too_many_rows", 400),
    ],
)
def test_a_file_is_refused_by_its_code(code: str, status: int) -> None:
    for refused in (of_file(FileRejected(code, "Because.")), of_fault(FileRejected(code, "Because."))):
        answer = refused.response()
        assert (answer.status_code, json.loads(answer.body)) == (status, {"error": "Because.", "code": code})


@pytest.mark.parametrize(
    ("error", "status", "after"),
    [
        (ConfigurationError("No."), 500, None),
        (TransientFault("No."), 503, "5"),
        (TerminalFault("No."), 500, None),
        (BalanceError("No."), 500, None),
        (SourceChanged("No."), 500, None),
    ],
)
def test_a_fault_says_whether_a_retry_can_help(error: DatamartError, status: int, after: str | None) -> None:
    answer = of_fault(error).response()
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, after)
    assert json.loads(answer.body)["error"].startswith("No.")


def test_what_a_parameter_cannot_be_is_the_client_s_matter() -> None:
    with pytest.raises(Refused) as found, parameter():
        raise ConfigurationError("No.")
    assert (found.value.status_code, found.value.detail, found.value.__cause__) == (400, "No.", None)
    with pytest.raises(TransientFault), parameter():
        raise TransientFault("No.")


def test_what_airflow_does_not_do_is_told_with_a_time() -> None:
    answer = unavailable("Not now.").response()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert json.loads(answer.body) == {"error": "Not now."}


RAISED: dict[str, tuple[Exception, int, dict[str, Any]]] = {
    "refused": (Refused(409, "No.", headers={"X-A": "b"}, code="x"), 409, {"error": "No.", "code": "x"}),
    "file": (FileRejected("not_csv", "No."), 415, {"error": "No.", "code": "not_csv"}),
    "fault": (TransientFault("Away."), 503, {"error": "Away. Try again in a moment."}),
    "other": (HTTPException(418, "Tea."), 418, {"error": "Tea."}),
    "missing": (HTTPException(404), 404, {"error": "There is no such page here. See docs for the routes there are."}),
}  # fmt: skip


def refusing_app() -> World:
    """An application whose routes fail in every way."""
    app = FastAPI()
    refusals.install(app)

    @app.get("/raise/{kind}")
    async def _raise(kind: str) -> None:
        raise RAISED[kind][0]

    @app.get("/number")
    async def _number(limit: int, order: Literal["up", "down"] = "up") -> str:
        return order * limit

    world = World()
    world.app = app
    return world


@pytest.mark.parametrize("kind", RAISED)
def test_every_refusal_is_json(kind: str) -> None:
    _, status, content = RAISED[kind]
    answer = refusing_app().ask("GET", f"/raise/{kind}")
    assert (answer.status, answer.json) == (status, content)


def test_headers_of_a_refusal_are_sent() -> None:
    assert refusing_app().ask("GET", "/raise/refused").headers["x-a"] == "b"
    assert refusing_app().ask("GET", "/raise/fault").headers["retry-after"] == "5"


@pytest.mark.parametrize(("method", "target", "status"), [("GET", "/nothing", 404), ("POST", "/number", 405)])
def test_what_is_not_there_is_said_in_a_sentence(method: str, target: str, status: int) -> None:
    answer = refusing_app().ask(method, target)
    assert (answer.status, list(answer.json)) == (status, ["error"])
    assert answer.json["error"].endswith("See docs for the routes there are.")


def test_a_method_that_is_not_allowed_is_told_which_are() -> None:
    assert refusing_app().ask("POST", "/number").headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("/number", ["limit"]),
        ("/number?limit=hush", ["limit"]),
        ("/number?limit=hush&order=hush", ["limit", "order"]),
        ("/number?limit=1.5e999", ["limit"]),
    ],
)
def test_a_wrong_parameter_is_named_and_not_repeated(target: str, names: list[str]) -> None:
    answer = refusing_app().ask("GET", target)
    assert (answer.status, list(answer.json)) == (400, ["error"])
    assert all(f"{name}: " in answer.json["error"] for name in names)
    assert "hush" not in answer.json["error"]


KNOWN = {"Authorization": "Bearer ann-token"}
WENT_WRONG = {"error": "Something went wrong here. Try again; if it stays so, report what you sent and when."}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unexpected_error_tells_nothing_of_the_rows(
    world: World, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    with caplog.at_level(logging.ERROR, "data_api_app.refusals"):
        answer = world.ask(method, "/breaks/before", KNOWN)
    assert (answer.status, answer.json) == (500, WENT_WRONG)
    assert re.fullmatch(rf"{method} '/breaks/before': an unexpected KeyError at \w+\.py:\d+", *caplog.messages)


def test_an_error_within_an_answer_ends_it_and_tells_nothing_of_the_rows(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "data_api_app.refusals"):
        exchange = world.run(scope_of("GET", "/breaks/within", KNOWN.items()))
    assert (exchange.answer.status, exchange.answer.body) == (200, b"first,")
    assert exchange.sent[-1]["more_body"] is True
    assert "own text" not in caplog.text


def test_an_error_while_asking_who_it_is_lets_nobody_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_token: str) -> User:
        raise KeyError("a token's own text")

    monkeypatch.setattr(airflow_app, "user_of", broken)
    for method in METHODS:
        answer = world.ask(method, "/who", KNOWN)
        assert (answer.status, answer.json) == (500, WENT_WRONG)


def test_an_address_writes_no_line_of_its_own_into_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "data_api_app.refusals"):
        world.ask("GET", f"/breaks/%0aERROR%1b{'x' * 1000}", KNOWN)
    (line,) = caplog.messages
    assert line.isprintable()
    assert len(line) < 300


def test_without_the_guard_the_error_would_go_on_to_the_server() -> None:
    with pytest.raises(KeyError, match="own text"):
        World(guarded=False).ask("GET", "/breaks/before")
