"""Rows that go missing on the way must stop the load: nothing is committed, and the next try loads all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO

import pytest

from datamart import reader
from datamart.errors import BalanceError, DatamartError, TransientFault
from datamart.loads import Verdict
from datamart.objects import ObjectStore
from datamart.reasons import Reject
from datamart.records import Block, read_blocks
from datamart.tables import Table, table_named
from datamart.validation import Judged, Validator
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.world import World, upserted

BEFORE = pytest.mark.parametrize("before", [b"", b"1,old\n2,same\n9,other\n"], ids=["empty table", "table with rows"])
BODY = b"1,new\n2,same\n3,new\nx,bad\nragged\n"


class LosesAStagedRow(PostgresWarehouse):
    """The server has one row less than it was sent."""

    def stage(self, table: Table, staging: str, batches: Iterable[Any]) -> None:
        super().stage(table, staging, batches)
        self.execute(f"DELETE FROM {staging} WHERE id = 2")

    def append(self, table: Table, load_id: int, batches: Iterable[Any]) -> None:
        super().append(table, load_id, batches)
        self.execute(f"DELETE FROM public.{table.name} WHERE id = 2")


class DoublesAStagedRow(PostgresWarehouse):
    """The server has one row more than it was sent."""

    doubled = 2

    def stage(self, table: Table, staging: str, batches: Iterable[Any]) -> None:
        super().stage(table, staging, batches)
        self.execute(f"INSERT INTO {staging} SELECT * FROM {staging} WHERE id = {self.doubled}")

    def append(self, table: Table, load_id: int, batches: Iterable[Any]) -> None:
        super().append(table, load_id, batches)
        self.execute(f"INSERT INTO public.{table.name} VALUES (77, 'nobody sent this', {load_id})")


class DoublesAChangedRow(DoublesAStagedRow):
    doubled = 1


class DoublesANewRow(DoublesAStagedRow):
    doubled = 3


class SwapsAStagedRow(PostgresWarehouse):
    """As many rows as were sent, but one twice and another never."""

    def stage(self, table: Table, staging: str, batches: Iterable[Any]) -> None:
        super().stage(table, staging, batches)
        self.execute(f"DELETE FROM {staging} WHERE id = 3")
        self.execute(f"INSERT INTO {staging} SELECT * FROM {staging} WHERE id = 2")


class LosesAReject(PostgresWarehouse):
    def copy_rejects(self, load_id: int, rejects: Iterable[Reject]) -> None:
        super().copy_rejects(load_id, list(rejects)[1:])


class LosesAllRejects(PostgresWarehouse):
    def copy_rejects(self, load_id: int, rejects: Iterable[Reject]) -> None:
        super().copy_rejects(load_id, list(rejects)[:0])


class InventsAReject(PostgresWarehouse):
    def copy_rejects(self, load_id: int, rejects: Iterable[Reject]) -> None:
        kept = list(rejects)
        super().copy_rejects(load_id, [*kept, Reject(999, b"", (), fits_columns=False)])


def assert_refused(world: World, kind: type[PostgresWarehouse], body: bytes, **settings: Any) -> None:
    """The load stops, nothing is committed, and an honest warehouse loads the file afterwards."""
    arrival = world.put("jobs.csv", body)
    before = world.snapshot()
    with world.connected(kind) as warehouse, pytest.raises(DatamartError) as stopped:
        world.loader(warehouse=warehouse, **settings).load(arrival)
    assert world.snapshot() == before
    assert not isinstance(stopped.value, TransientFault)
    world.judge(arrival, **settings)


@BEFORE
@pytest.mark.parametrize(
    "kind", [LosesAStagedRow, DoublesAStagedRow, LosesAReject, LosesAllRejects, InventsAReject],
    ids=lambda kind: kind.__name__,
)  # fmt: skip
def test_a_row_more_or_less_stops_the_load(world: World, kind: type[PostgresWarehouse], before: bytes) -> None:
    if before:
        world.load("jobs_before.csv", before)
    assert_refused(world, kind, BODY)
    assert world.rows("jobs") == upserted("jobs", before, BODY)


@pytest.mark.parametrize("kind", [DoublesAChangedRow, DoublesANewRow, SwapsAStagedRow], ids=lambda kind: kind.__name__)
def test_a_staged_row_in_place_of_another_stops_the_load(world: World, kind: type[PostgresWarehouse]) -> None:
    before = b"1,old\n2,same\n9,other\n"
    world.load("jobs_before.csv", before)
    assert_refused(world, kind, BODY)
    assert world.rows("jobs") == upserted("jobs", before, BODY)


@BEFORE
@pytest.mark.parametrize("kind", [LosesAReject, LosesAllRejects, InventsAReject], ids=lambda kind: kind.__name__)
def test_a_refused_file_needs_all_its_rejected_rows(world: World, kind: type[PostgresWarehouse], before: bytes) -> None:
    if before:
        world.load("jobs_before.csv", before)
    assert_refused(world, kind, BODY, reject_threshold=0.1)
    assert world.rows("jobs") == upserted("jobs", before)


LINES = b'id,job\n1,new\n\n2,"sa\nme"\n3,new\nx,"b\nad"\n,\n'


def blocks_without_their_last_record(*args: Any, **options: Any) -> Iterator[Block]:
    """A cutter that lets a record vanish: no count of rows can miss it."""
    for block in read_blocks(*args, **options):
        if len(block.starts) < 2:
            yield block
            continue
        heights = None if block.heights is None else block.heights[:-1]
        yield replace(
            block, starts=block.starts[:-1], ends=block.ends[:-1], lines=block.lines[:-1], quoted=block.quoted[:-1],
            heights=heights, plain=False,
        )  # fmt: skip


def blocks_without_blank_lines(*args: Any, **options: Any) -> Iterator[Block]:
    for block in read_blocks(*args, **options):
        yield replace(block, blank=0)


def blocks_of_one_line_each(*args: Any, **options: Any) -> Iterator[Block]:
    for block in read_blocks(*args, **options):
        yield replace(block, heights=None)


def blocks_that_ignore_a_line(*args: Any, **options: Any) -> Iterator[Block]:
    for block in read_blocks(*args, **options):
        yield replace(block, ignored=1)


CUTTERS = [
    blocks_without_their_last_record, blocks_without_blank_lines, blocks_of_one_line_each, blocks_that_ignore_a_line,
]  # fmt: skip


@BEFORE
@pytest.mark.parametrize("cutter", CUTTERS, ids=lambda cutter: cutter.__name__)
def test_a_physical_line_more_or_less_stops_the_load(
    world: World, monkeypatch: pytest.MonkeyPatch, cutter: Any, before: bytes
) -> None:
    """By every way in: an upsert, a dry run, a replacement."""
    if before:
        world.load("jobs_before.csv", before)
    arrival, committed = world.put("jobs.csv", LINES), world.snapshot()
    with monkeypatch.context() as planted:
        planted.setattr(reader, "read_blocks", cutter)
        for load in (
            lambda: world.loader().load(arrival),
            lambda: world.loader().load(arrival, dry_run=True),
            lambda: world.loader().replace([arrival], table_named("jobs")),
        ):
            with pytest.raises(BalanceError, match=r"9 lines in the file, but .* Nothing was committed"):
                load()
            assert world.snapshot() == committed
    assert world.judge(arrival).verdict is Verdict.LOADED
    assert world.rows("jobs") == upserted("jobs", before, LINES)


def test_a_rejected_row_that_loses_a_line_stops_the_load(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, arrival = Validator.judge, world.put("jobs.csv", LINES)

    def careless(judge: Validator, chunk: reader.Chunk) -> Judged:
        judged = honest(judge, chunk)
        return replace(judged, rejects=[one._replace(raw=one.raw.split(b"\n")[0]) for one in judged.rejects])

    with monkeypatch.context() as planted:
        planted.setattr(Validator, "judge", careless)
        with pytest.raises(BalanceError, match="1 in rejected rows"):
            world.loader().load(arrival)
    assert world.judge(arrival).verdict is Verdict.LOADED


@contextmanager
def losing(world: World, operation: str, name: str, condition: str = "true") -> Iterator[None]:
    """The server silently skips one kind of write, as a broken trigger would."""
    world.sql(
        f"CREATE FUNCTION public.skip() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$BEGIN IF {condition} THEN RETURN NULL; END IF; RETURN coalesce(NEW, OLD); END$$"
    )
    world.sql(f"CREATE TRIGGER skip BEFORE {operation} ON {name} FOR EACH ROW EXECUTE FUNCTION public.skip()")
    try:
        yield
    finally:
        world.sql("DROP FUNCTION public.skip CASCADE")


WRITES = {
    "an insert": ("INSERT", "public.jobs", "NEW.id = 3"),
    "an update": ("UPDATE", "public.jobs", "NEW.id = 1"),
    "a history row": ("INSERT", "ops.jobs_history", "NEW.id = 1"),
    "a rejected row": ("INSERT", "ops.rejected_rows", "NEW.line = 4"),
    "the ledger's row": ("INSERT", "ops.loads", "true"),
    "the commit number": ("UPDATE", "ops.tables", "true"),
}


@pytest.mark.parametrize(("operation", "name", "condition"), WRITES.values(), ids=WRITES)
def test_a_write_that_the_server_skips_stops_the_load(world: World, operation: str, name: str, condition: str) -> None:
    before = b"1,old\n2,same\n9,other\n"
    world.load("jobs_before.csv", before)
    with losing(world, operation, name, condition):
        arrival, committed = world.put("jobs.csv", BODY), world.snapshot()
        with pytest.raises(BalanceError, match="Nothing was committed"):
            world.loader().load(arrival)
        assert world.snapshot() == committed
    assert world.judge(arrival).verdict is Verdict.LOADED
    assert world.rows("jobs") == upserted("jobs", before, BODY)


def test_an_insert_into_an_empty_table_that_the_server_skips_stops_the_load(world: World) -> None:
    with losing(world, "INSERT", "public.jobs", "NEW.id = 3"):
        arrival, committed = world.put("jobs.csv", BODY), world.snapshot()
        with pytest.raises(BalanceError, match="Nothing was committed"):
            world.loader().load(arrival)
        assert world.snapshot() == committed
    world.judge(arrival)
    assert world.rows("jobs") == upserted("jobs", BODY)


def test_a_copy_that_loses_a_rejected_row_is_stopped(world: World) -> None:
    world.load("jobs.csv", BODY)
    with losing(world, "INSERT", "ops.rejected_rows", "NEW.line = 4"):
        arrival, committed = world.put("jobs copy.csv", BODY), world.snapshot()
        with pytest.raises(BalanceError):
            world.loader().load(arrival)
        assert world.snapshot() == committed
    assert world.judge(arrival).verdict is Verdict.DUPLICATE


REMOVALS = {
    "a removal": ("DELETE", "public.jobs", "OLD.id = 9"),
    "the history row of a removal": ("INSERT", "ops.jobs_history", "NEW.id = 9"),
}


@pytest.mark.parametrize(("operation", "name", "condition"), REMOVALS.values(), ids=REMOVALS)
def test_a_removal_that_the_server_skips_stops_the_replacement(
    world: World, operation: str, name: str, condition: str
) -> None:
    world.load("jobs_before.csv", b"1,old\n2,same\n9,other\n")
    with losing(world, operation, name, condition):
        arrival, committed = world.put("jobs.csv", BODY), world.snapshot()
        with pytest.raises(BalanceError):
            world.loader().replace([arrival], table_named("jobs"))
        assert world.snapshot() == committed


@BEFORE
@pytest.mark.parametrize("kept", ["clean/", "rejected/"])
def test_35_what_cannot_be_written_to_s3_stops_the_load(world: World, before: bytes, kept: str) -> None:
    if before:
        world.load("jobs_before.csv", before)
    arrival, committed = world.put("jobs.csv", BODY), world.snapshot()

    class Full(ObjectStore):
        def write(self, key: str, body: bytes | BinaryIO) -> None:
            if key.startswith(kept):
                raise TransientFault(f"{key}: S3 answered 507.")
            super().write(key, body)

    honest = world.loader()
    full = replace(honest, store=Full(world.store.client, world.store.bucket))
    with pytest.raises(TransientFault, match="507"):
        full.load(arrival)
    assert world.snapshot() == committed
    assert world.judge(arrival).verdict is Verdict.LOADED
    assert world.rows("jobs") == upserted("jobs", before, BODY)
