"""Loading, on every dialect: what goes in, what is refused, what is never there twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from datamart.errors import TerminalFault, TransientFault
from datamart.holds import Holds
from datamart.loads import Mode
from datamart.tables import table_named
from datamart.warehouse.base import Warehouse
from tests.integration.world import World, upserted
from tests.oracle import rules

DEPARTMENTS = b"1,Supply Chain\r\n2,Maintenance\r\n3,Staff\r\n"
JOBS = b"1,Recruiter\n2,Manager\n"
HIRES = (
    b"1,Ann,2021-01-01T00:00:00Z,1,1\n"
    b'2,"O\'Hara, ""Bo""\\ and\nline",2021-12-31T23:59:59Z,2,2\n'
    b"3,\xc3\x84\xf0\x9f\x98\x80,0001-01-01T00:00:00Z,3,1\n"
    b"4,  blanks  ,9999-12-31T23:59:59Z,1,2\n"
    b"5,%s %(x)s {y} $1 \\\\n,1969-12-31T23:59:59Z,9,9\n"
)
BAD = b"x,Actuary\n5,\n6,ok\n7,\xff\xfe\x00\n8,one,two\n6,again\n"


def counts(world: World, load_id: int) -> tuple[Any, ...]:
    return world.ledger(
        load_id, "verdict", "rows_read", "rows_inserted", "rows_updated", "rows_unchanged", "rows_rejected"
    )


def test_every_value_is_kept_as_it_came(world: World) -> None:
    for name, body in (("departments", DEPARTMENTS), ("jobs", JOBS), ("hired_employees", HIRES)):
        outcome = world.load(f"{name}.csv", body)
        assert counts(world, outcome.load_id)[0] == "loaded"
        assert world.rows(name) == upserted(name, body)


@pytest.mark.parametrize(
    ("body", "verdict", "rows"),
    [
        pytest.param(b"", "rejected", [], id="empty"),
        pytest.param(b"job,id\r\n", "rejected", [], id="header only"),
        pytest.param(b"Job,_line,ID\nActuary,9,1\n", "loaded", [(1, "Actuary")], id="header in another order"),
        pytest.param(b"\xef\xbb\xbf1,B\xc3\xa4cker\n\n", "loaded", [(1, "Bäcker")], id="mark and blank line"),
        pytest.param(b"name,id\nActuary,1\n", "rejected", [], id="wrong header"),
        pytest.param(b'1,"a""b\r\nc,d"\n', "loaded", [(1, 'a"b\r\nc,d')], id="quotes and newlines"),
    ],
)
def test_headers_quotes_and_empty_files(world: World, body: bytes, verdict: str, rows: list[Any]) -> None:
    outcome = world.load("jobs.csv", body)
    assert counts(world, outcome.load_id)[0] == verdict
    assert world.rows("jobs") == rows


def test_rejected_rows_are_kept_byte_by_byte(world: World) -> None:
    outcome = world.load("jobs.csv", BAD)
    judged = rules.judge("jobs", BAD)
    assert counts(world, outcome.load_id) == ("loaded", 6, 1, 0, 0, 5)
    kept = world.warehouse.rejects_of(outcome.load_id)
    assert [(line, raw) for line, _, raw in kept] == [(one.line, one.raw) for one in judged.rejected]


def test_a_record_of_a_mebibyte_is_kept_when_it_is_rejected(world: World) -> None:
    row = b"2," + b"\\'\xff" * 349_524
    outcome = world.load("jobs.csv", b"1,a\n" + row + b"\n")
    ((line, reasons, raw),) = world.warehouse.rejects_of(outcome.load_id)
    assert (line, raw == row, "bad_encoding" in reasons) == (2, True, True)


def test_within_a_file_the_first_row_of_a_key_counts_and_later_files_win(world: World) -> None:
    first = world.load("jobs.csv", b"1,a\n2,b\n1,c\n")
    assert counts(world, first.load_id) == ("loaded", 3, 2, 0, 0, 1)
    second = world.load("jobs_2.csv", b"2,b\n1,d\n3,e\n")
    assert counts(world, second.load_id) == ("loaded", 3, 1, 1, 1, 0)
    assert world.rows("jobs") == [(1, "d"), (2, "b"), (3, "e")]
    assert world.sql("SELECT id, job, _load_id, _commit_seq, _replaced_by, _replaced_seq FROM ops.jobs_history") == [
        (1, "a", first.load_id, 1, second.load_id, 2)
    ]


def test_blanks_at_the_end_of_a_text_make_another_value(world: World) -> None:
    world.load("jobs.csv", b"1,a\n")
    assert world.load("jobs_2.csv", b"1,a \n").counts.updated == 1
    assert world.rows("jobs") == [(1, "a ")]


def test_the_same_arrival_changes_nothing_again(world: World) -> None:
    arrival = world.put("jobs.csv", JOBS)
    first = world.judge(arrival, run="one")
    before = [world.rows("jobs"), counts(world, first.load_id)]
    again, another = world.judge(arrival, run="one"), world.judge(arrival, run="two")
    assert (again.verdict, another.verdict) == ("loaded", "duplicate")
    assert [world.rows("jobs"), counts(world, first.load_id)] == before
    assert world.sql("SELECT COUNT(*) FROM ops.loads") == [(1,)]


def test_the_same_bytes_are_a_duplicate_until_something_else_has_changed_the_rows(world: World) -> None:
    first = world.load("jobs.csv", JOBS)
    copy = world.load("jobs_copy.csv", JOBS)
    assert (copy.verdict, copy.duplicate_of) == ("duplicate", first.load_id)
    world.load("jobs_other.csv", b"1,Other\n")
    assert world.load("jobs_again.csv", JOBS).counts.updated == 1
    assert world.rows("jobs") == upserted("jobs", JOBS)


def test_unknown_references_are_counted_until_they_are_known(world: World) -> None:
    outcome = world.load("hired_employees.csv", HIRES)
    shown = "SELECT column_name, rows_warned, rows_open, resolved FROM ops.warnings WHERE load_id = %s ORDER BY 1"
    assert world.sql(shown, outcome.load_id) == [("department_id", 5, 5, False), ("job_id", 5, 5, False)]
    world.load("departments.csv", DEPARTMENTS)
    assert world.sql(shown, outcome.load_id) == [("department_id", 5, 1, False), ("job_id", 5, 5, False)]


def test_a_replacement_takes_what_is_not_in_it_to_the_history(world: World) -> None:
    world.load("jobs.csv", b"1,a\n2,b\n3,c\n")
    one, two = world.put("jobs_x.csv", b"2,B\n"), world.put("jobs_y.csv", b"4,d\n")
    outcomes = world.replace("jobs", one, two)
    assert [outcome.verdict for outcome in outcomes] == ["loaded", "loaded"]
    assert world.rows("jobs") == [(2, "B"), (4, "d")]
    assert world.sql("SELECT id, job FROM ops.jobs_history ORDER BY id") == [(1, "a"), (2, "b"), (3, "c")]


def test_a_replacement_by_nothing_is_refused(world: World) -> None:
    world.load("jobs.csv", JOBS)
    (outcome,) = world.replace("jobs", world.put("jobs_bad.csv", b"x,y\n"))
    assert outcome.verdict == "rejected"
    assert world.rows("jobs") == upserted("jobs", JOBS)


def test_a_dry_run_tells_and_leaves_everything(world: World) -> None:
    world.load("jobs.csv", b"1,a\n2,b\n")
    arrival = world.put("jobs_2.csv", b"2,B\n3,c\nx,d\n")
    told = world.loader().load(arrival, dry_run=True)
    assert (told.counts.inserted, told.counts.updated, told.counts.rejected) == (1, 1, 1)
    assert world.rows("jobs") == [(1, "a"), (2, "b")]
    assert world.sql("SELECT COUNT(*) FROM ops.loads") == [(1,)]


def test_a_transaction_that_is_rolled_back_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.load("jobs.csv", b"1,a\n")
    arrival = world.put("jobs_2.csv", b"1,b\n2,c\nx,d\n")

    def broken(*_: object) -> None:
        raise TerminalFault("The last statement of the transaction was refused.")

    with monkeypatch.context() as patched:
        patched.setattr(world.warehouse, "set_sequence", broken)
        with pytest.raises(TerminalFault):
            world.loader("r").load(arrival)
    assert world.rows("jobs") == [(1, "a")]
    for name in ("ops.jobs_history", "ops.rejected_rows"):
        assert world.sql(f"SELECT COUNT(*) FROM {name}") == [(0,)]
    assert world.sql("SELECT commit_seq, changed_seq FROM ops.tables WHERE table_name = 'jobs'") == [(1, 1)]
    assert world.judge(arrival, run="r").counts.updated == 1


@pytest.mark.parametrize("last", ["merge", "remove_absent", "copy_rejects", "record", "set_sequence"])
def test_a_session_that_ends_in_a_replacement_leaves_the_old_table(
    world: World, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.load("jobs.csv", b"1,a\n2,b\n")
    arrival = world.put("jobs_new.csv", b"2,B\n3,c\nx,bad\n")
    with world.connected() as doomed:
        own = getattr(doomed, last)

        def end(*given: Any) -> Any:
            done = own(*given)
            doomed.close()
            return done

        monkeypatch.setattr(doomed, last, end)
        with pytest.raises(TransientFault):
            world.loader("r", doomed).replace([arrival], table_named("jobs"))
    assert world.rows("jobs") == [(1, "a"), (2, "b")]
    assert world.sql("SELECT COUNT(*) FROM ops.jobs_history") == [(0,)]
    assert world.replace("jobs", arrival, run="r")[0].verdict == "loaded"
    assert world.rows("jobs") == [(2, "B"), (3, "c")]


@pytest.mark.parametrize("text", ["x" * 257, "ä" * 257])
def test_a_value_that_is_too_long_fails_the_load_as_a_whole(world: World, text: str) -> None:
    """Validation lets none through; the warehouse is the last guard."""
    jobs = table_named("jobs")
    batch = rows_of(jobs.arrow_schema, [(1, "fits"), (2, text)])
    with pytest.raises(TerminalFault):
        world.warehouse.stage(jobs, "staging_too_long", [batch])
    world.warehouse.drop_staging("staging_too_long")
    assert world.load("jobs.csv", JOBS).verdict == "loaded"


def test_a_text_of_256_bytes_fits(world: World) -> None:
    text = "ä" * 128
    world.load("jobs.csv", f"1,{text}\n2,{text}x\n".encode())
    assert world.rows("jobs") == [(1, text)]


def test_a_late_file_gives_way_to_what_came_after_it(world: World) -> None:
    early = world.put("jobs_early.csv", b"1,old\n2,only here\n")
    loader = world.loader()
    listed = datetime(2026, 1, 1, tzinfo=UTC)
    late = world.put("jobs_late.csv", b"1,new\n")
    world.loader().load(replace(late, listed_at=listed.replace(day=2)))
    outcome = loader.load(replace(early, listed_at=listed, late=True))
    assert (outcome.counts.inserted, outcome.warnings) == (1, {"superseded": 1})
    assert world.rows("jobs") == [(1, "new"), (2, "only here")]


def rows_of(schema: Any, rows: list[tuple[Any, ...]]) -> Any:
    """Rows as one batch."""
    columns = zip(*rows, strict=True)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def test_a_failed_file_and_a_hold_are_kept_once(world: World) -> None:
    arrival = world.put("jobs.csv", JOBS)
    holds = Holds(world.warehouse, world.loader().settings)
    for attempt in (1, 2):
        world.loader().fail(arrival, Mode.UPSERT, "S3 was away: 'quoted' \\ %s")
        assert holds.put(arrival, f"fault {attempt}").attempts == attempt
    assert world.sql("SELECT verdict, message FROM ops.loads") == [("failed", "S3 was away: 'quoted' \\ %s")]
    assert world.sql("SELECT attempts, reason FROM ops.holds") == [(2, "fault 2")]
    assert world.judge(arrival).verdict == "loaded"
    holds.release([arrival.arrival_id])
    assert world.sql("SELECT COUNT(*) FROM ops.holds") == [(0,)]


def test_one_loader_waits_for_another_of_the_same_table(world: World) -> None:
    """The second reads what the first has committed, not what was there when it began to wait."""
    arrivals = [world.put(f"jobs_{number}.csv", f"1,v{number}\n{number + 10},x\n".encode()) for number in range(6)]

    def load(arrival: Any) -> None:
        with world.connected() as warehouse:
            world.loader(None, warehouse).load(arrival)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(load, arrivals))
    assert [row[0] for row in world.rows("jobs")] == [1, *range(10, 16)]
    assert world.sql("SELECT COUNT(*), MIN(commit_seq), MAX(commit_seq) FROM ops.loads") == [(6, 1, 6)]
    assert world.sql("SELECT COUNT(*) FROM ops.jobs_history") == [(5,)]
    numbers = world.sql("SELECT commit_seq, changed_seq FROM ops.tables WHERE table_name = 'jobs'")
    assert numbers == [(6, 6)]


@pytest.mark.served("postgres", "redshift")
def test_who_may_only_read_reads_and_changes_nothing(world: World) -> None:
    world.load("jobs.csv", JOBS)
    with world.connected(reader_of(world)) as reader:
        assert reader.size_of("public.jobs") == 2
        # Its sessions only read: to the server this is the same as a standby.
        with pytest.raises((TerminalFault, TransientFault), match=r"25006|42501"):
            reader.execute("DELETE FROM public.jobs")
    assert world.rows("jobs") == upserted("jobs", JOBS)


def reader_of(world: World) -> Any:
    """Opens a session of the reader, where there is one besides the owner."""
    served: Any = world.database

    def opens(_dsn: str) -> Warehouse:
        opened: Warehouse = served.opens(served.reader_dsn)
        return opened

    return opens


@pytest.mark.parametrize("same_object", [True, False], ids=["the same object", "the same bytes"])
def test_rows_that_were_deleted_by_hand_are_loaded_again(world: World, same_object: bool) -> None:
    arrival = world.put("jobs.csv", b"1,a\n2,b\nx,bad\n")
    world.judge(arrival)
    world.sql("DELETE FROM public.jobs WHERE id = 2")
    again = world.judge(arrival) if same_object else world.load("jobs copy.csv", b"1,a\n2,b\nx,bad\n")
    assert counts(world, again.load_id) == ("loaded", 3, 1, 0, 1, 1)
    assert world.rows("jobs") == [(1, "a"), (2, "b")]
    copy = world.load("jobs third.csv", b"1,a\n2,b\nx,bad\n")
    assert counts(world, copy.load_id) == ("duplicate", 3, 0, 0, 2, 1)


def test_times_are_the_warehouses_and_in_the_order_of_commits(world: World) -> None:
    began = world.warehouse.now()
    loads = [world.load("jobs.csv", b"1,a\n"), world.load("jobs_b.csv", b"2,b\n")]
    times = [world.ledger(one.load_id, "finished_at")[0] for one in loads]
    assert began <= times[0] <= times[1] <= world.warehouse.now()
    ahead = times[1] + timedelta(hours=1)
    world.sql("UPDATE ops.tables SET committed_at = %s WHERE table_name = 'jobs'", ahead)
    assert world.ledger(world.load("jobs_c.csv", b"3,c\n").load_id, "finished_at")[0] == ahead
    world.sql("UPDATE ops.tables SET committed_at = NULL")
