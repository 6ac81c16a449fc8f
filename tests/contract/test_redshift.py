"""What only Redshift asks for: conflicts, manifests, several files, bytes, lost sessions, no secret in a statement."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import pyarrow as pa
import pytest

from datamart.errors import BalanceError, Conflict, DatamartError, TerminalFault, TransientFault
from datamart.tables import table_named
from datamart.warehouse.exchange import Exchange, Sent
from datamart.warehouse.redshift import RedshiftWarehouse
from tests.contract.served import ROLE, Served
from tests.contract.test_rows import HIRED, batches, rows, taken
from tests.integration.vault import Vault
from tests.integration.world import World
from tests.redshift.standin import Standin


@pytest.fixture(autouse=True)
def standin(served: Served) -> Standin:
    """The server behind the world; other dialects have none."""
    if served.standin is None:
        pytest.skip("only of the stand-in")
    return served.standin


class Watched(RedshiftWarehouse):
    """Lets the server fail at one of its statements."""

    def __init__(self, served: Served, standin: Standin, at: int, kind: Any) -> None:
        self._standin, self._at, self._kind, self.count = standin, 0, kind, 0
        super().__init__(served.dsn, Exchange(served.data, ROLE))
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
    """All that a load may change, but for times."""
    return [
        world.rows("jobs"),
        world.sql("SELECT id, job, _commit_seq, _replaced_seq FROM ops.jobs_history ORDER BY id, _replaced_seq"),
        world.sql(
            "SELECT load_id, verdict, rows_inserted, rows_updated, commit_seq FROM ops.loads ORDER BY commit_seq"
        ),
        world.sql("SELECT COUNT(*) FROM ops.rejected_rows"),
        world.sql("SELECT commit_seq, changed_seq FROM ops.tables WHERE table_name = 'jobs'"),
    ]


def attempt(world: World, warehouse: Any, mode: str, arrival: Any) -> DatamartError | None:
    """One file, upserted or as the whole table; the fault that kept it from being loaded."""
    loader = world.loader("run", warehouse)
    try:
        if mode == "upsert":
            loader.load(arrival)
        else:
            loader.replace([arrival], table_named("jobs"))
    except DatamartError as error:
        return error
    return None


def without_ids(found: list[Any]) -> list[Any]:
    """The state without the numbers of loads, which are another file's each time."""
    return [*found[:2], [row[1:] for row in found[2]], *found[3:]]


@pytest.mark.parametrize("mode", ["upsert", "replace"])
@pytest.mark.parametrize("kind", ["drop", "conflict"])
def test_whatever_statement_fails_a_file_is_loaded_wholly_or_not_at_all(
    world: World, served: Served, standin: Standin, mode: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conflict is mended by itself; after a lost session the same run finds what was done."""
    monkeypatch.setattr("datamart.warehouse.base._FIRST_PAUSE", 0.001)
    statement, total, lost, after = 0, 1, 0, []
    while statement <= total:
        served.empty()
        world.load("jobs.csv", b"1,a\n2,b\n")
        arrival, before = world.put("jobs_2.csv", b"2,B\n3,c\nx,d\n"), state(world)
        with closing(Watched(served, standin, statement, kind)) as warehouse:
            fault = attempt(world, warehouse, mode, arrival)
            if statement == 0:
                total, after = warehouse.count, without_ids(state(world))
        found = without_ids(state(world))
        assert fault is None or (kind == "drop" and isinstance(fault, TransientFault)), (
            f"statement {statement}: {fault}"
        )
        assert found == after or (fault and found == without_ids(before)), f"statement {statement}"
        lost += fault is not None
        assert attempt(world, None, mode, arrival) is None
        assert without_ids(state(world)) == after, f"statement {statement}"
        statement += 1
    assert total > 20
    assert lost == 0 if kind == "conflict" else lost > 20


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


class Meddling(Exchange):
    """Does something to the files before the server reads them."""

    def meddle(self, place: str) -> None:
        raise NotImplementedError

    @contextmanager
    def sent(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[Sent | None]:
        with super().sent(schema, batches) as sent:
            if sent:
                self.meddle(sent.manifest.removeprefix(f"s3://{self.store.bucket}/").removesuffix("manifest.json"))
            yield sent


def meddled(served: Served, kind: type[Meddling]) -> RedshiftWarehouse:
    """A session whose rows go by files of two rows each."""
    return RedshiftWarehouse(served.dsn, kind(served.data, ROLE, file_rows=2))


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
        with pytest.raises(TerminalFault):
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
        with closing(RedshiftWarehouse(served.dsn, kind(served.data, ROLE))) as warehouse:
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
