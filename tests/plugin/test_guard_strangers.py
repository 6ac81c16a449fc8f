"""Nobody comes in whom Airflow does not know, whatever he asks for and however he spells it."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from data_api_app.guard import Guard
from data_api_app.passwords import Passwords
from tests.plugin.guarded import (
    METHODS,
    OPEN,
    Exchange,
    World,
    assert_nobody,
    scope_of,
)

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
