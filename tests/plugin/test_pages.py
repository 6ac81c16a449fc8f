"""The pages and their files: for those who are known, and with a policy that lets nothing in but this server."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from data_api_app import page_routes, refusals
from data_api_app.guard import Guard
from data_api_app.page_routes import FILES, PAGES
from data_api_app.passwords import Passwords
from datamart.tables import TABLES
from tests.plugin.guarded import METHODS, Answer, World, assert_nobody, scope_of

PAGE_PATHS = [f"/pages/{name}" for name in PAGES]
FILE_PATHS = [
    f"/page-files/{path.relative_to(FILES / 'files')}"
    for path in sorted((FILES / "files").rglob("*"))
    if path.is_file()
]
KNOWN = {"Authorization": "Bearer ann-token"}
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
NO_CACHE, FOR_EVER = "no-cache", "private, max-age=31536000, immutable"


@pytest.fixture(params=["", "/data-api"], ids=["alone", "mounted"])
def pages(request: pytest.FixtureRequest) -> World:
    """The pages behind the guard, by themselves and mounted in another application."""
    world = World(prefix=request.param)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    page_routes.install(app)
    refusals.install(app)
    app.add_middleware(Guard, passwords=Passwords(world.checker), open_paths={"/"})
    world.app = Starlette(routes=[Mount(world.prefix, app=app)]) if world.prefix else app
    return world


def ask(pages: World, method: str, path: str, headers: Mapping[str, str]) -> Answer:
    """An answer as a server asks for it that says by itself when its client has gone."""
    scope = scope_of(method, pages.prefix + path, headers.items())
    return pages.run(scope | {"asgi": {"version": "3.0", "spec_version": "2.4"}}).answer


def loose(policy: str) -> list[str]:
    """What a policy lets in besides this server's own files and pictures within a style."""
    found = []
    directives = dict(one.strip().partition(" ")[::2] for one in policy.split(";"))
    for name, sources in directives.items():
        allowed = {"'self'", "'none'"} | ({"data:"} if name == "img-src" else set())
        found += [f"{name} {source}" for source in sources.split() if source not in allowed]
    must = {"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "base-uri": "'none'",
            "form-action": "'none'", "frame-ancestors": "'self'"}  # fmt: skip
    return found + [name for name, sources in must.items() if directives.get(name) != sources]


def assert_guarded(answer: Answer, cached: str) -> None:
    for name in ("content-security-policy", "x-content-type-options", "referrer-policy", "cache-control"):
        assert len(answer.headers.getlist(name)) == 1, name
    assert loose(answer.headers["content-security-policy"]) == []
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cache-control"] == cached


@pytest.mark.parametrize("path", PAGE_PATHS)
def test_a_page_is_a_document_with_a_policy_and_the_names_of_the_tables(pages: World, path: str) -> None:
    answer = ask(pages, "GET", path, KNOWN)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert_guarded(answer, NO_CACHE)
    assert f'data-tables="{" ".join(table.name for table in TABLES)}"' in answer.body.decode()
    assert b"{" not in answer.body


@pytest.mark.parametrize("path", FILE_PATHS)
def test_a_page_s_file_has_the_policy_too_and_a_library_s_is_kept(pages: World, path: str) -> None:
    answer = ask(pages, "GET", path, KNOWN)
    assert answer.status == 200
    assert_guarded(answer, FOR_EVER if "/vendor/" in path else NO_CACHE)
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind == TYPES.get(path[path.rfind(".") :], kind), "a browser that may not guess takes no other"
    assert answer.body == (FILES / path.replace("/page-files", "files", 1)).read_bytes()


def test_a_file_that_a_browser_has_already_is_not_sent_again(pages: World) -> None:
    first = ask(pages, "GET", "/page-files/style.css", KNOWN)
    again = ask(pages, "GET", "/page-files/style.css", KNOWN | {"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert_guarded(again, NO_CACHE)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Cookie": "_token=wrong"}], ids=str)
def test_strangers_get_neither_pages_nor_files(pages: World, headers: dict[str, str]) -> None:
    for path in (*PAGE_PATHS, *FILE_PATHS, "/page-files", "/page-files/nothing.js", "/pages", "/pages/nothing"):
        answer = ask(pages, "GET", path, headers)
        assert (answer.status, list(answer.json)) == (401, ["error"]), path
    for method in METHODS:
        assert_nobody(pages.ask(method, "/pages/insights"))
        assert_nobody(pages.ask(method, "/page-files/style.css"))


@pytest.mark.parametrize(
    "path",
    [
        "/pages", "/pages/nothing", "/pages/insights.html", "/pages/insights/x", "/page-files", "/page-files/vendor",
        "/page-files/nothing.js", "/page-files/insights.html", "/page-files/../insights.html",
        "/page-files/%2e%2e/insights.html", "/page-files/..%2finsights.html", "/page-files/vendor/../../loads.html",
        "/page-files/%2e%2e/%2e%2e/guard.py", "/page-files//etc/passwd", "/page-files/style.css%00",
    ],
)  # fmt: skip
def test_there_is_nothing_but_the_pages_and_their_files(pages: World, path: str) -> None:
    answer = ask(pages, "GET", path, KNOWN)
    assert (answer.status, list(answer.json)) == (404, ["error"])


@pytest.mark.parametrize("path", ["/pages/loads", "/page-files/style.css"])
def test_pages_and_files_are_only_read(pages: World, path: str) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert ask(pages, method, path, KNOWN).status == 405


GOOD = page_routes.HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("policy", "found"),
    [
        (GOOD, []),
        (GOOD.replace("script-src 'self'", "script-src 'self' 'unsafe-inline'"), ["script-src 'unsafe-inline'"]),
        (GOOD.replace("script-src 'self'", "script-src 'self' 'unsafe-eval'"), ["script-src 'unsafe-eval'"]),
        (GOOD.replace("style-src 'self'", "style-src 'self' https://x"), ["style-src https://x"]),
        (GOOD.replace("connect-src 'self'", "connect-src *"), ["connect-src *"]),
        (GOOD.replace("connect-src 'self'", "connect-src data:"), ["connect-src data:"]),
        (GOOD + "; font-src cdn.example", ["font-src cdn.example"]),
        (GOOD.replace("default-src 'none'; ", ""), ["default-src"]),
        (GOOD.replace("frame-ancestors 'self'", "frame-ancestors 'none'"), ["frame-ancestors"]),
        ("", ["default-src", "script-src", "style-src", "base-uri", "form-action", "frame-ancestors"]),
    ],
)
def test_a_policy_that_lets_more_in_would_be_noticed(policy: str, found: list[str]) -> None:
    assert set(found) <= set(loose(policy))
    assert bool(loose(policy)) is bool(found)
