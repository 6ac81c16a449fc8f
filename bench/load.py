r"""``load``: a file from S3 to the queryable table by our whole path, versus ``psql \copy`` of the clean file.

Ours gets the file with 2 % bad rows as an object in S3 and does everything: validates every cell, writes clean
parquet and rejects to S3, provenance, ledger, and the table with its key. ``\copy`` gets the good rows only, byte for
byte the same, as a local file, and puts them into the same table with its key: no validation, no S3, no parquet, no
rejects. It is the limit of what most loaders are built on, so a ratio below 1 means that all the rest comes free.

Fair, because both write to the same server with fsync on, into the same logged table with the same key in a database
that was made anew for each run; both inputs are in the page cache; both times are those of a whole fresh process,
Python's start and imports included. After each run the contents of both tables are compared by a hash of all rows.
"""

from __future__ import annotations

from statistics import median

from bench import inputs, loading
from bench.measure import Contender, Result, interleave
from bench.options import Bench
from bench.report import say

ROWS = 10_000_000
RUNS = 5
COPY = r"psql \copy"


def run(bench: Bench) -> Result:
    """Measure."""
    rows = bench.rows_or(ROWS)
    source, twin = inputs.dirty(rows), inputs.cleaned(rows)
    servers = bench.servers
    key = servers.put(source.path, f"{loading.LANDING}_load.csv")
    same = loading.same_content(servers)
    contenders = [
        Contender(
            "ours",
            lambda: same(loading.load_into_empty(servers, source, key)),
            f"{source.rows:,} rows, {source.bad:,} of them bad, from S3; the whole path in a fresh process.",
        ),
        Contender(
            COPY,
            lambda: same(loading.copy_into_empty(servers, twin)),
            f"the {twin.rows:,} good rows from local disk; nothing but the copy into the table with its key.",
        ),
    ]
    say(f"load: {rows:,} rows")
    result = Result(
        "load",
        r"A file in S3 to the queryable table: our whole path versus `psql \copy` of the clean file.",
        rows,
        COPY,
        interleave(contenders, bench.runs_or(RUNS)),
        contenders,
        ["Rows/s count the rows each was given. Tables compared by a hash of every row: equal after every run."],
    )
    result.notes.append(without_start(result))
    return result


def without_start(result: Result) -> str:
    """What the ratio is for a process that has its imports already, as those have that Airflow forks for its tasks."""
    pairs = zip(result.runs["ours"], result.runs[COPY], strict=True)
    ratio = median((own.seconds - own.numbers[loading.STARTING]) / base.seconds for own, base in pairs)
    return f"Without Python's start and imports, which a forked task does not pay, the ratio is {ratio:.2f}."
