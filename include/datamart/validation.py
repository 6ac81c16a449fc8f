"""pandera decides which rows are good: the schemas of a table, and their findings as the project's own report.

Two schemas judge each row: the first its raw values, the second - for rows that passed - whether its key was seen
before. All reasons are kept, whatever their number. Each validation carries rows that are known to be bad (``canary``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from datamart import canary, rules
from datamart.pandera_settings import pandera
from datamart.reader import Chunk
from datamart.reasons import Reason, Reject
from datamart.records import Positions
from datamart.rules import Mask
from datamart.tables import Table, Type

RAW = pd.ArrowDtype(pa.binary())
UNKNOWN_REFERENCE = "unknown_reference"

_TYPE_RULES: dict[Type, dict[str, Callable[[pa.BinaryArray], Mask]]] = {
    Type.INTEGER: {rules.NOT_AN_INTEGER: rules.is_integer, rules.OUT_OF_RANGE: rules.in_range},
    Type.TEXT: {rules.MISSING: rules.not_blank, rules.TOO_LONG: rules.fits_text},
    Type.DATETIME: {rules.NOT_A_DATETIME: rules.is_datetime},
}
_ONLY = {rules.BAD_ENCODING, rules.MISSING}


@dataclass(frozen=True)
class Judged:
    """What became of one chunk: accepted rows in file order, rejects in line order, warnings by column."""

    accepted: pa.RecordBatch
    rejects: list[Reject]
    rows: Positions
    """Which of the chunk's rows the accepted ones are."""
    warnings: dict[str, int] = field(default_factory=dict)


@lru_cache(maxsize=64)
def raw_schema(table: Table) -> pandera.DataFrameSchema:
    """The pandera schema of a table's raw values; built once per process, as building is slow."""
    return pandera.DataFrameSchema(
        {column.name: pandera.Column(RAW, _checks(column.type), nullable=False) for column in table.columns},
        strict=True,
        ordered=True,
    )


def _rules(kind: Type) -> dict[str, Callable[[pa.BinaryArray], Mask]]:
    """The rules for values of a type by reason code, in the order of their checks and canaries."""
    return {rules.MISSING: rules.present, rules.BAD_ENCODING: rules.decodable, **_TYPE_RULES[kind]}


def _checks(kind: Type) -> list[pandera.Check]:
    return [_check(code, rule, place) for place, (code, rule) in enumerate(_rules(kind).items())]


@lru_cache(maxsize=64)
def key_schema(table: Table) -> pandera.DataFrameSchema:
    """The pandera schema of keys that were not seen before in the file that is judged."""

    def fresh(keys: pd.Series) -> pd.Series:
        values, seen = keys.to_numpy(), _SEEN.get()
        passed = np.concatenate((seen.fresh(values[:-1]), seen.fresh(values[-1:])))
        return _verdicts(canary.proved(Reason(table.key, rules.DUPLICATE_ID), passed, 0))

    check = pandera.Check(fresh, name=rules.DUPLICATE_ID, error=rules.DUPLICATE_ID)
    return pandera.DataFrameSchema({table.key: pandera.Column("int64", [check])})


_SEEN: ContextVar[rules.FirstSeen] = ContextVar("datamart_seen")
"""The keys of the file that this thread judges now."""


def _check(code: str, rule: Callable[[pa.BinaryArray], Mask], place: int) -> pandera.Check:
    """A check whose canary is the one at ``place`` among the canaries of its column."""

    def passes(values: pd.Series) -> pd.Series:
        parts = [rule(part) for part in _chunks(values)]
        passed = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return _verdicts(canary.proved(Reason(str(values.name), code), passed, place))

    return pandera.Check(passes, name=code, error=code, ignore_na=False)


@lru_cache(maxsize=64)
def _canaries(table: Table, unknown: tuple[tuple[str, bytes], ...]) -> dict[str, pa.BinaryArray]:
    """For each column one value for each of its checks that this check must not let pass, as many for all columns.

    ``unknown`` has a value for columns that refer to another table, where that is a reason.
    """
    values, refers = {}, dict(unknown)
    for column in table.columns:
        bad = [canary.KNOWN_BAD[code] for code in _rules(column.type)]
        values[column.name] = [*bad, refers[column.name]] if column.name in refers else bad
    rows = max(map(len, values.values()))
    return {name: pa.array(bad + [b""] * (rows - len(bad)), pa.binary()) for name, bad in values.items()}


def _among(ids: npt.NDArray[np.int64]) -> Callable[[pa.BinaryArray], Mask]:
    def known(values: pa.BinaryArray) -> Mask:
        good = np.ones(len(values), np.bool_)
        valid = rules.present(values) & rules.is_integer(values) & rules.in_range(values)
        good[valid] = np.isin(rules.integers(values.filter(pa.array(valid))), ids)
        return good

    return known


def _verdicts(passed: Mask) -> pd.Series:
    """What a check answers: numbered from 1, not from 0 as the frame's rows are.

    pandera copies the failing values into its error wherever the two indices are equal: rows would be in messages,
    and most of the time spent on tables that nobody reads. The masks are all that is needed.
    """
    return pd.Series(passed, index=_numbered(len(passed)), copy=False)


@lru_cache(maxsize=4)
def _numbered(rows: int) -> pd.RangeIndex:
    return pd.RangeIndex(1, rows + 1)


def _chunks(values: pd.Series) -> list[pa.BinaryArray]:
    """A column's values as they are in memory: the rows' and the canaries', or both in one array."""
    found: list[pa.BinaryArray] = pa.chunked_array(values.array.__arrow_array__()).chunks
    return found


class Validator:
    """Judges the chunks of one file in order; it remembers the ids that were accepted.

    ``known`` maps a referring column to the ids that exist; with ``reject_unknown`` a value that is not among
    them is a reason, otherwise it is counted as a warning where ``known`` has the column.
    """

    def __init__(
        self,
        table: Table,
        known: Mapping[str, npt.NDArray[np.int64]] | None = None,
        *,
        reject_unknown: bool = False,
    ) -> None:
        self.table = table
        self._known = {name: np.sort(ids) for name, ids in (known or {}).items()}
        self._seen = rules.FirstSeen()
        self.schema = self._strict_schema() if reject_unknown else raw_schema(table)
        unknown = {name: b"%d" % _smallest_unknown(ids) for name, ids in self._known.items() if reject_unknown}
        self._canaries = _canaries(table, tuple(unknown.items()))

    def judge(self, chunk: Chunk) -> Judged:
        """Accept or reject every record of ``chunk``."""
        count = len(chunk.index)
        reasons = {
            row: [Reason(name, rules.SWALLOWED_LINES) for name in names] for row, names in chunk.swallowed.items()
        }
        if count:
            frame = pd.DataFrame(
                {
                    name: pd.arrays.ArrowExtensionArray(canary.behind(values, self._canaries[name]))
                    for name, values in chunk.columns.items()
                },
                copy=False,
            )
            _collect(_failures(self.schema, frame, count), reasons)
        good = np.ones(count, np.bool_)
        good[list(reasons)] = False
        rows = np.flatnonzero(good)
        batch, rows = self._judge_keys(self._typed(chunk, good), rows, reasons)
        return Judged(batch, list(self._rejects(chunk, reasons)), rows, self.warnings(batch))

    def _judge_keys(
        self, batch: pa.RecordBatch, rows: Positions, reasons: dict[int, list[Reason]]
    ) -> tuple[pa.RecordBatch, Positions]:
        """Leave out rows whose key an earlier valid row of the file has."""
        if not batch.num_rows:
            return batch, rows
        keys = np.empty(batch.num_rows + 1, np.int64)
        keys[:-1] = batch.column(self.table.key).to_numpy()
        keys[-1] = keys[0]  # the canary: a key that is there already
        doubled: dict[int, list[Reason]] = {}
        frame = pd.DataFrame({self.table.key: keys}, copy=False)
        token = _SEEN.set(self._seen)
        try:
            _collect(_failures(key_schema(self.table), frame, batch.num_rows), doubled)
        finally:
            _SEEN.reset(token)
        if not doubled:
            return batch, rows
        keep = np.ones(batch.num_rows, np.bool_)
        keep[list(doubled)] = False
        reasons.update({int(rows[place]): found for place, found in doubled.items()})
        return batch.filter(pa.array(keep)), rows[keep]

    def warnings(self, batch: pa.RecordBatch) -> dict[str, int]:
        """How many accepted rows point nowhere, by column."""
        counts = {
            name: int(np.count_nonzero(~np.isin(batch.column(name).to_numpy(), ids)))
            for name, ids in self._known.items()
        }
        return {name: count for name, count in counts.items() if count}

    def _strict_schema(self) -> pandera.DataFrameSchema:
        """The raw schema with one more check for each reference: a valid id must be among those that exist."""
        schema = raw_schema(self.table)
        for name, ids in self._known.items():
            column = schema.columns[name]
            checks = [*column.checks, _check(UNKNOWN_REFERENCE, _among(ids), len(column.checks))]
            schema = schema.update_column(name, checks=checks)
        return schema

    def _typed(self, chunk: Chunk, good: Mask) -> pa.RecordBatch:
        keep = None if good.all() else pa.array(good)
        arrays = []
        for column in self.table.columns:
            values = chunk.columns[column.name]
            values = values if keep is None else values.filter(keep)
            if column.type is Type.INTEGER:
                arrays.append(pa.array(rules.integers(values).astype(np.int32)))
            elif column.type is Type.DATETIME:
                arrays.append(pa.array(rules.moments(values)).view(column.type.arrow))
            else:
                arrays.append(values.cast(column.type.arrow))
        return pa.RecordBatch.from_arrays(arrays, schema=self.table.arrow_schema)

    def _rejects(self, chunk: Chunk, reasons: dict[int, list[Reason]]) -> Iterator[Reject]:
        order = {column.name: place for place, column in enumerate(self.table.columns)}
        rows = list(reasons)
        lines = chunk.lines[rows].tolist() if rows else []
        found = [
            Reject(line, chunk.raw(row), _in_order(why, order), "" not in chunk.swallowed.get(row, ()))
            for line, (row, why) in zip(lines, reasons.items(), strict=True)
        ]
        found += [Reject(r.line, r.raw, (Reason("", r.reason),), fits_columns=False) for r in chunk.ragged]
        yield from sorted(found, key=lambda reject: reject.line)


def _in_order(reasons: list[Reason], order: Mapping[str, int]) -> tuple[Reason, ...]:
    if len(reasons) == 1:
        return tuple(reasons)
    return tuple(sorted(_without_consequences(reasons), key=lambda r: (order.get(r.column, -1), r.code)))


def _without_consequences(reasons: list[Reason]) -> list[Reason]:
    """A value that is not text at all, or blank, is only that: what its bytes also fail is no news."""
    plain = {reason.column: reason.code for reason in reasons if reason.code in _ONLY}
    return [r for r in reasons if r.code == rules.SWALLOWED_LINES or plain.get(r.column, r.code) == r.code]


def _failures(schema: pandera.DataFrameSchema, frame: pd.DataFrame, rows: int) -> Iterator[tuple[Reason, Mask]]:
    """Every failed check of a lazy validation with the rows it failed for; behind ``rows`` come the canaries.

    The masks are the checks' own outputs: the report that pandera condenses from them may leave rows out.

    Raises:
        TerminalFault: a canary has passed, or a check that failed is not among what pandera reports.
    """
    reported: dict[Reason, Mask] = {}
    with canary.trial(rows, len(frame) - rows) as trial:
        try:
            schema.validate(frame, lazy=True, inplace=True)
        except pandera.errors.SchemaErrors as found:
            for error in found.schema_errors:
                if error.check_output is None or not isinstance(error.check, pandera.Check):
                    raise
                reason = Reason(str(error.schema.name), str(error.check.name))
                reported[reason] = ~error.check_output.to_numpy(np.bool_)
    wanted = {Reason(name, str(check.name)) for name, column in schema.columns.items() for check in column.checks}
    trial.require(wanted, reported)
    yield from reported.items()


def _smallest_unknown(ids: npt.NDArray[np.int64]) -> int:
    """The smallest number that is not among sorted ids."""
    ids = np.unique(ids[ids >= 0])
    gaps = np.flatnonzero(ids != np.arange(len(ids)))
    return int(gaps[0]) if len(gaps) else len(ids)


def _collect(failures: Iterator[tuple[Reason, Mask]], reasons: dict[int, list[Reason]]) -> None:
    for reason, failed in failures:
        for row in np.flatnonzero(failed).tolist():
            reasons.setdefault(row, []).append(reason)
