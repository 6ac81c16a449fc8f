"""Why a row was rejected, and the rejected row: what validation finds and everybody else hands on.

How reasons are found is ``validation``'s matter; this is light, for processes that never judge a row.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple


class Reason(NamedTuple):
    """Why a row was rejected: a code and the column it is about (empty: the record as a whole)."""

    column: str
    code: str

    def __str__(self) -> str:
        return f"{self.column}:{self.code}" if self.column else self.code


BAD_QUOTE = "bad_quote"
SWALLOWED_LINES = "swallowed_lines"
EXPECTED = {"not_a_datetime": "YYYY-MM-DDTHH:MM:SSZ, as in 2021-07-27T16:02:08Z"}
"""The form that a value must have, by the code of the reason against it."""


def expected(code: str) -> dict[str, str]:
    """What an answer says beside a reason: the form that was expected, where there is one."""
    return {"expected": EXPECTED[code]} if code in EXPECTED else {}


class Reject(NamedTuple):
    """One rejected record, verbatim, with the number of its first physical line and all its reasons."""

    line: int
    raw: bytes
    reasons: tuple[Reason, ...]
    fits_columns: bool


@lru_cache(maxsize=4096)
def reasons_text(reasons: tuple[Reason, ...]) -> str:
    """All reasons of a row as they are kept: ``column:code``, or ``code`` alone, joined by semicolons."""
    return ";".join(map(str, reasons))


@lru_cache(maxsize=4096)
def reasons_in(text: str) -> tuple[Reason, ...]:
    """The reasons that are kept as ``text``."""
    parts = (part.rpartition(":") for part in text.split(";"))
    return tuple(Reason(column, code) for column, _, code in parts)
