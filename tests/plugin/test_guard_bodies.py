"""Bodies come to the application whole, or not at all."""

from __future__ import annotations

import hashlib
from itertools import repeat

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from data_api_app.guard import MOST_BODY, Guard
from data_api_app.passwords import Passwords
from datamart.uploads import MOST_BYTES
from tests.plugin.guarded import (
    LOGIN,
    OPEN,
    WRITES,
    Answer,
    World,
    cookie,
    posted,
    scope_of,
)
from tests.plugin.test_guard_credentials import WRONG

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
