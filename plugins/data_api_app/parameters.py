"""Refuses parameters that a route does not know, whichever way they are sent; a dependency of every route.

What a route knows is read from its own description: query parameters, headers, and the fields of its form.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.dependencies.utils import get_flat_dependant
from fastapi.routing import APIRoute
from starlette.datastructures import FormData, UploadFile

from data_api_app.forms import MULTIPART, URLENCODED, media_type, read_form
from data_api_app.refusals import Refused
from datamart.parameter_names import nearest_name, shown_name, unknown_name

LOGIN_FIELDS = ("username", "password")
"""Fields that every form may have. Names that are part of one, as ``user``, limit nothing and are harmless."""
OLDER_API = frozenset({("POST", "/upload"), ("GET", "/insights")})
"""Routes whose clients may send names that mean nothing here, as cache busters and fields of OAuth are."""

MAX_IGNORED = 100
_SAFE = ("GET", "HEAD", "OPTIONS")
_MAX_WARNED = 10
_PLACES = {
    "query": "is a query parameter: send it as ?{}=... in the URL",
    "form": "is a form field",
    "header": "is a header",
}

_SENT = {"query": "in the URL", "form": "as a form field", "body": "in the body"}


@dataclass(frozen=True)
class KnownNames:
    """Names that a route knows, by the place where they are sent."""

    query: tuple[str, ...]
    form: tuple[str, ...]
    header: tuple[str, ...]
    takes_form: bool
    lenient: bool
    body: tuple[str, ...] = ()

    @classmethod
    def of(cls, route: APIRoute, method: str) -> KnownNames:
        """Those of a route, as FastAPI describes it."""
        flat = get_flat_dependant(route.dependant)
        fields = (*_described_fields(route), *(one.alias for one in flat.body_params))
        writes = method not in _SAFE
        return cls(
            query=tuple(one.alias for one in flat.query_params),
            form=(*fields, *LOGIN_FIELDS) if writes else fields,
            header=tuple(one.alias for one in flat.header_params),
            takes_form=bool(fields),
            lenient=(method, route.path) in OLDER_API,
        )

    def require(self, names: Iterable[str], place: str) -> list[str]:
        """Unknown names among those that were sent in ``place`` and may be ignored.

        Raises:
            Refused: 400, for a name that may have been meant for a known one, or that is not to be ignored.
        """
        kind = "form field" if place == "form" else "parameter"
        known: tuple[str, ...] = getattr(self, place)
        ignored: list[str] = []
        for name in names:
            if name in known:
                continue
            if len(ignored) >= MAX_IGNORED:
                raise Refused(400, f"The request has more than {MAX_IGNORED} names that this route does not know.")
            nearest = nearest_name(name, known, whole=LOGIN_FIELDS)
            elsewhere = self._elsewhere(name, place) if nearest is None else None
            if elsewhere:
                raise Refused(400, elsewhere)
            if nearest is None and self.lenient:
                ignored.append(name)
            else:
                raise Refused(400, unknown_name(name, known, kind))
        return ignored

    def _elsewhere(self, name: str, place: str) -> str | None:
        """What to do with a name that is known in another place."""
        for other, text in _PLACES.items():
            if other == place:
                continue
            found = nearest_name(name, getattr(self, other), whole=LOGIN_FIELDS)
            if found is not None:
                return (
                    f"{shown_name(name)} was sent {_SENT[place]}, but '{found}' {text.format(found)}. Nothing was done."
                )
        return None


async def require_known(request: Request) -> AsyncIterator[None]:
    """Let a request pass when its route knows every name that it sends; its form is read once, for the route too.

    Names that are ignored are told in the header ``Warning`` of the answer.

    Raises:
        Refused: 400.
    """
    known = KnownNames.of(request.scope["route"], request.method)
    ignored = known.require(dict.fromkeys(request.query_params), "query")
    _require_once(request.query_params.multi_items(), known.query)
    for name in known.header:
        _require_once([(name, value) for value in request.headers.getlist(name)], known.header)
    form = FormData() if request.method in _SAFE else await _form(request, known)
    try:
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        ignored += known.require(dict.fromkeys(name for name, _ in fields), "form")
        _require_once(fields, known.form)
        request.state.form = form
        request.state.ignored_names = ignored
        yield
    finally:
        await form.close()


def ignored_warning(names: Sequence[str]) -> str:
    """The value of the header ``Warning`` (RFC 7234) for names that were ignored."""
    shown = ", ".join(shown_name(name) for name in names[:_MAX_WARNED])
    more = f" and {len(names) - _MAX_WARNED} more" if len(names) > _MAX_WARNED else ""
    return f'299 - "Unknown and ignored: {shown}{more}"'


async def _form(request: Request, known: KnownNames) -> FormData:
    """The request's form; a body that the route does not read is refused unless it says nothing."""
    kind = media_type(request)
    if known.takes_form and kind != MULTIPART:
        return FormData()  # the route itself refuses it, with the way to send a file
    if kind not in (MULTIPART, URLENCODED):
        _require_nothing(kind, await request.body(), known)
        return FormData()
    form = await read_form(request)
    files = [name for name, value in form.multi_items() if isinstance(value, UploadFile)]
    if files and not known.takes_form:
        await form.close()
        raise Refused(400, f"This route takes no file; one was sent in the field {shown_name(files[0])}.")
    return form


def _require_nothing(kind: str, body: bytes, known: KnownNames) -> None:
    """A body that no route reads holds nothing: what it says would be ignored."""
    if not body.strip():
        return
    try:
        said: Any = json.loads(body) if kind in ("application/json", "") else body
    except (ValueError, RecursionError):
        said = body
    if isinstance(said, dict) and said:
        known.require(said, "body")
    if said not in ({}, None):
        where = f" Its parameters go into the URL: {', '.join(known.query)}." if known.query else ""
        raise Refused(400, f"This route takes no body.{where}")


def _require_once(items: Iterable[tuple[str, str]], known: Sequence[str]) -> None:
    """No known name has two values."""
    values: dict[str, str] = {}
    for name, value in items:
        if name in known and values.setdefault(name, value) != value:
            raise Refused(400, f"{shown_name(name)} was sent more than once, with different values. Send it once.")


def _described_fields(route: APIRoute) -> tuple[str, ...]:
    """Fields of a form that the route reads by itself, as its description has them."""
    content = (route.openapi_extra or {}).get("requestBody", {}).get("content", {})
    return tuple(name for one in content.values() for name in one["schema"]["properties"])
