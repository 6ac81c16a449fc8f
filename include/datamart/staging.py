"""One file from S3 to where rows can be merged from: read, validated, its clean parquet and rejects written.

What comes of the rows afterwards - merge, ledger, verdict - is ``load``'s matter.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Protocol

import pyarrow as pa

from datamart.ahead import Ahead, ahead
from datamart.clean import ZSTD, CleanParts
from datamart.errors import BalanceError, FileRejected
from datamart.loads import BYTE_ORDER_MARKS, Arrival, Lines
from datamart.objects import ObjectStore, rejected_key
from datamart.reader import Reader
from datamart.rejects import RejectSpool, rejects_csv, rejects_raw
from datamart.settings import Settings
from datamart.tables import Table
from datamart.validation import Validator

Sink = Callable[[Iterator[pa.RecordBatch]], None]
"""Takes all accepted rows of a file, in order: into a staging table, or into the table itself."""


class Prepared(Protocol):
    """A file that was read beforehand."""

    def read(self, staged: Staged, pour: Sink) -> None:
        """Pour all accepted rows; ``staged`` then knows what reading the file's bytes would have told."""


_READ_BYTES = 1 << 20


Preparer = Callable[[Arrival], Prepared | None]
"""Knows which files were read beforehand; None of all others."""


def unprepared(_: Arrival) -> None:
    """No file was read beforehand."""


@dataclass
class Staged:
    """A file that was read to its end; ``refused`` says why it may not be loaded, if so."""

    arrival: Arrival
    load_id: int
    table: Table
    rejects: RejectSpool
    started: float = field(default_factory=time.monotonic)
    read: int = 0
    lines: Lines = field(default_factory=Lines)
    sha256: str = ""
    names: tuple[str, ...] = ()
    warnings: dict[str, int] = field(default_factory=dict)
    refused: FileRejected | None = None
    repairs: int | None = None
    clean_parts: int = 0
    whole: bool = True
    """All its records were cut; a file with a wrong header is refused before."""

    @property
    def blank(self) -> int:
        """Blank lines."""
        return self.lines.blank

    @property
    def staging(self) -> str:
        """The name of its temporary table."""
        return f"staging_{self.load_id}"


@dataclass(frozen=True)
class Stager:
    """Stages files of one bucket; with ``keep`` their clean rows and rejects are written to S3 too."""

    store: ObjectStore
    settings: Settings
    keep: bool = True
    parquet: Mapping[str, Any] = field(default_factory=lambda: ZSTD)
    prepared: Preparer = unprepared
    rejects_file: BinaryIO | None = None
    """Where the rejects of all files go that are staged one after another; each has a file of its own otherwise."""

    def stage(self, arrival: Arrival, load_id: int, validator: Validator, sink: Sink, resources: ExitStack) -> Staged:
        """Read the file once, from its first byte to its last; accepted rows go to ``sink`` as they come.

        What was read beforehand is taken from there. The result's rejects live on disk until ``resources`` is closed.

        Raises:
            BalanceError: the file has other physical lines than its rows, rejects, header and blank lines.
            SourceChanged, TransientFault, TerminalFault: as S3 or the warehouse answers.
        """
        rejects = RejectSpool(shared=self.rejects_file)
        resources.callback(rejects.close)
        staged = Staged(arrival, load_id, validator.table, rejects)
        clean = CleanParts(self.store, staged.table, load_id, self.settings.part_rows, parquet=self.parquet)
        pour: Sink = (lambda batches: sink(clean.keep(batches))) if self.keep else sink
        prepared = self.prepared(arrival)
        if prepared is None:
            self._read(staged, validator, pour)
        else:
            prepared.read(staged, pour)
        staged.lines = replace(staged.lines, rejected=rejects.lines)
        staged.whole = staged.refused is None
        if staged.whole and not staged.lines.balanced:
            raise BalanceError(_unbalanced(arrival, staged.lines))
        staged.clean_parts = clean.sent
        staged.refused = staged.refused or self._over_threshold(staged)
        if self.keep:
            keep_rejects(self.store, staged.table, load_id, rejects, staged.names)
        return staged

    def _read(self, staged: Staged, validator: Validator, pour: Sink) -> None:
        digest, counter, chunk_bytes = hashlib.sha256(), LineCounter(), self.settings.chunk_bytes
        with (
            self.store.read(staged.arrival) as body,
            ahead(counter.of(_hashed(body, chunk_bytes, digest)), 1) as pieces,
        ):
            source = _Pieces(pieces)
            reader = Reader(source, validator.table, chunk_bytes)
            try:
                pour(_accepted(reader, validator, staged))
            except FileRejected as refusal:
                staged.refused = refusal
                while source.read():  # the rest counts for the file's identity
                    pass
        staged.sha256, staged.read = digest.hexdigest(), reader.rows
        staged.lines = replace(
            staged.lines, file=counter.lines, header=reader.header_lines, blank=reader.blank, ignored=reader.ignored
        )
        if reader.marks:
            staged.warnings[BYTE_ORDER_MARKS] = reader.marks
        staged.repairs = reader.repairs
        staged.names = reader.layout.names if reader.layout else validator.table.names

    def _over_threshold(self, staged: Staged) -> FileRejected | None:
        if staged.rejects.count == staged.read:
            return FileRejected(
                "all_rows_bad", f"All {staged.read} rows are bad. See the rejected rows for the reasons of each."
            )
        limit = self.settings.reject_threshold
        share = staged.rejects.count / staged.read
        if limit is None or share <= limit:
            return None
        return FileRejected(
            "over_threshold",
            f"{staged.rejects.count} of {staged.read} rows are bad ({share:.1%}; allowed: {limit:.1%}). Repair the "
            "rejected rows or raise DATAMART_REJECT_THRESHOLD.",
        )


def keep_rejects(store: ObjectStore, table: Table, load_id: int, rejects: RejectSpool, names: tuple[str, ...]) -> None:
    """Write a load's rejects to S3."""
    fitting, ragged = rejected_key(table.name, load_id), rejected_key(table.name, load_id, "raw")
    if rejects.count:
        with rejects_csv(rejects, load_id, names) as file:
            store.write(fitting, file)
    if rejects.ragged:
        with rejects_raw(rejects) as file:
            store.write(ragged, file)


def content_digest(store: ObjectStore, arrival: Arrival) -> str:
    """The SHA-256 of an object's bytes, as hexadecimal digits.

    Raises:
        SourceChanged, TransientFault, TerminalFault: as S3 answers.
    """
    digest = hashlib.sha256()
    with store.read(arrival) as body:
        for _ in _hashed(body, _READ_BYTES, digest):
            pass
    return digest.hexdigest()


def _accepted(reader: Reader, validator: Validator, staged: Staged) -> Iterator[pa.RecordBatch]:
    for chunk in reader:
        judged = validator.judge(chunk)
        staged.rejects.add(judged.rejects)
        for column, count in judged.warnings.items():
            staged.warnings[column] = staged.warnings.get(column, 0) + count
        accepted = staged.lines.accepted + judged.accepted.num_rows + chunk.more_lines(judged.rows)
        staged.lines = replace(staged.lines, accepted=accepted)
        if judged.accepted.num_rows:
            yield judged.accepted


class LineCounter:
    """Counts the physical lines of a file from its bytes, knowing nothing of records."""

    def __init__(self) -> None:
        self._ends = 0
        self._open = False

    @property
    def lines(self) -> int:
        """Line ends that were seen, and the last line where it has none."""
        return self._ends + self._open

    def of(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Hand on the pieces of a file after counting."""
        for piece in pieces:
            self._ends += piece.count(b"\n")
            self._open = not piece.endswith(b"\n")
            yield piece


def _unbalanced(arrival: Arrival, lines: Lines) -> str:
    return (
        f"{arrival.key}: {lines.file} lines in the file, but {lines.accepted} in accepted rows, {lines.rejected} in "
        f"rejected rows, {lines.header} in the header, {lines.blank} blank and {lines.ignored} ignored. Nothing was "
        "committed."
    )


def _hashed(body: BinaryIO, size: int, digest: hashlib._Hash) -> Iterator[bytes]:
    """The body in pieces, which ``digest`` has seen."""
    while piece := body.read(size):
        digest.update(piece)
        yield piece


class _Pieces(io.BytesIO):
    """Pieces that another thread reads, as the stream that records are cut from; it takes any size."""

    def __init__(self, pieces: Ahead[bytes]) -> None:
        super().__init__()
        self._pieces = pieces

    def read(self, _size: int | None = -1) -> bytes:
        return self._pieces.take() or b""
