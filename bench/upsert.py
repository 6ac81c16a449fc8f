"""``upsert``: a tenth as many rows as the table has, half new and half changed, versus the bare upsert in psql.

The peer is what one would write by hand: COPY from a local file into a temporary table, then INSERT .. ON CONFLICT DO
UPDATE, in one transaction. It validates nothing and forgets the old values; ours reads from S3, validates, writes
parquet, keeps every replaced row in the history, and keeps the ledger.

Fair, because both start from the same database, copied file by file from one template that was vacuumed and analysed,
both get the same clean file, and both tables are equal afterwards, compared by a hash of all rows. The changed rows
are spread evenly over the table.
"""

# Statements are put together from constants of this program.
# ruff: noqa: S608
from __future__ import annotations

from bench import inputs, loading
from bench.inputs import Input
from bench.loading import FILE_COLUMNS, TABLE
from bench.measure import Contender, Result, Run, interleave, require_equal
from bench.options import Bench
from bench.report import say
from bench.servers import Servers

ROWS = 10_000_000
SHARE = 10
RUNS = 5
BASE = "filled"

_SET = ", ".join(f"{name} = excluded.{name}" for name in FILE_COLUMNS.split(", ")[1:])
_SCRIPT = rf"""
BEGIN;
CREATE TEMPORARY TABLE staging ON COMMIT DROP AS SELECT {FILE_COLUMNS} FROM {TABLE} LIMIT 0;
\copy staging FROM '{{path}}' WITH (FORMAT csv)
INSERT INTO {TABLE} ({FILE_COLUMNS}, _load_id) SELECT {FILE_COLUMNS}, 1 FROM staging
    ON CONFLICT (id) DO UPDATE SET {_SET}, _load_id = excluded._load_id;
COMMIT;
"""


def run(bench: Bench) -> Result:
    """Measure."""
    base = inputs.clean(bench.rows_or(ROWS))
    source = inputs.changes(base.rows, base.rows // SHARE // 2 * 2)
    servers = bench.servers
    say(f"upsert: filling a table of {base.rows:,} rows")
    fill(servers, base)
    key = servers.put(source.path, f"{loading.LANDING}_upsert.csv")
    same = loading.same_content(servers)
    contenders = [
        Contender(
            "ours", lambda: same(by_us(servers, base, source, key)), "from S3, validated, with history and ledger."
        ),
        Contender(
            "psql upsert",
            lambda: same(by_psql(servers, base, source)),
            "COPY from local disk into a temporary table, INSERT .. ON CONFLICT DO UPDATE; no history.",
        ),
    ]
    say(f"upsert: {source.rows:,} rows into {base.rows:,}")
    return Result(
        "upsert",
        f"{source.rows:,} rows, half new and half changed, into a table of {base.rows:,}: ours versus COPY and "
        "INSERT .. ON CONFLICT in psql.",
        source.rows,
        "psql upsert",
        interleave(contenders, bench.runs_or(RUNS)),
        contenders,
        ["Tables compared by a hash of every row: equal after every run."],
    )


def fill(servers: Servers, base: Input) -> None:
    """Load the table once, settle it as autovacuum would, and keep that state as a template."""
    key = servers.put(base.path, f"{loading.LANDING}_base.csv")
    loading.load_into_empty(servers, base, key)
    servers.maintain(f"VACUUM (ANALYZE) {TABLE}")
    servers.keep(BASE)


def by_us(servers: Servers, base: Input, source: Input, key: str) -> Run:
    """Our upsert: prepared, measured, verified."""
    servers.reset(BASE)
    servers.warm(source.path, key)
    cost, report = loading.load(servers, [key])
    outcome, half = report["outcomes"][0], source.rows // 2
    counts = outcome["counts"]
    found = (outcome["verdict"], *(counts[name] for name in ("inserted", "updated", "unchanged", "rejected")))
    require_equal("outcome", found, ("loaded", half, half, 0, 0))
    loading.verify_table(servers, base.rows + half)
    kept = servers.sql("SELECT count(*) FROM ops.hired_employees_history")
    require_equal("rows in the history", kept[0][0], half)
    touched = servers.sql(
        f"SELECT count(*) FROM {TABLE} WHERE _load_id = %(load_id)s",
        {"load_id": outcome["load_id"]},
    )
    require_equal("rows with the load's id", touched[0][0], source.rows)
    require_equal("rows in clean parquet", loading.clean_rows(servers, outcome["load_id"]), source.rows)
    return loading.run_of(cost, report, source.rows)


def by_psql(servers: Servers, base: Input, source: Input) -> Run:
    """The bare upsert: prepared, measured, verified."""
    servers.reset(BASE)
    servers.warm(source.path)
    cost = loading.psql(servers, "upsert", _SCRIPT.format(path=source.path))
    loading.verify_table(servers, base.rows + source.rows // 2)
    return Run(cost.seconds, source.rows, cost)
