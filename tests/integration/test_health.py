"""Each finding is there when it should be and only then, on real servers; a server that is away is no exception."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import psycopg2
import pytest
from botocore.config import Config

from datamart import health, insights
from datamart.health import AirflowState, Code, Finding
from datamart.holds import Holds
from datamart.loads import Arrival, Outcome
from datamart.objects import ObjectStore
from datamart.settings import load_settings
from datamart.warehouse.base import Warehouse
from datamart.warehouse.postgres import PostgresWarehouse
from tests.bucket import own_bucket
from tests.integration.landing_zone import FORBIDDEN
from tests.integration.world import World

Opens = Callable[[], AbstractContextManager[Warehouse]]

LATE = timedelta(minutes=15, seconds=30)
HOURS = 26


@pytest.fixture
def there(spoiled: World) -> Iterator[World]:
    """An empty warehouse and a bucket of its own: what other tests left in the landing folder is not to be found."""
    with own_bucket(spoiled.store.client, "health") as bucket:
        yield World(spoiled.database, ObjectStore(spoiled.store.client, bucket), "landing/", spoiled.warehouse)


def check(
    world: World,
    after: timedelta = timedelta(),
    state: AirflowState | None = None,
    opens: Opens | None = None,
    store: ObjectStore | None = None,
    **settings: object,
) -> list[Finding]:
    """What is found when so much time has passed; backups are only watched where ``backup_hours`` is given."""
    settings = {"backup_hours": ""} | settings
    variables = {f"DATAMART_{name.upper()}": str(value) for name, value in settings.items()}
    return health.check(
        opens or world.connected,
        lambda: store or world.store,
        load_settings(variables),
        state or AirflowState(),
        datetime.now(UTC) + after,
    )


def codes(findings: list[Finding]) -> list[Code]:
    return [one.code for one in findings]


def loaded(world: World, name: str, body: bytes) -> Outcome:
    """Load a file that does not lie in the landing folder."""
    world.store.write(f"history/{name}", body)
    return world.judge(world.listed(f"history/{name}"))


def held(world: World, arrival: Arrival, reason: str = "S3 answered SlowDown.") -> None:
    Holds(world.warehouse, load_settings({})).put(arrival, reason)


def no_server() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def silent_server() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        yield server.getsockname()[1]


@contextmanager
def absent() -> Iterator[Warehouse]:
    """A warehouse that is not there."""
    with closing(PostgresWarehouse(f"postgresql://x:y@127.0.0.1:{no_server()}/z")) as warehouse:
        yield warehouse


def store_at(port: int, bucket: str = "any") -> ObjectStore:
    """An S3 server of one's choice."""
    quick = Config(connect_timeout=2, read_timeout=60, retries={"total_max_attempts": 1})
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="x",
        aws_secret_access_key="y",
        region_name="us-east-1",
        config=quick,
    )
    return ObjectStore(client, bucket)


def test_where_all_is_well_nothing_is_found(there: World) -> None:
    there.put("jobs.csv", b"1,a\n")
    loaded(there, "jobs2.csv", b"2,b\n")
    insights.refresh(there.warehouse)
    assert check(there) == []


def test_files_that_nobody_takes_are_told_with_the_oldest(there: World) -> None:
    oldest = there.put("jobs.csv", b"1,a\n")
    there.put_later("departments.csv", b"1,a\n", oldest)
    there.store.write("landing/", b"")  # the console's folder marker
    there.store.write("landing2/jobs.csv", b"")
    assert check(there, timedelta(minutes=14)) == []
    (found,) = check(there, LATE)
    assert (found.code, found.severity, found.since) == (Code.FILES_LATE, "warning", oldest.last_modified)
    assert "2 files wait" in found.message
    assert "landing/jobs.csv" in found.message
    assert "15 min" in found.message
    assert codes(check(there, timedelta(minutes=2), late_minutes=1)) == [Code.FILES_LATE]
    there.store.remove(["landing/jobs.csv"])
    (found,) = check(there, LATE)
    assert "1 file waits" in found.message
    assert "landing/departments.csv" in found.message
    there.store.remove(["landing/departments.csv"])
    assert check(there, LATE) == []


def test_more_files_than_are_looked_at_are_said_to_be_more(there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MOST_LISTED", 2)
    for name in ("jobs1.csv", "jobs2.csv", "jobs3.csv", "jobs4.csv"):
        there.put(name, b"1,a\n")
    (found,) = check(there, LATE)
    assert "More than 2 files lie" in found.message


def test_a_file_on_hold_is_told_with_its_reason_and_next_try_and_not_as_late(there: World) -> None:
    arrival = there.put("jobs.csv", b"1,a\n")
    held(there, arrival, "The warehouse did not answer.")
    held(there, arrival, "S3 answered SlowDown.")
    (hold,) = Holds(there.warehouse, load_settings({})).all().values()
    (found,) = check(there, LATE)
    assert (found.code, found.subject, found.since) == (Code.FILE_ON_HOLD, "landing/jobs.csv", hold.since)
    assert "after 2 tries. S3 answered SlowDown." in found.message
    assert f"not before {hold.next_try_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" in found.message
    Holds(there.warehouse, load_settings({})).release([arrival.arrival_id])
    assert codes(check(there, LATE)) == [Code.FILES_LATE]


def test_a_hold_outlives_neither_its_file_nor_its_bytes(there: World) -> None:
    arrival = there.put("jobs.csv", b"1,a\n")
    held(there, arrival)
    there.put_later("jobs.csv", b"2,b\n", arrival)
    assert codes(check(there, LATE)) == [Code.FILES_LATE]
    there.store.remove(["landing/jobs.csv"])
    assert check(there, LATE) == []


def test_a_hold_outside_the_landing_folder_is_told(there: World) -> None:
    there.store.write("uploads/1/jobs.csv", b"1,a\n")
    held(there, there.listed("uploads/1/jobs.csv"))
    assert [one.subject for one in check(there)] == ["uploads/1/jobs.csv"]


def test_holds_are_told_one_by_one_up_to_a_number(there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MOST_HOLDS", 2)
    for name in ("jobs1.csv", "jobs2.csv"):
        held(there, there.put(name, b"1,a\n"))
    assert [one.subject for one in check(there)] == ["landing/jobs1.csv", "landing/jobs2.csv"]
    for name in ("jobs3.csv", "jobs4.csv"):
        held(there, there.put(name, b"1,a\n"))
    found = check(there)
    assert [one.subject for one in found] == ["landing/jobs1.csv", "landing/jobs2.csv", ""]
    assert "2 more files are on hold" in found[-1].message


ALL = "departments, hired_employees, jobs"


def backed_up(world: World, name: str, age: timedelta, *, expired: bool = False, tables: str = ALL) -> None:
    world.sql(
        "INSERT INTO ops.backups (backup_id, manifest_key, taken_at, finished_at, tables, rows_total, bytes_total,"
        " expired_at) VALUES (%s, 'm', now() - %s, now(), %s, 0, 0, CASE WHEN %s THEN now() END)",
        name, age, tables, expired,
    )  # fmt: skip


def test_a_missed_backup_is_told(there: World) -> None:
    later = timedelta(hours=27)
    (found,) = check(there, later, backup_hours=HOURS)
    assert (found.code, found.severity) == (Code.BACKUP_MISSED, "critical")
    assert "There is no backup" in found.message
    backed_up(there, "old", timedelta(hours=27))
    backed_up(there, "expired", timedelta(hours=1), expired=True)
    (found,) = check(there, backup_hours=HOURS)
    assert found.code is Code.BACKUP_MISSED
    assert "older than 26 h" in found.message
    assert check(there, backup_hours=28) == []
    assert check(there, backup_hours="") == []
    backed_up(there, "some", timedelta(hours=1), tables="jobs")
    assert codes(check(there, backup_hours=HOURS)) == [Code.BACKUP_MISSED], "the other tables have an old one only"
    backed_up(there, "new", timedelta(hours=25))
    assert check(there, backup_hours=HOURS) == []
    assert codes(check(there, timedelta(hours=2), backup_hours=HOURS)) == [Code.BACKUP_MISSED]


def test_a_new_warehouse_is_warned_of_until_it_has_its_first_backup(there: World) -> None:
    (found,) = check(there, backup_hours=HOURS)
    assert (found.code, found.severity) == (Code.NO_BACKUP, "warning")
    assert "trigger the Dag backup, or send POST /data-api/backup" in found.message
    assert check(there, backup_hours="") == []
    backed_up(there, "some", timedelta(hours=1), tables="jobs")
    assert codes(check(there, backup_hours=HOURS)) == [Code.NO_BACKUP], "two tables have none"
    backed_up(there, "all", timedelta(hours=1))
    assert check(there, backup_hours=HOURS) == []


@pytest.mark.parametrize(
    "state",
    [
        AirflowState(dags=frozenset({"ingest_landing"})),
        AirflowState(missing={"backup": "Its file is gone."}),
        AirflowState(fault="Its database is away."),
    ],
    ids=["unknown", "missing", "airflow away"],
)
def test_a_missed_backup_is_told_whatever_became_of_its_dag(there: World, state: AirflowState) -> None:
    backed_up(there, "old", timedelta(hours=27))
    found = check(there, state=state, backup_hours=HOURS)
    assert Code.BACKUP_MISSED in codes(found)
    assert (Code.DAG_MISSING in codes(found)) == bool(state.missing)


def test_insights_that_lack_a_load_are_told_when_they_are_late(there: World) -> None:
    loaded(there, "jobs.csv", b"1,a\n")
    assert check(there) == []
    (found,) = check(there, LATE)
    assert (found.code, found.severity) == (Code.INSIGHTS_BEHIND, "warning")
    assert "hires_department_job, departments_hired_above_mean lack what was loaded into jobs since" in found.message
    insights.refresh(there.warehouse)
    assert check(there, LATE) == []
    loaded(there, "jobs2.csv", b"2,b\n")
    assert codes(check(there, LATE)) == [Code.INSIGHTS_BEHIND]
    insights.refresh(there.warehouse)
    assert check(there, LATE) == []


def test_the_time_is_that_of_the_oldest_load_that_they_lack(there: World) -> None:
    loaded(there, "jobs.csv", b"1,a\n")
    insights.refresh(there.warehouse)
    loaded(there, "jobs1.csv", b"1,a\n,bad\n")  # changes nothing
    lacking = loaded(there, "jobs2.csv", b"1,b\n")
    loaded(there, "jobs3.csv", b"1,c\n")
    loaded(there, "departments.csv", b"1,a\n")
    (found,) = check(there, LATE)
    assert (found.since,) == there.ledger(lacking.load_id, "finished_at")
    assert "departments, jobs since" in found.message


def test_a_load_that_changed_nothing_leaves_them_complete(there: World) -> None:
    loaded(there, "jobs.csv", b"1,a\n")
    insights.refresh(there.warehouse)
    loaded(there, "jobs2.csv", b"1,a\n")
    loaded(there, "jobs3.csv", b"x,bad\n")
    assert check(there, LATE) == []


def test_a_restore_that_they_lack_is_told_too(there: World) -> None:
    loaded(there, "jobs.csv", b"1,a\n")
    insights.refresh(there.warehouse)
    there.sql("UPDATE ops.tables SET commit_seq = 2, changed_seq = 2 WHERE table_name = 'jobs'")
    there.sql(
        "INSERT INTO ops.restores (restore_id, table_name, kind, rows_added, rows_changed, rows_removed, finished_at,"
        " commit_seq) VALUES (1, 'jobs', 'restore', 0, 1, 0, now(), 2)"
    )
    assert check(there) == []
    assert codes(check(there, LATE)) == [Code.INSIGHTS_BEHIND]


def test_a_change_that_no_ledger_explains_is_told_at_once(there: World) -> None:
    there.sql("UPDATE ops.tables SET commit_seq = 1, changed_seq = 1 WHERE table_name = 'jobs'")
    (found,) = check(there)
    assert (found.code, found.since) == (Code.INSIGHTS_BEHIND, None)


def test_a_connection_that_may_only_read_is_enough(there: World) -> None:
    backed_up(there, "old", timedelta(hours=27))
    held(there, there.put("jobs.csv", b"1,a\n"))
    loaded(there, "jobs2.csv", b"1,a\n")

    @contextmanager
    def reading() -> Iterator[Warehouse]:
        with closing(PostgresWarehouse(there.database.reader_dsn)) as warehouse:
            yield warehouse

    found = codes(check(there, LATE, None, reading, backup_hours=HOURS))
    assert found == [Code.BACKUP_MISSED, Code.FILE_ON_HOLD, Code.INSIGHTS_BEHIND]


def test_a_warehouse_that_is_away_is_found_and_the_other_checks_go_on(there: World) -> None:
    there.put("jobs.csv", b"1,a\n")
    state = AirflowState(paused=frozenset({"backup"}))
    found = check(there, LATE, state, absent)
    assert codes(found) == [Code.WAREHOUSE_AWAY, Code.FILES_LATE, Code.DAG_PAUSED]
    assert found[0].severity == "critical"
    assert "The warehouse did not answer" in found[0].message


def test_an_s3_that_is_away_is_found_and_the_other_checks_go_on(there: World) -> None:
    backed_up(there, "old", timedelta(hours=27))
    held(there, there.put("jobs.csv", b"1,a\n"))
    loaded(there, "jobs2.csv", b"1,a\n")
    found = check(there, LATE, store=store_at(no_server()), backup_hours=HOURS)
    assert codes(found) == [Code.S3_AWAY, Code.BACKUP_MISSED, Code.FILE_ON_HOLD, Code.INSIGHTS_BEHIND]
    assert "S3 could not be reached" in found[0].message


def test_a_bucket_that_is_missing_is_found(there: World) -> None:
    (found,) = check(there, store=ObjectStore(there.store.client, "health-no-such-bucket"))
    assert found.code is Code.S3_AWAY
    assert "the bucket does not exist" in found.message


def test_servers_that_stay_silent_are_found_in_time(there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 0.5)

    @contextmanager
    def silent() -> Iterator[Warehouse]:
        with closing(PostgresWarehouse(f"postgresql://x:y@127.0.0.1:{port}/z")) as warehouse:
            yield warehouse

    with silent_server() as port:
        started = time.monotonic()
        found = check(there, opens=silent, store=store_at(port))
        assert time.monotonic() - started < 5
    assert codes(found) == [Code.WAREHOUSE_AWAY, Code.S3_AWAY]
    assert all("not answered in time" in one.message for one in found)


def test_a_ledger_that_is_locked_is_given_up_by_the_server_itself(
    there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_STATEMENT_SECONDS", 0.3)
    with closing(psycopg2.connect(there.database.dsn)) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE ops.holds")
        (found,) = check(there)
        assert found.code is Code.WAREHOUSE_AWAY
        assert "statement timeout" in found.message
    assert check(there) == []


def test_a_fault_of_our_own_is_found_and_gives_no_contents_away(there: World) -> None:
    there.sql(
        "INSERT INTO ops.insight_refreshes (insight, refreshed_at, rows_written, seconds, complete_up_to)"
        " VALUES ('hires_department_job', now(), 0, 0, 'secret')"
    )
    (found,) = check(there)
    assert found.code is Code.WAREHOUSE_AWAY
    assert "JSONDecodeError" in found.message
    assert "secret" not in found.message


def test_a_long_ledger_is_not_read_as_a_whole(there: World) -> None:
    there.sql(
        "INSERT INTO ops.loads (load_id, arrival_id, table_name, source_bucket, source_key, source_version, mode,"
        " verdict, rows_inserted, warnings, started_at, finished_at, commit_seq) SELECT n, n, 'jobs', 'b', 'k', 'v',"
        " 'upsert', 'loaded', 1, '{}', now(), now(), n FROM generate_series(1, 20000) AS n"
    )
    there.sql("ANALYZE ops.loads")
    text = there.warehouse.sql("oldest_change_after").replace("%(table)s", "'jobs'")
    for covered in (0, 10_000, 19_999):
        plan: Any = there.sql("EXPLAIN (ANALYZE, FORMAT JSON) " + text.replace("%(covered)s", str(covered)))[0][0]
        assert "loads_by_commit" in json.dumps(plan)
        assert rows_read(plan[0]["Plan"]) < 100


def rows_read(plan: dict[str, Any]) -> float:
    """The most rows that a step of a plan went through."""
    own = plan["Actual Rows"] * plan["Actual Loops"] + plan.get("Rows Removed by Filter", 0)
    return max([own, *(rows_read(step) for step in plan.get("Plans", []))])


def test_a_finding_is_json_for_programs(there: World) -> None:
    arrival = there.put("jobs.csv", b"1,a\n")
    (found,) = check(there, LATE)
    told = json.loads(json.dumps(found.as_json()))
    assert datetime.fromisoformat(told["since"]) == arrival.last_modified
    assert told | {"since": None, "message": None} == {
        "code": "files_late", "severity": "warning", "subject": "", "since": None, "message": None,
    }  # fmt: skip


def test_files_that_are_left_alone_by_their_names_are_not_late(there: World) -> None:
    for name in (".DS_Store", "_SUCCESS", "jobs.csv.md5", "jobs.csv.part"):
        there.put(name, b"x")
    assert check(there, LATE) == []
    (found,) = check(there, LATE, partial_minutes=0.1)  # its time is over, and nobody has refused it
    assert (found.code, "1 file waits" in found.message) == (Code.FILES_LATE, True)
    assert "jobs.csv.part" in found.message


def test_rights_that_a_bucket_with_versions_needs_are_told(there: World) -> None:
    client, bucket = there.store.client, there.store.bucket
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert check(there) == []

    def refuse(request: Any, **_: object) -> Any:
        return FORBIDDEN("") if request.method in ("HEAD", "DELETE") and "versionId=" in request.url else None

    client.meta.events.register("before-send.s3", refuse)
    try:
        (found,) = check(there)
    finally:
        client.meta.events.unregister("before-send.s3", refuse)
    assert (found.code, found.severity) == (Code.VERSIONS_REFUSED, "warning")
    assert "s3:GetObjectVersion, s3:DeleteObjectVersion" in found.message
