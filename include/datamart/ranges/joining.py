"""The cleaned ranges of a file as its rows: in file order, without those whose key came before in another range."""

from __future__ import annotations

import heapq
import io
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from datamart import rules
from datamart.ahead import Ahead, ahead
from datamart.errors import DatamartError, TransientFault
from datamart.fingerprint import rules_in_force
from datamart.loads import BYTE_ORDER_MARKS, Arrival
from datamart.objects import ObjectStore
from datamart.ranges.cleaning import END, LINE, REJECTS, START, Cleaned, part_name, placed_schema, read_cleaned
from datamart.ranges.pieces import MOST_AT_ONCE, pieces_of
from datamart.ranges.plan import AGAIN, Plan, known_keys, plan_key, read_plan
from datamart.reasons import Reason, Reject
from datamart.records import physical_lines
from datamart.rejects import RejectSpool
from datamart.settings import Settings
from datamart.staging import Staged
from datamart.validation import Validator

log = logging.getLogger(__name__)

_PIECE = 1 << 20
_ROWS_AT_ONCE = 200_000
_GAP = 128 * 1024
"""Records nearer to each other than this are fetched by one request."""


class Record(NamedTuple):
    """Where in the file a record stands."""

    line: int
    start: int
    end: int


@dataclass(frozen=True)
class CleanedRanges:
    """A file all of whose ranges are cleaned; it is staged from them in place of its bytes."""

    store: ObjectStore
    plan: Plan
    found: tuple[Cleaned, ...]

    def read(self, staged: Staged, pour: Callable[[Iterator[pa.RecordBatch]], None]) -> None:
        """Pour all accepted rows of the file; ``staged`` then knows what reading its bytes would have told.

        Raises:
            SourceChanged, TransientFault, TerminalFault: as S3 answers, or what lies there of a range is not all of it.
        """
        cuts = self.plan.cuts
        self.store.read_span(self.plan.arrival, 0, 1)  # replaced meanwhile, it is another file's turn
        pour(self._rows(staged))
        staged.sha256, staged.read = cuts.sha256, cuts.rows
        staged.lines = replace(
            staged.lines, file=cuts.lines, header=cuts.header_lines, blank=cuts.blank, ignored=cuts.ignored
        )
        if cuts.marks:
            staged.warnings[BYTE_ORDER_MARKS] = cuts.marks
        staged.repairs, staged.names = cuts.repairs, cuts.names

    def _rows(self, staged: Staged) -> Iterator[pa.RecordBatch]:
        seen, judge = rules.FirstSeen(), Validator(self.plan.table, known_keys(self.store, self.plan))
        with ahead(self._accepted(), 1) as accepted:
            for number, cleaned in enumerate(self.found):
                late = _Late(judge)
                yield from self._fresh(number, accepted, seen, late)
                with closing(self._own_rejects(number, cleaned)) as own:
                    staged.rejects.add(heapq.merge(own, self._late_rejects(late), key=lambda reject: reject.line))
                for column, count in (Counter(cleaned.warnings) - late.warnings).items():
                    staged.warnings[column] = staged.warnings.get(column, 0) + count
                passed = staged.lines.accepted + cleaned.lines - late.lines
                staged.lines = replace(staged.lines, accepted=passed)
            if accepted.take() is not None:
                raise self._other_rows(len(self.found) - 1)

    def _fresh(
        self, number: int, accepted: Ahead[tuple[int, pa.RecordBatch]], seen: rules.FirstSeen, late: _Late
    ) -> Iterator[pa.RecordBatch]:
        """The range's rows whose key no range before has; the others are ``late``."""
        table, wanted, rows = self.plan.table, self.found[number].accepted, 0
        while rows < wanted and (found := accepted.take()) is not None:
            of, batch = found
            rows += batch.num_rows
            if of != number or rows > wanted:
                raise self._other_rows(number)
            fresh = seen.fresh(batch.column(table.key).to_numpy().astype(np.int64))
            if not fresh.all():
                late.add(batch.filter(pa.array(~fresh)))
                batch = batch.filter(pa.array(fresh))
            if batch.num_rows:
                yield batch.select(table.names)
        if rows != wanted:
            raise self._other_rows(number)

    def _other_rows(self, number: int) -> TransientFault:
        return TransientFault(
            f"{self.plan.arrival.key}: what lies there of range {number + 1} is not the {self.found[number].accepted} "
            f"rows that were accepted in it. Nothing was committed. {AGAIN}"
        )

    def _accepted(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The accepted rows of all ranges, in order, each with the range's number."""
        schema = placed_schema(self.plan.table)
        for number, cleaned in enumerate(self.found):
            for part in range(cleaned.parts):
                key = self.plan.key(number, part_name(part))
                body = self.store.fetch(key)
                if body is None:
                    raise TransientFault(f"{key} is not there (any more). {AGAIN}")
                try:
                    for batch in parquet.ParquetFile(io.BytesIO(body)).iter_batches(_ROWS_AT_ONCE):
                        yield number, batch.select(schema.names).cast(schema)
                except (pa.ArrowException, KeyError, OSError):
                    raise TransientFault(f"{key} cannot be read: it is not what was written. {AGAIN}") from None

    def _own_rejects(self, number: int, cleaned: Cleaned) -> RejectSpool:
        """What was rejected for reasons of the range's own."""
        if not cleaned.rejected:
            return RejectSpool()
        key = self.plan.key(number, REJECTS)
        body = self.store.opened(key)
        if body is None:
            raise TransientFault(f"{key} is not there (any more). {AGAIN}")
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the spool's to close
        with body:
            for piece in self.store.pieces(key, body, _PIECE):
                file.write(piece)
        return RejectSpool(file, cleaned.rejected, cleaned.ragged)

    def _late_rejects(self, late: _Late) -> Iterator[Reject]:
        """Rows that were accepted in their range, with their bytes from the file."""
        why = (Reason(self.plan.table.key, rules.DUPLICATE_ID),)
        for places in late.places:
            groups = list(together(_records(places)))
            wanted = [(group[0].start, group[-1].end) for group in groups]
            with pieces_of(self.store, self.plan.arrival, wanted) as pieces:
                for group, piece in zip(groups, pieces, strict=True):
                    for record in group:
                        raw = piece[record.start - group[0].start : record.end - group[0].start]
                        late.lines += physical_lines(raw)
                        yield Reject(record.line, raw, why, fits_columns=True)


@dataclass
class _Late:
    """Rows of one range whose key came before in another: where they stand, and the warnings that went with them."""

    judge: Validator
    places: list[pa.RecordBatch] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    """Physical lines of those whose bytes were fetched."""

    def add(self, batch: pa.RecordBatch) -> None:
        self.places.append(batch.select([LINE, START, END]))
        self.warnings.update(self.judge.warnings(batch))


@dataclass(frozen=True)
class SplitFiles:
    """The files of one run that were split: where their plans lie, by the arrival's id."""

    store: ObjectStore
    settings: Settings
    prefixes: Mapping[int, str]

    def __call__(self, arrival: Arrival) -> CleanedRanges | None:
        """The file's ranges; None for one that was not split, or whose ranges cannot stand for it."""
        prefix = self.prefixes.get(arrival.arrival_id)
        return None if prefix is None else find_cleaned(self.store, self.settings, prefix)

    def remove(self, arrival: Arrival) -> None:
        """Remove all that lies in S3 for the ranges of a file that came to a verdict."""
        prefix = self.prefixes.get(arrival.arrival_id)
        if prefix is None:
            return
        try:
            # The plan first: whoever finds that must find all the rest.
            self.store.remove([plan_key(prefix), *(one.key for one in self.store.list(prefix))])
        except DatamartError as error:  # maintenance comes for what is left; the file's verdict stands
            log.warning("%s is left: %s", prefix, error)


def find_cleaned(store: ObjectStore, settings: Settings, prefix: str) -> CleanedRanges | None:
    """The file whose plan lies under ``prefix``, if its ranges can stand for it; a warning says why, if not."""
    plan = read_plan(store, prefix)
    if plan is None:
        log.warning("The plan of ranges under %s is not there (any more): its file is read whole.", prefix)
        return None
    found = [read_cleaned(store, plan, number) for number in range(len(plan.cuts.ranges))]
    whole = [cleaned for cleaned in found if cleaned is not None]
    reason = _why_not(plan, found, whole, rules_in_force(plan.table, settings))
    if reason is not None:
        log.warning("%s is read whole, not from its %d ranges: %s.", plan.arrival.key, len(found), reason)
        return None
    return CleanedRanges(store, plan, tuple(whole))


def together(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Groups of records, in order, that one request may fetch."""
    group: list[Record] = []
    for record in records:
        if group and (record.start - group[-1].end > _GAP or record.end - group[0].start > MOST_AT_ONCE):
            yield group
            group = []
        group.append(record)
    if group:
        yield group


def _why_not(plan: Plan, found: Sequence[Cleaned | None], whole: Sequence[Cleaned], in_force: str) -> str | None:
    if len(whole) < len(found):
        missing = ", ".join(str(number + 1) for number, cleaned in enumerate(found) if cleaned is None)
        return f"not cleaned: {missing}"
    if plan.rules != in_force:
        return "the rules have changed since it was planned"
    rows, blank = sum(cleaned.rows for cleaned in whole), sum(cleaned.blank for cleaned in whole)
    if (rows, blank) != (plan.cuts.rows, plan.cuts.blank):
        return f"they have {rows} rows and {blank} blank lines, the file has {plan.cuts.rows} and {plan.cuts.blank}"
    return None


def _records(places: pa.RecordBatch) -> list[Record]:
    return [Record(*place) for place in zip(*(column.to_pylist() for column in places.columns), strict=True)]
