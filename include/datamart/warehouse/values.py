"""What a warehouse tells of tables and loads, as values, and how a row of the ledger becomes one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from datamart.errors import BalanceError
from datamart.loads import Counts, Lines, Mode, Outcome, Verdict

LEDGER = (
    "load_id", "table_name", "sha256", "source_key", "verdict", "code", "message", "rows_read", "rows_inserted",
    "rows_updated", "rows_unchanged", "rows_rejected", "rows_removed", "blank_lines", "line_counts", "warnings",
    "repairs", "duplicate_of", "commit_seq", "run_id", "rules", "clean_parts", "undone_by",
)  # fmt: skip


@dataclass(frozen=True)
class Numbers:
    """A table's two numbers: its newest commit, and the newest commit that changed rows; and when that commit was."""

    commit: int
    changed: int
    at: datetime | None = None
    """By the warehouse's clock; None when there was none."""

    def next(self, *, changed: bool) -> Numbers:
        """The numbers after one more commit."""
        return replace(self, commit=self.commit + 1).now(changed=changed)

    def now(self, *, changed: bool) -> Numbers:
        """The numbers when the newest commit turns out to have changed rows, or not."""
        return replace(self, changed=self.commit if changed else self.changed)

    def ended(self, now: datetime) -> Numbers:
        """The numbers of a commit that is made now; a clock that was set back does not make it earlier than others."""
        return replace(self, at=max(now, self.at or now))


class Merged(NamedTuple):
    """Rows that a merge has counted: those it inserted, updated, found equal, and kept in the history."""

    inserted: int
    updated: int
    unchanged: int
    kept: int


class NewerLoad(NamedTuple):
    """A load whose turn came later: the id under which its clean rows are, how many parts they have, its mode."""

    load_id: int
    parts: int
    mode: Mode


@dataclass(frozen=True)
class KnownContent:
    """Bytes that were loaded before: the first load of them, and the newest commit that found or put them there."""

    outcome: Outcome
    newest: int
    last: Outcome
    """The last load of them that was no duplicate."""


@dataclass(frozen=True)
class Ended:
    """A load that came to a verdict, and when: listed (or received) by the warehouse's clock, finished."""

    outcome: Outcome
    listed_at: datetime | None
    finished_at: datetime

    @property
    def seconds(self) -> float:
        """From its listing to its end; 0 where that is not known."""
        return max(0.0, (self.finished_at - self.listed_at).total_seconds()) if self.listed_at else 0.0


def keys_in(rows: Iterable[tuple[Any, ...]]) -> npt.NDArray[np.int64]:
    """The keys that a query has found."""
    return np.array([row[0] for row in rows], np.int64)


def outcome_of(row: tuple[Any, ...]) -> Outcome:
    found = dict(zip(LEDGER, row, strict=True))
    return Outcome(
        load_id=found["load_id"],
        table=found["table_name"],
        key=found["source_key"],
        verdict=Verdict(found["verdict"]),
        counts=Counts(
            found["rows_read"], found["rows_inserted"], found["rows_updated"], found["rows_unchanged"],
            found["rows_rejected"], found["rows_removed"],
        ),
        code=found["code"],
        message=found["message"] or "",
        warnings=json.loads(found["warnings"]),
        blank_lines=found["blank_lines"],
        lines=Lines(**json.loads(found["line_counts"])) if found["line_counts"] else None,
        sha256=found["sha256"],
        duplicate_of=found["duplicate_of"],
        repairs=found["repairs"],
        commit_seq=found["commit_seq"],
        run_id=found["run_id"],
        rules=found["rules"],
        clean_parts=found["clean_parts"],
        undone_by=found["undone_by"],
        from_ledger=True,
    )  # fmt: skip


def require_one(rows: int, what: str) -> None:
    if rows != 1:
        raise BalanceError(f"The warehouse did not write {what}. Nothing was committed.")


def balanced(outcome: Outcome) -> Outcome:
    """The outcome, when its counts add up.

    Raises:
        BalanceError: rows read are not rows inserted, updated, unchanged and rejected.
    """
    c = outcome.counts
    if not c.balanced:
        raise BalanceError(
            f"{outcome.key}: {c.read} rows read, but {c.inserted} inserted, {c.updated} updated, {c.unchanged} "
            f"unchanged and {c.rejected} rejected. Nothing was committed."
        )
    return outcome
