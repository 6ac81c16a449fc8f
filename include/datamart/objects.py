"""Files in S3: list, read, write, archive - each conditional on the object that was listed.

Where things lie is here (the layout as functions); what is in them is not.

In a bucket that keeps versions, ``pinned`` adds the version id to listed objects. A pinned object is read, copied and
deleted by its version id, whatever is written to its key meanwhile. Without the rights for that, and in a bucket whose
versioning is suspended (where a new object overwrites the version ``null``), the ETag is the condition, as it is in a
bucket without versions.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Any, BinaryIO, NamedTuple

from datamart.errors import ConfigurationError, DatamartError, SourceChanged, TerminalFault, TransientFault
from datamart.loads import Arrival
from datamart.s3_errors import AccessRefused, s3_faults

log = logging.getLogger(__name__)

EXCHANGE = "exchange/"
_MOST_COPIED_AT_ONCE = 5 * 1024**3  # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
_LONGEST_NAME = 200
_VERSION_READERS = 8
_RELISTINGS = 3
TAGS_OF_VERSIONS = "s3:GetObjectVersionTagging"
"""The right that S3 asks for to copy a version that has tags, and only then."""
_RIGHTS_PROBE = "landing/.rights-probe"
"""A key that no object has: what S3 answers for it says which rights there are."""


def clean_key(table: str, load_id: int, part: int) -> str:
    """One part of the accepted rows of a load; the ledger says how many there are."""
    return f"clean/{table}/{load_id}/part-{part:05d}.parquet"


# What follows depends on what was in the table, not on the file alone: an attempt that was thought dead must not write
# over what another one has committed after other rows came in between. The number of the commit tells them apart.


def change_key(table: str, change_id: int, commit_seq: int, part: int) -> str:
    """One part of the rows that a restore or an undo put."""
    return f"clean/{table}/{change_id}/{commit_seq}-part-{part:05d}.parquet"


def left_key(table: str, load_id: int, commit_seq: int) -> str:
    """Keys of clean rows of a load that were not merged, as they gave way to newer files."""
    return f"clean/{table}/{load_id}/{commit_seq}-left.parquet"


def removed_key(table: str, change_id: int, commit_seq: int) -> str:
    """Keys of rows that a load, a restore or an undo removed."""
    return f"clean/{table}/{change_id}/{commit_seq}-removed.parquet"


def rejected_key(table: str, load_id: int, suffix: str = "csv") -> str:
    """Rejected rows of a load, to be repaired and sent again."""
    return f"rejected/{table}/{table}_rejected_{load_id}.{suffix}"


def archive_key(table: str, arrival: Arrival, load_id: int) -> str:
    """Where a loaded file goes: by the day it arrived, so that a retry finds the same place."""
    return f"archive/{table}/{arrival.last_modified:%Y/%m/%d}/{load_id}-{_short(arrival.name)}"


def quarantine_key(arrival: Arrival, load_id: int) -> str:
    """Where a refused file goes; what is wrong with it lies beside, under the same name and ``.json``."""
    return f"quarantine/{arrival.last_modified:%Y/%m/%d}/{load_id}-{_short(arrival.name)}"


def _short(name: str) -> str:
    """A name that leaves room for what goes before and behind it: servers allow 255 bytes between two slashes."""
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    stem, dot, suffix = name.rpartition(".")
    kept = _LONGEST_NAME - len(f".{suffix}".encode())
    if not dot or kept < 1:
        return name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    return f"{stem.encode()[:kept].decode(errors='ignore')}.{suffix}"


class VersionLocked(TerminalFault):
    """S3 refuses to delete a version that was copied: it may be under a retention or a legal hold."""


class CopyRefused(AccessRefused):
    """S3 refuses to copy a file."""


class _Readable(Enum):
    """Versions that this project may read by their ids."""

    NONE = 0
    NAMED = 1
    """Those with an id of their own, in a bucket of which it is unknown whether it still keeps versions."""
    ALL = 2


class StoredFile(NamedTuple):
    """A file that was written, and its bytes."""

    bucket: str
    key: str
    size: int


@dataclass(frozen=True)
class ObjectStore:
    """One bucket and a boto3 S3 client."""

    client: Any
    bucket: str

    def list(self, prefix: str, *, exact: bool = False) -> list[Arrival]:
        """All objects under ``prefix`` in load order (last-modified, key); folder markers are left out.

        With ``exact`` only the object of just that key.

        Raises:
            ConfigurationError: the bucket does not exist.
        """
        found = (one for one in self.walk(prefix) if not exact or one.key == prefix)
        return sorted(found, key=lambda arrival: (arrival.last_modified, arrival.key))

    def walk(self, prefix: str) -> Iterator[Arrival]:
        """All objects under ``prefix`` by key, a page at a time; folder markers are left out.

        Raises:
            ConfigurationError: the bucket does not exist.
        """
        with s3_faults(f"s3://{self.bucket}/{prefix}"):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for item in page.get("Contents", []):
                    if not item["Key"].endswith("/"):
                        yield Arrival(self.bucket, item["Key"], item["ETag"], item["LastModified"], item["Size"])

    @contextmanager
    def read(self, arrival: Arrival) -> Iterator[BinaryIO]:
        """The object's bytes, if it is still the one that was listed.

        Raises:
            SourceChanged: it was replaced or removed since.
        """
        with s3_faults(f"s3://{arrival.bucket}/{arrival.key}"):
            answer = self.client.get_object(**_named(arrival), IfMatch=arrival.etag)
            try:
                yield answer["Body"]
            finally:
                answer["Body"].close()

    def read_span(self, arrival: Arrival, start: int, end: int) -> bytes:
        """The object's bytes from ``start`` to before ``end``, if it is still the one that was listed.

        Raises:
            SourceChanged: it was replaced or removed since.
        """
        with s3_faults(f"s3://{arrival.bucket}/{arrival.key}"):
            answer = self.client.get_object(**_named(arrival), IfMatch=arrival.etag, Range=f"bytes={start}-{end - 1}")
            return bytes(answer["Body"].read())

    def first_line(self, key: str) -> bytes | None:
        """The first line of a text of ours, or None when it is not there (any more)."""
        try:
            with s3_faults(f"s3://{self.bucket}/{key}"):
                return bytes(next(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].iter_lines(), b""))
        except SourceChanged:
            return None

    def fetch(self, key: str) -> bytes | None:
        """An object of ours as a whole, or None when it is not there (any more)."""
        try:
            with s3_faults(f"s3://{self.bucket}/{key}"):
                return bytes(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())
        except SourceChanged:
            return None

    def opened(self, key: str) -> BinaryIO | None:
        """An object of ours to be read and closed, or None when it is not there (any more)."""
        try:
            with s3_faults(f"s3://{self.bucket}/{key}"):
                body: BinaryIO = self.client.get_object(Bucket=self.bucket, Key=key)["Body"]
                return body
        except SourceChanged:
            return None

    def pieces(self, key: str, body: BinaryIO, size: int) -> Iterator[bytes]:
        """An opened object's bytes, a piece at a time; what breaks off on the way is a fault."""
        with s3_faults(f"s3://{self.bucket}/{key}"):
            while piece := body.read(size):
                yield piece

    def remove(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are no error."""
        for key in keys:
            with s3_faults(f"s3://{self.bucket}/{key}"):
                self.client.delete_object(Bucket=self.bucket, Key=key)

    def write(self, key: str, body: bytes | BinaryIO) -> None:
        """Put an object; a file is sent in parts when it is large."""
        with s3_faults(f"s3://{self.bucket}/{key}"):
            if isinstance(body, bytes):
                self.client.put_object(Bucket=self.bucket, Key=key, Body=body)
            else:
                self.client.upload_fileobj(body, self.bucket, key)

    def write_once(self, key: str, body: bytes) -> None:
        """Put an object where none is, or the same.

        Raises:
            SourceChanged: there is another one already.
        """
        try:
            with s3_faults(f"s3://{self.bucket}/{key}"):
                self.client.put_object(Bucket=self.bucket, Key=key, Body=body, IfNoneMatch="*")
        except SourceChanged:
            if self.fetch(key) != body:  # a second request of ours, when the answer to the first was lost, is no other
                raise

    def pinned(self, listed: Sequence[Arrival]) -> Sequence[Arrival]:
        """The listed objects, each with its version id where the bucket keeps versions; in the same order.

        An object that was replaced after the listing is listed again and keeps its place; one that was removed is left
        out. Where S3 refuses to read versions, the objects are returned as they are.
        """
        readable = self._readable_versions(listed[0]) if listed else _Readable.NONE
        if readable is _Readable.NONE:
            return listed
        with ThreadPoolExecutor(_VERSION_READERS, "version") as readers:
            found = readers.map(lambda one: self._pinned(one, unnamed=readable is _Readable.ALL), listed)
            return [one for one in found if one is not None]

    def missing_version_rights(self) -> tuple[str, ...]:
        """The rights to see, read, list and delete versions that S3 refuses; empty where the bucket keeps none."""
        listing = {"Bucket": self.bucket, "Prefix": _RIGHTS_PROBE, "MaxKeys": 1}
        asked: dict[str, Callable[[], object]] = {
            "s3:GetObjectVersion": partial(self.client.head_object, **self._probe),
            TAGS_OF_VERSIONS: partial(self.client.get_object_tagging, **self._probe),
            "s3:ListBucketVersions": partial(self.client.list_object_versions, **listing),
            "s3:DeleteObjectVersion": partial(self.client.delete_object, **self._probe),
        }
        missing = []
        try:
            if self._versioning() != "Enabled":
                return ()
        except AccessRefused:
            missing.append("s3:GetBucketVersioning")
        return (*missing, *(right for right, ask in asked.items() if self._refuses(ask)))

    @property
    def _probe(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": _RIGHTS_PROBE, "VersionId": "null"}

    def _refuses(self, ask: Callable[[], object]) -> bool:
        """S3 refuses the right to what is asked of the probe."""
        try:
            with s3_faults(f"s3://{self.bucket}/{_RIGHTS_PROBE}"):
                ask()
        except AccessRefused:
            return True
        except (SourceChanged, ConfigurationError):
            pass  # there is no such version, or the server does not know the request: it is not a right that is missing
        return False

    def _versioning(self) -> str | None:
        """``Enabled`` or ``Suspended``; None where the bucket never kept versions or the server knows none.

        Raises:
            AccessRefused: the right to ask is missing.
        """
        try:
            with s3_faults(f"s3://{self.bucket}"):
                found: str | None = self.client.get_bucket_versioning(Bucket=self.bucket).get("Status")
                return found
        except AccessRefused:
            raise
        except (ConfigurationError, TerminalFault):
            return None

    def _readable_versions(self, example: Arrival) -> _Readable:
        """Which versions may be read by their ids, as S3 answers for one object."""
        try:
            status = self._versioning()
        except (AccessRefused, TransientFault):
            status = "unknown"
        if status not in ("Enabled", "unknown"):
            return _Readable.NONE
        source = {"Bucket": example.bucket, "Key": example.key}
        try:
            with s3_faults(f"s3://{example.bucket}/{example.key}"):
                version = self.client.head_object(**source).get("VersionId")
                if status == "unknown" and version in (None, "null"):
                    return _Readable.NONE
                self.client.head_object(**source, VersionId=version or "null")
        except SourceChanged:
            pass  # it is gone; the others are asked for one by one
        except DatamartError as fault:
            log.warning("Versions of objects are not used. %s", fault)
            return _Readable.NONE
        return _Readable.ALL if status == "Enabled" else _Readable.NAMED

    def _pinned(self, listed: Arrival, *, unnamed: bool) -> Arrival | None:
        """One listed object with the id of its version, or the object that has replaced it; None when it is gone.

        ``unnamed`` says that the version ``null``, written before the bucket kept versions, cannot be overwritten.
        """
        for _ in range(_RELISTINGS):
            try:
                with s3_faults(f"s3://{listed.bucket}/{listed.key}"):
                    found = self.client.head_object(Bucket=listed.bucket, Key=listed.key)
            except SourceChanged:
                return None
            except DatamartError:
                return listed  # reading it reports what is wrong with it; other files are not affected
            # A listing may tell fractions of a second, this answer does not.
            if found["ETag"] == listed.etag and found["LastModified"] == _whole_seconds(listed.last_modified):
                version = found.get("VersionId") or "null"
                return replace(listed, version_id=version) if unnamed or version != "null" else listed
            again = self.list(listed.key, exact=True)
            if not again:
                return None
            listed = replace(again[0], listed_at=listed.listed_at, upload_id=listed.upload_id, late=listed.late)
        return listed

    def older_versions(self, arrival: Arrival) -> Sequence[Arrival]:
        """Versions of a pinned object's key that deleting it uncovers or leaves behind, the oldest first.

        A version below a delete marker stays covered. Where version and marker have the same second, which one is
        older is unknown; the version then counts as uncovered.
        """
        versions: deque[Arrival] = deque()
        markers: set[datetime] = set()
        passed = False
        with s3_faults(f"s3://{arrival.bucket}/{arrival.key}"):
            pages = self.client.get_paginator("list_object_versions")
            for page in pages.paginate(Bucket=arrival.bucket, Prefix=arrival.key):
                entries = page.get("Versions", [])
                for item in (one for one in entries if one["Key"] == arrival.key):
                    if passed:
                        versions.appendleft(_version(arrival, item))
                    passed = passed or item["VersionId"] == arrival.version_id
                markers.update(
                    one["LastModified"] for one in page.get("DeleteMarkers", []) if one["Key"] == arrival.key
                )
                covered = [at for at in markers if at < _whole_seconds(arrival.last_modified)]
                others = (*entries, *page.get("DeleteMarkers", []))
                if (passed and covered) or any(one["Key"] != arrival.key for one in others):
                    break
        newest = max((at for at in markers if at < _whole_seconds(arrival.last_modified)), default=None)
        return [one for one in versions if newest is None or one.last_modified >= newest]

    def move(self, arrival: Arrival, target: str, *, covered: bool = False) -> Sequence[Arrival]:
        """Move the listed object within the bucket; a half-done move is finished by calling again.

        ``covered`` says that a newer version of the key lies above a pinned one, so that deleting it uncovers nothing.

        What is deleted was compared with its copy. Where S3 refuses to copy a version, which needs one more right when
        the object has tags, the object is moved as in a bucket without versions.

        Returns:
            Older versions of its key, the oldest first. When there are some, the object is copied but not deleted:
            deleting it would let an older version take its place. Move these away first, then call again.

        Raises:
            SourceChanged: a new object took its place; it stays for the next listing.
            VersionLocked: a covered version was copied, but cannot be deleted.
        """
        try:
            return self._move(arrival, target, covered=covered)
        except CopyRefused as fault:
            if covered or arrival.version_id is None:
                raise
            log.warning("%s The file is moved as in a bucket without versions.", fault)
        return self._move(replace(arrival, version_id=None), target, covered=False)

    def _move(self, arrival: Arrival, target: str, *, covered: bool) -> Sequence[Arrival]:
        try:
            self._copy(arrival, target)
            with s3_faults(f"s3://{arrival.bucket}/{arrival.key}"):
                self._require_copied(arrival, target)
                if arrival.version_id is None:
                    self._delete_listed(arrival)
                    return ()
            return self._delete_covered(arrival) if covered else self._delete_version(arrival)
        except SourceChanged:
            lies_there = arrival.version_id is None and self.list(arrival.key, exact=True)
            if lies_there or not self.list(target, exact=True):
                raise
            return ()

    def _delete_covered(self, arrival: Arrival) -> Sequence[Arrival]:
        try:
            with s3_faults(f"s3://{arrival.bucket}/{arrival.key}"):
                self.client.delete_object(**_named(arrival))
        except AccessRefused as fault:
            raise VersionLocked(str(fault)) from None
        return ()

    def cover(self, arrival: Arrival) -> None:
        """Delete the current object of a key as in a bucket without versions: a delete marker covers all versions.

        Raises:
            SourceChanged: it is not the given one any more.
        """
        with s3_faults(f"s3://{arrival.bucket}/{arrival.key}"):
            self._require_same(replace(arrival, version_id=None))
            self._delete_listed(arrival)

    def _delete_version(self, arrival: Arrival) -> Sequence[Arrival]:
        """Delete exactly the pinned version, unless that uncovers older ones, which are returned.

        Without the rights for that, the object is deleted as in a bucket without versions: a delete marker covers it
        and all older versions.
        """
        try:
            older = self.older_versions(arrival)
            if older and not self._refuses(partial(self.client.delete_object, **self._probe)):
                return older
            if older:
                raise AccessRefused(f"s3://{arrival.bucket}/{arrival.key} has older versions.")
            with s3_faults(f"s3://{arrival.bucket}/{arrival.key}"):
                self.client.delete_object(**_named(arrival))
            return ()
        except AccessRefused as fault:
            log.warning("%s Versions are not deleted; a delete marker covers the file.", fault)
        self.cover(arrival)
        return ()

    def _delete_listed(self, arrival: Arrival) -> None:
        """Delete the current object of the key, which was found to be the listed one."""
        self.client.delete_object(Bucket=arrival.bucket, Key=arrival.key, IfMatch=arrival.etag)

    def _require_same(self, arrival: Arrival) -> dict[str, Any]:
        """The object's metadata. The same bytes sent again are another arrival, though their ETag is equal."""
        found: dict[str, Any] = self.client.head_object(**_named(arrival), IfMatch=arrival.etag, ChecksumMode="ENABLED")
        # A listing may tell fractions of a second, this answer does not.
        if found["LastModified"] > arrival.last_modified:
            raise SourceChanged(f"s3://{arrival.bucket}/{arrival.key} was sent again after it was listed.")
        return found

    def _require_copied(self, arrival: Arrival, target: str) -> None:
        """Compare size and checksums of the copy with those of the source, which is deleted next."""
        copy = self.client.head_object(Bucket=self.bucket, Key=target, ChecksumMode="ENABLED")
        source = self._require_same(arrival)
        compared = ["ContentLength"]
        if _has_whole_checksum(source) and _has_whole_checksum(copy):
            checksums = (name for name in source if name.startswith("Checksum") and name != "ChecksumType")
            compared += [name for name in checksums if name in copy]
        if different := [name for name in compared if source[name] != copy[name]]:
            raise TransientFault(
                f"s3://{self.bucket}/{target} is not equal to s3://{arrival.bucket}/{arrival.key}, of which it is a "
                f"copy ({', '.join(different)}). The file is not deleted."
            )

    def _copy(self, arrival: Arrival, target: str) -> None:
        source, condition = _named(arrival), {"CopySourceIfMatch": arrival.etag}
        try:
            with s3_faults(f"s3://{arrival.bucket}/{arrival.key}"):
                if arrival.size > _MOST_COPIED_AT_ONCE:
                    self.client.copy(source, self.bucket, target, ExtraArgs=condition)
                else:
                    self.client.copy_object(Bucket=self.bucket, Key=target, CopySource=source, **condition)
        except AccessRefused as fault:
            raise CopyRefused(str(fault)) from None


def _named(arrival: Arrival) -> dict[str, str]:
    """How a request names an object: by its version where that is pinned."""
    version = {"VersionId": arrival.version_id} if arrival.version_id else {}
    return {"Bucket": arrival.bucket, "Key": arrival.key, **version}


def _has_whole_checksum(found: dict[str, Any]) -> bool:
    """Its checksums are of the whole object; those of parts depend on how it was cut."""
    kind = found.get("ChecksumType")
    return kind == "FULL_OBJECT" or (kind is None and "-" not in found["ETag"])


def _version(newer: Arrival, item: dict[str, Any]) -> Arrival:
    """An older version as a listing of versions gives it; it was listed with the newer one."""
    return replace(
        newer, etag=item["ETag"], last_modified=item["LastModified"], size=item["Size"], version_id=item["VersionId"]
    )


def _whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
