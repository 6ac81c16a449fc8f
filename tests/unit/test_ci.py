"""`.ci/run` refuses at once what would fail its run at the end."""

from __future__ import annotations

import subprocess
from pathlib import Path

from embedded.settings import REPOSITORY
from tests import needs

USER = 1000


def run(folder: Path, user: int) -> tuple[int, str, str]:
    """Its exit code, what it printed, and its calls of make, with every program that it needs in place."""
    calls = folder / "calls"
    scripts = {"id": f"echo {user}", "make": f'echo "$1" >>{calls}'} | dict.fromkeys(needs.PACKAGES, "exit 0")
    for name, line in scripts.items():
        script = folder / name
        script.write_text(f"#!/bin/sh\n{line}\n")
        script.chmod(0o755)
    done = subprocess.run(
        [REPOSITORY / ".ci" / "run"], env={"PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr, calls.read_text() if calls.exists() else ""


def test_who_is_not_root_is_told_before_anything_runs(tmp_path: Path) -> None:
    """The tests that need root would be skipped, which fails the run after three quarters of an hour."""
    code, said, calls = run(tmp_path, USER)
    assert (code, calls) == (1, "")
    assert said == "Run .ci/run as root: some tests mount a small disk, and none may be skipped.\n"


def test_root_checks_and_tests(tmp_path: Path) -> None:
    assert run(tmp_path, user=0) == (0, "", "check\ntest\nslow\n")
