"""The peers of ``landing``: the same files, lying in S3 already, by dlt and by Airflow's ``S3ToSqlOperator``."""

# Statements are put together from constants of this program.
# ruff: noqa: S608
from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import loading, peers_env
from bench.arriving import FILE_ROWS, Drop, Seen, Watch, send
from bench.dagruns import Airflow
from bench.measure import Contender, Run, require, require_equal
from bench.peers_env import NotInstalled
from bench.processes import CpuShares, Spent
from bench.servers import Servers
from embedded.settings import DATA_BUCKET

EVERY = 0.1
DLT = {
    "dlt, read_csv": ("read_csv", "dlt's filesystem source and its own reader"),
    "dlt, Arrow": ("arrow", "a reader written by hand, which fetches files at the same time and parses them by Arrow"),
}
OPERATOR = "S3ToSqlOperator"
OPERATOR_DAG = "s3_to_sql_files"
OPERATOR_SCHEMA = "bench_s3_to_sql"
OPERATOR_TABLE = f"{OPERATOR_SCHEMA}.hired_employees"
OPERATOR_LIMIT = 120.0
OPERATOR_NOTE = (
    "Airflow's operator as a mapped task for each file, on the same Airflow, from the trigger to the last row seen: "
    "listing, int and strptime, plain INSERT into an equal table; no merge."
)
_UTC = "\"datetime\" AT TIME ZONE 'UTC'"


@dataclass
class Peers:
    """Who is measured beside us; each has met one file before, so that what it makes once is there."""

    servers: Servers
    airflow: Airflow
    notes: list[str] = field(default_factory=list)
    _drop: Drop | None = None

    @property
    def drop(self) -> Drop:
        """What was given last."""
        assert self._drop is not None
        return self._drop

    def give(self, drop: Drop) -> None:
        """Put files where peers find them."""
        send(self.servers, drop, folder(drop))
        self._drop = drop

    def contenders(self, first: Drop) -> list[Contender]:
        """Those that can be had here; ``first`` is the one file that they have met."""
        self.give(first)
        found = []
        try:
            python = peers_env.python()
        except NotInstalled as error:
            self.notes.append(f"**Not measured**: dlt could not be installed: {error}")
        else:
            for name, (way, what) in DLT.items():
                note = f"dlt {peers_env.pinned('dlt')}: {what}; merged by id (upsert, COPY of CSV); a fresh process."
                found.append(Contender(name, partial(self._dlt, python, way), note))
        found.append(Contender(OPERATOR, self._operator, OPERATOR_NOTE))
        self._make_table()
        for one in found:
            one.run()
        return found

    def _dlt(self, python: Path, way: str) -> Run:
        """One of dlt's ways: the whole process, measured, verified."""
        self.airflow.wait_until_quiet()
        self.servers.checkpoint()
        home = self.servers.folder / "dlt"
        url = f"s3://{DATA_BUCKET}/{folder(self.drop)}"
        job = {"dsn": self.servers.dsn, "url": url, "way": way, "folder": str(home)}
        env = {"RUNTIME__DLTHUB_TELEMETRY": "false", "DLT_DATA_DIR": str(home), "HOME": str(home)}
        cost, _ = loading.program(self.servers, "dlt_landing", job, str(python), env)
        self._compare(f"dlt_landing_{way}.hired_employees", self.drop.rows, _UTC)
        postgres = cost.cpu_postgres + cost.cpu_postgres_background
        spent = CpuShares(cost.cpu, postgres, cost.cpu_s3, cost.cpu_elsewhere)
        return Run(cost.seconds, self.drop.rows, numbers={**each(cost.seconds, self.drop), **spent.numbers()})

    def _operator(self) -> Run:
        """The mapped operator until the last row or, if that takes too long, the limit: measured, verified."""
        drop = self.drop
        self.airflow.wait_until_quiet()
        self.servers.checkpoint()
        before = Spent.until_now(self.servers)
        with Watch(self.servers.dsn, OPERATOR_TABLE) as watch:
            started = time.perf_counter()
            conf = {"prefix": folder(drop), "table": OPERATOR_TABLE}
            run_id = self.airflow.trigger(OPERATOR_DAG, conf)
            seen = watch.until(drop.last_ids, EVERY, OPERATOR_LIMIT)
            waited = time.perf_counter() - started
        spent = Spent.until_now(self.servers).since(before)
        if seen.missing:
            state = self.airflow.state(OPERATOR_DAG, run_id)
            require(state != "failed", f"the run of {OPERATOR} failed with {seen.missing} files to do")
            self.airflow.end(OPERATOR_DAG, run_id)
        self.airflow.wait_until_quiet()
        done = len(drop.bodies) - seen.missing
        share = self._operator_share(drop, seen, done, waited)
        self._compare(OPERATOR_TABLE, None if seen.missing else drop.rows)
        seconds = (waited if seen.missing else seen.last - started) / share
        numbers = {**each(seconds, drop), **spent.numbers(share), "files done": done}
        return Run(seconds, drop.rows, numbers=numbers)

    def _operator_share(self, drop: Drop, seen: Seen, done: int, waited: float) -> float:
        require(done > 0, f"{OPERATOR} loaded no file in {waited:.0f} s")
        if seen.missing:
            self.notes.append(
                f"**{OPERATOR} was stopped after {waited:.0f} s with {done} of {len(drop.bodies)} files done; its "
                "seconds are what all files would take at that rate.**"
            )
        return done / len(drop.bodies)

    def _make_table(self) -> None:
        self.servers.sql(
            f"CREATE SCHEMA {OPERATOR_SCHEMA}; CREATE TABLE {OPERATOR_TABLE} (LIKE {loading.TABLE} INCLUDING ALL);"
            f" ALTER TABLE {OPERATOR_TABLE} ALTER COLUMN _load_id SET DEFAULT 0"
        )
        self.airflow.wait_until_known(OPERATOR_DAG)

    def _compare(self, table: str, rows: int | None, moment: str = '"datetime"') -> None:
        """A peer's rows are ours; ``rows`` of them or, where it is None, as many whole files as there are."""
        theirs = loading.content(self.servers, self.drop.part_of(table), moment)
        ours = (
            loading.TABLE
            if rows
            else f"{loading.TABLE} JOIN (SELECT id AS id_there FROM {table}) there ON id = id_there"
        )
        require_equal(f"content of {table}", theirs, loading.content(self.servers, self.drop.part_of(ours)))
        require(theirs.rows == rows if rows else theirs.rows % FILE_ROWS == 0, f"{table} has {theirs.rows} rows")


def folder(drop: Drop) -> str:
    """Where peers find the files."""
    return f"peers/{drop.name}/"


def each(seconds: float, drop: Drop) -> dict[str, float]:
    """What one file takes when there are many."""
    return {"ms a file": seconds * 1000 / len(drop.bodies)}
