"""What only Redshift asks for: conflicts, manifests, several files, bytes, lost sessions, no secret in a statement."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pytest

from datamart import insights
from datamart.errors import BalanceError, Conflict, DatamartError, TerminalFault, TransientFault
from datamart.holds import Holds
from datamart.loads import Arrival
from datamart.recovery.ledger import record_drill, register
from datamart.recovery.manifest import Manifest
from datamart.tables import table_named
from datamart.warehouse.exchange import Exchange, Sent
from datamart.warehouse.redshift import RedshiftWarehouse
from tests.contract.served import ROLE, Served
from tests.contract.test_rows import HIRED, batches, rows, taken
from tests.integration.vault import Vault
from tests.integration.world import World
from tests.redshift.standin import Standin

pytestmark = pytest.mark.served("redshift")


@pytest.fixture(autouse=True)
def standin(served: Served) -> Standin:
    """The server behind the world; other dialects have none."""
    assert served.standin is not None
    return served.standin


class Watched(RedshiftWarehouse):
    """Lets the server fail at one of its statements."""

    def __init__(self, served: Served, standin: Standin, at: int, kind: Any) -> None:
        self._standin, self._at, self._kind, self.count = standin, 0, kind, 0
        super().__init__(served.dsn, lambda: Exchange(served.data, ROLE))
        self._at, self.count = at, 0

    def _next(self) -> None:
        self.count += 1
        if self.count == self._at:
            self._standin.fail_next("", kind=self._kind)

    def execute(self, text: str, values: Mapping[str, object] | None = None) -> int:
        self._next()
        return super().execute(text, values)

    def query(self, text: str, values: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        self._next()
        return super().query(text, values)


def state(world: World) -> list[Any]:
    """All that may be changed, but for times and for the numbers of loads, which are other files' each time."""
    return [
        world.rows("jobs"),
        world.sql("SELECT id, job, _commit_seq, _replaced_seq FROM ops.jobs_history ORDER BY id, _replaced_seq"),
        world.sql(
            "SELECT verdict, rows_inserted, rows_updated, commit_seq, undone_seq FROM ops.loads ORDER BY commit_seq"
        ),
        world.sql("SELECT COUNT(*) FROM ops.rejected_rows"),
        world.sql("SELECT commit_seq, changed_seq FROM ops.tables WHERE table_name = 'jobs'"),
        world.sql("SELECT kind, rows_added, rows_changed, rows_removed, commit_seq FROM ops.restores"),
        world.sql("SELECT passed FROM ops.drills"),
        world.sql("SELECT COUNT(*) FROM ops.backups"),
    ]


Act = Callable[[Vault, Any], object]
"""Something that is done with a warehouse, in the same run each time."""


def upsert(vault: Vault, warehouse: Any) -> object:
    return vault.world.loader("run", warehouse).load(vault.world.listed(f"{vault.world.prefix}jobs_2.csv"))


def replacement(vault: Vault, warehouse: Any) -> object:
    arrival = vault.world.listed(f"{vault.world.prefix}jobs_2.csv")
    return vault.world.loader("run", warehouse).replace([arrival], table_named("jobs"))


def restore(vault: Vault, warehouse: Any) -> object:
    return vault.restore("jobs", run="run", warehouse=warehouse)


def moment(vault: Vault, warehouse: Any) -> object:
    return vault.restore("jobs", run="run", warehouse=warehouse, at=vault.world.kept_at)


def undo(vault: Vault, warehouse: Any) -> object:
    ((load_id,),) = vault.world.sql("SELECT load_id FROM ops.loads WHERE source_key LIKE '%%jobs_1.csv'")
    return vault.undo(load_id, run="run", warehouse=warehouse)


def drill(vault: Vault, warehouse: Any) -> object:
    return vault.drill(run="run", warehouse=warehouse)


def refresh(_vault: Vault, warehouse: Any) -> object:
    return insights.refresh(warehouse)


@pytest.mark.parametrize("kind", ["drop", "conflict"])
@pytest.mark.parametrize("act", [upsert, replacement, restore, moment, undo, drill, refresh])
def test_whatever_statement_fails_a_thing_is_done_wholly_or_not_at_all(
    vault: Vault, served: Served, standin: Standin, act: Act, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conflict is mended by itself; after a lost session the same run finds what was done."""
    monkeypatch.setattr("datamart.warehouse.base._FIRST_PAUSE", 0.001)
    statement, total, lost, after = 0, 1, 0, []
    while statement <= total:
        begin(vault, served)
        before = state(vault.world)
        with closing(Watched(served, standin, statement, kind)) as warehouse:
            fault = fault_of(act, vault, warehouse)
            if statement == 0:
                assert fault is None
                total, after = warehouse.count, state(vault.world)
        found = state(vault.world)
        assert fault is None or (kind == "drop" and isinstance(fault, TransientFault)), (
            f"statement {statement}: {fault}"
        )
        assert found == after or (fault and found == before), f"statement {statement}"
        assert fault_of(act, vault, None) is None
        assert state(vault.world) == after, f"statement {statement}"
        lost += fault is not None
        statement += statement // 8 + 1  # every one at the beginning, then some
    assert total > 5
    assert lost == 0 if kind == "conflict" else lost > 3


def begin(vault: Vault, served: Served) -> None:
    """Two loads with a backup and a moment between them, and a file that has not been loaded yet."""
    served.empty()
    vault.clear()
    world = vault.world
    world.load("jobs.csv", b"1,a\n2,b\n")
    vault.backup("jobs")
    world.kept_at = vault.now()
    world.load("jobs_1.csv", b"2,B\n4,d\n")
    world.put("jobs_2.csv", b"2,C\n3,c\nx,d\n")


def fault_of(act: Act, vault: Vault, warehouse: Any) -> DatamartError | None:
    """The fault that kept it from being done."""
    try:
        act(vault, warehouse or vault.world.warehouse)
    except DatamartError as error:
        return error
    return None


def test_a_commit_whose_answer_is_lost_is_not_done_twice(vault: Vault, served: Served, standin: Standin) -> None:
    for act in (upsert, replacement, restore, undo):
        begin(vault, served)
        act(vault, vault.world.warehouse)
        after = state(vault.world)
        begin(vault, served)
        with closing(Watched(served, standin, 0, "drop")) as warehouse:
            standin.fail_next("^COMMIT", kind="drop_after")
            assert isinstance(fault_of(act, vault, warehouse), TransientFault)
        assert state(vault.world) == after
        act(vault, vault.world.warehouse)
        assert state(vault.world) == after


def test_conflicts_without_an_end_are_told_and_leave_nothing(
    world: World, standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamart.warehouse.base._FIRST_PAUSE", 0.001)
    arrival, before = world.put("jobs.csv", b"1,a\n"), state(world)
    standin.fail_next("^COMMIT", times=50)
    with pytest.raises(Conflict, match="1023"):
        world.loader("run").load(arrival)
    assert state(world) == before
    standin.forgive()
    assert world.judge(arrival, run="run").counts.inserted == 1


@pytest.fixture(params=["repeatable read", "serializable"])
def isolation(request: pytest.FixtureRequest, standin: Standin) -> Iterator[str]:
    """Of the sessions that begin in the test."""
    usual, standin.isolation = standin.isolation, request.param
    yield request.param
    standin.isolation = usual


@pytest.mark.usefixtures("isolation")
def test_tables_are_loaded_beside_each_other(world: World) -> None:
    """They share the ledger, so transactions are in each other's way."""
    files = [
        (f"{table}_{number}.csv", f"{number},v\n{number + 100},w\n".encode())
        for number in range(1, 5)
        for table in ("jobs", "departments")
    ]
    arrivals = [world.put(name, body) for name, body in files]

    def load(arrival: Any) -> str:
        with world.connected() as warehouse:
            return str(world.loader(None, warehouse).load(arrival).verdict)

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(load, arrivals)) == {"loaded"}
    for table in ("jobs", "departments"):
        assert len(world.rows(table)) == 8
        numbers = world.sql("SELECT commit_seq FROM ops.loads WHERE table_name = %s ORDER BY 1", table)
        assert numbers == [(1,), (2,), (3,), (4,)]


def test_loaders_of_one_table_wait_for_each_other_and_are_in_nobody_s_way(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="datamart")
    arrivals = [world.put(f"jobs_{number}.csv", f"1,v{number}\n".encode()) for number in range(6)]

    def load(arrival: Any) -> None:
        with world.connected() as warehouse:
            world.loader(None, warehouse).load(arrival)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(load, arrivals))
    assert "tried again" not in caplog.text


Written = Callable[[Vault, Any], object]
"""Writes a row that no key keeps from being there twice."""


def drill_row(vault: Vault, warehouse: Any) -> object:
    return record_drill(warehouse, 7, "backup", True, {}, vault.now())


def backup_row(_vault: Vault, warehouse: Any) -> object:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    return register(warehouse, Manifest("another", "taken", moment, moment, None, {}, {}))


def hold_row(vault: Vault, warehouse: Any) -> object:
    arrival = Arrival("bucket", "landing/jobs.csv", "etag", datetime(2026, 1, 2, tzinfo=UTC), 1)
    return Holds(warehouse, vault.world.loader().settings).put(arrival, "away")


@pytest.mark.usefixtures("isolation")
@pytest.mark.parametrize("write", [drill_row, backup_row, hold_row])
def test_two_attempts_at_once_write_what_no_key_guards_once(
    vault: Vault, write: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zombie and its retry: the second one looks when the first one has written."""
    table = {drill_row: "drills", backup_row: "backups", hold_row: "holds"}[write]
    world, written = vault.world, threading.Event()
    with world.connected() as first, world.connected() as second, ThreadPoolExecutor(1) as thread:
        own = first.execute

        def slow(text: str, values: Any = None) -> int:
            rows = own(text, values)
            if f"INSERT INTO ops.{table}" in text:
                written.set()
                time.sleep(0.5)
            return rows

        monkeypatch.setattr(first, "execute", slow)
        writing = thread.submit(write, vault, first)
        assert written.wait(30)
        write(vault, second)
        writing.result()
    assert world.sql(f"SELECT COUNT(*) FROM ops.{table}") == [(1,)]


class Meddling(Exchange):
    """Does something to the files before the server reads them."""

    def meddle(self, place: str) -> None:
        """Each test says what."""

    @contextmanager
    def sent(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[Sent | None]:
        with super().sent(schema, batches) as sent:
            if sent:
                self.meddle(sent.manifest.removeprefix(f"s3://{self.store.bucket}/").removesuffix("manifest.json"))
            yield sent


def meddled(served: Served, kind: type[Meddling]) -> RedshiftWarehouse:
    """A session whose rows go by files of two rows each."""
    return RedshiftWarehouse(served.dsn, lambda: kind(served.data, ROLE, file_rows=2))


def test_only_the_files_of_the_manifest_are_read(served: Served, world: World) -> None:
    class Decoys(Meddling):
        def meddle(self, place: str) -> None:
            part = self.store.fetch(f"{place}part-00000.parquet")
            assert part is not None
            for name in ("part-00000.parquet.bak", "part-00009.parquet", "part-00000.parquet2"):
                self.store.write(f"{place}{name}", part)

    with closing(meddled(served, Decoys)) as warehouse:
        assert warehouse.stage_kept(HIRED, "with_decoys", batches(rows(7), 2)) == 7
        assert taken(warehouse, "with_decoys") == rows(7)
    assert world.keys("exchange/") == []


@pytest.mark.parametrize("how", ["gone", "longer", "no parquet"])
def test_a_file_of_the_manifest_that_is_not_as_it_was_written_fails_the_load(
    served: Served, world: World, how: str
) -> None:
    class Losing(Meddling):
        def meddle(self, place: str) -> None:
            key = f"{place}part-00001.parquet"
            part = self.store.fetch(key)
            assert part is not None
            if how == "gone":
                self.store.remove([key])
            else:
                self.store.write(key, part + b"!" if how == "longer" else bytes(len(part)))

    with closing(meddled(served, Losing)) as warehouse:
        with pytest.raises((TerminalFault, TransientFault)):
            warehouse.stage_kept(HIRED, "with_losses", batches(rows(5), 2))
        assert warehouse.size_of("with_losses") == 0
    assert world.keys("exchange/") == []


def test_clean_parquet_itself_is_what_the_server_reads(world: World, standin: Standin) -> None:
    before = len(standin.statements)
    world.load("jobs.csv", b"1,a\n2,b\n3,c\n", part_rows=1, chunk_bytes=1024)
    assert sum(text.startswith("COPY") for text in standin.statements[before:]) == 1
    assert world.keys("exchange/") == []


@pytest.mark.parametrize("slices", [1, 3])
def test_what_several_slices_have_written_is_read_whole(world: World, standin: Standin, slices: int) -> None:
    world.warehouse.stage_kept(HIRED, "sliced", batches(rows(100), 30))
    standin.slices = slices
    try:
        assert taken(world.warehouse, "sliced") == rows(100)
    finally:
        standin.slices = 2
        world.warehouse.drop_staging("sliced")


def test_a_file_that_the_server_has_written_and_that_is_gone_is_missed(served: Served) -> None:
    class Losing(Exchange):
        def received(self, place: str, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
            first = next(one.key for one in self.store.walk(place) if one.key.endswith(".parquet"))
            self.store.remove([first])
            return super().received(place, schema, rows)

    class Miscounting(Exchange):
        def received(self, place: str, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
            return super().received(place, schema, rows + 1)

    for kind, fault in ((Losing, TransientFault), (Miscounting, BalanceError)):
        with closing(RedshiftWarehouse(served.dsn, partial(kind, served.data, ROLE))) as warehouse:
            warehouse.stage_kept(HIRED, "lost", batches(rows(10), 10))
            with pytest.raises(fault):
                taken(warehouse, "lost")


def test_a_varchar_is_so_many_bytes(world: World) -> None:
    jobs = table_named("jobs")
    batch = pa.RecordBatch.from_arrays([pa.array([1], pa.int32()), pa.array(["ä" * 200])], schema=jobs.arrow_schema)
    with pytest.raises(TerminalFault):
        world.warehouse.stage(jobs, "too_many_bytes", [batch])
    world.warehouse.drop_staging("too_many_bytes")


def test_no_statement_and_no_log_holds_a_password_or_a_key(
    vault: Vault, served: Served, standin: Standin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="datamart")
    before, world = len(standin.statements), vault.world
    world.load("jobs.csv", b"1,secret name\nx,secret reject\n")
    manifest = vault.backup("jobs")
    world.sql("DELETE FROM public.jobs")
    vault.restore("jobs", backup_id=manifest.backup_id)
    said = "\n".join(standin.statements[before:])
    password = served.dsn.partition("@")[0].rpartition(":")[2]
    keys = world.store.client._request_signer._credentials
    for secret in (password, keys.access_key, keys.secret_key):
        assert secret not in said + caplog.text
    assert f"IAM_ROLE '{ROLE}'" in said
    for word in ("CREDENTIALS", "ACCESS_KEY", "SESSION_TOKEN"):
        assert word not in said.upper()
    assert "secret" not in said + caplog.text
