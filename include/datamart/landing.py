"""Plans a look into the landing folder: which files are loaded now, in which batches, in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from datamart.batches import Batch, arrivals_of, batch_of
from datamart.file_names import IGNORED, PARTIAL, LeftOut, is_ignored, is_left_alone
from datamart.holds import Holds
from datamart.loads import Arrival
from datamart.objects import ObjectStore
from datamart.routing import table_for
from datamart.settings import Settings
from datamart.tables import TABLES, Table, load_order
from datamart.warehouse.base import Warehouse

PREFIX = "landing/"
MOST_FILES = 1000
"""Files in one batch: a run is to end in minutes, and what arrives meanwhile waits for its end."""
MOST_BYTES = 1 << 30
TOGETHER = timedelta(seconds=10)
"""Files that arrive within this time may be meant together: those that others refer to are loaded first."""


def files_lie_there(
    store: ObjectStore, waiting: Callable[[], set[int]], settings: Settings, now: Callable[[], datetime]
) -> bool:
    """Is there a file to load that is not on hold?

    ``waiting`` is asked for those on hold only when there is such a file, and ``now``, the time by the warehouse's
    clock, only when a file of a partial name seems to have been there for long enough.
    """
    held: set[int] | None = None
    for arrival in store.walk(PREFIX):
        if is_left_alone(arrival, settings, lambda: datetime.now(UTC)) or is_left_alone(arrival, settings, now):
            continue
        held = waiting() if held is None else held
        if arrival.arrival_id not in held:
            return True
    return False


@dataclass(frozen=True)
class LandingPlan:
    """What a look into the folder has found: batches to load, and files that are left there."""

    batches: list[Batch]
    left_out: LeftOut = field(default_factory=LeftOut)


def plan_landing(
    store: ObjectStore, warehouse: Warehouse, settings: Settings, tables: tuple[Table, ...] = TABLES
) -> LandingPlan:
    """One batch a table, its files in the order of their arrival; what is left is of the next look."""
    listed_at, waiting = warehouse.now(), Holds(warehouse, settings).waiting()
    left_out, listed = LeftOut(), []
    for one in store.list(PREFIX):
        if is_left_alone(one, settings, lambda: listed_at):
            left_out.add(IGNORED if is_ignored(one.key) else PARTIAL, [one.key])
        elif one.arrival_id not in waiting:
            listed.append(replace(one, listed_at=listed_at))
    return LandingPlan(_pinned(store, batches_of(listed, tables)), left_out)


def _pinned(store: ObjectStore, batches: Sequence[Batch]) -> list[Batch]:
    """The batches with the versions of their files; a file that is gone, and a batch without files, are left out."""
    listed = {batch["table"]: arrivals_of(batch) for batch in batches}
    found = {one.key: one for one in store.pinned([one for arrivals in listed.values() for one in arrivals])}
    there = {table: [found[one.key] for one in arrivals if one.key in found] for table, arrivals in listed.items()}
    return [batch_of(table, arrivals) for table, arrivals in there.items() if arrivals]


def batches_of(listed: Sequence[Arrival], tables: tuple[Table, ...] = TABLES) -> list[Batch]:
    """The batches of a listing that is in the order of arrival.

    A file waits for the next look while one of a table that it refers to lies there, unless that came well after it.
    """
    by_table: dict[Table | None, list[Arrival]] = {}
    for arrival in listed:
        by_table.setdefault(table_for(arrival.key, tables), []).append(arrival)
    batches = []
    for table, arrivals in by_table.items():
        first = _first_referenced(table, by_table, tables) if table else None
        ready = [one for one in arrivals if first is None or one.last_modified + TOGETHER <= first.last_modified]
        chosen = list(_fitting(ready))
        if chosen:
            batches.append(batch_of(table.name if table else None, chosen))
    return batches


def _first_referenced(
    table: Table, by_table: dict[Table | None, list[Arrival]], tables: tuple[Table, ...]
) -> Arrival | None:
    """The oldest file that lies there for a table that ``table`` refers to and that is to be loaded before it."""
    waves = load_order(tables)
    wave = next(number for number, members in enumerate(waves) if table in members)
    earlier = [one for members in waves[:wave] for one in members if one.name in table.references.values()]
    found = [by_table[one][0] for one in earlier if one in by_table]
    return min(found, key=lambda arrival: arrival.last_modified, default=None)


def _fitting(arrivals: Iterable[Arrival]) -> Iterable[Arrival]:
    """As many of the oldest as one batch holds; a file larger than that goes alone."""
    size = 0
    for place, arrival in enumerate(arrivals):
        size += arrival.size
        if place == MOST_FILES or (place and size > MOST_BYTES):
            return
        yield arrival
