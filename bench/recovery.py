"""``recovery``: a backup versus ``pg_dump -Fc``, and a restore versus ``pg_restore --clean``, of one table.

The backup reads the table at one moment, computes its digest, writes AVRO in parts to S3 with their SHA-256 and the
manifest; ``pg_dump`` writes its custom format, compressed as it does by default, to local disk. The restore finds a
table of which 1 % of the rows were changed: ours checks every part, stages all rows, finds the difference, keeps what
it replaces in the history and changes those rows alone, while readers go on; ``pg_restore --clean`` drops the table and
makes it anew, which locks readers out.

Fair, because both work on the same server with fsync on, on databases that are copies of one template, and both times
are those of whole fresh processes. The views that keep ``pg_restore`` from dropping the table are dropped for it. After
each restore the table is compared by a hash of all rows.
"""

# Statements are put together from constants of this program.
# ruff: noqa: S608
from __future__ import annotations

from pathlib import Path

from bench import inputs, loading, processes
from bench.loading import TABLE
from bench.measure import Contender, Goal, Result, Run, interleave, require_equal
from bench.options import Bench
from bench.report import say
from bench.servers import Servers

ROWS = 10_000_000
RUNS = 5
SHARE = 100
NAME = "hired_employees"
DUMP, PG_RESTORE = "pg_dump -Fc", "pg_restore --clean"
MOST_MEMORY = 600 * 1024**2
FILLED, DAMAGED = "filled", "damaged"


def run(bench: Bench) -> Result:
    """Measure."""
    base = inputs.clean(bench.rows_or(ROWS))
    servers = bench.servers
    say(f"recovery: filling a table of {base.rows:,} rows")
    key = servers.put(base.path, f"{loading.LANDING}_recovery.csv")
    loading.load_into_empty(servers, base, key)
    servers.maintain(f"VACUUM (ANALYZE) {TABLE}")
    servers.keep(FILLED)
    whole = loading.content(servers)
    dump = servers.folder / "table.dump"
    taken: list[str] = []
    backups = [
        Contender("backup", lambda: backup(servers, base.rows, taken), "at one moment, to AVRO in S3, with digests."),
        Contender(DUMP, lambda: pg_dump(servers, base.rows, dump), "to local disk, compressed by default."),
    ]
    rounds = bench.runs_or(RUNS)
    took = interleave(backups, rounds)
    damage(servers, base.rows)
    restores = [
        Contender(
            "restore",
            lambda: restore(servers, base.rows, taken[-1], whole),
            "checked, compared, the changed rows only.",
        ),
        Contender(PG_RESTORE, lambda: pg_restore(servers, base.rows, dump, whole), "drops the table, fills it anew."),
    ]
    brought = interleave(restores, rounds)
    part = Result(
        "recovery_restore", f"Restoring {base.rows:,} rows of which 1 % were changed.", base.rows, PG_RESTORE, brought,
        restores, ["Tables compared by a hash of every row: equal after every run."],
    )  # fmt: skip
    result = Result(
        "recovery", f"Backing up {base.rows:,} rows.", base.rows, DUMP, took, backups, parts=[part],
    )  # fmt: skip
    result.goals = goals(result, part)
    return result


def goals(result: Result, part: Result) -> list[Goal]:
    """What was to be reached."""
    ratio, other = sorted(result.ratios("backup")), sorted(part.ratios("restore"))
    memory = max(
        run.cost.peak_memory for one in (result.runs["backup"], part.runs["restore"]) for run in one if run.cost
    )
    middle = len(ratio) // 2
    return [
        Goal("backup against pg_dump -Fc", "0.5 x", f"{ratio[middle]:.2f} x", ratio[middle] <= 0.5),
        Goal("restore against pg_restore --clean", "1.0 x", f"{other[middle]:.2f} x", other[middle] <= 1.0),
        Goal("memory", "600 MB", f"{memory / 1024**2:.0f} MB", memory <= MOST_MEMORY),
    ]


def backup(servers: Servers, rows: int, taken: list[str]) -> Run:
    """Our backup; the last one is restored later."""
    servers.checkpoint()
    cost, report = loading.program(servers, "recovery", {"dsn": servers.dsn, "backup": NAME})
    require_equal("rows backed up", report["told"]["rows"], rows)
    taken.append(report["told"]["backup_id"])
    return loading.run_of(cost, report, rows)


def pg_dump(servers: Servers, rows: int, dump: Path) -> Run:
    """Dump the table."""
    servers.checkpoint()
    command = ["pg_dump", "-Fc", f"--table={TABLE}", f"--file={dump}"]
    cost = processes.run(servers, command, servers.env, loading.LOGS / "pg_dump.log")
    return Run(cost.seconds, rows, cost, {"dump, MB": dump.stat().st_size / 1024**2})


def damage(servers: Servers, rows: int) -> None:
    """Change one row in a hundred, spread over the whole table, and keep that."""
    servers.sql(f"UPDATE {TABLE} SET name = name || '?' WHERE id % {SHARE} = 0")
    changed = servers.sql(f"SELECT count(*) FROM {TABLE} WHERE name LIKE '%%?'")[0][0]
    require_equal("changed rows", changed, rows // SHARE)
    servers.maintain(f"VACUUM (ANALYZE) {TABLE}")
    servers.keep(DAMAGED)


def restore(servers: Servers, rows: int, backup_id: str, whole: loading.Content) -> Run:
    """Our restore: prepared, measured, verified."""
    servers.reset(DAMAGED)
    wanted = {"dsn": servers.dsn, "restore": NAME, "backup_id": backup_id, "run": "bench"}
    cost, report = loading.program(servers, "recovery", wanted)
    require_equal("rows restored", (report["told"]["changed"], report["told"]["rows"]), (rows // SHARE, rows))
    require_equal("content of the table", loading.content(servers), whole)
    loading.verify_table(servers, rows)
    return loading.run_of(cost, report, rows)


def pg_restore(servers: Servers, rows: int, dump: Path, whole: loading.Content) -> Run:
    """The dump's restore: prepared, measured, verified."""
    servers.reset(DAMAGED)
    servers.sql("DROP VIEW ops.warnings, ops.open_references")  # it cannot drop a table that a view needs
    command = ["pg_restore", "--clean", "--dbname=warehouse", str(dump)]
    cost = processes.run(servers, command, servers.env, loading.LOGS / "pg_restore.log")
    require_equal("content of the table", loading.content(servers), whole)
    loading.verify_table(servers, rows)
    return Run(cost.seconds, rows, cost)
