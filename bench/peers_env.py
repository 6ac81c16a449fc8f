"""The peers' own environment under ``bench/out/``, installed by uv with the index that the Makefile takes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench import OUT, REPOSITORY
from bench.report import say

REQUIREMENTS = REPOSITORY / "bench" / "peers-requirements.txt"
FOLDER = OUT / "peers-venv"
INSTALL_SECONDS = 900


class NotInstalled(Exception):
    """The peers cannot be had here; the message says why."""


def python() -> Path:
    """The environment's interpreter; made or made anew when the requirements have changed.

    Raises:
        NotInstalled: it could not be made.
    """
    found, stamp = FOLDER / "bin" / "python", FOLDER / "installed.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    if found.exists() and stamp.exists() and stamp.read_text() == wanted:
        return found
    say(f"peers: installing {REQUIREMENTS.name} into {FOLDER.relative_to(REPOSITORY)} (once)")
    shutil.rmtree(FOLDER, ignore_errors=True)
    uv = Path(sys.executable).parent / "uv"
    env = os.environ | _index()
    env.pop("VIRTUAL_ENV", None)
    _run([str(uv), "venv", "--quiet", "--python", sys.executable, str(FOLDER)], env)
    _run([str(uv), "pip", "install", "--quiet", "--python", str(found), "-r", str(REQUIREMENTS)], env)
    stamp.write_text(wanted)
    return found


def pinned(package: str) -> str:
    """The version that a package has here."""
    lines = REQUIREMENTS.read_text().splitlines()
    return next(line.removeprefix(f"{package}==") for line in lines if line.startswith(f"{package}=="))


def _index() -> dict[str, str]:
    """The index that pip is configured with, if any, for uv: as the Makefile does."""
    if os.environ.get("UV_DEFAULT_INDEX"):
        return {}
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    index = asked.stdout.strip()
    return {"UV_DEFAULT_INDEX": index} if asked.returncode == 0 and index else {}


def _run(command: list[str], env: dict[str, str]) -> None:
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{command[0]}: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise NotInstalled(" ".join(line.strip(" ×╰─▶│") for line in lines[:4]))
