"""docs/security.md names tests and modules that are there, and the relations that analysts are granted."""

from __future__ import annotations

import re
from pathlib import Path

from datamart.migrations import ANALYST_OPS

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
CODE = ("include", "plugins", "embedded")


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(\w+/test_\w+\.py)`", TEXT)
    assert len(named) > 20
    assert [name for name in named if not (REPOSITORY / "tests" / name).is_file()] == []


def test_every_row_has_a_test() -> None:
    rows = [row for row in TEXT.splitlines() if row.startswith("| ")][1:]
    assert [row for row in rows if "/test_" not in row.rsplit("|", 2)[1]] == []


def test_every_module_that_is_named_is_there() -> None:
    there = {file.name for folder in CODE for file in (REPOSITORY / folder).rglob("*.py")}
    named = set(re.findall(r"`(\w+\.py)`", TEXT))
    assert len(named) > 5
    assert named <= there


def test_what_analysts_read_is_told() -> None:
    told = re.search(r"of `ops` the relations (.*?), which", TEXT, re.S)
    assert told is not None
    assert {f"ops.{name}" for name in re.findall(r"`(\w+)`", told[1])} == set(ANALYST_OPS)
