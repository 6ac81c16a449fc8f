"""One rule for the statuses of an upload, for every code that a file can be refused with; the page of routes has it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from data_api_app.refusals import of_file
from datamart.errors import FileRejected
from datamart.loads import Verdict
from datamart.upload_answer import is_judged

REPOSITORY = Path(__file__).resolve().parents[2]
LOGIC = REPOSITORY / "include" / "datamart"
ENVELOPE = LOGIC / "uploads.py"
NOT_UPLOADS = {"replacement_refused", "superseded", "partial_name"}
"""Codes of files that come another way: a historic load that replaces a table, or the landing folder."""


def codes_in(text: str) -> set[str]:
    """Codes that a module refuses files with."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        first = node.args[0] if node.args else None
        if name == "FileRejected" and isinstance(first, ast.Constant):
            found.add(str(first.value))
        named = {one.arg: one.value for one in node.keywords}
        code = named.get("code")
        if name == "Outcome" and "Verdict.REJECTED" in ast.unparse(node) and isinstance(code, ast.Constant):
            found.add(str(code.value))
    return found


def refusals_without_a_code(text: str) -> list[str]:
    """Refusals whose code is not written where they are made, so that it cannot be found."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "FileRejected"
        if not node.args or not isinstance(node.args[0], ast.Constant)
    ]


MODULES = sorted(LOGIC.rglob("*.py"))
OF_ENVELOPE = codes_in(ENVELOPE.read_text())
OF_JUDGING = set().union(*(codes_in(path.read_text()) for path in MODULES if path != ENVELOPE))


def statuses_told() -> dict[str, set[int]]:
    """Statuses by code, as the page of routes has them."""
    text = (REPOSITORY / "docs" / "rest-api.md").read_text(encoding="utf-8")
    found: dict[str, set[int]] = {}
    for code, statuses in re.findall(r"^\| `(\w+)` \| ([0-9, ]+) \|", text, re.MULTILINE):
        found[code] = {int(one) for one in statuses.split(",")}
    return found


def status_of(code: str) -> int:
    """Of a file that the ledger has with this code."""
    return 200 if is_judged(Verdict.REJECTED, code) else 422


def test_every_code_is_found() -> None:
    assert {"bad_name", "no_table", "too_large", "not_csv", "empty", "too_many_rows"} <= OF_ENVELOPE
    assert {"wrong_header", "empty", "header_only", "all_rows_bad", "over_threshold", "no_table"} <= OF_JUDGING
    assert [one for path in MODULES for one in refusals_without_a_code(path.read_text())] == []


def test_a_code_that_cannot_be_found_would_be_noticed() -> None:
    assert codes_in("raise FileRejected('new', 'Because.')") == {"new"}
    assert refusals_without_a_code("raise FileRejected(code, 'Because.')") == ["FileRejected(code, 'Because.')"]


@pytest.mark.parametrize("code", sorted(OF_JUDGING))
def test_a_file_whose_rows_were_judged_is_200_and_one_that_could_not_be_judged_is_422(code: str) -> None:
    assert status_of(code) == (200 if code == "all_rows_bad" else 422)


@pytest.mark.parametrize("code", sorted(OF_ENVELOPE))
def test_a_request_that_was_not_taken_is_400_413_or_415(code: str) -> None:
    assert of_file(FileRejected(code, "Because.")).status_code in (400, 413, 415)


@pytest.mark.parametrize("verdict", [one for one in Verdict if one is not Verdict.REJECTED])
@pytest.mark.parametrize("code", [None, "anything"])
def test_every_other_verdict_is_of_rows_that_were_judged(verdict: Verdict, code: str | None) -> None:
    assert is_judged(verdict, code)


@pytest.mark.parametrize("code", sorted((OF_ENVELOPE | OF_JUDGING) - NOT_UPLOADS))
def test_the_page_of_routes_has_the_statuses_of_each_code(code: str) -> None:
    expected = {status_of(code)} if code in OF_JUDGING else set()
    if code in OF_ENVELOPE:
        expected.add(of_file(FileRejected(code, "Because.")).status_code)
    assert statuses_told().get(code) == expected


def test_the_page_of_routes_has_no_other_codes() -> None:
    assert set(statuses_told()) == (OF_ENVELOPE | OF_JUDGING) - NOT_UPLOADS
