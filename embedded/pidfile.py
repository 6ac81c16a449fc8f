"""Which process runs a stack: a file that a killed stack cannot make lie."""

import contextlib
import json
from pathlib import Path

import psutil


def write(file: Path, **facts: object) -> None:
    """Record this process as the stack's."""
    me = psutil.Process()
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps({"pid": me.pid, "created": me.create_time(), **facts}))
    draft.replace(file)


def read(file: Path) -> dict[str, object]:
    """Return what was recorded, nothing if there is no such file."""
    with contextlib.suppress(FileNotFoundError, ValueError):
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
