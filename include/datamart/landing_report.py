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
"""Files that a batch tells of by name; the ledger has the others."""

_FINE = (Verdict.LOADED, Verdict.DUPLICATE)


@dataclass
class Tally:
    """Counts the files of one batch."""

    table: str | None
    verdicts: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    changed: set[str] = field(default_factory=set)
    told: list[dict[str, Any]] = field(default_factory=list)
    untold: int = 0

    def add(self, outcome: Outcome) -> None:
        """One more file."""
        self.verdicts[outcome.verdict.value] += 1
        counts = outcome.counts
        self.rows.update(
            read=counts.read, inserted=counts.inserted, updated=counts.updated,
            unchanged=counts.unchanged, rejected=counts.rejected,
        )  # fmt: skip
        if outcome.changed and outcome.table:
            self.changed.add(outcome.table)
        if outcome.verdict not in _FINE or counts.rejected:
            self._tell(outcome)

    def result(self) -> dict[str, Any]:
        """What the task hands on."""
        return {
            "table": self.table,
            "verdicts": dict(self.verdicts),
            "rows": dict(self.rows),
            "told": self.told,
            "untold": self.untold,
        }

    def _tell(self, outcome: Outcome) -> None:
        if len(self.told) == MOST_TOLD:
            self.untold += 1
            return
        self.told.append(
            {
                "file": outcome.key,
                "verdict": outcome.verdict.value,
                "code": outcome.code,
                "rows": outcome.counts.read,
                "rejected": outcome.counts.rejected,
                "load_id": str(outcome.load_id),
                "message": outcome.message,
            }
        )


def not_loaded(planned: Sequence[Batch], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each file that was not loaded; one that was replaced or removed before is not missed."""
    answered = {result["table"]: result for result in results}
    lines = []
    for batch in planned:
        result = answered.get(batch["table"])
        if result is None:
            lines.append(f"{batch_label(batch)}: the task ended without an answer; see its log. They are tried again.")
            continue
        lines += [_line(file) for file in result["told"] if file["verdict"] not in _FINE and file["code"] != GONE]
        if result["untold"]:
            lines.append(f"{result['untold']} more files to look at: see ops.loads.")
    return lines


def totals(results: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Files by verdict and rows by what became of them."""
    found: Counter[str] = Counter()
    for result in results:
        found.update({f"files {verdict}": count for verdict, count in result["verdicts"].items()})
        found.update({f"rows {name}": count for name, count in result["rows"].items()})
    return dict(found)


def _line(file: Mapping[str, Any]) -> str:
    return f"{file['file']}: {file['verdict']}. {file['message']}"
