"""A conflict at any statement of any transaction: what is done again does what it would have done undisturbed.

Each act is done once undisturbed, and once with a conflict (as 40001 and 40P01 are) after each statement and each piece
of COPY in turn. Answers, rows, rejected rows, history and ledger must be equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pyarrow as pa
import pytest

from datamart import insights
from datamart.errors import Conflict
from datamart.holds import Holds
from datamart.load import Loader
from datamart.loads import Arrival, Mode, Outcome
from datamart.settings import load_settings
from datamart.tables import Table, table_named
from datamart.warehouse import base
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.sound import assert_sound
from tests.integration.vault import Vault
from tests.integration.world import Row, World

T = TypeVar("T")

MANY = b"".join(b"%d,job %d\n" % (number, number) for number in range(1, 401)) + b"x,bad\n7,again\n401,\n"
BACKUP, SECONDS = re.compile(r"\d{8}T\d{6}Z-\d+-[0-9a-f]+"), re.compile(r"seconds=[\d.]+")
MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00")


class Conflicting(PostgresWarehouse):
    """Where it ``disturbs``, each transaction has a conflict after its first statement or piece, its next try after its
    second, and so on until one comes to its end."""

    disturbs = False
    conflicts = 0
    _at: int | None = None
    _done = 0
    _within = False

    def despite_conflicts(self, once: Callable[[], T]) -> T:
        self._at = 1 if self.disturbs else None
        try:
            return super().despite_conflicts(once)
        finally:
            self._at = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with super().transaction():
            self._done, self._within = 0, True
            try:
                yield
            finally:
                self._within = False

    def execute(self, text: str, values: Mapping[str, object] | None = None) -> int:
        found = super().execute(text, values)
        self._step()
        return found

    def query(self, text: str, values: Mapping[str, object] | None = None) -> list[Row]:
        found = super().query(text, values)
        self._step()
        return found

    def _copy(self, target: str, pieces: Iterable[bytes]) -> int:
        found = super()._copy(target, self._stepped(pieces))
        self._step()
        return found

    def rows_of(self, table: Table, relation: str, condition: str = "") -> Iterator[pa.RecordBatch]:
        yield from self._stepped(super().rows_of(table, relation, condition))

    def _stepped(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            yield item
            self._step()

    def _step(self) -> None:
        if self._at is None or not self._within:
            return
        self._done += 1
        if self._done == self._at:
            self._at += 1
            self.conflicts += 1
            raise Conflict("Another transaction was in the way (40001).")


@dataclass
class Stage:
    """What an act finds."""

    vault: Vault
    warehouse: Conflicting
    arrivals: dict[str, Arrival]

    @property
    def world(self) -> World:
        return self.vault.world

    def loader(self, fill_from_bytes: int = 1 << 30) -> Loader:
        settings = load_settings({"DATAMART_CHUNK_BYTES": "1024"})
        run = {"dag_id": "integration", "run_id": "tonight"}
        return Loader(self.warehouse, self.world.store, settings, run, fill_from_bytes=fill_from_bytes)


BODIES = {
    "jobs.csv": MANY, "jobs_a.csv": b"1,a\n2,b\nx,bad\n", "jobs_b.csv": b"2,B\n3,c\n",
    "jobs copy.csv": b"1,a\n2,b\nx,bad\n",
}  # fmt: skip


def loads(stage: Stage, *names: str) -> list[Outcome]:
    return [stage.world.loader("before").load(stage.arrivals[name]) for name in names]


def fill(stage: Stage) -> Any:
    return stage.loader(fill_from_bytes=0).load(stage.arrivals["jobs.csv"])


def upsert(stage: Stage) -> Any:
    return stage.loader().load(stage.arrivals["jobs.csv"])


def missing(stage: Stage) -> Any:
    """Some of its rows are gone, one is another's now, one was changed by hand."""
    loads(stage, "jobs.csv", "jobs_b.csv")
    stage.world.sql("DELETE FROM public.jobs WHERE id IN (1, 2, 7)")
    stage.world.sql("UPDATE public.jobs SET job = 'by hand' WHERE id = 9")
    found = stage.loader().load(stage.arrivals["jobs.csv"]), stage.world.snapshot()
    stage.world.database.empty()  # what was done by hand is not sound
    return MOMENT.sub("then", str(found))


def late(stage: Stage) -> Any:
    """Gives way to a newer file."""
    early = stage.world.warehouse.now()
    newer = replace(stage.arrivals["jobs_b.csv"], listed_at=stage.world.warehouse.now())
    stage.world.loader("before").load(newer)
    return stage.loader().load(replace(stage.arrivals["jobs_a.csv"], listed_at=early, late=True))


def replacement(stage: Stage) -> Any:
    arrivals = [stage.arrivals["jobs_a.csv"], stage.arrivals["jobs_b.csv"]]
    return stage.loader().replace(arrivals, table_named("jobs"))


def failure(stage: Stage) -> Any:
    return stage.loader().fail(stage.arrivals["jobs.csv"], Mode.UPSERT, "S3 was silent.")


def restore(stage: Stage) -> Any:
    stage.vault.backup("jobs")
    loads(stage, "jobs_b.csv")
    return stage.vault.restore("jobs", run="tonight", warehouse=stage.warehouse)


def restore_to_a_moment(stage: Stage) -> Any:
    stage.vault.backup("jobs")
    loads(stage, "jobs_b.csv")
    at = stage.world.warehouse.now()
    loads(stage, "jobs copy.csv")
    return replace(stage.vault.restore("jobs", run="tonight", warehouse=stage.warehouse, at=at), target_at=None)


def restore_into(stage: Stage) -> Any:
    stage.world.sql("DROP TABLE IF EXISTS public.jobs_then")
    stage.vault.backup("jobs")
    found = stage.vault.restore("jobs", run="tonight", warehouse=stage.warehouse, into="jobs_then")
    return found, stage.world.sql("SELECT * FROM public.jobs_then ORDER BY id")


def undo(stage: Stage) -> Any:
    (load,) = loads(stage, "jobs_b.csv")
    return stage.vault.undo(load.load_id, run="tonight", warehouse=stage.warehouse)


def refresh(stage: Stage) -> Any:
    return insights.refresh(stage.warehouse), stage.world.sql("SELECT insight, rows_written FROM ops.insight_refreshes")


def drill(stage: Stage) -> Any:
    manifest = stage.vault.backup("jobs")
    stage.vault.drill(run="tonight", warehouse=stage.warehouse)
    proven = "SELECT count(proven_at) FROM ops.backups WHERE backup_id = %s"
    return stage.world.sql(proven, manifest.backup_id), stage.world.sql("SELECT passed FROM ops.drills")


def hold(stage: Stage) -> Any:
    holds = Holds(stage.warehouse, load_settings({}))
    return holds.put(stage.arrivals["jobs.csv"], "S3 was silent.").attempts, len(holds.all())


ACTS: dict[str, tuple[tuple[str, ...], Callable[[Stage], Any]]] = {
    "a fill": ((), fill),
    "an upsert": (("jobs_a.csv",), upsert),
    "a copy": (("jobs_a.csv",), lambda stage: stage.loader().load(stage.arrivals["jobs copy.csv"])),
    "a late file": ((), late),
    "rows that are gone": ((), missing),
    "a replacement": (("jobs.csv",), replacement),
    "a failure": ((), failure),
    "a restore": (("jobs_a.csv",), restore),
    "a restore to a moment": (("jobs_a.csv",), restore_to_a_moment),
    "a restore into another table": (("jobs_a.csv",), restore_into),
    "an undo": (("jobs_a.csv",), undo),
    "a refresh": (("jobs_a.csv",), refresh),
    "a drill": (("jobs_a.csv",), drill),
    "a hold": ((), hold),
}


def state(vault: Vault) -> dict[str, list[Any]]:
    """Everything but times, and numbers of backups, which each have their own."""
    return {
        name: [MOMENT.sub("then", text) for (text,) in rows] if name.startswith("ops.") else rows
        for name, rows in vault.everything().items()
        if name != "ops.restores"
    }


@pytest.mark.parametrize(("before", "act"), ACTS.values(), ids=ACTS)
def test_a_conflict_anywhere_changes_nothing(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, before: tuple[str, ...], act: Callable[[Stage], Any]
) -> None:
    monkeypatch.setattr(base, "_FIRST_PAUSE", 0)
    monkeypatch.setattr(base, "_TRIES", 1000)
    world = vault.world
    arrivals = {name: world.put(name, body) for name, body in BODIES.items()}

    def done(*, disturbed: bool) -> tuple[str, dict[str, list[Any]], int]:
        vault.clear()
        world.database.empty()
        with world.connected(Conflicting) as warehouse:
            assert isinstance(warehouse, Conflicting)
            stage = Stage(vault, warehouse, arrivals)
            loads(stage, *before)
            warehouse.disturbs = disturbed
            answer = BACKUP.sub("backup", SECONDS.sub("", str(act(stage))))
        return answer, state(vault), warehouse.conflicts

    answer, rows, conflicts = done(disturbed=False)
    assert conflicts == 0
    again, rows_again, conflicts = done(disturbed=True)
    assert again == answer
    assert rows_again == rows
    assert_sound(world)
    assert conflicts > 2 or act is hold
