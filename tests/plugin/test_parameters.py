"""No route ignores a parameter that it does not know, whichever way it is sent; all routes of the real application."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.routing import Mount

from data_api_app import airflow_app, factory
from data_api_app.parameters import OLDER_API, KnownNames
from tests.plugin.guarded import FILE, LOGIN, URLENCODED, Answer, World, posted
from tests.rest import form

BEARER = {"Authorization": "Bearer ann-token"}
JSON = "application/json"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The real application, in which the users of these tests may do everything."""
    for may in ("may_read", "may_trigger"):
        monkeypatch.setattr(airflow_app, may, lambda _user, _dag_id: True)
    monkeypatch.setattr(airflow_app, "may_operate", lambda _user: True)
    made: FastAPI = factory.create_app.__wrapped__()
    return made


@pytest.fixture
def real(app: FastAPI) -> World:
    return placed_app(app)


def placed_app(app: FastAPI) -> World:
    """The application, mounted as Airflow mounts it."""
    world = World(prefix="/data-api")
    world.app = Starlette(routes=[Mount("/data-api", app=app)])
    return world


def operations(app: FastAPI) -> Iterator[tuple[str, APIRoute]]:
    """Every method of every route."""
    for route in app.routes:
        if isinstance(route, APIRoute):
            for method in sorted(route.methods):
                yield method, route


def path_of(route: APIRoute) -> str:
    return re.sub(r"\{[^}]*\}", "1", route.path)


def forgiving(app: FastAPI) -> list[str]:
    """Routes that let an unknown parameter pass."""
    world, found = placed_app(app), []
    for method, route in operations(app):
        answer = world.ask(method, f"{path_of(route)}?Wiat=1&limitt=1&dryRun=true&yaer=1", BEARER)
        if answer.status != 400 or "There is no parameter" not in answer.json["error"]:
            found.append(f"{method} {route.path}")
    return found


def test_every_route_refuses_an_unknown_parameter(app: FastAPI) -> None:
    assert len(list(operations(app))) >= 20
    assert forgiving(app) == []


def test_a_route_without_the_check_would_be_noticed(app: FastAPI) -> None:
    def careless() -> dict[str, str]:
        return {}

    app.router.routes.insert(0, APIRoute("/careless", careless))
    assert forgiving(app) == ["GET /careless"]


def test_what_is_no_route_is_a_folder_of_files(app: FastAPI) -> None:
    mounts = [route for route in app.routes if not isinstance(route, APIRoute)]
    assert all(isinstance(route, Mount) for route in mounts)
    assert {route.path for route in mounts if isinstance(route, Mount)} == {"/page-files", "/docs-assets"}


@pytest.mark.parametrize("place", ["query", "form", "json"])
def test_what_changes_something_knows_no_other_names(app: FastAPI, place: str) -> None:
    world = placed_app(app)
    writes = [route for method, route in operations(app) if method == "POST"]
    assert {route.path for route in writes} >= {"/upload", "/backup", "/drill", "/restore", "/undo"}
    for route in writes:
        required = "table=jobs&load_id=1" if place != "query" else "nothing_like_it=1&x=2"
        known = KnownNames.of(route, "POST").query
        query = "&".join(one for one in required.split("&") if place == "query" or one.split("=")[0] in known)
        target = f"{route.path}?{query}" if query else route.path
        sent = {
            "query": {}, "form": {"data": {"nothing_like_it": "1"}}, "json": {"json": {"nothing_like_it": "1"}}
        }[place]  # fmt: skip
        answer = world.send(posted(target, headers=BEARER, **sent))
        if ("POST", route.path) in OLDER_API:
            assert answer.status == 415, answer.json
            assert ("nothing_like_it" in answer.headers.get("warning", "")) == (place == "query")
        else:
            assert (answer.status, "nothing_like_it" in answer.json["error"]) == (400, True), (route.path, answer.json)


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("/restore?table=jobs&dryRun=true", "dry_run"),
        ("/restore?table=jobs&dry-run=true", "dry_run"),
        ("/restore?tabel=jobs", "table"),
        ("/restore?table=jobs&backupId=x", "backup_id"),
        ("/undo?load_id=1&dry-run=true", "dry_run"),
        ("/undo?load_id=1&laterRows=keep", "later_rows"),
        ("/backup?tables=jobs", "table"),
        ("/drill?backup-id=x", "backup_id"),
        ("/upload?dryRun=true", "dry_run"),
        ("/upload?dry-run", "dry_run"),
        ("/upload?repair=1", "repairs"),
        ("/upload?wait=1&amp;dry_run=true", "dry_run"),
        ("/upload?AMP;dry_run=true", "dry_run"),
        ("/upload?only_dry_run=true", "dry_run"),
        ("/upload?test_dry_run=true", "dry_run"),
        ("/upload?waitt=1", "wait"),
        ("/restore?table=jobs&amp;dry_run=true", "dry_run"),
    ],
)
def test_a_parameter_of_a_request_that_changes_something_is_not_passed_over(
    real: World, target: str, meant: str
) -> None:
    answer = real.send(posted(target, headers=BEARER, files=FILE if target.startswith("/upload") else None))
    assert (answer.status, f"Did you mean '{meant}'?" in answer.json["error"]) == (400, True), answer.json


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("/insights?table=X&yaer=2022", "year"), ("/insights?table=X&Limit=1", "limit"), ("/insights?tabel=X", "table"),
        ("/insights?table=X&amp;year=2022", "year"), ("/insights?table=X&years=2022", "year"),
        ("/loads?tabel=jobs", "table"), ("/loads?table=jobs&verdct=loaded", "verdict"), ("/insights/charts?yr=1", None),
        ("/loads/days?mode=x", None), ("/backups?table=jobs", None), ("/health?verbose=1", None), ("/?x=1", None),
        ("/loads/1?table=jobs", None), ("/docs?x=1", None), ("/openapi.json?x=1", None), ("/pages/loads?q=1", None),
    ],
)  # fmt: skip
def test_a_parameter_of_a_question_is_not_passed_over(real: World, target: str, meant: str | None) -> None:
    answer = real.ask("GET", target, BEARER)
    assert answer.status == 400, answer.json
    assert answer.json["error"].startswith("There is no parameter "), answer.json
    assert meant is None or f"Did you mean '{meant}'?" in answer.json["error"]


@pytest.mark.parametrize(
    "name",
    [
        "_", "cb", "nocache", "timestamp", "grant_type", "x\u00e9", 'a"b', "amp;_", "filename", "fileName", "fileSize",
        "file_type", "filetype", "user",
    ],
)  # fmt: skip
def test_older_routes_pass_names_that_resemble_none_with_a_warning(real: World, name: str) -> None:
    answers = [
        real.send(posted("/upload", headers=BEARER, params={name: "1"}, files={"other": ("jobs.csv", b"1,a\n")})),
        real.send(posted("/upload", headers=BEARER, data={name: ""}, files={"other": ("jobs.csv", b"1,a\n")})),
    ]
    for answer in answers:
        assert (answer.status, "'file'" in answer.json["error"]) == (400, True), answer.json
        assert answer.headers["warning"].startswith('299 - "Unknown and ignored: ')
    read = real.ask("GET", "/insights?table=NOTHING&t=1&scope=x", BEARER)
    assert (read.status, "NOTHING" in read.json["error"]) == (400, True)
    assert read.headers["warning"] == "299 - \"Unknown and ignored: 't', 'scope'\""


def test_names_without_end_are_refused_at_once(real: World) -> None:
    names = "&".join(f"_{number}" for number in range(10_000))
    answer = real.ask("GET", f"/insights?table=NOTHING&{names}", BEARER)
    assert (answer.status, "more than 100 names" in answer.json["error"]) == (400, True)


def test_known_parameters_alone_warn_of_nothing(real: World) -> None:
    answer = real.ask("GET", "/insights?table=NOTHING&limit=1&year=2021&format=csv&fresh=false", BEARER)
    assert (answer.status, "warning" in answer.headers) == (400, False)


@pytest.mark.parametrize(
    "name", ["dry_run", "dryRun", "wait", "repairs", "Repairs", "idempotency_key", "files", "user_name"]
)
def test_a_field_of_an_upload_that_is_meant_for_something_is_refused(real: World, name: str) -> None:
    answer = real.send(posted("/upload", headers=BEARER, data={name: "true"}, files=FILE))
    assert answer.status == 400, answer.json
    assert f"'{name}'" in answer.json["error"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/upload?file=jobs.csv", "'file' is a form field"),
        ("/upload?username=ann", "'username' is a form field"),
        ("/upload?idempotencyKey=x", "'Idempotency-Key' is a header"),
    ],
)
def test_what_is_sent_in_the_wrong_place_is_told(real: World, target: str, words: str) -> None:
    answer = real.send(posted(target, headers=BEARER, files=FILE))
    assert (answer.status, words in answer.json["error"]) == (400, True), answer.json


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": {"dry_run": "true"}}, "'dry_run' is a query parameter"),
        ({"data": LOGIN | {"dry_run": "true"}}, "'dry_run' is a query parameter"),
        ({"json": {"dry_run": True}}, "'dry_run' is a query parameter"),
        ({"json": ["dry_run"]}, "takes no body"),
        ({"content": b"dry_run", "headers": {"Content-Type": "text/plain"}}, "takes no body"),
        ({"content": b"{", "headers": {"Content-Type": JSON}}, "takes no body"),
        ({"content": b"[" * 100_000, "headers": {"Content-Type": JSON}}, "takes no body"),
        ({"content": b"dry_run=true"}, "takes no body"),
        ({"files": FILE}, "takes no file"),
    ],
    ids=str,
)
def test_a_body_that_would_be_ignored_is_refused(real: World, options: dict[str, Any], words: str) -> None:
    own = {**options, "headers": BEARER | options.get("headers", {})}
    answer = real.send(posted("/restore?table=jobs", **own))
    assert (answer.status, words in answer.json["error"]) == (400, True), answer.json


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"json": {}},
        {"json": None},
        {"content": b""},
        {"content": b"", "headers": {"Content-Type": URLENCODED}},
        {"content": b"", "headers": {"Content-Type": "multipart/form-data"}},
        {"content": b"", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
    ],
    ids=str,
)
def test_a_body_that_says_nothing_is_none(real: World, options: dict[str, Any]) -> None:
    own = {**options, "headers": BEARER | options.get("headers", {})}
    answer = real.send(posted("/backup?table=nothing", **own))
    assert (answer.status, "There is no table" in answer.json["error"]) == (400, True), answer.json


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/insights?table=A&table=B", "table"),
        ("/restore?table=jobs&dry_run=true&dry_run=false", "dry_run"),
        ("/upload?wait=1&wait=2", "wait"),
    ],
)
def test_two_values_of_one_parameter_are_refused(real: World, target: str, name: str) -> None:
    answer = real.ask("GET", target, BEARER) if "insights" in target else real.send(posted(target, headers=BEARER))
    assert (answer.status, f"'{name}' was sent more than once" in answer.json["error"]) == (400, True), answer.json


def test_two_values_of_one_header_are_refused(real: World) -> None:
    body, kind = form(("file", "jobs.csv", b"1,a\n"))
    keys = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = real.ask("POST", "/upload", [*BEARER.items(), ("Content-Type", kind), *keys], [body])
    assert (answer.status, "'Idempotency-Key' was sent more than once" in answer.json["error"]) == (400, True)


def test_the_same_value_twice_is_one(real: World) -> None:
    answer = real.ask("GET", "/insights?table=NOTHING&table=NOTHING", BEARER)
    assert "There is no insight" in answer.json["error"], answer.json


def test_a_value_left_empty_is_no_value(real: World) -> None:
    answer = real.send(posted("/restore?table=jobs&dry_run", headers=BEARER))
    assert (answer.status, "dry_run" in answer.json["error"]) == (400, True), answer.json


def test_strangers_are_told_nothing_of_parameters(real: World) -> None:
    answer: Answer = real.send(posted("/restore?dryRun=true"))
    assert (answer.status, "dry_run" in json.dumps(answer.json)) == (401, False)
