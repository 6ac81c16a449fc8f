"""Answers that are no success are sentences, and tell nothing of rows."""

from __future__ import annotations

import json
import logging
import re
from typing import Any, Literal

import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException

from data_api_app import airflow_app, change_runs, recovery_checks, refusals
from data_api_app.refusals import Refused, of_fault, of_file, parameter, unavailable
from datamart import errors
from datamart.errors import (
    BalanceError,
    ConfigurationError,
    DatamartError,
    FileRejected,
    ImpossibleRequest,
    SourceChanged,
    TerminalFault,
    TransientFault,
)
from tests.plugin.guarded import (
    METHODS,
    User,
    World,
    scope_of,
)


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


def test_the_kinds_of_refusal_that_a_run_reports_are_errors_of_ours() -> None:
    assert all(issubclass(getattr(errors, kind), DatamartError) for kind in change_runs._REFUSED)
    assert change_runs._REFUSED[ImpossibleRequest.__name__] == 400
    assert change_runs._REFUSED["ConfigurationError"] == 400, "runs of older versions report an impossible request so"


@pytest.mark.parametrize("status", [404, 409, 422])
def test_what_is_asked_of_backups_and_does_not_exist_is_refused_and_a_fault_is_none(status: int) -> None:
    with pytest.raises(Refused) as found, recovery_checks._refused(status):
        raise ImpossibleRequest("There is no backup x.")
    assert (found.value.status_code, found.value.detail) == (status, "There is no backup x.")
    with pytest.raises(ConfigurationError, match="bucket"), recovery_checks._refused(status):
        raise ConfigurationError("The bucket does not exist.")


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
