"""Which process runs a stack: a file that a killed stack cannot make lie."""

import contextlib
import json
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import psutil


class State(StrEnum):
    """What the stack's process does."""

    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"


def write(file: Path, **facts: object) -> None:
    """Record this process as the stack's."""
    me = psutil.Process()
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps({"pid": me.pid, "created": me.create_time(), **facts}))
    draft.replace(file)


def read(file: Path) -> dict[str, object]:
    """Return what was recorded, nothing if there is no such file."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
        known = json.loads(file.read_text())
        return known if isinstance(known, dict) else {}
    return {}


def running(file: Path) -> psutil.Process | None:
    """Return the stack's process if it lives; a recycled pid does not count."""
    known = read(file)
    with contextlib.suppress(psutil.Error, KeyError):
        process = psutil.Process(int(str(known["pid"])))
        alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        if alive and abs(process.create_time() - float(str(known["created"]))) < 1:
            return process
    return None


def state(file: Path) -> State:
    """The state of a stack that runs; a stack of the version before recorded only whether it was ready."""
    known = read(file)
    with contextlib.suppress(ValueError):
        return State(str(known.get("state")))
    return State.UP if known.get("ready") else State.STARTING


def since(process: psutil.Process) -> str:
    """When the stack's process began, as text in UTC."""
    began = datetime.fromtimestamp(process.create_time(), UTC)
    seconds = (datetime.now(UTC) - began).total_seconds()
    return f"{began:%Y-%m-%d %H:%M:%S} UTC ({max(0, round(seconds))} s ago)"
