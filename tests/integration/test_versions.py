"""Fault 71: where a bucket keeps versions, the version that was listed is the one that is read, copied and deleted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from datamart.batches import arrivals_of
from datamart.errors import DatamartError, SourceChanged, TransientFault
from datamart.history import plan_history
from datamart.loads import Arrival, Verdict
from datamart.objects import ObjectStore, archive_key
from datamart.s3_errors import AccessRefused
from datamart.warehouse.base import Warehouse
from tests.integration.landing_sound import archived, note_of, set_aside
from tests.integration.landing_zone import ALWAYS, FORBIDDEN, Answer, Dated, Zone, at_request, on_requests, s3_says
from tests.integration.world import World, upserted
from tests.stack import Stack

OLD, NEW, NEWEST = b"1,old\n2,old\n", b"1,new\n", b"1,newest\n"
KEY = "landing/jobs.csv"


@contextmanager
def versioned_bucket(client: Any, status: str | None = "Enabled", **options: Any) -> Iterator[str]:
    """A bucket of its own that keeps versions."""
    bucket = f"versions-{uuid4().hex}"
    client.create_bucket(Bucket=bucket, **options)
    if status:
        set_versioning(client, bucket, status)
    yield bucket
    purge(client, bucket)
    client.delete_bucket(Bucket=bucket)


def set_versioning(client: Any, bucket: str, status: str) -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


def purge(client: Any, bucket: str) -> None:
    """Delete all versions and delete markers."""
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for one in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
            client.delete_object(
                Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"], BypassGovernanceRetention=True
            )


def versions(store: ObjectStore, prefix: str = "landing/") -> list[tuple[str, str]]:
    """Kind and key of all that the bucket keeps of a prefix."""
    found = store.client.list_object_versions(Bucket=store.bucket, Prefix=prefix)
    return [(kind, one["Key"]) for kind in ("Versions", "DeleteMarkers") for one in found.get(kind, [])]


def wait_a_second() -> None:
    """S3 tells seconds: what comes now is later by S3's clock."""
    time.sleep(1.01 - time.time() % 1)


@pytest.fixture(scope="module")
def landing_store(warehouse_and_s3: Stack) -> Iterator[Dated]:
    """A bucket with versions, where the landing folder of these tests lies."""
    with versioned_bucket(warehouse_and_s3.s3) as bucket:
        yield Dated(warehouse_and_s3.s3, bucket)


@pytest.fixture
def versioned(landing_store: Dated, zone: Zone) -> Zone:
    """A landing folder without old versions, in which each file ends in one place."""
    purge(landing_store.client, landing_store.bucket)
    return zone


@pytest.fixture(scope="module")
def moto() -> Iterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    yield boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s"
    )
    server.stop()


@pytest.fixture(params=["seaweedfs", "moto"])
def store(request: pytest.FixtureRequest, warehouse_and_s3: Stack) -> Iterator[ObjectStore]:
    """A bucket with versions on each of the servers."""
    client = warehouse_and_s3.s3 if request.param == "seaweedfs" else request.getfixturevalue("moto")
    with versioned_bucket(client) as bucket:
        yield ObjectStore(client, bucket)


@contextmanager
def refused(store: ObjectStore, *wanted: tuple[str, str]) -> Iterator[None]:
    """S3 answers 403 to requests by method and a text in their address."""

    def answer(request: Any, **_: object) -> Any:
        if any(request.method == method and text in request.url for method, text in wanted):
            return FORBIDDEN("")
        return None

    store.client.meta.events.register("before-send.s3", answer)
    try:
        yield
    finally:
        store.client.meta.events.unregister("before-send.s3", answer)


def put(store: ObjectStore, *bodies: bytes, key: str = KEY) -> Arrival:
    """Write an object again and again; the current one, pinned."""
    for body in bodies:
        store.write(key, body)
    (found,) = store.pinned(store.list(key, exact=True))
    return found


# The object store, on each server


def test_an_arrival_is_the_same_with_and_without_its_version(store: ObjectStore) -> None:
    pinned = put(store, OLD)
    (listed,) = store.list(KEY, exact=True)
    assert pinned.version_id is not None
    assert listed.version_id is None
    assert (pinned.arrival_id, pinned.version) == (
        listed.arrival_id,
        f"{listed.etag}@{listed.last_modified.isoformat()}",
    )


def test_the_pinned_version_is_read_whatever_is_written_over_it(store: ObjectStore) -> None:
    pinned = put(store, OLD)
    put(store, NEW)
    with store.read(pinned) as body:
        assert body.read() == OLD
    assert store.read_span(pinned, 2, 5) == OLD[2:5]


def test_the_pinned_version_is_moved_and_the_newer_one_stays(store: ObjectStore) -> None:
    pinned = put(store, OLD)
    put(store, NEW)
    assert list(store.move(pinned, "archive/x.csv")) == []
    assert (store.fetch("archive/x.csv"), store.fetch(KEY)) == (OLD, NEW)
    assert versions(store) == [("Versions", KEY)]
    assert list(store.move(pinned, "archive/x.csv")) == []  # told again to who missed the answer
    assert (store.fetch("archive/x.csv"), store.fetch(KEY)) == (OLD, NEW)


def test_a_move_that_would_uncover_older_versions_names_them_and_deletes_nothing(store: ObjectStore) -> None:
    pinned = put(store, OLD, NEW, NEWEST)
    older = store.move(pinned, "archive/x.csv")
    assert [store.client.get_object(**named(one))["Body"].read() for one in older] == [OLD, NEW]
    assert versions(store) == [("Versions", KEY)] * 3
    for place, one in enumerate(older):
        assert list(store.move(one, f"quarantine/{place}.csv", covered=True)) == []
    assert list(store.move(pinned, "archive/x.csv")) == []
    assert (versions(store), store.fetch("archive/x.csv")) == ([], NEWEST)
    assert [store.fetch(f"quarantine/{place}.csv") for place in range(2)] == [OLD, NEW]


def named(arrival: Arrival) -> dict[str, Any]:
    return {"Bucket": arrival.bucket, "Key": arrival.key, "VersionId": arrival.version_id}


def test_a_version_below_a_delete_marker_stays_there(store: ObjectStore) -> None:
    put(store, OLD)
    wait_a_second()
    store.remove([KEY])
    wait_a_second()
    pinned = put(store, NEW)
    assert list(store.move(pinned, "archive/x.csv")) == []
    assert store.list(KEY, exact=True) == []
    assert sorted(versions(store)) == [("DeleteMarkers", KEY), ("Versions", KEY)]


def test_a_name_that_begins_with_another_is_another_object(store: ObjectStore) -> None:
    put(store, OLD, NEW, key=f"{KEY}.more.csv")
    assert list(store.move(put(store, NEWEST), "archive/x.csv")) == []
    assert versions(store) == [("Versions", f"{KEY}.more.csv")] * 2


def test_a_version_from_before_the_bucket_kept_any_is_deleted_as_such(warehouse_and_s3: Stack, moto: Any) -> None:
    for client in (warehouse_and_s3.s3, moto):
        with versioned_bucket(client, None) as bucket:
            store = ObjectStore(client, bucket)
            store.write(KEY, OLD)
            assert store.pinned(store.list(KEY))[0].version_id is None
            set_versioning(client, bucket, "Enabled")
            (pinned,) = store.pinned(store.list(KEY))
            assert pinned.version_id == "null"
            put(store, NEW)
            store.move(pinned, "archive/x.csv")
            assert (store.fetch("archive/x.csv"), store.fetch(KEY)) == (OLD, NEW)
            assert versions(store) == [("Versions", KEY)]


def test_a_suspended_bucket_is_used_as_one_without_versions(warehouse_and_s3: Stack) -> None:
    """A new object overwrites the version ``null``: to delete that by its id could delete the newer one."""
    client = warehouse_and_s3.s3
    with versioned_bucket(client) as bucket:
        store = ObjectStore(client, bucket)
        set_versioning(client, bucket, "Suspended")
        listed = put(store, OLD)
        assert listed.version_id is None
        store.write(KEY, NEW)
        with pytest.raises(SourceChanged):
            store.move(listed, "archive/x.csv")
        assert store.fetch(KEY) == NEW
        store.move(put(store, NEW), "archive/y.csv")
        assert (store.list(KEY), store.fetch("archive/y.csv")) == ([], NEW)


def test_an_object_that_is_locked_is_covered_and_not_listed_again(warehouse_and_s3: Stack, moto: Any) -> None:
    """Fault 73: the version cannot be deleted, a delete marker can be put over it."""
    for client in (warehouse_and_s3.s3, moto):
        with versioned_bucket(client, None, ObjectLockEnabledForBucket=True) as bucket:
            store = ObjectStore(client, bucket)
            written = client.put_object(Bucket=bucket, Key=KEY, Body=OLD)
            client.put_object_legal_hold(Bucket=bucket, Key=KEY, LegalHold={"Status": "ON"})
            (pinned,) = store.pinned(store.list(KEY))
            assert pinned.version_id == written["VersionId"]
            assert list(store.move(pinned, "archive/x.csv")) == []
            assert (store.list(KEY), store.fetch("archive/x.csv")) == ([], OLD)
            assert sorted(versions(store)) == [("DeleteMarkers", KEY), ("Versions", KEY)]
            for one in client.list_object_versions(Bucket=bucket)["Versions"]:  # a server may copy the lock too
                client.put_object_legal_hold(
                    Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"], LegalHold={"Status": "OFF"}
                )


def test_many_delete_markers_cost_a_listing_nothing_and_a_move_one_request(warehouse_and_s3: Stack) -> None:
    client = warehouse_and_s3.s3
    with versioned_bucket(client) as bucket:
        store = ObjectStore(client, bucket)
        for number in range(150):
            store.write(f"landing/jobs_{number % 3}.csv", b"1,a\n")
            if number == 148:  # the last one of jobs_1.csv
                wait_a_second()
            store.remove([f"landing/jobs_{number % 3}.csv"])
        wait_a_second()
        pinned = put(store, NEW, key="landing/jobs_1.csv")
        sent: list[str] = []
        client.meta.events.register("before-send.s3", note := lambda request, **_: sent.append(request.url))
        try:
            assert store.pinned(store.list("landing/")) == [pinned]
            assert not any("?versions" in url for url in sent), "a listing reads no delete markers"
            store.move(pinned, "archive/x.csv")
        finally:
            client.meta.events.unregister("before-send.s3", note)
        assert sum("?versions" in url for url in sent) == 1


def test_a_copy_that_is_not_equal_deletes_nothing(store: ObjectStore) -> None:
    pinned = put(store, OLD)
    with (
        at_request(store, "HeadObject", "archive/x.csv", lambda key: store.write(key, b"1,bad\n2,old\n")),
        pytest.raises(TransientFault, match="not equal"),
    ):
        store.move(pinned, "archive/x.csv")
    assert store.fetch(KEY) == OLD
    store.move(pinned, "archive/x.csv")
    assert (store.fetch("archive/x.csv"), versions(store)) == (OLD, [])


TARGET = "archive/x.csv"


def truncated(store: ObjectStore) -> Callable[[str], Answer]:
    return lambda key: store.write(key, OLD[:3])


def bad_copies(store: ObjectStore) -> dict[str, tuple[str, Callable[[str], Answer]]]:
    """What goes wrong with a copy: at which request, and what happens."""
    return {
        "the copy fails": ("CopyObject", s3_says(500, "InternalError")),
        "the copy is refused": ("CopyObject", FORBIDDEN),
        "the copy is truncated": ("HeadObject", truncated(store)),
        "the copy is gone": ("HeadObject", lambda key: store.remove([key])),
        "the copy cannot be looked at": ("HeadObject", s3_says(503, "SlowDown")),
    }


@pytest.mark.parametrize("fault", bad_copies(ObjectStore(None, "")))
@pytest.mark.parametrize("keeps", ["versions", "no versions"])
def test_a_file_without_a_whole_copy_is_not_deleted(store: ObjectStore, fault: str, keeps: str) -> None:
    """Of a file of one version, a version that a newer one covers, and a file in a bucket without versions."""
    pinned = put(store, OLD)
    lying = pinned if keeps == "versions" else replace(pinned, version_id=None)
    covers = (False, True) if keeps == "versions" else (False,)
    request, act = bad_copies(store)[fault]
    for covered in covers:
        with on_requests(store, request, {TARGET}, act, ALWAYS) as met:
            with pytest.raises(DatamartError):
                store.move(lying, TARGET, covered=covered)
            assert met
        assert (store.fetch(KEY), versions(store)) == (OLD, [("Versions", KEY)])
    store.move(lying, TARGET)
    assert (store.fetch(TARGET), store.list(KEY)) == (OLD, [])


def test_a_file_in_a_bucket_without_versions_stays_when_its_copy_is_truncated(warehouse_and_s3: Stack) -> None:
    with versioned_bucket(warehouse_and_s3.s3, None) as bucket:
        store = ObjectStore(warehouse_and_s3.s3, bucket)
        listed = put(store, OLD)
        with (
            at_request(store, "HeadObject", TARGET, truncated(store)),
            pytest.raises(TransientFault, match="not equal"),
        ):
            store.move(listed, TARGET)
        assert store.fetch(KEY) == OLD
        store.move(listed, TARGET)
        assert (store.fetch(TARGET), store.list(KEY)) == (OLD, [])


def test_it_takes_the_comparison_to_keep_a_file_whose_copy_is_truncated(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted defect: without the comparison the file is deleted and its copy is not whole."""
    pinned = put(store, OLD)
    monkeypatch.setattr(ObjectStore, "_require_copied", lambda *_: None)
    with on_requests(store, "DeleteObject", {KEY}, lambda _: store.write(TARGET, OLD[:3]), 1):
        store.move(pinned, TARGET)
    assert (store.fetch(TARGET), versions(store)) == (OLD[:3], [])


@contextmanager
def versions_not_copied(store: ObjectStore) -> Iterator[None]:
    """S3 refuses to copy by a version's id, as AWS does for objects that have tags when a right is missing."""

    def answer(request: Any, **_: object) -> Any:
        source = str({name.lower(): value for name, value in request.headers.items()}["x-amz-copy-source"])
        return FORBIDDEN("") if "versionId=" in source else None

    store.client.meta.events.register("before-send.s3.CopyObject", answer)
    try:
        yield
    finally:
        store.client.meta.events.unregister("before-send.s3.CopyObject", answer)


def test_a_version_that_may_not_be_copied_is_moved_as_in_a_bucket_without_versions(store: ObjectStore) -> None:
    pinned = put(store, OLD, NEW)
    with versions_not_copied(store):
        assert list(store.move(pinned, TARGET)) == []
    assert (store.fetch(TARGET), store.list(KEY)) == (NEW, [])
    assert sorted(versions(store)) == [("DeleteMarkers", KEY), ("Versions", KEY), ("Versions", KEY)]


def test_a_version_that_may_not_be_copied_is_not_taken_for_the_newer_one(warehouse_and_s3: Stack) -> None:
    with versioned_bucket(warehouse_and_s3.s3) as bucket:  # moto copies whatever the ETag is
        store = ObjectStore(warehouse_and_s3.s3, bucket)
        pinned = put(store, OLD)
        store.write(TARGET, OLD)  # a try before this one has copied it
        put(store, NEW)
        with versions_not_copied(store):
            with pytest.raises(SourceChanged):
                store.move(pinned, TARGET)
            with pytest.raises(AccessRefused):
                store.move(pinned, TARGET, covered=True)
        assert (store.fetch(KEY), store.fetch(TARGET)) == (NEW, OLD)
        assert versions(store) == [("Versions", KEY)] * 2


def test_a_fault_of_the_question_about_versioning_keeps_no_file_from_being_loaded(
    warehouse_and_s3: Stack, store: ObjectStore
) -> None:
    """The question alone fails: the version is pinned where the object has one, else the ETag is the condition."""
    with versioned_bucket(warehouse_and_s3.s3, None) as bucket:
        for asked, pinned in ((ObjectStore(warehouse_and_s3.s3, bucket), False), (store, True)):
            event, fault = "before-send.s3.GetBucketVersioning", s3_says(500, "InternalError")
            asked.client.meta.events.register(event, hook := lambda fault=fault, **_: fault(""))
            try:
                arrival = put(asked, OLD, NEW)
                assert (arrival.version_id is not None) == pinned
                older = asked.move(arrival, TARGET)
            finally:
                asked.client.meta.events.unregister(event, hook)
            assert (len(older), asked.fetch(TARGET)) == (int(pinned), NEW)


RIGHTS = {
    "s3:GetBucketVersioning": ("GET", "?versioning"),
    "s3:GetObjectVersionTagging": ("GET", "tagging"),
    "s3:GetObjectVersion": ("HEAD", "versionId="),
    "s3:ListBucketVersions": ("GET", "?versions"),
    "s3:DeleteObjectVersion": ("DELETE", "versionId="),
}


@pytest.mark.parametrize("right", RIGHTS)
def test_without_a_right_a_file_is_moved_as_in_a_bucket_without_versions(store: ObjectStore, right: str) -> None:
    assert store.missing_version_rights() == ()
    store.write(KEY, OLD)
    with refused(store, RIGHTS[right]):
        assert store.missing_version_rights() == (right,)
        pinned = put(store, NEW)
        moved = store.move(pinned, "archive/x.csv")
        if right in ("s3:GetBucketVersioning", "s3:GetObjectVersionTagging"):  # this file can be moved without it
            assert len(moved) == 1
            return
        assert list(moved) == []
    assert (pinned.version_id is None) == (right == "s3:GetObjectVersion")
    assert (store.list(KEY), store.fetch("archive/x.csv")) == ([], NEW)
    assert sorted(versions(store)) == [("DeleteMarkers", KEY), ("Versions", KEY), ("Versions", KEY)]


def test_a_bucket_without_versions_needs_no_rights(warehouse_and_s3: Stack) -> None:
    with versioned_bucket(warehouse_and_s3.s3, None) as bucket:
        store = ObjectStore(warehouse_and_s3.s3, bucket)
        with refused(store, RIGHTS["s3:GetObjectVersion"]):
            assert store.missing_version_rights() == ()


def test_a_server_that_knows_no_tags_lacks_no_right_to_them(store: ObjectStore) -> None:
    event, unknown = "before-send.s3.GetObjectTagging", s3_says(501, "NotImplemented")
    store.client.meta.events.register(event, hook := lambda **_: unknown(""))
    try:
        assert store.missing_version_rights() == ()
    finally:
        store.client.meta.events.unregister(event, hook)


# Files that land


def test_a_file_that_is_overwritten_after_the_plan_is_loaded_before_the_new_one(versioned: Zone) -> None:
    versioned.drop("jobs.csv", OLD)
    batches = versioned.plan()
    versioned.drop("jobs.csv", NEW)
    (outcome,) = versioned.ingest(*batches)
    assert (outcome.verdict, outcome.counts.inserted) == (Verdict.LOADED, 2)
    assert versioned.store.fetch(KEY) == NEW
    assert {found.verdict for found in versioned.look().values()} == {Verdict.LOADED}
    assert versioned.world.rows("jobs") == upserted("jobs", OLD, NEW)
    assert versions(versioned.store) == []


def overwritten(zone: Zone) -> None:
    """A file is sent again, with less in it, before anybody has looked."""
    zone.drop("jobs.csv", OLD)
    zone.drop("jobs.csv", NEW)
    zone.look()
    zone.look()


def test_an_older_version_is_recorded_and_set_aside_and_not_loaded_over_newer_rows(versioned: Zone) -> None:
    overwritten(versioned)
    assert versioned.world.rows("jobs") == upserted("jobs", NEW)
    assert versions(versioned.store) == []
    (old, new) = (drop.arrival for drop in versioned.drops)
    assert versioned.world.ledger(old.arrival_id, "verdict", "code") == ("rejected", "superseded")
    assert versioned.world.ledger(new.arrival_id, "verdict") == ("loaded",)
    assert archived(versioned) == {"jobs.csv": NEW}
    (key,) = set_aside(versioned).values()
    assert versioned.world.read(key) == OLD
    assert "under a name of its own" in note_of(versioned, key)["what_to_do"]


@pytest.mark.usefixtures("versioned")
def test_it_takes_both_looks_at_older_versions_to_go_wrong(spoiled_zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted defect: blind to older versions, the product loads the old file over the new one."""
    monkeypatch.setattr(ObjectStore, "older_versions", lambda *_: ())
    monkeypatch.setattr(Warehouse, "has_newer_version", lambda *_: False)
    overwritten(spoiled_zone)
    assert spoiled_zone.world.rows("jobs") == upserted("jobs", NEW, OLD)
    spoiled_zone.clear()


def test_a_version_that_a_person_uncovers_after_the_newer_one_was_loaded_is_set_aside(versioned: Zone) -> None:
    """As an older version of this project left it: all versions are there, below a delete marker."""
    store = versioned.store
    versioned.drop("jobs.csv", OLD)
    wait_a_second()
    versioned.drop("jobs.csv", NEW)
    (batch,) = versioned.plan()
    unpinned = {**batch, "files": [{**one, "version_id": None} for one in batch["files"]]}
    versioned.ingest(unpinned)
    assert sorted(versions(store)) == [("DeleteMarkers", KEY), ("Versions", KEY), ("Versions", KEY)]
    found = store.client.list_object_versions(Bucket=store.bucket, Prefix=KEY)
    for one in (*found["DeleteMarkers"], found["Versions"][0]):
        store.client.delete_object(Bucket=store.bucket, Key=KEY, VersionId=one["VersionId"])
    assert versioned.lying() == ["jobs.csv"]
    assert [found.code for found in versioned.look().values()] == ["superseded"]
    assert versioned.world.rows("jobs") == upserted("jobs", NEW)
    assert [versioned.world.read(key) for key in set_aside(versioned).values()] == [OLD]


def test_a_loaded_file_that_shows_again_is_not_loaded_again(versioned: Zone) -> None:
    """Loaded and covered before the upgrade, then a person removes the delete marker."""
    versioned.drop("jobs.csv", NEW)
    (batch,) = versioned.plan()
    versioned.ingest({**batch, "files": [{**one, "version_id": None} for one in batch["files"]]})
    versioned.drop("jobs_2.csv", NEWEST)
    versioned.look()
    (marker,) = versioned.store.client.list_object_versions(Bucket=versioned.store.bucket, Prefix=KEY)["DeleteMarkers"]
    versioned.store.client.delete_object(Bucket=versioned.store.bucket, Key=KEY, VersionId=marker["VersionId"])
    assert [found.verdict for found in versioned.look().values()] == [Verdict.DUPLICATE]
    assert versioned.world.rows("jobs") == upserted("jobs", NEW, NEWEST)
    assert versions(versioned.store) == []


def test_a_version_that_shows_before_anything_newer_was_loaded_is_an_arrival_of_its_own(versioned: Zone) -> None:
    versioned.drop("jobs.csv", OLD)
    new = versioned.drop("jobs.csv", NEW)
    (pinned,) = versioned.store.pinned([new])
    versioned.store.client.delete_object(**named(pinned))
    versioned.taken.append(new)
    assert [found.verdict for found in versioned.look().values()] == [Verdict.LOADED]
    assert versioned.world.rows("jobs") == upserted("jobs", OLD)


def test_an_older_version_that_cannot_be_set_aside_keeps_the_newer_one_where_it_is(versioned: Zone) -> None:
    versioned.drop("jobs.csv", OLD)
    versioned.drop("jobs.csv", NEW)
    old = versioned.drops[0].arrival
    target = f"quarantine/{old.last_modified:%Y/%m/%d}/{old.arrival_id}-jobs.csv"
    with at_request(versioned.store, "CopyObject", target, FORBIDDEN, times=9):
        versioned.look()
    assert versioned.held() == {"jobs.csv": 1}
    assert versioned.store.fetch(KEY) == NEW
    versioned.make_due()
    versioned.look()
    assert (versioned.held(), versions(versioned.store)) == ({}, [])


def test_an_older_version_whose_copy_is_truncated_is_on_hold_with_the_newer_one_until_it_is_whole(
    versioned: Zone,
) -> None:
    versioned.drop("jobs.csv", OLD)
    versioned.drop("jobs.csv", NEW)
    old = versioned.drops[0].arrival
    target = f"quarantine/{old.last_modified:%Y/%m/%d}/{old.arrival_id}-jobs.csv"
    with at_request(versioned.store, "HeadObject", target, truncated(versioned.store), times=9):
        versioned.look()
    assert (versioned.held(), versions(versioned.store)) == ({"jobs.csv": 1}, [("Versions", KEY)] * 2)
    versioned.make_due()
    versioned.look()
    assert (versioned.held(), versions(versioned.store)) == ({}, [])
    assert (archived(versioned), versioned.world.read(target)) == ({"jobs.csv": NEW}, OLD)


def test_an_older_version_that_is_locked_is_covered_with_the_newer_one(versioned: Zone) -> None:
    versioned.drop("jobs.csv", OLD)
    versioned.drop("jobs.csv", NEW)
    found = versioned.store.client.list_object_versions(Bucket=versioned.store.bucket, Prefix=KEY)["Versions"]
    with refused(versioned.store, ("DELETE", f"versionId={found[1]['VersionId']}")):
        versioned.look()
    assert (versioned.lying(), versioned.held()) == ([], {})
    assert versioned.world.rows("jobs") == upserted("jobs", NEW)
    assert (archived(versioned), len(set_aside(versioned))) == ({"jobs.csv": NEW}, 1)
    assert sorted(versions(versioned.store)) == [("DeleteMarkers", KEY), ("Versions", KEY), ("Versions", KEY)]


def test_older_versions_on_both_sides_of_a_delete_marker_are_moved_in_one_go(versioned: Zone) -> None:
    """Which of a version and a delete marker of one second is older is unknown: each version is moved once."""
    store = versioned.store
    for body in (b"5,a\n", b"6,b\n", b"7,c\n"):
        store.write(KEY, body)
        store.remove([KEY])
    store.write(KEY, OLD)
    versioned.drop("jobs.csv", NEW)
    assert [found.verdict for found in versioned.look().values()] == [Verdict.LOADED]
    assert (versioned.lying(), versioned.held()) == ([], {})
    assert versioned.world.rows("jobs") == upserted("jobs", NEW)
    versioned.clear()


# A historic load


@pytest.fixture
def historic(warehouse_and_s3: Stack) -> Iterator[ObjectStore]:
    """A bucket with versions. A test names it before ``world``, whose files are looked at again at its end."""
    with versioned_bucket(warehouse_and_s3.s3) as bucket:
        yield ObjectStore(warehouse_and_s3.s3, bucket)


def test_a_historic_load_after_the_upgrade_loads_nothing_again(historic: ObjectStore, world: World) -> None:
    world.store = historic
    world.prefix = "historic/"
    before = world.put("jobs.csv", OLD)
    assert world.judge(before).verdict is Verdict.LOADED
    ((batch,), _) = plan_history(world.store, "historic/", ["jobs"], "upsert", world.warehouse.now())
    (pinned,) = arrivals_of(batch)
    assert pinned.version_id is not None
    again = world.judge(pinned)
    assert (again.verdict, again.load_id) == (Verdict.DUPLICATE, before.arrival_id)


def test_a_historic_load_reads_the_version_that_it_planned(historic: ObjectStore, world: World) -> None:
    world.store = historic
    world.prefix = "historic/"
    world.put("jobs.csv", OLD)
    ((batch,), _) = plan_history(world.store, "historic/", ["jobs"], "upsert", world.warehouse.now())
    world.store.write("historic/jobs.csv", NEW)
    (pinned,) = arrivals_of(batch)
    loader = world.loader()
    assert loader.load(pinned).counts.inserted == 2
    assert world.rows("jobs") == upserted("jobs", OLD)


def test_a_file_that_is_replaced_while_versions_are_read_is_listed_again(store: ObjectStore) -> None:
    store.write(KEY, OLD)
    store.write("landing/jobs_2.csv", OLD)
    listed = store.list("landing/")
    store.write(KEY, NEW)
    store.remove(["landing/jobs_2.csv"])
    (pinned,) = store.pinned(listed)
    with store.read(replace(pinned)) as body:
        assert body.read() == NEW


def test_the_places_of_files_are_those_of_the_archive(store: ObjectStore) -> None:
    pinned = put(store, OLD)
    target = archive_key("jobs", pinned, pinned.arrival_id)
    store.move(pinned, target)
    assert store.fetch(target) == OLD
