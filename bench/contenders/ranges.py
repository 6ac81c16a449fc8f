"""This project's path of a very large file: split, its ranges cleaned by so many workers, joined and loaded.

The steps are those that the tasks of ``historic_load`` call. Workers are processes that have their imports already, as
those have that Airflow forks; each takes the next range when it has done one.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict

import boto3

from bench.contenders import Clock, job
from datamart.batches import batch_of
from datamart.load import Loader
from datamart.loads import Mode
from datamart.objects import ObjectStore
from datamart.ranges.cleaning import clean_range
from datamart.ranges.joining import SplitFiles
from datamart.ranges.plan import read_plan
from datamart.ranges.splitting import Splitter, listed_ranges, prefixes_of
from datamart.settings import Settings, load_settings
from datamart.warehouse.postgres import PostgresWarehouse

_PHASES: dict[str, float] = {}
_PEAKS: dict[str, int] = {}
"""Bytes that this process had at most until a phase was over."""


def clean(settings: Settings, prefix: str, number: int) -> tuple[int, int]:
    """What a task does for one range; its rows, and the bytes that the process had at most."""
    store = _store(settings)
    plan = read_plan(store, prefix)
    assert plan is not None
    return clean_range(store, settings, plan, number).rows, _peak()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _store(settings: Settings) -> ObjectStore:
    return ObjectStore(boto3.client("s3"), settings.data_bucket)


@contextmanager
def _phase(name: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        _PHASES[name] = time.perf_counter() - started
        _PEAKS[name] = _peak()


def main() -> None:
    """Load the job's one ``key`` by ``workers`` processes, in ranges of ``range_bytes``."""
    wanted = job()
    settings = load_settings({"DATAMART_RANGE_BYTES": str(wanted["range_bytes"])})
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.contenders.ranges"])
    with ProcessPoolExecutor(wanted["workers"], context) as workers:
        list(workers.map(time.sleep, [0.2] * wanted["workers"]))  # all of them are there, and warm
        clock = Clock()
        with closing(PostgresWarehouse(wanted["dsn"])) as warehouse:
            loader = Loader(warehouse, _store(settings), settings, {"dag_id": "bench", "run_id": "bench ranges"})
            (arrival,) = loader.store.list(wanted["key"])
            with _phase("split"):
                (plan,) = Splitter(loader).plans([batch_of("hired_employees", [arrival])], Mode.UPSERT)
            listed = listed_ranges(plan)
            with _phase("clean"):
                done = [workers.submit(clean, settings, plan.prefix, one["number"]) for one in listed]
                rows = sum(one.result()[0] for one in done)
            _PEAKS["clean"] = max(one.result()[1] for one in done)
            split = SplitFiles(loader.store, settings, prefixes_of(listed))
            with _phase("load"):
                joined = Loader(warehouse, loader.store, settings, loader.run, prepared=split)
                outcome = joined.load(arrival)
                split.remove(arrival)
    clock.finish(
        phases=_PHASES,
        peaks=_PEAKS,
        rows=rows,
        ranges=len(listed),
        outcomes=[asdict(outcome) | {"verdict": outcome.verdict.value}],
    )


if __name__ == "__main__":
    main()
