"""Files that land beside data: ignored names, files that are not complete, and objects that S3 does not hand out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from datamart.batches import arrivals_of
from datamart.file_names import IGNORED, PARTIAL
from datamart.landing import files_lie_there, plan_landing
from datamart.loads import Verdict
from tests.integration.landing_sound import archived, note_of, set_aside
from tests.integration.landing_zone import ALWAYS, Zone, at_request, s3_says
from tests.integration.world import upserted

BODY = b"1,a\n"
JUNK = (".DS_Store", "._jobs.csv", "~$jobs.csv", "Thumbs.db", "desktop.ini", "_SUCCESS", "jobs.csv.md5")


def put(zone: Zone, *names: str) -> None:
    for name in names:
        zone.store.write(f"landing/{name}", BODY)


def test_junk_is_neither_loaded_nor_moved_nor_waited_for(zone: Zone) -> None:
    put(zone, *JUNK)
    assert (zone.is_awaited(), zone.plan()) == (False, [])
    zone.drop("jobs.csv", BODY)
    assert zone.is_awaited()
    assert {name: found.verdict for name, found in zone.look().items()} == {"jobs.csv": Verdict.LOADED}
    assert sorted(zone.lying()) == sorted(JUNK)
    zone.store.remove(f"landing/{name}" for name in JUNK)


def test_what_is_left_out_is_counted_and_named(zone: Zone) -> None:
    put(zone, *JUNK, "jobs.csv.part")
    plan = plan_landing(zone.store, zone.world.warehouse, zone.settings())
    assert plan.batches == []
    found = plan.left_out.as_json()
    assert {reason: one["files"] for reason, one in found.items()} == {IGNORED: len(JUNK), PARTIAL: 1}
    assert found[PARTIAL]["first"] == ["landing/jobs.csv.part"]
    zone.clear()


def test_a_file_that_is_renamed_in_time_is_loaded_once(zone: Zone) -> None:
    put(zone, "jobs.csv.part")
    assert (zone.is_awaited(), zone.look()) == (False, {})
    zone.store.client.copy_object(
        Bucket=zone.store.bucket, Key="landing/jobs.csv", CopySource=f"{zone.store.bucket}/landing/jobs.csv.part"
    )
    zone.store.remove(["landing/jobs.csv.part"])
    zone.dropped("landing/jobs.csv", BODY)
    assert [found.verdict for found in zone.look().values()] == [Verdict.LOADED]
    assert archived(zone) == {"jobs.csv": BODY}


@pytest.mark.parametrize("name", ["jobs.csv.part", ".jobs.csv.aB3xY9", "_temporary/0/jobs.csv"])
def test_a_file_that_stays_not_complete_is_set_aside_with_the_reason(zone: Zone, name: str) -> None:
    zone.drop(name, BODY)
    assert zone.look() == {}
    assert zone.is_awaited(partial_minutes=0)
    (outcome,) = zone.ingest(*zone.plan(partial_minutes=0))
    assert (outcome.verdict, outcome.code, outcome.table) == (Verdict.REJECTED, "partial_name", None)
    assert "not complete" in outcome.message
    assert zone.world.rows("jobs") == []
    (key,) = set_aside(zone).values()
    assert note_of(zone, key)["code"] == "partial_name"


def test_the_time_is_the_warehouses(zone: Zone) -> None:
    """A sensor whose own clock is ahead would start a run that plans nothing, again and again."""
    put(zone, "jobs.csv.part")
    settings = zone.settings(partial_minutes=0)
    (arrival,) = zone.store.list("landing/")
    early, late = arrival.last_modified - timedelta(hours=1), arrival.last_modified + timedelta(hours=1)
    assert not files_lie_there(zone.store, set, settings, lambda: early)
    assert files_lie_there(zone.store, set, settings, lambda: late)
    zone.clear()


@pytest.mark.parametrize(
    ("status", "code", "cause"),
    [
        (400, "KMS.DisabledException", "KMS key that encrypts the object cannot be used"),
        (403, "InvalidObjectState", "Restore the object in S3"),
        (503, "SlowDown", "It is busy"),
    ],
)
def test_72_an_object_that_s3_does_not_hand_out_waits_with_its_cause_and_the_others_are_loaded(
    zone: Zone, monkeypatch: pytest.MonkeyPatch, status: int, code: str, cause: str
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    kept = zone.drop("jobs_1.csv", BODY, at=1)
    zone.drop("jobs_2.csv", b"2,b\n", at=2)
    with at_request(zone.store, "GetObject", kept.key, s3_says(status, code), times=ALWAYS):
        found = {name: outcome.verdict for name, outcome in zone.look().items()}
    assert found == {"jobs_1.csv": Verdict.FAILED, "jobs_2.csv": Verdict.LOADED}
    ((reason,),) = zone.world.sql("SELECT reason FROM ops.holds")
    assert code in reason
    assert cause in reason
    assert zone.plan() == []
    zone.make_due()
    zone.look()
    assert zone.world.rows("jobs") == upserted("jobs", BODY, b"2,b\n")


def test_73_a_loaded_file_that_cannot_be_deleted_waits_longer_each_time_and_is_loaded_once(zone: Zone) -> None:
    arrival = zone.drop("jobs.csv", BODY)
    with at_request(zone.store, "DeleteObject", arrival.key, s3_says(403, "AccessDenied"), times=ALWAYS):
        for tries in range(1, 4):
            zone.look()
            assert zone.held() == {"jobs.csv": tries}
            assert zone.plan() == []
            zone.make_due()
    assert zone.world.sql("SELECT verdict, count(*) FROM ops.loads GROUP BY verdict") == [("loaded", 1)]
    ((reason,),) = zone.world.sql("SELECT reason FROM ops.holds")
    assert "could not be moved away" in reason
    assert "rights" in reason
    assert [one.key for batch in zone.plan() for one in arrivals_of(batch)] == [arrival.key]
    zone.look()
    assert archived(zone) == {"jobs.csv": BODY}
