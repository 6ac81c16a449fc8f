"""Faults 1-10, 27, 28, 33 and 36 on the way of landed files: loaded once, in order, moved away, and told of if not."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from datamart.batches import Batch, arrivals_of
from datamart.errors import TransientFault
from datamart.holds import Holds
from datamart.ingest import GONE, Ingest, Sessions
from datamart.landing_report import Tally, not_loaded, totals
from datamart.loads import Arrival, Outcome, Verdict
from datamart.objects import archive_key, quarantine_key
from datamart.tables import Table
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.landing_sound import (
    archived,
    assert_each_file_once,
    moved,
    note_of,
    set_aside,
)
from tests.integration.landing_zone import ALWAYS, EXPIRED, FORBIDDEN, Act, Answer, Zone, at_request
from tests.integration.world import upserted

X, Y = b"1,x\n2,same\n", b"1,y\n2,same\n3,new\n"
DEADLOCKED = 60  # seconds until a barrier that nobody else reaches breaks; never waited for in a run that passes


def gate(batches: list[Batch], outcomes: list[Outcome]) -> list[str]:
    """What the run's last task says of files that were not loaded."""
    tallies = {batch["table"]: Tally(batch["table"]) for batch in batches}
    table_of = {one.key: batch["table"] for batch in batches for one in arrivals_of(batch)}
    for outcome in outcomes:
        tallies[table_of[outcome.key]].add(outcome)
    return not_loaded(batches, [tally.result() for tally in tallies.values()])


def verdicts(outcomes: dict[str, Outcome]) -> dict[str, str]:
    return {name: outcome.verdict.value for name, outcome in outcomes.items()}


def and_go_on(act: Callable[[], object]) -> Act:
    """Do something, and let S3 answer."""

    def done(_key: str) -> None:
        act()

    return done


# Arrival


def test_files_are_loaded_and_moved_away(zone: Zone) -> None:
    zone.drop("jobs.csv", X)
    zone.drop("departments.csv", b"1,Engineering\nx,bad\n")
    batches = zone.plan()
    outcomes = zone.ingest(*batches)
    assert {outcome.key: outcome.verdict for outcome in outcomes} == dict.fromkeys(
        ("landing/jobs.csv", "landing/departments.csv"), Verdict.LOADED
    )
    assert (zone.lying(), sorted(archived(zone))) == ([], ["departments.csv", "jobs.csv"])
    assert gate(batches, outcomes) == []
    assert zone.plan() == []
    assert not zone.is_awaited()


def test_1_one_file_planned_twice_is_loaded_once(zone: Zone) -> None:
    zone.drop("jobs.csv", X)
    (batch,) = zone.plan()
    assert [outcome.verdict for outcome in zone.ingest(batch)] == [Verdict.LOADED]
    assert [outcome.verdict for outcome in zone.ingest(batch)] == [Verdict.DUPLICATE]
    batch["files"] *= 2
    assert [outcome.verdict for outcome in zone.ingest(batch)] == [Verdict.DUPLICATE] * 2


def test_2_an_older_plan_that_is_worked_off_later_changes_nothing(zone: Zone) -> None:
    zone.drop("jobs_1.csv", X, at=1)
    (old,) = zone.plan()
    zone.drop("jobs_2.csv", Y, at=2)
    assert verdicts(zone.look()) == {"jobs_1.csv": "loaded", "jobs_2.csv": "loaded"}
    assert [outcome.verdict for outcome in zone.ingest(old)] == [Verdict.DUPLICATE]
    assert zone.world.rows("jobs") == upserted("jobs", X, Y)


def test_2_a_batch_that_is_worked_off_backwards_leaves_what_its_order_would(zone: Zone) -> None:
    for at, body in enumerate((X, Y, X, b"1,last\n4,last\n")):
        zone.drop(f"jobs_{at}.csv", body, at=at)
    (batch,) = zone.plan()
    zone.ingest(batch | {"files": batch["files"][::-1]})
    assert zone.world.rows("jobs") == upserted("jobs", X, Y, X, b"1,last\n4,last\n")


def test_3_what_a_listing_misses_the_next_one_finds(zone: Zone) -> None:
    zone.drop("jobs_1.csv", X, at=1)
    batches = zone.plan()
    zone.drop("jobs_0.csv", Y, at=0)
    zone.ingest(*batches)
    assert verdicts(zone.look()) == {"jobs_0.csv": "loaded"}
    assert zone.world.rows("jobs") == upserted("jobs", X, Y)


def test_4_an_upload_in_parts_is_no_file_until_it_is_complete(zone: Zone) -> None:
    where = {"Bucket": zone.store.bucket, "Key": "landing/jobs_parts.csv"}
    upload = zone.store.client.create_multipart_upload(**where)["UploadId"]
    part = zone.store.client.upload_part(**where, UploadId=upload, PartNumber=1, Body=X)
    assert not zone.is_awaited()
    zone.drop("jobs_other.csv", Y, at=1)
    assert verdicts(zone.look()) == {"jobs_other.csv": "loaded"}
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    zone.store.client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts)
    zone.dropped(where["Key"], X)
    assert verdicts(zone.look()) == {"jobs_parts.csv": "loaded"}
    assert zone.world.rows("jobs") == upserted("jobs", Y, X)


def test_5_a_file_replaced_before_it_is_read_leaves_its_place_to_the_new_one(zone: Zone) -> None:
    zone.drop("jobs.csv", X, at=1)
    zone.drop("jobs_good.csv", b"9,good\n", at=2)
    batches = zone.plan()
    zone.drop("jobs.csv", Y, at=3)
    outcomes = zone.ingest(*batches)
    assert [(outcome.verdict, outcome.code) for outcome in outcomes] == [(Verdict.FAILED, GONE), (Verdict.LOADED, None)]
    assert gate(batches, outcomes) == []
    assert (zone.held(), zone.lying()) == ({}, ["jobs.csv"])
    assert verdicts(zone.look()) == {"jobs.csv": "loaded"}
    assert archived(zone)["jobs.csv"] == Y


REPLACED = {
    "while it is read": ("GetObject", None),
    "between commit and copy": ("CopyObject", archive_key),
    "between copy and delete": ("DeleteObject", None),
}


@pytest.mark.parametrize("moment", REPLACED)
def test_5_6_a_file_replaced_on_its_way_is_loaded_next(zone: Zone, moment: str) -> None:
    operation, target = REPLACED[moment]
    arrival = zone.drop("jobs.csv", X, at=1)
    key = target("jobs", arrival, arrival.arrival_id) if target else arrival.key
    with at_request(zone.store, operation, key, and_go_on(lambda: zone.drop("jobs.csv", Y, at=2))):
        zone.look()
    assert (zone.held(), zone.lying()) == ({}, ["jobs.csv"])
    assert zone.world.read(arrival.key) == Y
    assert verdicts(zone.look()) == {"jobs.csv": "loaded"}
    assert zone.world.rows("jobs") == upserted("jobs", *([Y] if operation == "GetObject" else [X, Y]))


def test_6_the_same_bytes_sent_again_before_the_move_are_an_arrival_of_their_own(zone: Zone) -> None:
    first = zone.drop("jobs_a.csv", X, at=1)
    with at_request(zone.store, "CopyObject", archive_key("jobs", first, first.arrival_id), FORBIDDEN):
        zone.look()
    zone.drop("jobs_b.csv", Y, at=2)
    zone.look()
    zone.make_due()
    batches = zone.plan()
    time.sleep(1.1)  # S3 tells seconds
    zone.drop("jobs_a.csv", X, at=3)
    zone.ingest(*batches)
    zone.look()
    assert zone.world.rows("jobs") == upserted("jobs", X, Y, X)


def test_7_the_same_bytes_under_a_new_name_are_archived_as_a_duplicate(zone: Zone) -> None:
    zone.drop("jobs.csv", X, at=1)
    zone.drop("jobs copy.csv", X, at=2)
    batches = zone.plan()
    outcomes = zone.ingest(*batches)
    assert [outcome.verdict for outcome in outcomes] == [Verdict.LOADED, Verdict.DUPLICATE]
    assert outcomes[1].duplicate_of == outcomes[0].load_id
    assert gate(batches, outcomes) == []
    assert archived(zone) == {"jobs.csv": X, "jobs copy.csv": X}


def test_8_x_then_y_then_x_again_under_one_name(zone: Zone) -> None:
    found = []
    for at, body in enumerate((X, Y, X, X)):
        zone.drop("jobs.csv", body, at=at)
        found.append(zone.look()["jobs.csv"].verdict)
    assert found == [Verdict.LOADED] * 3 + [Verdict.DUPLICATE]
    assert zone.world.rows("jobs") == upserted("jobs", X, Y, X)
    assert len(moved(zone)) == 4


def test_9_a_file_removed_before_it_is_read_is_no_failure(zone: Zone) -> None:
    arrival = zone.drop("jobs.csv", X, at=1)
    zone.drop("jobs_good.csv", Y, at=2)
    batches = zone.plan()
    zone.remove(arrival)
    outcomes = zone.ingest(*batches)
    assert [(outcome.verdict, outcome.code) for outcome in outcomes] == [(Verdict.FAILED, GONE), (Verdict.LOADED, None)]
    assert gate(batches, outcomes) == []
    assert zone.held() == {}
    assert (zone.world.ledger(arrival.arrival_id, "verdict"), zone.look()) == (("failed",), {})


def test_9_a_file_that_comes_back_is_loaded(zone: Zone) -> None:
    arrival = zone.drop("jobs.csv", X, at=1)
    batches = zone.plan()
    zone.remove(arrival)
    zone.ingest(*batches)
    zone.drop("jobs.csv", X, at=2)
    assert verdicts(zone.look()) == {"jobs.csv": "loaded"}


@pytest.mark.parametrize("years", [-56, -10, 50], ids=["1970", "ten years ago", "in fifty years"])
def test_10_a_clock_that_differs_changes_the_day_in_the_archive_and_nothing_else(zone: Zone, years: int) -> None:
    arrival = zone.drop("jobs.csv", X, at=years * 366 * 86400)
    assert verdicts(zone.look()) == {"jobs.csv": "loaded"}
    assert [one.day for one in moved(zone)] == [f"{arrival.last_modified:%Y/%m/%d}"]
    zone.drop("jobs.csv", Y, at=0)
    assert verdicts(zone.look()) == {"jobs.csv": "loaded"}
    assert zone.world.rows("jobs") == upserted("jobs", X, Y)


def test_13_a_file_of_a_very_long_name_is_archived(zone: Zone) -> None:
    zone.drop(f"jobs_{'x' * 240}.csv", X)
    zone.look()
    zone.make_due()
    zone.look()
    assert zone.lying() == []


# Holds


def forbidden(zone: Zone, arrival: Arrival) -> Any:
    return at_request(zone.store, "GetObject", arrival.key, FORBIDDEN, ALWAYS)


def test_33_one_file_that_is_refused_waits_and_the_others_are_loaded(zone: Zone) -> None:
    arrival = zone.drop("jobs_1.csv", X, at=1)
    zone.drop("jobs_2.csv", b"8,b\n", at=2)
    zone.drop("departments.csv", b"1,a\n", at=2)
    batches = zone.plan()
    with forbidden(zone, arrival):
        outcomes = zone.ingest(*batches)
    assert {outcome.key: outcome.verdict for outcome in outcomes if outcome.verdict is not Verdict.LOADED} == {
        arrival.key: Verdict.FAILED
    }
    (line,) = gate(batches, outcomes)
    assert line.startswith(f"{arrival.key}: failed. ")
    assert "AccessDenied" in line
    assert (zone.held(), zone.lying()) == ({"jobs_1.csv": 1}, ["jobs_1.csv"])
    assert zone.world.ledger(arrival.arrival_id, "verdict", "code") == ("failed", "fault")
    assert zone.plan() == []
    zone.make_due()
    assert verdicts(zone.look()) == {"jobs_1.csv": "loaded"}
    assert zone.held() == {}


def test_a_hold_doubles_up_to_its_most_and_tells_why_and_since_when(zone: Zone) -> None:
    arrival = zone.drop("jobs.csv", X)
    pauses, sinces = [], set()
    with forbidden(zone, arrival):
        for _ in range(5):
            zone.look(hold_seconds=60, hold_most_seconds=400)
            ((pause, since, reason),) = zone.world.sql(
                "SELECT extract(epoch FROM next_try_at - now())::float, since, reason FROM ops.holds"
            )
            pauses.append(pause)
            sinces.add(since)
            assert "AccessDenied" in reason
            assert zone.look() == {}
            zone.make_due()
    assert zone.held() == {"jobs.csv": 5}
    assert len(sinces) == 1
    assert all(most - 30 < pause <= most for pause, most in zip(pauses, (60, 120, 240, 400, 400), strict=True)), pauses
    zone.look()


def test_a_new_file_under_the_name_of_one_on_hold_does_not_wait(zone: Zone) -> None:
    arrival = zone.drop("jobs.csv", X, at=1)
    with forbidden(zone, arrival):
        zone.look()
    assert zone.held() == {"jobs.csv": 1}
    zone.drop("jobs.csv", Y, at=2)
    assert zone.is_awaited(Holds(zone.world.warehouse, zone.settings()).waiting)
    assert verdicts(zone.look()) == {"jobs.csv": "loaded"}
    assert zone.world.rows("jobs") == upserted("jobs", Y)


def test_a_fault_that_may_be_the_sessions_gets_a_second_try_at_once(zone: Zone) -> None:
    arrival = zone.drop("jobs.csv", X)
    with at_request(zone.store, "GetObject", arrival.key, EXPIRED):
        assert verdicts(zone.look()) == {"jobs.csv": "loaded"}
    assert zone.held() == {}


def test_30_a_session_that_ends_in_the_middle_is_replaced(zone: Zone) -> None:
    first = zone.drop("jobs_1.csv", X, at=1)
    zone.drop("jobs_2.csv", Y, at=2)

    def end_sessions(_key: str) -> None:
        zone.world.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'datamart' AND pid <> ALL (%s)",
            [zone.world.warehouse.query("SELECT pg_backend_pid()")[0][0]],
        )

    with at_request(zone.store, "PutObject", f"clean/jobs/{first.arrival_id}/part-00000.parquet", end_sessions):
        assert verdicts(zone.look()) == {"jobs_1.csv": "loaded", "jobs_2.csv": "loaded"}
    assert zone.world.rows("jobs") == upserted("jobs", X, Y)


def test_what_kept_a_file_from_its_move_is_told_and_it_is_moved_later(zone: Zone) -> None:
    arrival = zone.drop("jobs.csv", X, at=1)
    target = archive_key("jobs", arrival, arrival.arrival_id)
    batches = zone.plan()
    with at_request(zone.store, "CopyObject", target, FORBIDDEN, ALWAYS):
        outcomes = zone.ingest(*batches)
        assert [outcome.verdict for outcome in outcomes] == [Verdict.LOADED]
        assert zone.held() == {"jobs.csv": 1}
        assert "could not be moved away" in zone.world.sql("SELECT reason FROM ops.holds")[0][0]
        zone.make_due()
        assert verdicts(zone.look()) == {"jobs.csv": "duplicate"}
        assert zone.held() == {"jobs.csv": 2}
    assert (zone.lying(), archived(zone)) == (["jobs.csv"], {})
    zone.make_due()
    assert verdicts(zone.look()) == {"jobs.csv": "duplicate"}
    assert archived(zone) == {"jobs.csv": X}
    assert zone.held() == {}


def test_36_a_move_that_broke_off_after_the_copy_is_finished_later(zone: Zone) -> None:
    arrival = zone.drop("jobs.csv", X)
    with at_request(zone.store, "DeleteObject", arrival.key, FORBIDDEN):
        assert verdicts(zone.look()) == {"jobs.csv": "loaded"}
    assert (zone.lying(), archived(zone), zone.held()) == (["jobs.csv"], {"jobs.csv": X}, {"jobs.csv": 1})
    zone.make_due()
    assert verdicts(zone.look()) == {"jobs.csv": "duplicate"}
    assert zone.held() == {}


def test_36_a_move_whose_answer_was_lost_is_done(zone: Zone) -> None:
    arrival = zone.drop("jobs.csv", X)

    def delete_and_forget(key: str) -> Answer:
        zone.store.client.delete_object(Bucket=arrival.bucket, Key=key)
        return EXPIRED(key)

    with at_request(zone.store, "DeleteObject", arrival.key, delete_and_forget):
        zone.look()
    assert zone.lying() == []
    assert archived(zone) == {"jobs.csv": X}
    assert zone.look() == {}
    zone.world.sql("DELETE FROM ops.holds")  # of a file that is gone; the maintenance Dag forgets it


def test_a_refused_file_that_cannot_be_set_aside_is_on_hold_and_set_aside_later(zone: Zone) -> None:
    arrival = zone.drop("jobs.csv", b"x\n", at=1)
    target = quarantine_key(arrival, arrival.arrival_id)
    with at_request(zone.store, "PutObject", f"{target}.json", FORBIDDEN):
        assert verdicts(zone.look()) == {"jobs.csv": "rejected"}
    assert (zone.held(), zone.lying(), set_aside(zone)) == ({"jobs.csv": 1}, ["jobs.csv"], {})
    zone.make_due()
    with at_request(zone.store, "CopyObject", target, FORBIDDEN):
        assert verdicts(zone.look()) == {"jobs.csv": "rejected"}
    assert zone.held() == {"jobs.csv": 2}
    zone.make_due()
    assert verdicts(zone.look()) == {"jobs.csv": "rejected"}
    assert set_aside(zone) == {"jobs.csv": target}


def test_a_careful_try_leaves_no_hold_behind(zone: Zone) -> None:
    for number in range(3):
        zone.drop(f"jobs_{number}.csv", b"%d,a\n" % number)
    assert set(verdicts(zone.look(careful=True)).values()) == {"loaded"}
    assert zone.held() == {}


# Two at once


def at_once(zone: Zone, plans: list[list[Batch]], runs: list[str]) -> list[list[Outcome]]:
    """Work off each plan in a thread of its own; nobody takes a first lock before all are about to."""
    barrier = Barrier(len(plans))

    class Meeting(PostgresWarehouse):
        met = False

        def lock(self, table: Table) -> Any:
            if not self.met:
                self.met = True
                barrier.wait(DEADLOCKED)
            return super().lock(table)

    def work(plan: list[Batch], run: str) -> list[Outcome]:
        found: list[Outcome] = []
        with Sessions(lambda: zone.loader(run, Meeting)) as sessions:
            for batch in plan:
                found += Ingest(sessions).files(arrivals_of(batch))
        return found

    zone.world.asked += [(one, {}) for plan in plans for batch in plan for one in arrivals_of(batch)]
    with ThreadPoolExecutor(len(plans)) as pool:
        return list(pool.map(work, plans, runs))


@pytest.mark.parametrize("runs", [("a", "a"), ("a", "b")], ids=["a zombie and its retry", "two runs"])
def test_27_28_two_that_work_off_one_plan(zone: Zone, runs: tuple[str, str]) -> None:
    bodies = [b"%d,%d\n%d,%d\nx,bad\n" % (n, n, n + 1, n) for n in range(8)]
    for number, body in enumerate(bodies):
        zone.drop(f"jobs_{number}.csv", body, at=number)
    zone.drop("jobs_bad.csv", b"x\n", at=3)
    zone.drop("notes.txt", b"", at=3)
    plan = zone.plan()
    first, second = at_once(zone, [plan, plan], list(runs))
    assert [one.key for one in first] == [one.key for one in second]
    counted = zone.world.sql("SELECT count(*), sum(rows_inserted) FROM ops.loads WHERE verdict = 'loaded'")
    assert counted == [(8, 9)]
    changed = [sum(outcome.verdict is Verdict.LOADED for outcome in pair) for pair in zip(first, second, strict=True)]
    assert set(changed) == ({0, 2} if runs[0] == runs[1] else {0, 1})
    assert (zone.lying(), zone.held()) == ([], {})


def test_27_a_zombie_does_not_take_what_the_retry_has_put_in_order(zone: Zone) -> None:
    for at, body in enumerate((X, Y, X, b"1,z\n")):
        zone.drop(f"jobs_{at}.csv", body, at=at)
        (plan,) = zone.plan()
        at_once(zone, [[plan], [plan]], ["run", "run"])
    assert zone.world.rows("jobs") == upserted("jobs", X, Y, X, b"1,z\n")


def test_27_two_that_put_one_file_on_hold_at_the_same_time(zone: Zone) -> None:
    arrival = zone.drop("jobs_1.csv", X, at=1)
    zone.drop("jobs_2.csv", Y, at=2)
    plan, barrier = zone.plan(), Barrier(2)

    class Meeting(PostgresWarehouse):
        def execute(self, text: str, values: Any = None) -> int:
            done = super().execute(text, values)
            if text.startswith("DELETE FROM ops.holds"):
                barrier.wait(DEADLOCKED)
            return done

    def work(run: str) -> list[Outcome]:
        with Sessions(lambda: zone.loader(run, Meeting)) as sessions:
            return list(Ingest(sessions).files(arrivals_of(plan[0])))

    zone.world.asked += [(one, {}) for one in arrivals_of(plan[0])]
    with forbidden(zone, arrival), ThreadPoolExecutor(2) as pool:
        both = list(pool.map(work, ("a", "a")))
    assert [[outcome.verdict for outcome in one] for one in both] == [[Verdict.FAILED, Verdict.LOADED]] * 2


# Quarantine

REFUSED: dict[str, tuple[str, bytes, dict[str, object]]] = {
    "no_table": ("notes.txt", b"1,a\n", {}),
    "empty": ("jobs_empty.csv", b"", {}),
    "header_only": ("jobs_header.csv", b"id,job\n", {}),
    "wrong_header": ("jobs_wrong.csv", b"id,title\n1,a\n", {}),
    "all_rows_bad": ("jobs_bad.csv", b"x,\n1\n", {}),
    "over_threshold": ("jobs_half.csv", b"1,a\nx,b\n", {"reject_threshold": 0.1}),
    "record_too_long": ("jobs_long.csv", b"1," + b"a" * (1 << 20) + b"\n", {}),
}


@pytest.mark.parametrize("code", REFUSED)
def test_a_refused_file_is_set_aside_with_its_reason(zone: Zone, code: str) -> None:
    name, body, settings = REFUSED[code]
    zone.drop(name, body, at=1)
    zone.drop("jobs_good.csv", b"7,good\n", at=2)
    batches = zone.plan()
    outcomes = zone.ingest(*batches, **settings)
    refused = next(outcome for outcome in outcomes if outcome.key.endswith(name))
    assert (refused.verdict, refused.code) == (Verdict.REJECTED, code)
    assert [outcome.verdict for outcome in outcomes if outcome is not refused] == [Verdict.LOADED]
    assert gate(batches, outcomes) == [f"landing/{name}: rejected. {refused.message}"]
    assert list(set_aside(zone)) == [name]
    assert note_of(zone, set_aside(zone)[name])["code"] == code
    assert zone.world.read(set_aside(zone)[name]) == body
    assert zone.lying() == []


def test_each_reason_says_what_to_do(zone: Zone) -> None:
    said = {}
    for code, (name, body, settings) in REFUSED.items():
        zone.drop(name, body)
        zone.look(**settings)
        said[code] = note_of(zone, set_aside(zone)[name])
    assert said["empty"]["what_to_do"] == said["header_only"]["what_to_do"]
    assert "DATAMART_REJECT_THRESHOLD" in said["over_threshold"]["what_to_do"]
    assert "name" in said["no_table"]["what_to_do"]
    assert said["no_table"]["table"] is None
    assert {code: note["rows_rejected"] for code, note in said.items() if note["rows_rejected"]} == {
        "all_rows_bad": 2, "over_threshold": 1
    }  # fmt: skip
    assert all(note["file"] == f"s3://{zone.store.bucket}/landing/{REFUSED[code][0]}" for code, note in said.items())


def test_a_refused_file_that_was_replaced_before_its_move_leaves_no_note(zone: Zone) -> None:
    arrival = zone.drop("jobs.csv", b"x\n", at=1)
    target = quarantine_key(arrival, arrival.arrival_id)
    with at_request(zone.store, "CopyObject", target, and_go_on(lambda: zone.drop("jobs.csv", X, at=2))):
        assert verdicts(zone.look()) == {"jobs.csv": "rejected"}
    assert zone.world.keys("quarantine/") == []
    assert verdicts(zone.look()) == {"jobs.csv": "loaded"}


def test_a_refused_file_that_was_replaced_after_its_copy_keeps_copy_and_note(zone: Zone) -> None:
    arrival = zone.drop("jobs.csv", b"x\n", at=1)
    with at_request(zone.store, "DeleteObject", arrival.key, and_go_on(lambda: zone.drop("jobs.csv", X, at=2))):
        zone.look()
    assert list(set_aside(zone)) == ["jobs.csv"]
    assert verdicts(zone.look()) == {"jobs.csv": "loaded"}


def test_one_name_refused_twice_is_set_aside_twice(zone: Zone) -> None:
    for at, body in enumerate((b"x\n", b"y\n")):
        zone.drop("jobs.csv", body, at=at)
        zone.look()
    assert len([key for key in zone.world.keys("quarantine/") if key.endswith(".csv")]) == 2


# What is told


def test_a_run_is_told_in_numbers(zone: Zone) -> None:
    zone.drop("jobs_1.csv", X + b"x,bad\n", at=1)
    zone.drop("jobs_2.csv", Y, at=2)
    zone.drop("jobs_3.csv", b"x\n", at=3)
    gone = zone.drop("jobs_4.csv", b"5,e\n", at=4)
    (batch,) = zone.plan()
    zone.remove(gone)
    tally = Tally("jobs")
    for outcome in zone.ingest(batch):
        tally.add(outcome)
    assert totals([tally.result()]) == {
        "files loaded": 2, "files rejected": 1, "files gone": 1,
        "rows read": 7, "rows inserted": 3, "rows updated": 1, "rows unchanged": 1, "rows rejected": 2,
    }  # fmt: skip


def test_a_ledger_that_cannot_be_told_ends_the_batch_and_loses_nothing(zone: Zone) -> None:
    arrival = zone.drop("jobs_1.csv", X, at=1)
    zone.drop("jobs_2.csv", Y, at=2)

    class Away(PostgresWarehouse):
        def record(self, *_: object) -> None:
            raise TransientFault("The warehouse did not answer.")

    (batch,) = zone.plan()
    with Sessions(lambda: zone.loader("run", Away)) as sessions, pytest.raises(TransientFault):
        list(Ingest(sessions).files(arrivals_of(batch)))
    assert zone.world.sql("SELECT count(*) FROM ops.loads") == [(0,)]
    assert zone.lying() == ["jobs_1.csv", "jobs_2.csv"]
    assert arrival.arrival_id not in Holds(zone.world.warehouse, zone.settings()).all()
    assert verdicts(zone.look()) == {"jobs_1.csv": "loaded", "jobs_2.csv": "loaded"}


def test_a_file_that_was_loaded_and_one_that_failed_are_each_in_one_place(zone: Zone) -> None:
    arrival = zone.drop("jobs_1.csv", X, at=1)
    zone.drop("jobs_2.csv", Y, at=2)
    with forbidden(zone, arrival):
        zone.look()
    assert_each_file_once(zone)
    zone.make_due()
    zone.look()
