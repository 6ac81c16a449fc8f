"""The pages in Airflow's navigation: three documents and the files they are made of, all from this server.

What a page may do is told to the browser by a Content-Security-Policy: no script or style but those of this server,
none written into a document, and no frame but Airflow's own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Query
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datamart.tables import TABLES

FILES = Path(__file__).parent / "pages"

_POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
    "form-action 'none'", "base-uri 'none'", "frame-ancestors 'self'",
))  # fmt: skip
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""``no-cache``: a browser keeps a file, but asks each time whether it is still the newest."""
_FOR_EVER = "private, max-age=31536000, immutable"
"""A library's file has its version in its name."""


class _Guarded:
    """Files with the headers of the pages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = HEADERS | ({"Cache-Control": _FOR_EVER} if _path(scope).startswith("/vendor/") else {})
                own = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        await self._app(scope, receive, sending)


def _path(scope: Scope) -> str:
    """The path behind the mount."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


async def _insights_address(year: str | None = None) -> None:
    """What the page of insights keeps in its address."""


async def _loads_address(
    load: str | None = None,
    table: str | None = None,
    verdict: str | None = None,
    begin: Annotated[str | None, Query(alias="from")] = None,
    end: Annotated[str | None, Query(alias="to")] = None,
) -> None:
    """What the page of loads keeps in its address."""


async def _backups_address() -> None:
    """The page of backups keeps nothing in its address."""


PAGES = {"insights": _insights_address, "loads": _loads_address, "backups": _backups_address}
"""The pages, and what each reads of its own address, in the browser."""


def install(app: FastAPI) -> None:
    """Add the pages, for those who are known; what they show is asked of the other routes, with their rights."""
    for name, address in PAGES.items():
        app.add_api_route(
            f"/pages/{name}", _page(name), methods=["GET"], include_in_schema=False, dependencies=[Depends(address)]
        )
    app.mount("/page-files", _Guarded(StaticFiles(directory=FILES / "files")), name="page-files")


def _page(name: str) -> Callable[[], Awaitable[HTMLResponse]]:
    document = (FILES / f"{name}.html").read_text(encoding="utf-8")
    filled = document.replace("{tables}", " ".join(table.name for table in TABLES))

    async def page() -> HTMLResponse:
        return HTMLResponse(filled, headers=HEADERS)

    return page
