"""A landing folder of its own for a test: files dropped in it at times that the test chooses, and looks into it.

The bucket, its objects and every request are real; only the time that a listing gives for an object can be chosen,
as S3 tells seconds and a test cannot wait for them.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.awsrequest import AWSResponse

from datamart.batches import Batch, arrivals_of
from datamart.fetching import FetchingStore
from datamart.ingest import Ingest, Sessions
from datamart.landing import PREFIX, files_lie_there, plan_landing
from datamart.load import Loader
from datamart.loads import Arrival, Outcome
from datamart.objects import ObjectStore
from datamart.settings import load_settings
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.world import World

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Dated(FetchingStore):
    """The store as a task has it, whose clock has said what the test wants."""

    times: dict[str, datetime] = field(default_factory=dict)
    real: dict[tuple[str, datetime], datetime] = field(default_factory=dict)

    def date(self, key: str, chosen: datetime) -> None:
        """Choose the time that listings give for the object that is there now."""
        (found,) = (one for one in super().walk(key) if one.key == key)
        self.times[key] = chosen
        self.real[key, chosen] = found.last_modified

    def walk(self, prefix: str) -> Iterator[Arrival]:
        """The listing, with the chosen times."""
        for one in super().walk(prefix):
            yield replace(one, last_modified=self.times.get(one.key, one.last_modified))

    def move(self, arrival: Arrival, target: str, *, covered: bool = False) -> Sequence[Arrival]:
        """The move, for which S3 is asked by its own time."""
        real = self.real.get((arrival.key, arrival.last_modified), arrival.last_modified)
        return super().move(replace(arrival, last_modified=real), target, covered=covered)

    def another(self) -> Dated:
        """The same bucket, with nothing fetched ahead."""
        return Dated(self.client, self.bucket, times=self.times, real=self.real)


@dataclass(frozen=True)
class Drop:
    """A file that somebody put there."""

    arrival: Arrival
    body: bytes


@dataclass
class Zone:
    """One landing folder and what happened in it.

    ``turns`` are places in the order of arrivals: the number of the look that first planned a file, its time, its key.
    """

    world: World
    store: Dated
    drops: list[Drop] = field(default_factory=list)
    turns: dict[int, tuple[int, datetime, bytes]] = field(default_factory=dict)
    taken: list[Arrival] = field(default_factory=list)
    _looks: Iterator[int] = field(default_factory=lambda: count(1))

    def drop(self, name: str, body: bytes, *, at: float | None = None) -> Arrival:
        """Put a file there; ``at`` is S3's time for it in seconds after some beginning."""
        key = f"{PREFIX}{name}"
        self.store.write(key, body)
        self.store.times.pop(key, None)
        if at is not None:
            self.store.date(key, BEGIN + timedelta(seconds=at))
        return self.dropped(key, body)

    def dropped(self, key: str, body: bytes) -> Arrival:
        """Note a file that lies there."""
        (arrival,) = self.store.list(key, exact=True)
        self.drops.append(Drop(arrival, body))
        return arrival

    def remove(self, arrival: Arrival) -> None:
        """Somebody takes a file away."""
        self.store.remove([arrival.key])
        self.taken.append(arrival)

    def settings(self, **values: object) -> Any:
        return load_settings({f"DATAMART_{name.upper()}": str(value) for name, value in values.items()})

    def is_awaited(self, waiting: Callable[[], set[int]] = set, **settings: object) -> bool:
        """Would the sensor see a file to load?"""
        return files_lie_there(self.store, waiting, self.settings(**settings), self.world.warehouse.now)

    def plan(self, **settings: object) -> list[Batch]:
        """What a look into the folder would load."""
        batches = plan_landing(self.store, self.world.warehouse, self.settings(**settings)).batches
        look = next(self._looks)
        for batch in batches:
            for one in arrivals_of(batch):
                self.turns.setdefault(one.arrival_id, (look, one.last_modified, one.key.encode()))
        return batches

    def ingest(
        self, *batches: Batch, run: str | None = None, careful: bool = False, **settings: object
    ) -> list[Outcome]:
        """Load batches as the tasks of one run do, each with a session of its own."""
        run = run or f"look-{next(self._looks)}"
        found: list[Outcome] = []
        for batch in batches:
            arrivals = arrivals_of(batch)
            self.world.asked += [(one, {}) for one in arrivals]
            with Sessions(lambda: self.loader(run, **settings)) as sessions:
                found += Ingest(sessions, careful).files(arrivals)
        return found

    def look(self, **options: Any) -> dict[str, Outcome]:
        """Plan and load; outcomes by the name below the folder."""
        found = self.ingest(*self.plan(), **options)
        return {outcome.key.removeprefix(PREFIX): outcome for outcome in found}

    @contextmanager
    def loader(
        self, run: str, kind: type[PostgresWarehouse] = PostgresWarehouse, **settings: object
    ) -> Iterator[Loader]:
        """A loader with a session of its own, as a task gets it."""
        with self.world.connected(kind) as warehouse:
            yield replace(self.world.loader(run, warehouse, **settings), store=self.store.another())

    def make_due(self) -> None:
        """Let the time that files on hold have to wait be over."""
        self.world.sql("UPDATE ops.holds SET next_try_at = now() - interval '1 second'")

    def held(self) -> dict[str, int]:
        """Tries by name of the files on hold."""
        return {
            key.removeprefix(PREFIX): attempts
            for key, attempts in self.world.sql("SELECT source_key, attempts FROM ops.holds")
        }

    def lying(self) -> list[str]:
        """Names of the files in the landing folder."""
        return [one.key.removeprefix(PREFIX) for one in self.store.list(PREFIX)]

    def clear(self) -> None:
        """Begin anew: an empty bucket and a warehouse as after its migration."""
        self.world.database.empty()
        self.store.remove(one.key for one in self.store.walk(""))
        self.store.times.clear()
        self.store.real.clear()
        self.world.asked.clear()
        self.drops.clear()
        self.turns.clear()
        self.taken.clear()


Answer = AWSResponse | None
Act = Callable[[str], Answer]
"""What is done, given the key of the object that is asked for."""


@contextmanager
def on_requests(store: ObjectStore, operation: str, keys: Container[str], act: Act, times: int) -> Iterator[list[str]]:
    """Do something when a request for one of these objects is about to be sent, or answer it in S3's place.

    Yields the keys of the requests that were met so far.
    """
    met: list[str] = []
    start = f"/{store.bucket}/"

    def hook(request: Any, **_: object) -> Answer:
        key = unquote(urlsplit(request.url).path).removeprefix(start)
        if key not in keys or len(met) >= times:
            return None
        met.append(key)
        return act(key)

    event = f"before-send.s3.{operation}"
    store.client.meta.events.register(event, hook)
    try:
        yield met
    finally:
        store.client.meta.events.unregister(event, hook)


@contextmanager
def at_request(store: ObjectStore, operation: str, key: str, act: Act, times: int = 1) -> Iterator[None]:
    """The same for one object; fails when it was not asked for."""
    with on_requests(store, operation, {key}, act, times) as met:
        yield
    assert met, f"no {operation} of {key}"


class _Body:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body


def s3_says(status: int, code: str) -> Act:
    """An error as AWS words it."""
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}.</Message></Error>'

    def answer(_key: str) -> Answer:
        return AWSResponse("", status, {"Content-Type": "application/xml"}, _Body(body.encode()))

    return answer


FORBIDDEN = s3_says(403, "AccessDenied")
EXPIRED = s3_says(400, "ExpiredToken")
ALWAYS = 1_000_000
