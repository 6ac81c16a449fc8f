"""``landing``: files that land in S3 until their rows can be read, on the whole stack, Airflow included.

One file while nothing else goes on; a thousand files at once; ten times as many. The thousand are also given to
peers: dlt in two ways, and Airflow's own ``S3ToSqlOperator`` as a mapped task for each file.

Fair, because all use the same S3 server, PostgreSQL and, where they use Airflow, the same Airflow; in each round all
get the same bytes, in turn, and nothing else runs but the sensor that looks into the empty landing folder. For each
file ours does what no peer does: it judges every value, commits by itself, writes a ledger row, clean parquet and
history, and moves the file to the archive. The peers' files lie in S3 before their clock starts, and stay there; ours
starts with the first PUT, so sending is part of it. After each run the rows are compared by a hash.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from bench import REPOSITORY, loading
from bench.arriving import FILE_ROWS, Drop, Seen, Sending, Sent, Watch, send
from bench.dagruns import Airflow, Task, steps
from bench.landing_peers import Peers, each
from bench.measure import Contender, Goal, Result, Run, interleave, require, require_equal
from bench.options import Bench
from bench.processes import Spent
from bench.report import say
from bench.servers import Servers

DAG = "ingest_landing"
FOLDER = "landing/"
OURS = "ours"
SINGLES, FILES, ROUNDS = 11, 1_000, 3
QUICK_SINGLES, QUICK_FILES, QUICK_ROUNDS = 2, 20, 1
MORE = 10
"""How many times as many files show whether one costs the same when there are many."""
THREADS = 8
SINGLE_EVERY, EVERY = 0.01, 0.1
FILES_A_LOOK = 5_000
PAUSE = (3.0, 8.0)
LIMIT, LIMIT_A_FILE = 120.0, 1.0
SINGLE_GOAL, FILES_GOAL, PEERS_GOAL = 5.0, 60.0, 3.0
SINCE_LAST = "from the last PUT, s"
_EPOCH = time.time() - time.perf_counter()


@dataclass
class Field:
    """The stack, and the ids that no file had yet."""

    servers: Servers
    airflow: Airflow
    _next: int = 1

    def drop(self, kind: str, files: int) -> Drop:
        """New files, with rows that no other file has."""
        made = Drop.of(f"{kind}_{self._next}", self._next, files)
        self._next = made.end
        return made

    def verdicts(self, prefix: str) -> dict[str, tuple[int, int]]:
        """Files and inserted rows by verdict."""
        found = self.servers.sql(
            "SELECT verdict, count(*), sum(rows_inserted) FROM ops.loads WHERE starts_with(source_key, %(prefix)s)"
            " GROUP BY verdict",
            {"prefix": prefix},
        )
        return {verdict: (int(files), int(rows)) for verdict, files, rows in found}

    def tasks(self, drop: Drop) -> tuple[int, list[Task]]:
        """How many Dag runs loaded files of a drop, and their tasks."""
        found = self.servers.sql(
            "SELECT DISTINCT run_id FROM ops.loads WHERE starts_with(source_key, %(prefix)s)",
            {"prefix": prefix_of(drop)},
        )
        return len(found), self.airflow.tasks(DAG, [run_id for (run_id,) in found])


def run(bench: Bench) -> Result:
    """Measure."""
    singles, rounds = (QUICK_SINGLES, QUICK_ROUNDS) if bench.quick else (SINGLES, ROUNDS)
    files = bench.rows // FILE_ROWS if bench.rows else QUICK_FILES if bench.quick else FILES
    require(0 < files <= FILES, f"--rows is from {FILE_ROWS} to {FILE_ROWS * FILES}: Airflow maps no more tasks")
    field = prepared(bench.with_airflow)
    say(f"landing: one file of {FILE_ROWS} rows")
    one = _alone(
        "one file",
        f"One file of {FILE_ROWS} rows while nothing else goes on, sent at any moment: from the end of its PUT until "
        "its rows are seen by SQL.",
        lambda: single(field),
        singles,
        FILE_ROWS,
    )
    say(f"landing: {files:,} files")
    result = against_peers(field, files, bench.runs or rounds)
    say(f"landing: {files * MORE:,} files")
    more = _alone(
        f"{files * MORE:,} files",
        "From the first PUT to the last row seen.",
        lambda: many(field, field.drop("more", files * MORE)),
        1,
        files * MORE * FILE_ROWS,
    )
    result.parts, result.goals = [one, more], goals(result, one, more)
    return result


def prepared(servers: Servers) -> Field:
    """The stack with its reference tables, which come by the way that is measured."""
    env = servers.stack.env
    field = Field(servers, Airflow(env["AIRFLOW_URL"], env["AIRFLOW_USER"], env["AIRFLOW_PASSWORD"]))
    field.airflow.wait_until_known(DAG)
    for name in ("departments", "jobs"):
        servers.put(REPOSITORY / "data" / f"{name}.csv", f"{FOLDER}{name}.csv")
    end = time.monotonic() + LIMIT
    while (found := field.verdicts(FOLDER)).get("loaded", (0, 0))[0] < 2:
        require(time.monotonic() < end, f"the reference tables are not loaded: {found}")
        time.sleep(0.5)
    return field


def _alone(name: str, question: str, measure: Callable[[], Run], runs: int, rows: int) -> Result:
    contenders = [Contender(OURS, measure)]
    return Result(name, question, rows, OURS, interleave(contenders, runs), contenders)


def single(field: Field) -> Run:
    """One file, at any moment between two looks of the sensor: measured, verified."""
    drop = field.drop("one", 1)
    field.airflow.wait_until_quiet()
    time.sleep(random.uniform(*PAUSE))
    with Watch(field.servers.read_dsn, loading.TABLE) as watch:
        sent = send(field.servers, drop, FOLDER, threads=1)
        seen = watch.until(drop.last_ids, SINGLE_EVERY, LIMIT)
    verify(field, drop, seen)
    return Run(seen.last - sent.last, drop.rows, phases=single_phases(field, drop, sent, seen))


def single_phases(field: Field, drop: Drop, sent: Sent, seen: Seen) -> dict[str, float]:
    """Where the seconds of a single file went, by Airflow's own records."""
    tasks = {task.name: task for task in field.tasks(drop)[1]}
    sensor, load = tasks["wait_for_files"], tasks["load"]
    return steps(
        [
            ("", sent.last + _EPOCH),
            ("until the sensor is queued", sensor.queued),
            ("until it has planned", sensor.ended),
            ("until the load is queued", load.queued),
            ("until it starts", load.started),
            ("until its rows are seen", seen.last + _EPOCH),
        ]
    )


def many(field: Field, drop: Drop) -> Run:
    """All files of a drop at once: measured, verified."""
    servers = field.servers
    field.airflow.wait_until_quiet()
    servers.checkpoint()
    time.sleep(PAUSE[0])
    before = Spent.until_now(servers)
    with Watch(servers.read_dsn, loading.TABLE) as watch, Sending(servers, drop, FOLDER, THREADS) as sending:
        # Looking at many files often would take the time of loading them.
        every = max(EVERY, len(drop.bodies) / FILES_A_LOOK)
        seen = watch.until(drop.last_ids, every, LIMIT + LIMIT_A_FILE * len(drop.bodies))
        sent = sending.sent()
    spent = Spent.until_now(servers).since(before)
    verify(field, drop, seen)
    empty = time.perf_counter()
    field.airflow.wait_until_quiet()
    runs, tasks = field.tasks(drop)
    numbers = {
        SINCE_LAST: seen.last - sent.last,
        "sending, s": sent.last - sent.first,
        "first rows, s": seen.first - sent.first,
        "all archived, s": empty - sent.first,
        "Dag runs": runs,
        **each(seen.last - sent.first, drop),
        **spent.numbers(),
    }
    phases = many_phases(tasks, sent.first + _EPOCH, seen.last + _EPOCH)
    return Run(seen.last - sent.first, drop.rows, numbers=numbers, phases=phases)


def many_phases(tasks: list[Task], first: float, last: float) -> dict[str, float]:
    """Where the seconds from the first PUT to the last row went, by Airflow's own records."""
    loads = [(task.started, task.ended) for task in tasks if task.name == "load" and task.started and task.ended]
    inside = sum(min(ended, last) - started for started, ended in loads)
    before = loads[0][0] - first
    return {"loads": inside, "before the first load": before, "between loads": last - first - inside - before}


def verify(field: Field, drop: Drop, seen: Seen) -> None:
    """All files were loaded, each once, with all rows, and moved away; no run failed."""
    prefix, files = prefix_of(drop), len(drop.bodies)
    require(not seen.missing, f"{seen.missing} of {files} files not seen: {field.verdicts(prefix)}")
    end = time.monotonic() + LIMIT
    while left := field.servers.keys(prefix):
        require(time.monotonic() < end, f"{len(left)} files are still there, {left[0]} is one of them")
        time.sleep(EVERY)
    require_equal("files and rows by verdict", field.verdicts(prefix), {"loaded": (files, drop.rows)})
    require_equal("rows", loading.content(field.servers, drop.part_of(loading.TABLE)).rows, drop.rows)
    mark = prefix.removeprefix(FOLDER)
    archived = [key for key in field.servers.keys("archive/hired_employees/") if mark in key]
    require_equal("files in the archive", len(archived), files)
    require_equal("failed runs", field.airflow.failed_runs(DAG), 0)


def prefix_of(drop: Drop) -> str:
    """What the keys of all landed files of a drop start with."""
    return f"{FOLDER}hired_employees_{drop.name}_"


def against_peers(field: Field, files: int, rounds: int) -> Result:
    """The same files by us and by peers, in turn."""
    peers = Peers(field.servers, field.airflow)

    def ours() -> Run:
        drop = field.drop("many", files)
        measured = many(field, drop)
        peers.give(drop)
        return measured

    met = field.drop("met", 1)
    many(field, met)
    note = (
        f"from the first PUT of {THREADS} threads to the last row seen: sending, validation, a transaction and a "
        "ledger row for each file, clean parquet, archive; the refresh of the insights that it sets off runs beside it."
    )
    contenders = [Contender(OURS, ours, note), *peers.contenders(met)]
    runs = interleave(contenders, rounds)
    question = f"{files:,} files of {FILE_ROWS} rows: ours, and peers for which the same files lie in S3 already."
    result = Result("landing", question, files * FILE_ROWS, OURS, runs, contenders)
    result.notes = [since_last(result), "Rows compared by a hash of every row: equal after every run.", *peers.notes]
    return result


def since_last(result: Result) -> str:
    """What the ratios are when our clock starts as the peers' does: when all files lie there."""
    told = []
    for one in result.contenders[1:]:
        pairs = zip(result.runs[one.name], result.runs[OURS], strict=True)
        told.append(f"{one.name} {median(peer.seconds / own.numbers[SINCE_LAST] for peer, own in pairs):.2f}")
    return f"Time / ours, when ours counts from the end of the last PUT only: {', '.join(told)}."


def goals(result: Result, one: Result, more: Result) -> list[Goal]:
    """What was to be reached."""
    singles = [run.seconds for run in one.runs[OURS]]
    seconds = result.median(OURS, lambda run: run.seconds)
    more_seconds = more.runs[OURS][-1].seconds
    files = result.rows // FILE_ROWS
    spread = f"{median(singles):.2f} s ({min(singles):.2f} - {max(singles):.2f})"
    each_of_more = more_seconds / MORE / seconds
    found = [
        Goal("one file, PUT to rows seen", f"{SINGLE_GOAL:.0f} s", spread, median(singles) <= SINGLE_GOAL),
        Goal(f"{files:,} files", f"{FILES_GOAL:.0f} s", f"{seconds:.1f} s", seconds <= FILES_GOAL),
        # Any failure would have ended the benchmark: see ``verify``.
        Goal(f"{files * MORE:,} files", "no failure", f"none; {more_seconds:.0f} s", met=True),
        Goal(f"{files * MORE:,} files, time for each", "1.00 x", f"{each_of_more:.2f} x", each_of_more <= 1),
    ]
    for peer in result.contenders[1:]:
        ratio = median(result.ratios(peer.name))
        found.append(
            Goal(f"{files:,} files, {peer.name}", f"{PEERS_GOAL:.0f} x", f"{ratio:.1f} x", ratio >= PEERS_GOAL)
        )
    return found
