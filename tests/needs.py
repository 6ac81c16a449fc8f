"""Programs and rights that some tests need and that a developer's machine may lack."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

PACKAGES = {
    "chromium": "chromium",
    "docker-compose": "docker-compose",
    "promtool": "prometheus",
    "redis-server": "redis-server",
}
"""The programs, each with Debian's package that has it. `.ci/run` installs them all."""
OTHER_NAMES = {"chromium": ("chromium-browser", "google-chrome")}

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who may mount a small disk: run as root")
ON_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux, which can drop packets")


def program(name: str) -> str:
    """The path of a program; without it the test is skipped."""
    found = find(name)
    if found is None:
        pytest.skip(reason(name))
    return found


def installed(name: str) -> pytest.MarkDecorator:
    """A mark for tests that need a program."""
    return pytest.mark.skipif(find(name) is None, reason=reason(name))


def find(name: str) -> str | None:
    """The path of a program under any of its names."""
    return next(filter(None, map(shutil.which, (name, *OTHER_NAMES.get(name, ())))), None)


def reason(name: str) -> str:
    """Why a test is skipped, and what to do about it."""
    return f"{name} is not installed: apt-get install {PACKAGES[name]}"
