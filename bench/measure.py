"""Runs contenders in turn - A B A B ... - and keeps every run; what is said of them are medians and ratios.

Contenders share the machine's moods that way: a ratio is taken within each round, and the median of the rounds'
ratios is what is reported, with the smallest and the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.processes import Cost
from bench.report import say


class NotVerified(Exception):
    """A run did not leave behind what it had to: its time means nothing."""


def require(condition: bool, message: str) -> None:
    """Fail loudly unless a run's result is what it must be."""
    if not condition:
        raise NotVerified(message)


def require_equal(what: str, found: object, expected: object) -> None:
    """Fail loudly unless two values are equal."""
    require(found == expected, f"{what}: {found} instead of {expected}")


@dataclass
class Run:
    """One run of one contender that was verified; ``numbers`` are its own measures beside time and cost."""

    seconds: float
    rows: int
    cost: Cost | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """Something that is run and verified once a round; ``note`` says what it is given and what it leaves out."""

    name: str
    run: Callable[[], Run]
    note: str = ""


@dataclass(frozen=True)
class Goal:
    """Something that was to be reached, and what was found."""

    what: str
    wanted: str
    found: str
    met: bool


@dataclass
class Result:
    """All runs of one benchmark. ``base`` is the contender that the others' times are divided by.

    ``parts`` are results of the same benchmark whose times cannot be compared with these.
    """

    name: str
    question: str
    rows: int
    base: str
    runs: dict[str, list[Run]]
    contenders: list[Contender]
    notes: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    parts: list[Result] = field(default_factory=list)

    def ratios(self, name: str) -> list[float]:
        """Seconds of a contender by those of the base, round by round."""
        return [own.seconds / base.seconds for own, base in zip(self.runs[name], self.runs[self.base], strict=True)]

    def median(self, name: str, measure: Callable[[Run], float]) -> float:
        """The median of a measure over a contender's runs."""
        return median(measure(run) for run in self.runs[name])

    def phases(self, name: str) -> dict[str, float]:
        """Median seconds by phase, the longest first."""
        runs = self.runs[name]
        names = {phase for run in runs for phase in run.phases}
        medians = {phase: median(run.phases.get(phase, 0.0) for run in runs) for phase in names}
        return dict(sorted(medians.items(), key=lambda item: -item[1]))

    def plain(self) -> dict[str, Any]:
        """Everything that was measured, as JSON can hold it."""
        return {
            "benchmark": self.name,
            "question": self.question,
            "rows": self.rows,
            "base": self.base,
            "contenders": {
                one.name: {
                    "note": one.note,
                    "median_seconds": self.median(one.name, lambda run: run.seconds),
                    "ratios_to_base": self.ratios(one.name),
                    "runs": [asdict(run) for run in self.runs[one.name]],
                }
                for one in self.contenders
            },
            "notes": self.notes,
            "goals": [asdict(goal) for goal in self.goals],
            "parts": [part.plain() for part in self.parts],
        }


def interleave(contenders: Sequence[Contender], rounds: int) -> dict[str, list[Run]]:
    """Run every contender once a round."""
    runs: dict[str, list[Run]] = {one.name: [] for one in contenders}
    for number in range(1, rounds + 1):
        for one in contenders:
            run = one.run()
            runs[one.name].append(run)
            say(f"  round {number}/{rounds}  {one.name}: {run.seconds:.2f} s ({run.rows / run.seconds:,.0f} rows/s)")
    return runs
