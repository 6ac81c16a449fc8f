"""``peers``: the same rows by our whole path and by what else loads a CSV file into PostgreSQL from Python.

Every contender is a fresh process against the same server, with a database made anew for each run, and what it left
in its table is compared with ours by a hash of all rows. Ours gets the file with 2 % bad rows from S3. So does, from
local disk, the row-wise pydantic loader, which can sort them out; the others cannot, and get the good rows only.
``S3ToSqlOperator`` reads from S3, all others from local disk. dlt makes tables of its own, without a primary key.
All that is in the peers' favour.

The peers' packages are pinned in ``peers-requirements.txt`` and live in an environment of their own; the operator is
the one of the project's own environment.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench import inputs, loading, peers_env
from bench.inputs import Input
from bench.measure import Contender, Result, Run, interleave, require_equal
from bench.options import Bench
from bench.peers_env import NotInstalled
from bench.report import say
from bench.servers import Servers
from embedded.provision import connections
from embedded.settings import DATA_BUCKET

ROWS = 1_000_000
RUNS = 3
DLT = {
    "dlt, row by row": ("rows", "its CSV reader and defaults"),
    "dlt, Arrow, CSV": ("arrow_csv", "Arrow batches, sent by COPY of CSV"),
    "dlt, Arrow, parquet": ("arrow_parquet", "Arrow batches, sent by ADBC"),
}


@dataclass(frozen=True)
class Field:
    """Who takes part, and with what."""

    servers: Servers
    dirty: Input
    clean: Input
    keys: Mapping[str, str]
    expected: list[loading.Content] = field(default_factory=list)

    def compare(self, who: str, found: loading.Content) -> None:
        """Every contender must leave the same rows behind."""
        require_equal(f"rows of {who}", found.rows, self.dirty.good)
        self.expected.append(found)
        require_equal(f"content of {who}'s table", found, self.expected[0])


def run(bench: Bench) -> Result:
    """Measure."""
    rows = bench.rows_or(ROWS)
    dirty, clean, servers = inputs.dirty(rows), inputs.cleaned(rows), bench.servers
    keys = {
        "dirty": servers.put(dirty.path, f"{loading.LANDING}_peers.csv"),
        "clean": servers.put(clean.path, f"{loading.LANDING}_peers_clean.csv"),
    }
    peers = Field(servers, dirty, clean, keys)
    contenders = [
        Contender("ours", lambda: ours(peers), "2 % bad rows, from S3; the whole path."),
        Contender("S3ToSqlOperator", lambda: operator(peers), "good rows only, from S3; commits every 1,000 rows."),
    ]
    notes = ["All tables compared by a hash of every row: equal after every run. Times are of whole fresh processes."]
    try:
        python = peers_env.python()
    except NotInstalled as error:
        notes.append(f"**Not measured**: dlt, pandas and pydantic could not be installed: {error}")
    else:
        contenders += _from_packages(peers, str(python))
    say(f"peers: {rows:,} rows")
    runs = interleave(contenders, bench.runs_or(RUNS))
    return Result("peers", "The same rows by our whole path and by peers.", rows, "ours", runs, contenders, notes)


def _from_packages(peers: Field, python: str) -> list[Contender]:
    found = [
        Contender(
            "pydantic, execute_values",
            lambda: script(peers, "pydantic_values", python, peers.dirty),
            "2 % bad rows, sorted out by the same rules but no reasons kept; local file.",
        ),
        Contender(
            "pandas.to_sql",
            lambda: script(peers, "pandas_to_sql", python, peers.clean),
            "good rows only; local file.",
        ),
    ]
    for name, (way, what) in DLT.items():
        found.append(Contender(name, partial(dlt, peers, python, way), f"{what}; good rows only; local file; no key."))
    return found


def ours(peers: Field) -> Run:
    """Our whole path."""
    measured = loading.load_into_empty(peers.servers, peers.dirty, peers.keys["dirty"])
    peers.compare("ours", loading.content(peers.servers))
    return measured


def script(peers: Field, module: str, python: str, source: Input) -> Run:
    """A peer that reads a local file and fills our table."""
    loading.prepare_copy(peers.servers, source)
    job = {"dsn": peers.servers.dsn, "file": str(source.path)}
    cost, report = loading.program(peers.servers, module, job, python)
    require_equal(f"rows rejected by {module}", report.get("rejected", 0), source.bad)
    loading.verify_table(peers.servers, source.good)
    peers.compare(module, loading.content(peers.servers))
    return loading.run_of(cost, report, source.rows)


def dlt(peers: Field, python: str, way: str) -> Run:
    """One of dlt's ways, into tables that it makes."""
    loading.prepare_copy(peers.servers, peers.clean)
    folder = peers.servers.folder / "dlt"
    shutil.rmtree(folder, ignore_errors=True)
    job = {"dsn": peers.servers.dsn, "file": str(peers.clean.path), "way": way, "folder": str(folder)}
    env = {"RUNTIME__DLTHUB_TELEMETRY": "false", "DLT_DATA_DIR": str(folder), "HOME": str(folder)}
    cost, report = loading.program(peers.servers, "dlt_pipeline", job, python, env)
    found = loading.content(peers.servers, f"dlt_{way}.hired_employees", "\"datetime\" AT TIME ZONE 'UTC'")
    peers.compare(f"dlt {way}", found)
    return loading.run_of(cost, report, peers.clean.rows)


def operator(peers: Field) -> Run:
    """Airflow's operator, from S3 into our table."""
    servers = peers.servers
    loading.prepare_copy(servers, peers.clean)
    servers.warm(None, peers.keys["clean"])
    job = {"bucket": DATA_BUCKET, "key": peers.keys["clean"]}
    cost, report = loading.program(servers, "s3_to_sql", job, sys.executable, airflow_env(servers))
    loading.verify_table(servers, peers.clean.good)
    peers.compare("S3ToSqlOperator", loading.content(servers))
    return loading.run_of(cost, report, peers.clean.rows)


def airflow_env(servers: Servers) -> dict[str, str]:
    """An Airflow home of its own, and the stack's connections as variables."""
    found: dict[str, Any] = connections(servers.settings, servers.secrets)
    home = servers.folder / "airflow"
    home.mkdir(exist_ok=True)
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(values) for name, values in found.items()},
    }
