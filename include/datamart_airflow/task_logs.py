"""Log files of tasks, which Airflow writes below one folder and never removes.

Only what looks like one of them is touched: ``*.log`` files below ``dag_id=...``, and old folders that they leave
empty. Links are not followed.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass
class RemovedLogs:
    """What was removed, or would be."""

    files: int = 0
    bytes: int = 0


def remove_task_logs(folder: Path, before: datetime, *, dry_run: bool = False) -> RemovedLogs:
    """Remove task logs below ``folder`` that were last written before ``before``."""
    removed = RemovedLogs()
    for dag in folder.glob("dag_id=*"):
        if dag.is_dir() and not dag.is_symlink():
            with suppress(FileNotFoundError):
                _remove_below(dag, before.timestamp(), dry_run, removed)
    return removed


def _remove_below(folder: Path, before: float, dry_run: bool, removed: RemovedLogs) -> None:
    # Asked first, as removing a file makes the folder new: one that a task is about to write into was changed lately.
    unchanged = folder.stat().st_mtime < before
    for entry in folder.iterdir():
        if entry.is_symlink():
            continue
        with suppress(FileNotFoundError):  # another run removes logs too
            if entry.is_dir():
                _remove_below(entry, before, dry_run, removed)
            elif entry.suffix == ".log" and (facts := entry.stat()).st_mtime < before:
                if not dry_run:
                    entry.unlink()
                removed.files += 1
                removed.bytes += facts.st_size
    if unchanged and not dry_run and not any(folder.iterdir()):
        _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    """A folder into which a task has written meanwhile stays."""
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise
