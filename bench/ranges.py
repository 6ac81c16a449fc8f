"""``ranges``: a very large file whose clean step is split over one worker and over two, and by one task that reads it.

All three do the same: every cell judged, clean parquet and rejects in S3, ledger, rows in the table with its key; after
each run the contents of the tables are compared by a hash of all rows. PostgreSQL and the S3 server take their share of
the same cores, so what a second worker gains here is less than where each machine has cores of its own; the CPU seconds
of all of them are told for that.
"""

from __future__ import annotations

from statistics import median

from bench import inputs, loading
from bench.inputs import Input
from bench.measure import Contender, Result, Run, interleave, require_equal
from bench.options import Bench
from bench.report import say

ROWS = 10_000_000
RUNS = 3
RANGES = 8
WHOLE, ONE, TWO = "one task, whole", "ranges, one worker", "ranges, two workers"


def run(bench: Bench) -> Result:
    """Measure."""
    rows = bench.rows_or(ROWS)
    source, servers = inputs.dirty(rows), bench.servers
    key = servers.put(source.path, f"{loading.LANDING}_ranges.csv")
    same = loading.same_content(servers)
    contenders = [
        Contender(WHOLE, lambda: same(_whole(bench, source, key)), "reads, judges and copies at the same time."),
        Contender(ONE, lambda: same(_in_ranges(bench, source, key, 1)), "split, clean range by range, load."),
        Contender(TWO, lambda: same(_in_ranges(bench, source, key, 2)), "the same, two ranges at a time."),
    ]
    say(f"ranges: {rows:,} rows in about {RANGES} ranges")
    runs = interleave(contenders, bench.runs_or(RUNS))
    pairs = list(zip(runs[ONE], runs[TWO], strict=True))
    scaling = median(one.phases["clean"] / two.phases["clean"] for one, two in pairs)
    return Result(
        "ranges",
        "A very large file in ranges: its clean step by one worker and by two.",
        rows,
        WHOLE,
        runs,
        contenders,
        [
            f"The clean step by one worker takes {scaling:.2f} times as long as by two.",
            "Tables compared by a hash of every row: equal after every run.",
        ],
    )


def _whole(bench: Bench, source: Input, key: str) -> Run:
    measured = loading.load_into_empty(bench.servers, source, key)
    measured.seconds -= measured.numbers.pop(loading.STARTING)
    measured.numbers = {}
    return measured


def _in_ranges(bench: Bench, source: Input, key: str, workers: int) -> Run:
    loading.prepare_ours(bench.servers, source, key)
    wanted = {"dsn": bench.servers.dsn, "key": key, "workers": workers}
    range_bytes = source.path.stat().st_size // RANGES
    cost, report = loading.program(bench.servers, "ranges", {**wanted, "range_bytes": range_bytes})
    require_equal("rows read in all ranges", report["rows"], source.rows)
    loading.verify_ours(bench.servers, source, report["outcomes"][0])
    phases = report["phases"]
    found = Run(report["work_seconds"], source.rows, cost, {f"{name}, s": phases[name] for name in phases}, phases)
    found.numbers |= {f"peak of {name}, MB": peak / 1e6 for name, peak in report["peaks"].items()}
    return found
