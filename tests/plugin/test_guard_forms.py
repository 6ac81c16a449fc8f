"""Forms that cannot be read are told so."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from data_api_app.airflow_app import Airflow
from tests.plugin.guarded import (
    URLENCODED,
    World,
    assert_nobody,
    cookie,
)


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
