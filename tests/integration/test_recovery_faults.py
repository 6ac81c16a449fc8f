"""Processes that are killed at every step, sessions that end, S3 that fails, disks that are full: whole, or not at all.

What is killed is a process of its own (``main``), forked from one that has imported everything, so that each costs
little. It counts its calls to the warehouse, its pieces of COPY and its requests to S3, and kills itself after one.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from threading import Event, Lock
from typing import Any

import boto3
import psycopg2
import pyarrow as pa
import pytest
from botocore.exceptions import ConnectionClosedError, IncompleteReadError

from datamart.errors import DatamartError, TerminalFault, TransientFault, sentence
from datamart.objects import ObjectStore, change_key
from datamart.recovery.backup import Backup
from datamart.recovery.drill import Drill
from datamart.recovery.point import Wanted
from datamart.recovery.restore import Restore
from datamart.recovery.undo import Undo
from datamart.settings import load_settings
from datamart.tables import Table
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.landing_zone import ALWAYS, FORBIDDEN, on_requests, s3_says
from tests.integration.vault import NAMES, Everything, Vault
from tests.integration.world import Row
from tests.stack import REPOSITORY

BUSY = s3_says(503, "SlowDown")
FEW = b"1,a\n2,b\n3,c\n"
HELD_UP = 60  # seconds until a wait for another thread is given up; never waited for in a run that passes


# The process that is killed


class Steps:
    """Counts what the process does with others; after step ``last`` it is no more."""

    def __init__(self, last: int) -> None:
        self._last, self._lock, self.done = last, Lock(), 0

    def step(self) -> None:
        with self._lock:
            self.done += 1
            if self.done == self._last:
                os.kill(os.getpid(), signal.SIGKILL)


class Client:
    """S3, each of whose calls is a step."""

    def __init__(self, client: Any, steps: Steps) -> None:
        self._client, self._steps = client, steps

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*args: Any, **names: Any) -> Any:
            answer = found(*args, **names)
            self._steps.step()
            return answer

        return call


class Stepping(PostgresWarehouse):
    """A warehouse each of whose statements and pieces of COPY is a step."""

    steps: Steps

    def execute(self, text: str, values: Mapping[str, object] | None = None) -> int:
        found = super().execute(text, values)
        self.steps.step()
        return found

    def query(self, text: str, values: Mapping[str, object] | None = None) -> list[Row]:
        found = super().query(text, values)
        self.steps.step()
        return found

    def _copy(self, target: str, pieces: Iterable[bytes]) -> int:
        found = super()._copy(target, self._stepped(pieces))
        self.steps.step()
        return found

    def rows_of(self, table: Table, relation: str, condition: str = "") -> Iterator[pa.RecordBatch]:
        yield from self._stepped(super().rows_of(table, relation, condition))

    def _stepped(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            yield item
            self.steps.step()


def work(order: Mapping[str, Any], s3: Any) -> None:
    """What a task does; ends this process."""
    if order["file_bytes"]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_bytes"], order["file_bytes"]))
    steps = Steps(order["kill_after"])
    s3 = boto3.client(
        "s3", endpoint_url=order["s3"], aws_access_key_id=order["key"], aws_secret_access_key=order["secret"]
    )
    store, backups = (ObjectStore(Client(s3, steps), bucket) for bucket in (order["bucket"], order["backups"]))
    warehouse = Stepping(order["dsn"])
    warehouse.steps = steps
    settings, run = load_settings({}), {"dag_id": "recovery", "run_id": order["run"]}
    told = ""
    try:
        if order["act"] == "backup":
            Backup(warehouse, backups, settings).take(order["tables"])
        elif order["act"] == "restore":
            Restore(warehouse, store, backups, settings, run).restore(Wanted("jobs", into=order["into"]))
        elif order["act"] == "undo":
            Undo(warehouse, store, settings, run).undo(order["load_id"])
        else:
            Drill(warehouse, backups, run).drill()
    except (DatamartError, OSError) as error:
        told = sentence(error)
    print(json.dumps({"steps": steps.done, "told": told}), flush=True)
    os._exit(0)


def main() -> None:
    """Fork a process for each order on a line of its own, and tell how it ended."""
    s3 = None
    for line in sys.stdin:
        order = json.loads(line)
        keys = {"aws_access_key_id": order["key"], "aws_secret_access_key": order["secret"]}
        s3 = s3 or boto3.client("s3", endpoint_url=order["s3"], **keys)  # made once, and not yet connected
        child = os.fork()
        if child == 0:
            work(order, s3)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"ended_by": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}), flush=True)


# Who sends it off


@dataclass
class Workers:
    """Sends processes off; their orders name the servers of the vault."""

    vault: Vault
    process: subprocess.Popen[str]

    def send(self, act: str, run: str = "", kill_after: int = 0, file_bytes: int = 0, **order: Any) -> dict[str, Any]:
        """Let one work; what it said, and how it ended."""
        world, credentials = self.vault.world, self.vault.store.client._request_signer._credentials
        line = json.dumps(
            {
                "act": act, "run": run, "kill_after": kill_after, "file_bytes": file_bytes, "into": None,
                "dsn": world.database.dsn, "bucket": world.store.bucket, "backups": self.vault.store.bucket,
                "s3": self.vault.store.client.meta.endpoint_url, "key": credentials.access_key,
                "secret": credentials.secret_key, "tables": NAMES, **order,
            }
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        told: dict[str, Any] = {}
        while "ended_by" not in told:
            told |= json.loads(self.process.stdout.readline())
        return told


@pytest.fixture(scope="module")
def process() -> Iterator[subprocess.Popen[str]]:
    folders = os.pathsep.join((str(REPOSITORY / "include"), str(REPOSITORY)))
    process = subprocess.Popen(
        [sys.executable, "-c", "from tests.integration.test_recovery_faults import main; main()"],
        cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": folders, "AWS_DEFAULT_REGION": "us-east-1"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(HELD_UP) == 0


@pytest.fixture
def workers(vault: Vault, process: subprocess.Popen[str]) -> Workers:
    return Workers(vault, process)


def at_every_step(send: Callable[[int], dict[str, Any]], after: Callable[[int], None]) -> int:
    """Kill a process after its first step, the next after its second, until one comes to its end; how many steps."""
    for step in count(1):
        told = send(step)
        assert told.get("told", "") == "", told
        after(step)
        if told["ended_by"] == 0:
            return step
        assert told["ended_by"] == signal.SIGKILL
    raise AssertionError


def changing(vault: Vault) -> list[Row]:
    """A backup, and what came after it; the rows that were backed up."""
    vault.world.load("jobs.csv", FEW)
    vault.backup("jobs")
    return vault.table("jobs")


_files = count(1)


def change(vault: Vault) -> int:
    """One more load: a row of each kind of change, removals included; its id."""
    number = next(_files)
    arrival = vault.world.put(f"jobs_{number}.csv", b"1,changed %d\n2,b\n%d,new\n" % (number, 100 + number))
    return vault.world.replace("jobs", arrival)[0].load_id


def assert_whole_or_none(vault: Vault) -> None:
    """Each backup that is offered can be restored."""
    for backup_id in vault.catalogue.ids:
        vault.drill(backup_id)


def assert_done_or_not(vault: Vault, before: list[Row], wanted: list[Row], done: int) -> None:
    """The table is as it was, and nobody says otherwise; or it is as wanted, and the ledger says so once."""
    told = vault.world.sql("SELECT count(*) FROM ops.restores WHERE restore_id = %s", done)[0][0]
    assert told in (0, 1)
    assert vault.table("jobs") == (wanted if told else before), "a table that is neither as before nor as wanted"


def test_24_a_backup_killed_at_any_step_is_whole_or_none(vault: Vault, workers: Workers) -> None:
    vault.world.load("jobs.csv", FEW)
    offered = []

    def after(_step: int) -> None:
        offered.append(len(vault.catalogue.ids))
        assert_whole_or_none(vault)
        vault.clear()

    steps = at_every_step(lambda step: workers.send("backup", kill_after=step), after)
    assert steps > 15
    assert offered == sorted(offered), "a manifest came and went"
    assert offered[-1] == 1
    vault.backup()
    vault.restore("jobs")


def test_24_a_restore_killed_at_any_step_is_done_or_not_and_its_retry_ends_well(vault: Vault, workers: Workers) -> None:
    wanted, kept = changing(vault), []

    def send(step: int) -> dict[str, Any]:
        if vault.table("jobs") == wanted:
            change(vault)
        kept.append(vault.table("jobs"))
        return workers.send("restore", f"run {step}", step)

    def after(step: int) -> None:
        run = f"run {step}"
        number = vault.world.sql("SELECT restore_id FROM ops.restores WHERE run_id = %s", run)
        assert_done_or_not(vault, kept[-1], wanted, number[0][0] if number else 0)
        if step % 2 and not number:
            return  # every second retry is left to the next step, whose process finds what this one has left
        vault.restore("jobs", run=run)
        assert vault.world.sql("SELECT count(*) FROM ops.restores WHERE run_id = %s", run) == [(1,)]
        assert vault.table("jobs") == wanted

    assert at_every_step(send, after) > 20
    at = vault.now()
    change(vault)
    vault.restore("jobs", at=at)
    assert vault.table("jobs") == wanted


def test_24_another_table_is_made_or_not(vault: Vault, workers: Workers) -> None:
    wanted = changing(vault)

    def after(step: int) -> None:
        told = vault.world.sql("SELECT count(*) FROM ops.restores WHERE run_id = %s", f"copy {step}")[0][0]
        there = vault.world.sql("SELECT to_regclass('jobs_of_then') IS NOT NULL")[0][0]
        assert there == bool(told)
        vault.restore("jobs", run=f"copy {step}", into="jobs_of_then")
        assert vault.world.sql("SELECT * FROM jobs_of_then ORDER BY id") == wanted
        vault.world.sql("DROP TABLE jobs_of_then")

    at_every_step(lambda step: workers.send("restore", f"copy {step}", step, into="jobs_of_then"), after)


def test_24_an_undo_killed_at_any_step_is_done_or_not_and_its_retry_ends_well(vault: Vault, workers: Workers) -> None:
    wanted, kept, loads = changing(vault), [], []

    def send(step: int) -> dict[str, Any]:
        loads.append(change(vault))
        kept.append(vault.table("jobs"))
        return workers.send("undo", f"run {step}", step, load_id=loads[-1])

    def after(step: int) -> None:
        run = f"run {step}"
        number = vault.world.sql("SELECT restore_id FROM ops.restores WHERE run_id = %s", run)
        assert_done_or_not(vault, kept[-1], wanted, number[0][0] if number else 0)
        vault.undo(loads[-1], run=run)
        assert vault.world.sql("SELECT count(*) FROM ops.restores WHERE run_id = %s", run) == [(1,)]
        assert vault.table("jobs") == wanted

    assert at_every_step(send, after) > 15


def test_24_a_drill_killed_at_any_step_leaves_what_the_next_one_drops(vault: Vault, workers: Workers) -> None:
    changing(vault)
    at_every_step(
        lambda step: workers.send("drill", f"run {step}", step),
        lambda _step: None,
    )
    assert vault.drill()["passed"]
    assert vault.world.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'drill%'") == []


def test_the_checks_see_a_restore_that_is_half_done(vault: Vault) -> None:
    """Planted: a row of the table is neither as it was nor as wanted."""
    wanted = changing(vault)
    change(vault)
    before = vault.table("jobs")
    vault.world.sql("UPDATE public.jobs SET job = 'half' WHERE id = 1")
    with pytest.raises(AssertionError, match="neither as before nor as wanted"):
        assert_done_or_not(vault, before, wanted, 0)


def test_the_checks_see_a_manifest_that_is_written_first(vault: Vault) -> None:
    """Planted: a manifest whose part never came."""
    manifest = vault.backup()
    vault.store.remove([manifest.tables["jobs"].parts[0].key])
    with pytest.raises(DatamartError, match="is missing"):
        assert_whole_or_none(vault)


# Disks


@pytest.mark.parametrize("act", ["backup", "restore", "drill"])
def test_31_a_full_disk_of_the_worker_is_told_and_nothing_is_half_done(
    vault: Vault, workers: Workers, act: str
) -> None:
    vault.world.load("jobs.csv", b"".join(b"%d,job %d\n" % (key, key) for key in range(1, 3001)))
    vault.backup()
    vault.world.load("jobs_2.csv", b"1,x\n")
    before = vault.catalogue.ids
    with vault.untouched():
        told = workers.send(act, "a run", file_bytes=4096)
    assert told["ended_by"] == 0
    assert told["told"].startswith("The machine of this task refused: File too large"), told
    assert vault.catalogue.ids == before
    assert workers.send(act, "a run")["told"] == ""


# Sessions


@pytest.mark.parametrize(
    "statement",
    ["CREATE TEMPORARY TABLE", "ops.jobs_history", "DELETE FROM public.jobs", "UPDATE public.jobs",
     "INSERT INTO public.jobs", "ops.restores (", "UPDATE ops.tables", "COMMIT"],
)  # fmt: skip
@pytest.mark.parametrize("act", ["restore", "undo"])
def test_a_session_that_the_server_ends_changes_nothing(vault: Vault, act: str, statement: str) -> None:
    wanted = changing(vault)
    load_id = change(vault)
    met: list[str] = []

    class Ended(PostgresWarehouse):
        def execute(self, text: str, values: Any = None) -> int:
            if statement in text and not met:
                met.append(text)
                vault.world.sql("SELECT pg_terminate_backend(%s)", self._connection.get_backend_pid())
            return super().execute(text, values)

    def do(warehouse: PostgresWarehouse | None = None) -> object:
        if act == "undo":
            return vault.undo(load_id, run="a run", warehouse=warehouse)
        return vault.restore("jobs", run="a run", warehouse=warehouse)

    before = vault.everything()
    with vault.world.connected(Ended) as warehouse, pytest.raises(TransientFault, match="did not answer or gave up"):
        do(warehouse)
    assert met
    assert vault.everything() == before
    do()
    assert vault.table("jobs") == wanted


def test_25_a_commit_whose_answer_is_lost_is_found_by_the_retry(vault: Vault) -> None:
    wanted = changing(vault)
    change(vault)

    class Lost(PostgresWarehouse):
        def execute(self, text: str, values: Any = None) -> int:
            found = super().execute(text, values)
            if text == "COMMIT":
                self._connection.close()
                raise TransientFault("The warehouse did not answer or gave up (connection): lost")
            return found

    with vault.world.connected(Lost) as warehouse, pytest.raises(TransientFault):
        vault.restore("jobs", run="a run", warehouse=warehouse)
    assert vault.table("jobs") == wanted
    with vault.untouched():
        vault.restore("jobs", run="a run")


def test_a_lock_that_somebody_holds_is_given_up_and_told(vault: Vault) -> None:
    changing(vault)
    change(vault)

    class Hurried(PostgresWarehouse):
        def lock(self, table: Table) -> Any:
            self.execute("SET LOCAL lock_timeout = '100ms'")
            return super().lock(table)

    with vault.world.connected() as holder, holder.transaction():
        holder.execute("UPDATE ops.tables SET commit_seq = commit_seq WHERE table_name = 'jobs'")
        with vault.world.connected(Hurried) as warehouse, pytest.raises(TransientFault, match="55P03"):
            vault.restore("jobs", warehouse=warehouse)
    vault.restore("jobs")


def test_27_a_zombie_that_goes_on_writing_does_not_spoil_what_its_retry_did(vault: Vault) -> None:
    """Its session has ended, and the retry has committed: what it then still sends to S3 must not count."""
    wanted = changing(vault)
    vault.world.load("jobs_z1.csv", b"1,first\n")
    reached, go_on = Event(), Event()

    class Frozen:
        def __init__(self, client: Any) -> None:
            self._client = client

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        def upload_fileobj(self, *args: Any) -> Any:
            reached.set()
            assert go_on.wait(HELD_UP)
            return self._client.upload_fileobj(*args)

    def zombie() -> None:
        with vault.world.connected() as warehouse:
            restorer = vault.restorer("a run", warehouse)
            store = replace(vault.world.store, client=Frozen(vault.world.store.client))
            with suppress(TransientFault):
                replace(restorer, store=store).restore(Wanted("jobs"))

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(zombie)
        try:
            assert reached.wait(HELD_UP)
            vault.world.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'datamart'"
                " AND state = 'idle in transaction' AND datname = current_database()"
            )
            vault.world.load("jobs_z2.csv", b"1,a\n2,second\n")
            vault.restore("jobs", run="a run")
        finally:
            go_on.set()
            running.result()
    assert vault.table("jobs") == wanted
    at = vault.now()
    change(vault)
    vault.restore("jobs", at=at)
    assert vault.table("jobs") == wanted


# S3


def closed(key: str) -> Any:
    raise ConnectionClosedError(endpoint_url=key)


FAILING: dict[str, tuple[Any, type[DatamartError], str]] = {
    "503": (BUSY, TransientFault, r"S3 answered (SlowDown|503)"),
    "403": (FORBIDDEN, TerminalFault, r"S3 refused \(AccessDenied\). Check the object_store connection's rights"),
    "expired credentials": (s3_says(400, "ExpiredToken"), TransientFault, "S3 answered ExpiredToken"),
    "a reset": (closed, TransientFault, r"S3 could not be reached \(ConnectionClosedError\)"),
}
REQUESTS: dict[str, tuple[str, str, Callable[[Vault, int], object]]] = {
    "a backup writes": ("backup", "PutObject", lambda vault, _: vault.backup()),
    "a restore lists": ("backup", "ListObjectsV2", lambda vault, _: vault.restore("jobs")),
    "a restore reads": ("backup", "GetObject", lambda vault, _: vault.restore("jobs")),
    "a restore keeps": ("data", "PutObject", lambda vault, _: vault.restore("jobs")),
    "an undo keeps": ("data", "PutObject", lambda vault, load_id: vault.undo(load_id)),
}


@pytest.mark.parametrize("how", FAILING)
@pytest.mark.parametrize("what", REQUESTS)
def test_33_s3_that_fails_is_told_and_nothing_is_touched(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, what: str, how: str
) -> None:
    bucket, operation, do = REQUESTS[what]
    act, kind, told = FAILING[how]
    wanted = changing(vault)
    load_id = change(vault)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    before = vault.catalogue.ids
    store = vault.store if bucket == "backup" else vault.world.store
    with (
        vault.untouched(),
        on_requests(store, operation, Everything(), act, ALWAYS) as met,
        pytest.raises(kind, match=told),
    ):
        do(vault, load_id)
    assert met
    assert vault.catalogue.ids == before
    do(vault, load_id)
    assert what == "a backup writes" or vault.table("jobs") == wanted


def test_33_a_part_that_breaks_off_on_the_way_is_a_fault_and_no_damage(vault: Vault) -> None:
    changing(vault)
    change(vault)

    class Broken:
        def __init__(self, body: Any) -> None:
            self._body, self._read = body, False

        def read(self, _size: int) -> Any:
            if self._read:
                raise IncompleteReadError(actual_bytes=10, expected_bytes=20)
            self._read = True
            return self._body.read(10)

        def __enter__(self) -> Broken:
            return self

        def __exit__(self, *_: object) -> None:
            self._body.close()

    class Breaking:
        def __init__(self, client: Any) -> None:
            self._client = client

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        def get_object(self, **request: Any) -> Any:
            answer = self._client.get_object(**request)
            return answer | {"Body": Broken(answer["Body"])} if request["Key"].endswith(".avro") else answer

    restorer = vault.restorer()
    store = replace(vault.store, client=Breaking(vault.store.client))
    with vault.untouched(), pytest.raises(TransientFault, match="could not be reached"):
        replace(restorer, backups=store).restore(Wanted("jobs"))


def test_33_revoked_credentials_are_told_and_nothing_is_touched(vault: Vault) -> None:
    changing(vault)
    change(vault)
    client = boto3.client(
        "s3", endpoint_url=vault.store.client.meta.endpoint_url, region_name="us-east-1",
        aws_access_key_id="nobody", aws_secret_access_key="wrong",
    )  # fmt: skip
    revoked, settings = replace(vault.store, client=client), vault.settings()
    warehouse, told = vault.world.warehouse, r"S3 refused \(\w+\). Check the object_store connection's rights"
    before = vault.keys()
    with vault.untouched():
        with pytest.raises(TerminalFault, match=told):
            Backup(warehouse, revoked, settings).take(NAMES)
        with pytest.raises(TerminalFault, match=told):
            replace(vault.restorer(), backups=revoked).restore(Wanted("jobs"))
        with pytest.raises(TerminalFault, match=told):
            Drill(warehouse, revoked).drill()
    assert vault.keys() == before


def test_a_backup_bucket_that_is_not_there_is_told(vault: Vault) -> None:
    nowhere = ObjectStore(vault.store.client, "there-is-no-such-bucket")
    with vault.untouched(), pytest.raises(DatamartError, match="the bucket does not exist"):
        replace(vault.restorer(), backups=nowhere).restore(Wanted("jobs"))
    with pytest.raises(DatamartError, match="the bucket does not exist"):
        Backup(vault.world.warehouse, nowhere, vault.settings()).take(NAMES)


def test_a_warehouse_that_is_not_there_is_a_fault_that_may_pass() -> None:
    with pytest.raises(TransientFault):
        PostgresWarehouse("postgresql://nobody@127.0.0.1:1/none")


def test_clean_rows_that_cannot_be_kept_keep_the_restore_from_being_committed(vault: Vault) -> None:
    """Without them no later moment could be reached."""
    changing(vault)
    change(vault)
    number = vault.restore("jobs", run="a run", dry_run=True).change_id
    ((newest,),) = vault.world.sql("SELECT commit_seq FROM ops.tables WHERE table_name = 'jobs'")
    key = change_key("jobs", number, newest + 1, 0)
    with (
        vault.untouched(),
        on_requests(vault.world.store, "PutObject", {key}, FORBIDDEN, ALWAYS) as met,
        pytest.raises(TerminalFault),
    ):
        vault.restore("jobs", run="a run")
    assert met


def test_a_trigger_that_refuses_a_row_is_told(vault: Vault) -> None:
    changing(vault)
    change(vault)
    vault.world.sql("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$")
    vault.world.sql("CREATE TRIGGER refusing BEFORE UPDATE ON public.jobs FOR EACH ROW EXECUTE FUNCTION refuse()")
    try:
        with vault.untouched(), pytest.raises(TerminalFault, match="P0001"):
            vault.restore("jobs")
    finally:
        vault.world.sql("DROP TRIGGER refusing ON public.jobs")
        vault.world.sql("DROP FUNCTION refuse")
    with suppress(psycopg2.Error):
        vault.restore("jobs")
