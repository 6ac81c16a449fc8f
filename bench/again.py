"""``again``: the same bytes as a new object, when nothing has changed since - our second load versus our first.

A file that is sent twice must do no harm; this says what it costs. Both loads are whole fresh processes; the second
one finds in the database what the first one left there, vacuumed so that autovacuum does not do it meanwhile, after a
CHECKPOINT.
"""

from __future__ import annotations

from bench import inputs, loading
from bench.inputs import Input
from bench.measure import Contender, Result, Run, interleave, require_equal
from bench.options import Bench
from bench.report import say
from bench.servers import Servers

ROWS = 10_000_000
RUNS = 5


def run(bench: Bench) -> Result:
    """Measure."""
    source = inputs.dirty(bench.rows_or(ROWS))
    servers = bench.servers
    keys = [servers.put(source.path, f"{loading.LANDING}_{name}.csv") for name in ("first", "second")]
    contenders = [
        Contender("first load", lambda: loading.load_into_empty(servers, source, keys[0]), "into the empty table."),
        Contender("second load", lambda: second(servers, source, keys[1]), "the same bytes under another key."),
    ]
    say(f"again: {source.rows:,} rows")
    return Result(
        "again",
        "The same file again, when nothing has changed since: our second load versus our first.",
        source.rows,
        "first load",
        interleave(contenders, bench.runs_or(RUNS)),
        contenders,
    )


def second(servers: Servers, source: Input, key: str) -> Run:
    """The second load, of which the table must show no trace: measured, verified."""
    before = loading.content(servers)
    first = servers.sql("SELECT load_id FROM ops.loads WHERE verdict = 'loaded' AND table_name = 'hired_employees'")
    servers.maintain(f"VACUUM (ANALYZE) {loading.TABLE}")
    servers.warm(None, key)
    servers.checkpoint()
    cost, report = loading.load(servers, [key])
    outcome = report["outcomes"][0]
    counts = outcome["counts"]
    require_equal("verdict", (outcome["verdict"], outcome["duplicate_of"]), ("duplicate", first[0][0]))
    found = tuple(counts[name] for name in ("read", "inserted", "updated", "unchanged", "rejected"))
    require_equal("outcome", found, (source.rows, 0, 0, source.good, source.bad))
    require_equal("content of the table", loading.content(servers), before)
    loading.verify_table(servers, source.good)
    return loading.run_of(cost, report, source.rows)
