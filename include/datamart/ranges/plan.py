"""Where a file may be cut: found by reading it once, from its first byte to its last.

Whether a line end is inside quotes can only be known from the file's beginning, and a file is known by the SHA-256 of
all its bytes. So somebody has to see them in order; cutting records is cheap, it is judging their values that is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from datamart.batches import arrivals_of, batch_of
from datamart.clean import read_keys, write_keys
from datamart.errors import FileRejected, TransientFault
from datamart.loads import Arrival
from datamart.objects import EXCHANGE, ObjectStore
from datamart.ranges.pieces import Pieces, pieces_of, spans
from datamart.reader import Layout, Place, Reader
from datamart.staging import LineCounter
from datamart.tables import Table, table_named

Keys = Mapping[str, npt.NDArray[np.int64]]
"""The keys that exist, by the column that refers to them."""


@dataclass(frozen=True)
class Range:
    """Whole records: the bytes from ``start`` to ``end`` of a file, the first on physical line ``line``."""

    start: int
    end: int
    line: int


@dataclass(frozen=True)
class Cuts:
    """A file that was read once; ``rows`` and ``blank`` are what its ranges must add up to."""

    ranges: tuple[Range, ...]
    names: tuple[str, ...]
    header: bool
    sha256: str
    rows: int
    blank: int
    repairs: int | None
    lines: int
    header_lines: int
    ignored: int
    marks: int


@dataclass(frozen=True)
class Plan:
    """The ranges of one arrival, and all that who cleans one of them has to know; it lies in S3, under ``prefix``."""

    prefix: str
    arrival: Arrival
    table: Table
    rules: str
    cuts: Cuts
    known: tuple[str, ...] = ()
    """The referring columns whose existing keys were noted, so that all ranges are judged by the same."""

    def place(self, number: int) -> Place | None:
        """Where a range begins; None at the file's own beginning, where a header may be."""
        wanted = self.cuts.ranges[number]
        return Place(wanted.start, wanted.line, Layout(self.cuts.names)) if number else None

    def key(self, number: int, name: str) -> str:
        """Where something of a range goes."""
        return f"{self.prefix}range-{number:05d}/{name}"

    def encoded(self) -> bytes:
        """As it is kept."""
        file = batch_of(self.table.name, [self.arrival])
        noted = {"prefix": self.prefix, "file": file, "rules": self.rules, "cuts": asdict(self.cuts)}
        return json.dumps(noted | {"known": self.known}).encode()


def cut(pieces: Iterator[bytes], size: int, table: Table, chunk_bytes: int, range_bytes: int) -> Cuts:
    """Read a file of ``size`` bytes, which come in pieces; ranges have at least ``range_bytes``, but for the last one.

    Raises:
        FileRejected: as reading it whole would, for all that can be seen without looking at values.
    """
    digest, counter = hashlib.sha256(), LineCounter()
    reader = Reader(Pieces(counter.of(_seen(pieces, digest))), table, chunk_bytes)
    starts, reach = [(0, 1)], 0
    for block, _ in reader.blocks():
        end = block.offset + block.used
        reach = max(reach, block.offset + block.reach)  # who reads a range must see as much
        if (
            reader.layout is not None
            and reach <= end
            and end - starts[-1][0] >= range_bytes
            and not block.final
            and end < size
        ):
            starts.append((end, block.next_line))
    layout = reader.require_rows()
    ends = [*(start for start, _ in starts[1:]), size]
    ranges = tuple(Range(start, end, line) for (start, line), end in zip(starts, ends, strict=True))
    return Cuts(
        ranges, layout.names, layout.header, digest.hexdigest(), reader.rows, reader.blank, reader.repairs,
        counter.lines, reader.header_lines, reader.ignored, reader.marks,
    )  # fmt: skip


def make_plan(
    store: ObjectStore, arrival: Arrival, table: Table, rules: str, known: Keys, sizes: tuple[int, int]
) -> Plan | None:
    """Plan the ranges of a file and note the plan in S3; None when it is refused or would be one range.

    ``sizes`` are the bytes that are read at a time, and those of a range, about.

    Raises:
        SourceChanged, TransientFault, TerminalFault: as S3 answers.
    """
    chunk_bytes, range_bytes = sizes
    with pieces_of(store, arrival, spans(0, arrival.size)) as pieces:
        try:
            cuts = cut(pieces, arrival.size, table, chunk_bytes, range_bytes)
        except FileRejected:
            return None  # reading it whole says so, and keeps what is to be kept of it
    if len(cuts.ranges) < 2:
        return None
    plan = Plan(f"{EXCHANGE}{uuid4().hex}/", arrival, table, rules, cuts, tuple(sorted(known)))
    for column, keys in known.items():
        write_keys(store, _known_key(plan, column), _referenced(table, column), keys)
    store.write(plan_key(plan.prefix), plan.encoded())
    return plan


def read_plan(store: ObjectStore, prefix: str) -> Plan | None:
    """The plan that was noted there; None when it is not there (any more), or of another version's kind."""
    body = store.fetch(plan_key(prefix))
    try:
        return None if body is None else _plan(json.loads(body))
    except (ValueError, TypeError, KeyError):
        return None


def _plan(noted: dict[str, Any]) -> Plan:
    (arrival,), table = arrivals_of(noted["file"]), table_named(noted["file"]["table"])
    cuts = noted["cuts"]
    ranges = tuple(Range(**one) for one in cuts["ranges"])
    found = Cuts(**{**cuts, "ranges": ranges, "names": tuple(cuts["names"])})
    return Plan(noted["prefix"], arrival, table, noted["rules"], found, tuple(noted["known"]))


def known_keys(store: ObjectStore, plan: Plan) -> dict[str, npt.NDArray[np.int64]]:
    """The keys that existed when the plan was made, by referring column.

    Raises:
        TransientFault: they are not there (any more).
    """
    found = {}
    for column in plan.known:
        keys = read_keys(store, _known_key(plan, column), _referenced(plan.table, column))
        if keys is None:
            raise TransientFault(f"{_known_key(plan, column)} is not there (any more). {AGAIN}")
        found[column] = keys
    return found


AGAIN = "The load's third try reads the file whole; or clear the task that split the file and those after it."


def _seen(pieces: Iterator[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    for piece in pieces:
        digest.update(piece)
        yield piece


def plan_key(prefix: str) -> str:
    """Where a plan lies; while it is there, its ranges may be used."""
    return f"{prefix}plan.json"


def _known_key(plan: Plan, column: str) -> str:
    return f"{plan.prefix}known-{column}.parquet"


def _referenced(table: Table, column: str) -> Table:
    return table_named(table.references[column])
