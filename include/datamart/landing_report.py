"""What became of landed files, small enough to be handed on from task to task: numbers, and files to tell of.

The ledger holds each file's whole answer; this is for the gate, the alerts and who looks at a run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datamart.batches import Batch, batch_label
from datamart.ingest import GONE
from datamart.loads import Outcome, Verdict

MOST_TOLD = 100
"""Files of each verdict that a batch reports by name; the ledger has the others."""

_FINE = (Verdict.LOADED, Verdict.DUPLICATE)


@dataclass
class Tally:
    """Counts the files of one batch."""

    table: str | None
    verdicts: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    changed: set[str] = field(default_factory=set)
    not_loaded: list[dict[str, Any]] = field(default_factory=list)
    with_rejects: list[dict[str, Any]] = field(default_factory=list)
    wrong: int = 0
    """Files that were not loaded, told or not."""

    def add(self, outcome: Outcome) -> None:
        """One more file."""
        self.verdicts[GONE if outcome.code == GONE else outcome.verdict.value] += 1
        counts = outcome.counts
        self.rows.update(
            read=counts.read, inserted=counts.inserted, updated=counts.updated,
            unchanged=counts.unchanged, rejected=counts.rejected,
        )  # fmt: skip
        if outcome.changed and outcome.table:
            self.changed.add(outcome.table)
        if outcome.code == GONE:
            return
        if outcome.verdict not in _FINE:
            self.wrong += 1
            # Each verdict has its own limit: many rejected files do not push out one that a fault stopped.
            listed = sum(file["verdict"] == outcome.verdict for file in self.not_loaded)
            self.not_loaded += [_told(outcome)] if listed < MOST_TOLD else []
        elif counts.rejected:
            self.with_rejects += [_told(outcome)] if len(self.with_rejects) < MOST_TOLD else []

    def result(self) -> dict[str, Any]:
        """What the task hands on."""
        return {
            "table": self.table,
            "verdicts": dict(self.verdicts),
            "rows": dict(self.rows),
            "wrong": self.wrong,
            "not_loaded": self.not_loaded,
            "with_rejects": self.with_rejects,
        }


def not_loaded(planned: Sequence[Batch], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each file that was not loaded; one that was replaced or removed before is not missed."""
    lines = without_answer(planned, results)
    for result in results:
        told = result["not_loaded"]
        lines += [f"{file['file']}: {file['verdict']}. {file['message']}" for file in told]
        lines += [f"{result['wrong'] - len(told)} more: see ops.loads."] if result["wrong"] > len(told) else []
    return lines


def count_faults(results: Sequence[Mapping[str, Any]]) -> int:
    """Files that a fault kept from being loaded; rejected files are not among them."""
    return sum(result["verdicts"].get(Verdict.FAILED.value, 0) for result in results)


def without_answer(planned: Sequence[Batch], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each batch whose task ended without saying what became of its files."""
    answered = {result["table"] for result in results}
    return [
        f"{batch_label(batch)}: the task ended without an answer; see its log. What is left is tried again."
        for batch in planned
        if batch["table"] not in answered
    ]


def files_to_tell(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Files that were not loaded, and those with rejected rows."""
    return [file for result in results for file in (*result["not_loaded"], *result["with_rejects"])]


def totals(results: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Files by verdict and rows by what became of them."""
    found: Counter[str] = Counter()
    for result in results:
        found.update({f"files {verdict}": count for verdict, count in result["verdicts"].items()})
        found.update({f"rows {name}": count for name, count in result["rows"].items()})
    return dict(found)


def _told(outcome: Outcome) -> dict[str, Any]:
    return {
        "file": outcome.key,
        "verdict": outcome.verdict.value,
        "code": outcome.code,
        "rows": outcome.counts.read,
        "rejected": outcome.counts.rejected,
        "load_id": str(outcome.load_id),
        "message": outcome.message,
    }
