"""What is known of one load: its identity, its verdict and its counts, as values.

Reading files and talking to the warehouse happen elsewhere (``load``, ``warehouse``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

SUPERSEDED = "superseded"
"""Among a load's warnings: rows that gave way to newer files."""
BYTE_ORDER_MARKS = "byte_order_marks"
"""Among a load's warnings: lines that began with a byte-order mark, as in files that were joined."""


class Verdict(StrEnum):
    """What became of a file."""

    LOADED = "loaded"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    FAILED = "failed"
    DRY_RUN = "dry_run"


class Mode(StrEnum):
    """How a file meets the rows that are there."""

    UPSERT = "upsert"
    REPLACE = "replace"


LARGEST_ID = 2**63 - 1
"""Ids are numbers that the warehouse can keep."""


def number_of(*parts: str) -> int:
    """A positive 63-bit number that stands for these texts."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big") >> 1 or 1


@dataclass(frozen=True)
class Arrival:
    """One object as it was listed: a new ETag or time is another arrival, the same is the same for ever.

    The id of the object's version is not part of the identity. So an arrival is the same before and after the bucket
    keeps versions, and with and without the rights to read them.
    """

    bucket: str
    key: str
    etag: str
    last_modified: datetime
    size: int
    version_id: str | None = field(default=None, compare=False)
    """The version to read, copy and delete; None: the current object, if it still has this ETag."""
    listed_at: datetime | None = field(default=None, compare=False)
    """When it was listed, by the warehouse's clock: with time and key, its place in the order of arrivals."""
    upload_id: str | None = None
    """The upload that brought it: its identity in place of key and version, for whatever object it is kept as."""
    late: bool = field(default=False, compare=False)
    """A fault made it miss its turn: ``listed_at`` is when it was listed then."""

    @property
    def name(self) -> str:
        """The file's name without its folders."""
        return self.key.rsplit("/", 1)[-1]

    @property
    def version(self) -> str:
        """ETag and last-modified; of an upload, its id."""
        return self.upload_id or f"{self.etag}@{self.last_modified.isoformat()}"

    @property
    def arrival_id(self) -> int:
        """A positive 63-bit number derived from bucket, key and version; the id of its first load too."""
        return number_of(*self._identity)

    def judged_again_id(self, run_id: str) -> int:
        """The load's id when a refused arrival is judged again by another run."""
        return number_of(*self._identity, "again", run_id)

    def loaded_again_id(self, run_id: str, undone: int) -> int:
        """The load's id when it comes again after that many of its loads were undone."""
        return number_of(*self._identity, "undone", str(undone), run_id)

    def missing_rows_id(self, run_id: str, undone: int) -> int:
        """The load's id when another run finds that rows of the arrival are gone, and loads those."""
        return number_of(*self._identity, "missing", str(undone), run_id)

    def replacement_id(self, run_id: str, undone: int = 0) -> int:
        """The id when the file takes part in a replacement: asked for again it is done again, retried it is not.

        ``undone`` is how many of the same run's were undone.
        """
        return number_of(*self._identity, "replace", run_id, *([str(undone)] if undone else []))

    @property
    def _identity(self) -> tuple[str, str, str]:
        return self.bucket, "" if self.upload_id else self.key, self.version


def upload_load_id(bucket: str, upload_id: str) -> int:
    """The id of an upload's load, known before there is anything of it."""
    return number_of(bucket, "", upload_id)


@dataclass(frozen=True)
class Counts:
    """Rows of one load, each number from a count of its own."""

    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    removed: int = 0

    @property
    def balanced(self) -> bool:
        """Every row read is accounted for."""
        return self.read == self.inserted + self.updated + self.unchanged + self.rejected

    @property
    def changed(self) -> bool:
        """The load left the table other than it was."""
        return bool(self.inserted or self.updated or self.removed)


@dataclass(frozen=True)
class Lines:
    """Physical lines of one file by what they belong to, each number from a count of its own."""

    file: int = 0
    """All of them, counted from the file's bytes."""
    accepted: int = 0
    rejected: int = 0
    header: int = 0
    blank: int = 0
    """No bytes, or commas alone."""
    ignored: int = 0
    """Ctrl-Z at the file's end."""

    @property
    def balanced(self) -> bool:
        """Every line is accounted for."""
        return self.file == self.accepted + self.rejected + self.header + self.blank + self.ignored


@dataclass(frozen=True)
class Outcome:
    """The answer for one file; the ledger's row and the Dag's result alike."""

    load_id: int
    table: str | None
    key: str
    verdict: Verdict
    counts: Counts = field(default_factory=Counts)
    code: str | None = None
    message: str = ""
    warnings: dict[str, int] = field(default_factory=dict)
    blank_lines: int = 0
    lines: Lines | None = None
    """None where the file was not read to its end, and of loads of older versions."""
    sha256: str | None = None
    duplicate_of: int | None = None
    repairs: int | None = None
    commit_seq: int | None = None
    run_id: str | None = None
    rules: str | None = None
    clean_parts: int = 0
    """Parts of clean parquet that are this load's."""
    undone_by: int | None = None
    """The restore or undo that took its rows away again."""
    forecast: Verdict | None = None
    """What a dry run says the verdict would be."""
    from_ledger: bool = field(default=False, compare=False)
    """It was read from the ledger: another try, or another load, did it."""
    seconds: float | None = field(default=None, compare=False)
    """How long it took; of a replacement, the last file's are those of all."""

    @property
    def changed(self) -> bool:
        """Rows of the table are other than before."""
        return self.verdict is Verdict.LOADED and self.counts.changed

    @property
    def settled(self) -> bool:
        """The arrival's rows are in the table; it is not loaded again unless that is undone."""
        return self.verdict in (Verdict.LOADED, Verdict.DUPLICATE) and self.undone_by is None
