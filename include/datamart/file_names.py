"""Names of files that are never data, and of files that are not complete yet.

Operating systems, editors, Hadoop and Spark put files of their own beside data; ``is_ignored`` knows their names. Tools
that write a file under a temporary name and rename it at the end use the names that ``is_partial`` knows. Which table
a name fits is in ``routing``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from datamart.loads import Arrival
from datamart.settings import Settings

MAX_NAMED = 10
"""Files that a report names; it counts the others."""

_IGNORED_NAMES = {
    ".ds_store", ".localized", ".directory", ".gitkeep", ".keep", ".nojekyll", "icon\r", ".spotlight-v100", ".trashes",
    ".fseventsd", ".apdisk",
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini",
    "_success", "_failure", "_metadata", "_common_metadata",
    "md5sum", "md5sums", "sha1sums", "sha256sum", "sha256sums", "sha512sums", "checksums", "checksums.txt",
    "md5sums.txt", "sha256sums.txt",
}  # fmt: skip
_IGNORED_BEGINNINGS = ("._", "~$", ".~lock.", "_committed_", "_started_", ".nfs", ".fuse_hidden")
_IGNORED_ENDINGS = (
    ".md5", ".md5sum", ".sha1", ".sha1sum", ".sha256", ".sha256sum", ".sha384", ".sha512", ".sha512sum", ".crc",
    ".crc32", ".crc32c", ".sig", ".swp", ".swo", "~",
)  # fmt: skip
_IGNORED_FOLDERS = {"__macosx", ".git", ".svn", ".trash"}
_PARTIAL_ENDINGS = (
    ".part", ".partial", ".filepart", ".crdownload", ".download", ".opdownload", ".tmp", ".temp", ".uploading",
    ".inprogress",
)  # fmt: skip
_PARTIAL_FOLDERS = {"_temporary", ".rsync-partial"}
_RSYNC = re.compile(r"\..+\.csv\.[a-z0-9]{6}", re.IGNORECASE | re.DOTALL)
"""rsync writes ``jobs.csv`` as ``.jobs.csv.AbC123`` before it renames it."""


def is_ignored(key: str) -> bool:
    """The name is one that software gives to files that are no data: it is not loaded, moved or reported as wrong."""
    *folders, name = key.lower().split("/")
    return (
        name in _IGNORED_NAMES
        or name.startswith(_IGNORED_BEGINNINGS)
        or name.endswith(_IGNORED_ENDINGS)
        or not _IGNORED_FOLDERS.isdisjoint(folders)
    )


def is_partial(key: str) -> bool:
    """The name says that a sender is still writing the file and will rename it."""
    if is_ignored(key):
        return False
    *folders, name = key.lower().split("/")
    return (
        name.endswith(_PARTIAL_ENDINGS)
        or _RSYNC.fullmatch(name) is not None
        or not _PARTIAL_FOLDERS.isdisjoint(folders)
    )


def is_left_alone(arrival: Arrival, settings: Settings, clock: Callable[[], datetime]) -> bool:
    """The file is not to be taken (now): it is ignored, or a sender may still rename it.

    ``clock`` is asked only for a file of a partial name.
    """
    if is_ignored(arrival.key):
        return True
    return is_partial(arrival.key) and clock() < arrival.last_modified + timedelta(minutes=settings.partial_minutes)


@dataclass
class LeftOut:
    """Files that a run does not take, by the reason: how many, and the first names; small enough for an XCom."""

    counts: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, keys: Iterable[str]) -> None:
        """Count files, and keep the first names."""
        for key in keys:
            self.counts[reason] = self.counts.get(reason, 0) + 1
            kept = self.names.setdefault(reason, [])
            if len(kept) < MAX_NAMED:
                kept.append(key)

    def as_json(self) -> dict[str, Any]:
        """For the run's report; empty when nothing was left out."""
        return {
            reason: {"files": number, "first": self.names[reason]} for reason, number in sorted(self.counts.items())
        }

    def sentences(self) -> list[str]:
        """One line for each reason, for the log."""
        return [
            f"{number} {'file' if number == 1 else 'files'} {reason}: {', '.join(self.names[reason])}"
            f"{' and others' if number > MAX_NAMED else ''}."
            for reason, number in sorted(self.counts.items())
        ]


IGNORED = "ignored by name"
PARTIAL = "not complete by name"
NO_TABLE = "left out because the name fits no table"
OTHER_TABLE = "left out because the table was not chosen"
"""Reasons, as a report words them."""
