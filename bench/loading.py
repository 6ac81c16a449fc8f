"""One load by this project and one by psql, prepared, measured and verified: what several benchmarks are made of."""

# Statements are put together from constants of this program.
# ruff: noqa: S608
from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as parquet

from bench import OUT, REPOSITORY, processes
from bench.contenders import COLUMNS
from bench.inputs import Input
from bench.measure import Run, require, require_equal
from bench.servers import Servers

TABLE = "public.hired_employees"
LANDING = "landing/hired_employees"
STARTING = "start and imports, s"
LOGS = OUT / "logs"
FILE_COLUMNS = ", ".join(f'"{name}"' for name in COLUMNS)


def program(
    servers: Servers,
    module: str,
    job: Mapping[str, Any],
    python: str = sys.executable,
    more_env: Mapping[str, str] | None = None,
) -> tuple[processes.Cost, dict[str, Any]]:
    """Run a program of ``bench.contenders`` in a fresh process; its cost and what it reported.

    Another ``python`` than this one has none of the project's packages and gets none of its code.
    """
    report = servers.folder / f"{module}.json"
    report.unlink(missing_ok=True)
    env = servers.env | {"BENCH_JOB": json.dumps({**job, "result": str(report)})} | dict(more_env or {})
    if python != sys.executable:
        env["PYTHONPATH"] = str(REPOSITORY)
    cost = processes.run(servers, [python, "-m", f"bench.contenders.{module}"], env, LOGS / f"{module}.log")
    return cost, json.loads(report.read_text())


def load(servers: Servers, keys: Sequence[str]) -> tuple[processes.Cost, dict[str, Any]]:
    """Load objects by this project, one after another in one fresh process."""
    return program(servers, "ours", {"dsn": servers.dsn, "keys": list(keys)})


def fill_references(servers: Servers) -> None:
    """Load the sample departments and jobs, which the benchmark files refer to, and keep that as ``empty``."""
    keys = [servers.put(REPOSITORY / "data" / f"{name}.csv", f"landing/{name}.csv") for name in ("departments", "jobs")]
    _, report = load(servers, keys)
    for outcome in report["outcomes"]:
        require_equal(f"verdict on {outcome['key']}", outcome["verdict"], "loaded")
    servers.keep("empty")


def prepare_ours(servers: Servers, source: Input, key: str) -> None:
    """The empty table; file and object in the page cache."""
    servers.reset("empty")
    servers.warm(source.path, key)


def load_into_empty(servers: Servers, source: Input, key: str) -> Run:
    """Our whole path into the empty table: prepared, measured, verified."""
    prepare_ours(servers, source, key)
    cost, report = load(servers, [key])
    verify_ours(servers, source, report["outcomes"][0])
    return run_of(cost, report, source.rows)


def run_of(cost: processes.Cost, report: Mapping[str, Any], rows: int) -> Run:
    """A measured program's run: the whole process is its time; imports are told apart."""
    numbers = {STARTING: cost.seconds - report["work_seconds"]}
    return Run(cost.seconds, rows, cost, numbers, dict(report.get("phases", {})))


def prepare_copy(servers: Servers, source: Input) -> None:
    """The same empty table, to which a file's columns alone can be copied; the file in the page cache."""
    servers.reset("empty")
    servers.sql(f"ALTER TABLE {TABLE} ALTER COLUMN _load_id SET DEFAULT 0")
    servers.warm(source.path)


def copy(servers: Servers, source: Input) -> processes.Cost:
    r"""``psql \copy`` of a clean local file."""
    return psql(servers, "copy", rf"\copy {TABLE} ({FILE_COLUMNS}) FROM '{source.path}' WITH (FORMAT csv)")


def copy_into_empty(servers: Servers, source: Input) -> Run:
    r"""``psql \copy`` into the same table, as empty as for us: prepared, measured, verified."""
    prepare_copy(servers, source)
    cost = copy(servers, source)
    verify_table(servers, source.good)
    return Run(cost.seconds, source.rows, cost)


def psql(servers: Servers, name: str, script: str) -> processes.Cost:
    """Run a script by psql, which stops at the first error."""
    file = servers.folder / f"{name}.sql"
    file.write_text(script + "\n")
    command = ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={file}"]
    return processes.run(servers, command, servers.env, LOGS / f"psql_{name}.log")


@dataclass(frozen=True)
class Content:
    """What a table holds: its number of rows, and a sum of hashes of whole rows that any difference changes."""

    rows: int
    hashes: int


def content(servers: Servers, table: str = TABLE, moment: str = '"datetime"') -> Content:
    """Count and hash of a table; ``moment`` is its datetime as a timestamp without a zone, in UTC."""
    row = f"id::integer, name::varchar, ({moment})::timestamp, department_id::integer, job_id::integer"
    found = servers.sql(f"SELECT count(*), coalesce(sum(hash_record_extended(ROW({row}), 0)), 0) FROM {table}")
    return Content(int(found[0][0]), int(found[0][1]))


def same_content(servers: Servers) -> Callable[[Run], Run]:
    """What is to be called after each run: fails unless the table holds what it held after the first."""
    contents: list[Content] = []

    def same(measured: Run) -> Run:
        contents.append(content(servers))
        require_equal("content of the table", contents[-1], contents[0])
        return measured

    return same


def verify_table(servers: Servers, rows: int) -> None:
    """The table is logged, has its valid key, and holds ``rows`` rows."""
    found = servers.sql(
        "SELECT c.relpersistence::text, i.indisvalid AND i.indisready AND i.indisunique, pg_get_indexdef(i.indexrelid)"
        " FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary"
        " WHERE c.oid = %(table)s::regclass",
        {"table": TABLE},
    )
    persistence, valid, definition = found[0]
    require_equal(f"persistence of {TABLE}", persistence, "p")
    require(bool(valid) and definition.endswith("btree (id)"), f"{TABLE} lacks its primary key: {definition}")
    require_equal(f"rows in {TABLE}", servers.sql(f"SELECT count(*) FROM {TABLE}")[0][0], rows)


def verify_ours(servers: Servers, source: Input, outcome: Mapping[str, Any]) -> None:
    """All that a load promises is there: rows with their load's id, rejected rows, ledger, parquet, rejects file."""
    load_id, counts = outcome["load_id"], outcome["counts"]
    require_equal("verdict", outcome["verdict"], "loaded")
    expected = (source.rows, source.good, 0, source.bad)
    require_equal("outcome", tuple(counts[n] for n in ("read", "inserted", "updated", "rejected")), expected)
    verify_table(servers, source.good)
    values = {"load_id": load_id}
    provenance = servers.sql(f"SELECT count(*) FROM {TABLE} WHERE _load_id = %(load_id)s", values)
    require_equal("rows with the load's id", provenance[0][0], source.good)
    rejected = servers.sql("SELECT count(*) FROM ops.rejected_rows WHERE load_id = %(load_id)s", values)
    require_equal("rejected rows", rejected[0][0], source.bad)
    ledger = servers.sql(
        "SELECT verdict, rows_read, rows_inserted, rows_rejected FROM ops.loads WHERE load_id = %(load_id)s", values
    )
    require_equal("ledger", ledger, [("loaded", source.rows, source.good, source.bad)])
    require_equal("rows in clean parquet", clean_rows(servers, load_id), source.good)
    files = [key for key in servers.keys("rejected/hired_employees/") if str(load_id) in key and key.endswith(".csv")]
    require_equal("rejects files", len(files), int(source.bad > 0))


def clean_rows(servers: Servers, load_id: int) -> int:
    """Rows in the clean parquet of a load, by the files' own footers."""
    rows, part = 0, servers.folder / "part.parquet"
    for key in servers.keys(f"clean/hired_employees/{load_id}/"):
        part.write_bytes(servers.read(key).read())
        rows += parquet.read_metadata(part).num_rows
    return rows
