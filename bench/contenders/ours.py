"""This project's path: ``Loader.load`` of one object in S3, as a Dag's task calls it, in a process of its own.

Nothing of the product is replaced. The public methods of this process's warehouse and object store are wrapped to
add up their seconds, so that the phases of a load can be told apart; a call within another one is not counted twice.
Copying is fed by validation, so the seconds of the copy hold those of the validation that it waits for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from functools import wraps
from typing import Any

import boto3

from bench.contenders import Clock, job
from datamart.load import Loader
from datamart.objects import ObjectStore
from datamart.settings import load_settings
from datamart.warehouse.postgres import PostgresWarehouse

# What a context manager spans is other calls' time; only its beginning and its end are its own.
_SPANS = (AbstractContextManager,)


class Phases:
    """Seconds by ``object.method``, outermost calls of each thread only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside = threading.local()

    def watch(self, thing: object, name: str) -> None:
        """Wrap every public method of one object."""
        for method in dir(type(thing)):
            found = getattr(thing, method)
            if not method.startswith("_") and callable(found):
                object.__setattr__(thing, method, self._timed(found, f"{name}.{method}"))

    def _timed(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **named: Any) -> Any:
            with self._measured(name):
                answer = method(*args, **named)
            return self._spanned(answer, name) if isinstance(answer, _SPANS) else answer

        return call

    @contextmanager
    def _spanned(self, manager: AbstractContextManager[Any], name: str) -> Iterator[Any]:
        with self._measured(f"{name} begin"):
            entered = manager.__enter__()
        try:
            yield entered
        except BaseException as error:
            if not manager.__exit__(type(error), error, error.__traceback__):
                raise
        else:
            with self._measured(f"{name} end"):
                manager.__exit__(None, None, None)

    @contextmanager
    def _measured(self, name: str) -> Iterator[None]:
        if getattr(self._inside, "call", None):
            yield
            return
        self._inside.call = name
        started = time.perf_counter()
        try:
            yield
        finally:
            self._inside.call = None
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def main() -> None:
    """Load the job's ``keys`` one after another."""
    wanted = job()
    clock, phases = Clock(), Phases()
    warehouse = PostgresWarehouse(wanted["dsn"])
    settings = load_settings({})
    store = ObjectStore(boto3.client("s3"), settings.data_bucket)
    outcomes = []
    try:
        listed = [store.list(key)[0] for key in wanted["keys"]]
        phases.watch(warehouse, "warehouse")
        phases.watch(store, "s3")
        for arrival in listed:
            loader = Loader(warehouse, store, settings, {"dag_id": "bench", "run_id": f"bench {arrival.key}"})
            outcomes.append(loader.load(arrival))
    finally:
        warehouse.close()
    clock.finish(
        phases=phases.seconds,
        outcomes=[asdict(outcome) | {"verdict": outcome.verdict.value} for outcome in outcomes],
    )


if __name__ == "__main__":
    main()
