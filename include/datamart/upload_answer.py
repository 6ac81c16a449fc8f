"""The answer to an upload: the fields that its clients have always read, and what else they may want to know."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datamart.loads import Outcome, Verdict
from datamart.reasons import BAD_QUOTE, Reject, expected
from datamart.records import fields_of
from datamart.tables import Table

_ALL = "All the records have been uploaded"
_SOME = "Errors founded on records failed, successfully uploaded {} registers"
"""Both word for word as clients of the older API may compare them."""
_NOTHING_NEW = "All the records are in the table already; nothing changed"
ALL_ROWS_BAD = "all_rows_bad"
RAW = "_raw"
"""The key of a failed row's own text, where it fits no columns."""


@dataclass(frozen=True)
class Judged:
    """What became of an upload: its outcome, its rejected rows, and the order of columns in its file."""

    name: str
    table: Table
    outcome: Outcome
    rejects: Sequence[Reject]
    names: Sequence[str]
    seconds: float

    def answer(self) -> dict[str, Any]:
        """All fields but links; ids are text, as JSON numbers end at 2**53."""
        outcome, counts = self.outcome, self.outcome.counts
        dry = outcome.verdict is Verdict.DRY_RUN
        verdict = outcome.forecast if dry and outcome.forecast else outcome.verdict
        written = 0 if verdict is Verdict.REJECTED else counts.inserted + counts.updated
        return {
            "file": self.name,
            "type": self.table.name,
            "columns": list(self.table.names),
            "rows": counts.read,
            "result": self._result(verdict, written),
            "nrows_inserted": written,
            "rows_failed": [self._values(reject) for reject in self.rejects],
            "nrows_failed": counts.rejected,
            "duration(s)": round(self.seconds, 2),
            "verdict": verdict.value,
            "code": outcome.code,
            "dry_run": dry,
            "load_id": None if dry else str(outcome.load_id),
            "duplicate_of": _text(outcome.duplicate_of),
            "repairs": _text(outcome.repairs),
            "counts": {
                "inserted": counts.inserted, "updated": counts.updated,
                "unchanged": counts.unchanged, "rejected": counts.rejected,
            },
            "warnings": outcome.warnings,
            "errors": [
                {"line": reject.line, "column": reason.column or None, "reason": reason.code} | expected(reason.code)
                for reject in self.rejects
                for reason in reject.reasons
            ],
        }  # fmt: skip

    def _result(self, verdict: Verdict, written: int) -> str:
        outcome = self.outcome
        if outcome.verdict is Verdict.DRY_RUN or verdict is Verdict.DUPLICATE:
            return outcome.message
        if not is_judged(verdict, outcome.code):
            return outcome.message
        if outcome.counts.rejected:
            return _SOME.format(written)
        return _ALL if written else outcome.message or _NOTHING_NEW

    def _values(self, reject: Reject) -> dict[str, str]:
        """A failed row as it was sent, by column."""
        broken = any(reason.code == BAD_QUOTE for reason in reject.reasons)
        try:
            values = [] if broken else [value.decode("utf-8", "replace") for value in fields_of(reject.raw)]
        except ValueError:  # its quote is never closed
            values = []
        sent = dict(zip(self.names, values, strict=False))
        row = {column: sent.get(column, "") for column in self.table.names}
        return row if reject.fits_columns else row | {RAW: reject.raw.decode("utf-8", "replace")}


def is_judged(verdict: str, code: str | None) -> bool:
    """Whether the rows of a file were judged one by one, though all may be bad; if not, the file was refused whole."""
    return verdict != Verdict.REJECTED or code == ALL_ROWS_BAD


def as_object(judged: Mapping[str, Any]) -> bytes:
    """An answer as it is kept in S3."""
    return json.dumps(judged, ensure_ascii=False).encode()


def from_object(body: bytes) -> dict[str, Any]:
    """An answer that was kept in S3."""
    found: dict[str, Any] = json.loads(body)
    return found


def own_names(table: Table, names: Iterable[str] | None) -> tuple[str, ...]:
    """The order of columns in a file; the table's own where the file had none, or it is not known any more."""
    return tuple(name.lower() for name in names) if names else table.names


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
