"""Canaries: rows that are known to be bad, which every validation carries behind the rows of the file.

A check that does not run lets its canary pass, and so does one that runs on other rows than it was given. Then nothing
is accepted: it is a fault that says which checks did not judge. What was found is counted apart from pandera's report,
so that a failure that the report leaves out is a fault too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import pyarrow as pa

from datamart import rules
from datamart.errors import TerminalFault
from datamart.reasons import Reason
from datamart.rules import Mask

KNOWN_BAD = {
    rules.MISSING: b"",
    rules.BAD_ENCODING: b"\0",
    rules.NOT_AN_INTEGER: b"x",
    rules.OUT_OF_RANGE: b"%d" % (rules.MAX_INTEGER + 1),
    rules.TOO_LONG: b"x" * (rules.MAX_TEXT_BYTES + 1),
    rules.NOT_A_DATETIME: b"x",
}
"""For each rule a value that it must not let pass."""
_COPIED_ROWS = 4096
"""A column up to so many rows is copied so that rows and canaries are judged by one call."""


@dataclass
class Trial:
    """One validation of ``rows`` rows and of ``canaries`` behind them."""

    rows: int
    canaries: int
    proved: set[Reason] = field(default_factory=set)
    """Checks that did not let their canary pass."""
    failed: set[Reason] = field(default_factory=set)
    """Checks that did not let a row pass."""

    def require(self, wanted: Collection[Reason], reported: Collection[Reason]) -> None:
        """Accept the validation only if each check has run and each failure is reported.

        Raises:
            TerminalFault: one has not, or is not.
        """
        silent = set(wanted) - self.proved
        if silent:
            raise TerminalFault(
                f"These checks did not reject a row that is known to be bad: {_named(silent)}. Rows were not judged by "
                "all rules, so nothing of the file is accepted. Find out what changes pandera in this process: its "
                "version, its configuration, or code that replaces parts of it."
            )
        if self.failed != set(reported):
            raise TerminalFault(
                f"pandera did not report what these checks found: {_named(self.failed ^ set(reported))}. Nothing of "
                "the file is accepted. Check the version of pandera."
            )


_TRIAL: ContextVar[Trial] = ContextVar("datamart_trial")


@contextmanager
def trial(rows: int, canaries: int) -> Iterator[Trial]:
    """The validation that this thread does now."""
    begun = Trial(rows, canaries)
    token = _TRIAL.set(begun)
    try:
        yield begun
    finally:
        _TRIAL.reset(token)


def behind(values: pa.BinaryArray, canaries: pa.BinaryArray) -> pa.ChunkedArray:
    """A column with its canaries behind its rows; a large one is not copied for that."""
    if len(values) <= _COPIED_ROWS:
        return pa.chunked_array([pa.concat_arrays([values, canaries])])
    return pa.chunked_array([values, canaries])


def proved(reason: Reason, passed: Mask, place: int) -> Mask:
    """What a check says of the rows alone; that it rejected the canary at ``place`` is noted."""
    now = _TRIAL.get()
    if len(passed) == now.rows + now.canaries and not passed[now.rows + place]:
        now.proved.add(reason)
    rows = passed[: now.rows]
    if not rows.all():
        now.failed.add(reason)
    return rows


def _named(reasons: Collection[Reason]) -> str:
    return ", ".join(sorted(f"{reason.column}:{reason.code}" for reason in reasons))
