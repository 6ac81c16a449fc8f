"""Lets nobody in who is not known: an ASGI layer around every route and mount of the application, but the greeting.

Known is who sends a bearer token of Airflow, its session cookie, name and password (HTTP Basic, or the form fields
``username`` and ``password`` of the API that this one replaces).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data_api_app import airflow_app
from data_api_app.forms import MULTIPART, URLENCODED, media_type, read_form, unpacked
from data_api_app.parameters import LOGIN_FIELDS, ignored_warning
from data_api_app.passwords import Passwords
from data_api_app.refusals import Refused, of_file, unexpected
from datamart.uploads import MOST_BYTES, too_large

MOST_BODY = MOST_BYTES + 64 * 1024
"""Bytes of a request: a file of the largest size and what is around it in a form."""
_MOST_DRAINED = 64 * 1024 * 1024
_MOST_FIELDS_BYTES = 64 * 1024
_SAFE = ("GET", "HEAD", "OPTIONS")
_NOBODY = (
    "Who are you? Send a token of Airflow (Authorization: Bearer ...), a user's name and password (HTTP Basic, or the "
    "form fields username and password), or log in to Airflow in this browser."
)


@dataclass(frozen=True)
class Caller:
    """Who asks, with the token that Airflow knows him by, and how he said so."""

    user: Any
    token: str
    by: str

    @property
    def name(self) -> str:
        """His name in Airflow."""
        return str(self.user.get_name())


def caller_of(request: Request) -> Caller:
    """Who sent a request that the guard let through."""
    found: Caller = request.scope["state"]["caller"]
    return found


class Guard:
    """The layer; ``open_paths`` may be read by anybody."""

    def __init__(self, app: ASGIApp, passwords: Passwords, open_paths: Iterable[str]) -> None:
        self._app, self._passwords, self._open = app, passwords, frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope = _without_slash(scope)
        try:
            receive = await self._admitted(scope, receive)
        except Refused as refusal:
            await refusal.response()(scope, receive, send)
        except HTTPException as error:  # a form that cannot be read
            await JSONResponse({"error": str(error.detail)}, error.status_code)(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - nobody may come in by way of an error, nor read of one
            await unexpected(request_line(scope), error).response()(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer; an error that it has not foreseen goes no further, as servers log what it says."""
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = _warned(_not_kept(message), scope)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:  # noqa: BLE001 - told in the log by its kind
            refusal = unexpected(request_line(scope), error)
            if not started:
                await refusal.response()(scope, receive, send)

    async def _admitted(self, scope: Scope, receive: Receive) -> Receive:
        """The request's body for the application, once it is known who sends it."""
        request = Request(scope)
        state = scope["state"] = dict(scope.get("state") or {})
        if request.method in _SAFE:
            if not (request.method == "GET" and _path(scope) in self._open):
                state["caller"] = await self._caller(request, None)
            return receive
        explicit = "authorization" in request.headers
        caller = await self._caller(request, None) if explicit else None
        body = unpacked(request.headers, await _body(request, receive), MOST_BODY)
        request = Request(_with_plain_body(scope, body))
        state["caller"] = caller or await self._caller(request, body)
        _require_own_page(request, state["caller"])
        return _replay(body, receive)

    async def _caller(self, request: Request, body: bytes | None) -> Caller:
        header = request.headers.get("authorization")
        if header is not None:
            scheme, _, value = header.strip().partition(" ")
            if scheme.lower() == "bearer":
                return await _by_token(value.strip(), "bearer")
            if scheme.lower() == "basic":
                return await self._by_password(request, *_basic(value.strip()), by="basic")
            raise Refused(401, _NOBODY)
        form = await _login_in(request, body) if body is not None else None
        if form:
            return await self._by_password(request, *form, by="form")
        cookie = request.cookies.get(airflow_app.COOKIE)
        if cookie:
            return await _by_token(cookie, "cookie")
        raise Refused(401, _NOBODY)

    async def _by_password(self, request: Request, name: str, password: str, by: str) -> Caller:
        if airflow_app.any_password_passes():
            raise Refused(401, "This Airflow checks no passwords, so none is accepted here. Send a token of it.")
        address = request.client.host if request.client else ""
        return await _by_token(await self._passwords.token(name, password, address), by)


async def _by_token(token: str, by: str) -> Caller:
    user = await airflow_app.user_of(token)
    if user is None:
        raise Refused(401, "The token is not valid (any more). Get a new one from Airflow's POST /auth/token.")
    return Caller(user, token, by)


def _basic(value: str) -> tuple[str, str]:
    try:
        name, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:  # neither base64 nor text
        name = colon = password = ""  # nosec B105  # none
    if not colon:
        raise Refused(401, "The header Authorization: Basic cannot be read. It holds base64 of name:password.")
    return name, password


async def _login_in(request: Request, body: bytes) -> tuple[str, str] | None:
    """Name and password among the fields of a form."""
    kind = media_type(request)
    if kind not in (MULTIPART, URLENCODED):
        return None
    if kind == URLENCODED and len(body) > _MOST_FIELDS_BYTES:
        raise Refused(413, "The form is too large. Send a file as multipart/form-data.")
    form = await read_form(Request(request.scope, _replay(body, request.receive)))
    name, password = map(form.get, LOGIN_FIELDS)
    await form.close()
    if not isinstance(name, str) or not isinstance(password, str):
        return None
    return (name, password) if name or password else None  # a form that was left empty says nothing


def _require_own_page(request: Request, caller: Caller) -> None:
    """What a browser sends by itself must come from a page of this server."""
    if caller.by not in ("cookie", "basic"):
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        own = site == "same-origin"
    elif origin is not None:
        own = _host_of(origin) in {request.headers.get("host"), *airflow_app.own_origins()}
    else:
        own = caller.by == "basic"  # no browser sent this
    if not own:
        raise Refused(403, "A page of another site may not do this in your name. Send a token instead of the cookie.")


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


async def _body(request: Request, receive: Receive) -> bytes:
    """The whole body. One that is too large is read on for a while, so that its sender comes to read the answer."""
    pieces: list[bytes] = []
    size = 0
    declared = request.headers.get("content-length", "")
    too_much = declared.isdigit() and int(declared) > MOST_BODY
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "The request broke off.")
        piece = message.get("body", b"")
        size += len(piece)
        too_much = too_much or size > MOST_BODY
        if too_much:
            pieces.clear()
        else:
            pieces.append(piece)
        if not message.get("more_body") or size > _MOST_DRAINED:
            break
    if too_much:
        raise of_file(too_large())
    return b"".join(pieces)


def _not_kept(message: Message) -> Message:
    """Data of people are kept by no browser or proxy, unless a route says otherwise."""
    headers = {name.lower(): value for name, value in message["headers"]}
    data = headers.get(b"content-type", b"").startswith((b"application/json", b"text/csv"))
    if b"cache-control" in headers or not data:
        return message
    return {**message, "headers": [*message["headers"], (b"cache-control", b"no-store")]}


def _warned(message: Message, scope: Scope) -> Message:
    """The start of an answer, with a warning of names in the request that were ignored."""
    ignored = scope["state"].get("ignored_names")
    if not ignored:
        return message
    return {**message, "headers": [*message["headers"], (b"warning", ignored_warning(ignored).encode("latin-1"))]}


def _with_plain_body(scope: Scope, body: bytes) -> Scope:
    """The scope, whose headers say now that the body is not packed."""
    if any(name.lower() == b"content-encoding" for name, _ in scope["headers"]):
        kept = [one for one in scope["headers"] if one[0].lower() not in (b"content-encoding", b"content-length")]
        scope["headers"] = [*kept, (b"content-length", str(len(body)).encode())]
    return scope


def _replay(body: bytes, receive_more: Receive) -> Receive:
    """A body that was read, for the next one who reads it; afterwards what the server has to say."""
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            return await receive_more()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def request_line(scope: Scope) -> str:
    """Method and path, for the log."""
    return f"{scope['method']} {_path(scope)[:200]!r}"


def _path(scope: Scope) -> str:
    """The path within this application."""
    root, path = scope.get("root_path", ""), scope["path"]
    return path[len(root) :] if root and path.startswith(root) else path


def _without_slash(scope: Scope) -> Scope:
    """Routes are the same with and without a slash at their end."""
    path = _path(scope)
    own = path.rstrip("/") or "/"
    return scope if own == path else {**scope, "path": scope["path"][: len(scope["path"]) - len(path)] + own}
