"""Who says who he is, and how: header, form, cookie, and which of them is believed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from data_api_app import airflow_app
from data_api_app.airflow_app import any_password_passes
from data_api_app.passwords import MOST_GUESSES
from tests.plugin.guarded import (
    FILE,
    HOST,
    LOGIN,
    METHODS,
    URLENCODED,
    Answer,
    World,
    assert_nobody,
    basic,
    cookie,
    posted,
    scope_of,
)


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
