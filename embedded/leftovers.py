"""Find and end every process of a stack, also those of one that was killed."""

import contextlib
import os
import time
from pathlib import Path

import psutil

from embedded.environment import MARK
from embedded.settings import Settings


def find(settings: Settings) -> list[psutil.Process]:
    """Processes of this stack, except the caller and those above it.

    A process is known by the mark in its environment or, where it has painted over that (PostgreSQL and
    Airflow do, for their titles), by its working folder; a person's shell standing there has a terminal.
    """
    above = {os.getpid(), *_above()}
    folders = (settings.work_dir, settings.pg_data)
    return [p for p in psutil.process_iter() if p.pid not in above and _belongs(p, settings, folders)]


def _above() -> set[int]:
    """The processes above this one; those that end meanwhile take the rest of the chain with them."""
    found: set[int] = set()
    with contextlib.suppress(psutil.Error):
        process = psutil.Process().parent()
        while process is not None:
            found.add(process.pid)
            process = process.parent()
    return found


def other_stacks(settings: Settings) -> set[str]:
    """The folders of other stacks of this user that have processes."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            folder = process.environ().get(MARK, "")
            if folder not in ("", str(settings.stack_dir)) and process.uids().real == os.geteuid():
                found.add(folder)
    return found


def _belongs(process: psutil.Process, settings: Settings, folders: tuple[Path, ...]) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        with contextlib.suppress(psutil.AccessDenied):
            if process.environ().get(MARK) == str(settings.stack_dir):
                return True
        here = Path(process.cwd())
        return any(here == f or f in here.parents for f in folders) and process.terminal() is None
    return False


def end_all(settings: Settings, grace: float = 5.0) -> list[str]:
    """End what is left: politely, then not; PostgreSQL by its fast shutdown. Return what was ended."""
    ended = [f"{p.pid} {_name(p)}" for p in find(settings)]
    _signal(find(settings), polite=True)
    deadline = time.monotonic() + grace
    while find(settings) and time.monotonic() < deadline:
        time.sleep(0.1)
    for _ in range(20):
        rest = find(settings)
        if not rest:
            break
        _signal(rest, polite=False)
        time.sleep(0.1)
    return ended


def _signal(processes: list[psutil.Process], *, polite: bool) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if not polite:
                process.kill()
            elif "postgres" in process.name():
                process.send_signal(2)
            else:
                process.terminate()


def kill(process: psutil.Process) -> None:
    """Kill one process, if it still runs."""
    with contextlib.suppress(psutil.Error):
        process.kill()


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return process.name()
    return "?"
