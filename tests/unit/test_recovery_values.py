"""Manifests, moments and the flags of loads, as values: no server is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import boto3
import pytest
from botocore.stub import Stubber

from datamart.errors import BackupDamaged, ConfigurationError, ImpossibleRequest
from datamart.moments import moment_of
from datamart.objects import ObjectStore
from datamart.recovery.catalogue import Catalogue
from datamart.recovery.manifest import Manifest, Part, TableBackup, decoded, new_id, part_key, require_id
from datamart.recovery.undone import Past, flags_at
from datamart.tables import table_named
from datamart_airflow.recovery_tasks import _load_id

NOW = datetime(2026, 11, 25, 14, 5, 6, 789, tzinfo=UTC)
ID = "20261125T140506Z-000789-0123abcd"


def manifest(backup_id: str = ID) -> Manifest:
    part = Part(part_key(backup_id, "jobs", 0), 2, 77, "0" * 64)
    table = TableBackup({"id": "int", "job": "string", "_load_id": "long"}, 2, "f" * 16, 7, (part,))
    return Manifest(backup_id, "taken", NOW, NOW, "ledger", {"warehouse": "PostgreSQL 18"}, {"jobs": table})


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert decoded(ID, manifest().encoded()) == manifest()


def test_ids_sort_by_time_and_are_never_the_same() -> None:
    ids = [new_id(NOW + timedelta(microseconds=step)) for step in (0, 1, 999_999, 10_000_000)]
    assert ids == sorted(ids)
    assert len({new_id(NOW) for _ in range(100)}) == 100
    assert all(require_id(one) == one for one in ids)


@pytest.mark.parametrize("field", ["backup_id", "kind", "taken_at", "ledger", "versions", "tables", "format", "sha256"])
def test_no_field_can_be_changed_unseen(field: str) -> None:
    content = json.loads(manifest().encoded())
    content[field] = "x"
    with pytest.raises(BackupDamaged):
        decoded(ID, json.dumps(content).encode())
    del content[field]
    with pytest.raises(BackupDamaged):
        decoded(ID, json.dumps(content).encode())


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"no json", manifest().encoded()[:-2]])
def test_what_is_no_manifest_is_told(body: bytes) -> None:
    with pytest.raises(BackupDamaged, match=r"cannot be read|not the one"):
        decoded(ID, body)


def test_a_manifest_of_another_backup_is_told() -> None:
    other = manifest("20261125T140507Z-000000-0123abcd")
    with pytest.raises(BackupDamaged, match="that of another one"):
        decoded(ID, other.encoded())
    forged = replace(other, backup_id=ID)  # whose parts lie in the other's folder
    with pytest.raises(BackupDamaged, match="that of another one"):
        decoded(ID, forged.encoded())


@pytest.mark.parametrize("text", ["", "a", "../x", "a/b", "latest ", "x" * 65, "-a", "a\n", "ä1"])
def test_what_cannot_be_an_id_is_told(text: str) -> None:
    with pytest.raises(ImpossibleRequest, match="cannot be the id"):
        require_id(text)


@pytest.mark.parametrize(
    ("parse", "text"),
    [(table_named, "job"), (moment_of, "yesterday"), (_load_id, "12x"), (_load_id, str(2**63))],
)
def test_a_name_or_number_that_cannot_be_is_an_impossible_request(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(ImpossibleRequest, match=r"is no moment|is not a valid load id|There is no table"):
        parse(text)


def test_a_bucket_that_is_gone_is_not_a_backup_that_has_expired() -> None:
    client = boto3.client("s3", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    listed = {"Contents": [{"Key": f"{ID}/manifest.json", "ETag": '"e"', "LastModified": NOW, "Size": 1}]}
    with Stubber(client) as server:
        server.add_response("list_objects_v2", listed)
        server.add_client_error("get_object", "NoSuchBucket")
        with pytest.raises(ConfigurationError, match="the bucket does not exist") as found:
            Catalogue(ObjectStore(client, "backups")).newest(["jobs"])
    assert not isinstance(found.value, ImpossibleRequest)


def test_a_moment_without_an_offset_is_utc() -> None:
    assert (
        moment_of("2026-11-25T14:05:00")
        == moment_of("2026-11-25 14:05:00Z")
        == datetime(2026, 11, 25, 14, 5, tzinfo=UTC)
    )
    east = timezone(timedelta(hours=5))
    assert moment_of("2026-11-25T14:05:00+05:00") == datetime(2026, 11, 25, 14, 5, tzinfo=east)


def counts(seq: int, *past: Past) -> set[int]:
    """Which of the commits 0 to 9 count at a commit, by the flags; undos take load ids equal to commits."""
    flags = flags_at(seq, past)
    found = {one for after, until in flags.counted for one in range(10) if after < one <= until}
    for after, until, _ in flags.undone:
        assert not {one for one in found if after < one < until}, "a load counts and is undone"
    return found - {one.undone_load_id for one in flags.singles if one.undone_load_id is not None}


def restored(seq: int, target: int | None) -> Past:
    return Past(100 + seq, "restore", seq, target, None)


def undone(seq: int, load: int) -> Past:
    return Past(100 + seq, "undo", seq, None, load)


@pytest.mark.parametrize(
    ("seq", "past", "expected"),
    [
        (3, (), {0, 1, 2, 3}),
        (4, (restored(4, 2),), {0, 1, 2}),
        (6, (restored(4, 2),), {0, 1, 2, 5, 6}),
        (3, (restored(4, 2),), {0, 1, 2, 3}),
        (6, (restored(4, 2), restored(6, 3)), {0, 1, 2, 3}),
        (8, (restored(4, 2), restored(6, 3), restored(8, 5)), {0, 1, 2, 5}),
        (5, (undone(3, 1),), {0, 2, 4, 5}),
        (6, (undone(3, 1), restored(6, 2)), {0, 1, 2}),
        (6, (undone(3, 1), restored(6, 4)), {0, 2, 4}),
        (5, (restored(4, None),), {5}),
    ],
)
def test_what_counts_at_a_commit_is_what_the_table_held_then(
    seq: int, past: tuple[Past, ...], expected: set[int]
) -> None:
    changes = {one.commit_seq for one in past}
    assert counts(seq, *past) - changes == expected - changes
