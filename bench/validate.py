"""``validate``: rows a second of our reader, and of reader and validation, in one process on one core.

The measure is Arrow's own CSV parser, one thread, columns as bytes: it judges nothing and knows no lines, and is what
the reader itself builds on. Only the work is timed, not Python's start; all files are local and in the page cache.
A bad row costs more than a good one, so both a clean file and one with 2 % bad rows are read.
"""

from __future__ import annotations

from functools import partial

from bench import inputs, loading
from bench.inputs import Input
from bench.measure import Contender, Result, Run, interleave, require_equal
from bench.options import Bench
from bench.report import say

ROWS = 5_000_000
RUNS = 5


def run(bench: Bench) -> Result:
    """Measure."""
    rows = bench.rows_or(ROWS)
    clean, dirty = inputs.clean(rows), inputs.dirty(rows)
    ways: list[tuple[str, str, Input]] = [
        ("Arrow's parser, clean", "arrow", clean),
        ("reader, clean", "reader", clean),
        ("reader, 2 % bad", "reader", dirty),
        ("reader and validation, clean", "validation", clean),
        ("reader and validation, 2 % bad", "validation", dirty),
    ]
    contenders = [Contender(name, partial(read, bench, way, source)) for name, way, source in ways]
    say(f"validate: {rows:,} rows")
    return Result(
        "validate",
        "Rows a second of our reader and validation in one process on one core, and of Arrow's CSV parser.",
        rows,
        ways[0][0],
        interleave(contenders, bench.runs_or(RUNS)),
        contenders,
        [
            "Seconds of the work only; the first chunk's hold what a process makes once, as pandera's schemas.",
            "Accepted and rejected rows were as the generator says in every run.",
        ],
    )


def read(bench: Bench, way: str, source: Input) -> Run:
    """One way of reading: measured, verified."""
    bench.servers.warm(source.path)
    cost, report = loading.program(bench.servers, "validation", {"way": way, "file": str(source.path)})
    require_equal("rows read", report["good"] + report["other"], source.rows)
    if way == "validation":
        require_equal("rows accepted", report["good"], source.good)
    numbers = {"first chunk, s": report["first_seconds"], "peak memory, MB (max)": cost.peak_memory / 1e6}
    return Run(report["work_seconds"], source.rows, numbers=numbers)
