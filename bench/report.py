"""Results as JSON files and as a Markdown table that can be pasted."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import OUT

if TYPE_CHECKING:
    from bench.measure import Result, Run

MEGABYTE = 1_000_000


def say(text: str) -> None:
    """Progress goes to standard error: standard output holds the tables only."""
    print(text, file=sys.stderr, flush=True)


def forget(name: str) -> None:
    """Remove an earlier result, so that it is not taken for that of a run that failed."""
    for suffix in ("json", "md"):
        (OUT / f"{name}.{suffix}").unlink(missing_ok=True)


def save(result: Result, about: dict[str, Any]) -> str:
    """Write everything that was measured to ``bench/out/<name>.json``, and the table beside it; the table."""
    text = markdown(result)
    (OUT / f"{result.name}.json").write_text(json.dumps(result.plain() | {"about": about}, indent=1) + "\n")
    (OUT / f"{result.name}.md").write_text(text)
    return text


def markdown(result: Result, level: int = 3) -> str:
    """The result as text: question, goals, table, phases, notes; then its parts, each in the same way."""
    lines = [f"{'#' * level} {result.name}", "", result.question, "", *_goals(result), *_table(result), ""]
    for one in result.contenders:
        phases = result.phases(one.name)
        if phases:
            told = ", ".join(f"{name} {seconds:.2f}" for name, seconds in phases.items() if seconds >= 0.005)
            lines += [f"Seconds of {one.name} by part (medians): {told}.", ""]
    lines += [f"- {one.name}: {one.note}" for one in result.contenders if one.note]
    lines += [f"- {note}" for note in result.notes]
    own = "\n".join(lines).rstrip() + "\n"
    return "\n".join([own, *(markdown(part, level + 1) for part in result.parts)])


def _goals(result: Result) -> list[str]:
    if not result.goals:
        return []
    rows = [[goal.what, goal.wanted, goal.found, "met" if goal.met else "missed"] for goal in result.goals]
    return [*map(_line, [["what", "goal", "measured", ""], ["---"] * 4, *rows]), ""]


def _table(result: Result) -> list[str]:
    """One line for each contender; columns that nobody fills are left out."""
    header = ["contender", "runs", "median s (min - max)", "rows/s"]
    rows = [_timing(result, one.name) for one in result.contenders]
    if len(rows) > 1:
        header.append(f"time / {result.base} (min - max)")
        rows = [[*row, _ratio(result, one.name)] for row, one in zip(rows, result.contenders, strict=True)]
    for title, cell in _columns(result):
        cells = [cell(result.runs[one.name]) for one in result.contenders]
        if any(cells):
            header.append(title)
            rows = [[*row, text or "-"] for row, text in zip(rows, cells, strict=True)]
    return [_line(header), _line(["---"] * len(header)), *map(_line, rows)]


def _timing(result: Result, name: str) -> list[str]:
    runs = result.runs[name]
    seconds = [run.seconds for run in runs]
    return [
        name,
        str(len(runs)),
        f"{median(seconds):.2f} ({min(seconds):.2f} - {max(seconds):.2f})",
        f"{median(run.rows / run.seconds for run in runs):,.0f}",
    ]


def _ratio(result: Result, name: str) -> str:
    ratios = result.ratios(name)
    return f"**{median(ratios):.2f}** ({min(ratios):.2f} - {max(ratios):.2f})"


Cell = Callable[["list[Run]"], str]


def _columns(result: Result) -> list[tuple[str, Cell]]:
    def cost(measure: str, form: Callable[[list[float]], str]) -> Cell:
        return lambda runs: form([getattr(run.cost, measure) for run in runs]) if all(run.cost for run in runs) else ""

    def number(name: str) -> Cell:
        pick = max if name.endswith("(max)") else median
        return lambda runs: _plain(pick(r.numbers[name] for r in runs)) if all(name in r.numbers for r in runs) else ""

    names = list(dict.fromkeys(name for runs in result.runs.values() for run in runs for name in run.numbers))
    return [
        ("peak memory, MB (max)", cost("peak_memory", lambda found: f"{max(found) / MEGABYTE:,.0f}")),
        ("CPU s: itself", cost("cpu", _seconds)),
        ("backends", cost("cpu_postgres", _seconds)),
        ("server's writers", cost("cpu_postgres_background", _seconds)),
        ("S3", cost("cpu_s3", _seconds)),
        ("all else", cost("cpu_elsewhere", _seconds)),
        ("WAL, MB", cost("wal_bytes", lambda found: f"{median(found) / MEGABYTE:,.0f}")),
        ("CHECKPOINT after, s", cost("checkpoint_seconds", _seconds)),
        *((name, number(name)) for name in names),
    ]


def _seconds(found: Sequence[float]) -> str:
    return f"{median(found):.1f}"


def _plain(found: float) -> str:
    return f"{found:,.0f}" if found == int(found) else f"{found:,.2f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
