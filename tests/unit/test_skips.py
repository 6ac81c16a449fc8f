"""A test that is skipped is told at the end; with `--no-skips` it fails the run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from embedded.settings import REPOSITORY
from tests import needs
from tests.skips import OPTION

TESTS = """
import pytest
from tests import needs

def test_runs(): pass
def test_needs(monkeypatch):
    monkeypatch.setattr(needs, "find", lambda _name: None)
    needs.program("promtool")
"""


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text("from tests.conftest import pytest_addoption, pytest_configure\n")
    (folder / "test_it.py").write_text(TESTS)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-qp", "no:cacheprovider", "--rootdir", folder, *options, folder],
        cwd=REPOSITORY, env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_developer_is_told_what_was_not_tested_and_how_to_mend_it(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOT TESTED: 1 tests were skipped" in done.stdout
    assert "    1  promtool is not installed: apt-get install prometheus" in done.stdout


def test_a_build_machine_skips_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, OPTION)
    assert done.returncode == 1
    assert "promtool is not installed" in done.stdout


def test_only_what_a_machine_lacks_is_skipped() -> None:
    """A test that is about something else is deselected by a mark; then it is not among what was not tested."""
    words = re.compile(r"importorskip|pytest\.skip\(|\bskipif\b|mark\.skip\b|xfail")
    own = {"tests/needs.py", "tests/skips.py", "tests/unit/test_skips.py"}
    found = {
        str(path.relative_to(REPOSITORY))
        for path in (REPOSITORY / "tests").rglob("*.py")
        if words.search(path.read_text(encoding="utf-8"))
    }
    assert found - own == set()


def test_the_build_machine_installs_what_tests_need_and_skips_nothing() -> None:
    script = (REPOSITORY / ".ci" / "run").read_text()
    makefile = (REPOSITORY / "Makefile").read_text()
    for program, package in needs.PACKAGES.items():
        assert re.search(rf"^need {program} +{package}$", script, re.M), program
    assert f"export PYTEST_ADDOPTS={OPTION}" in script
    assert re.findall(r"-m pytest", makefile)


@pytest.mark.parametrize("program", list(needs.PACKAGES))
def test_each_program_has_a_package(program: str) -> None:
    assert needs.reason(program).startswith(f"{program} is not installed: apt-get install ")
