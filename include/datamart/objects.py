"""Files in S3: list, read, write, archive - each conditional on the object that was listed.

Where things lie is here (the layout as functions); what is in them is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from datamart.errors import ConfigurationError, SourceChanged, TerminalFault, TransientFault
from datamart.loads import Arrival

EXCHANGE = "exchange/"
_CHANGED = {"PreconditionFailed", "412", "ConditionalRequestConflict"}
_GONE = {"NoSuchKey", "404", "NotFound"}
_MOST_COPIED_AT_ONCE = 5 * 1024**3  # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
_LONGEST_NAME = 200
_REFUSED = {"AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket"}


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
            answer = self.client.get_object(Bucket=arrival.bucket, Key=arrival.key, IfMatch=arrival.etag)
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
            wanted = {"Bucket": arrival.bucket, "Key": arrival.key, "IfMatch": arrival.etag}
            answer = self.client.get_object(**wanted, Range=f"bytes={start}-{end - 1}")
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

    def move(self, arrival: Arrival, target: str) -> None:
        """Move the listed object within the bucket; a half-done move is finished by calling again.

        Raises:
            SourceChanged: a new object took its place; it stays for the next listing.
        """
        source = {"Bucket": arrival.bucket, "Key": arrival.key}
        try:
            with s3_faults(f"s3://{arrival.bucket}/{arrival.key}"):
                self._copy(arrival, target, source)
                self._require_same(arrival, source)
                self.client.delete_object(**source, IfMatch=arrival.etag)
        except SourceChanged:
            if self.list(arrival.key, exact=True) or not self.list(target, exact=True):
                raise

    def _require_same(self, arrival: Arrival, source: dict[str, str]) -> None:
        """The same bytes sent again are another arrival, which no ETag tells from the listed one."""
        found = self.client.head_object(**source, IfMatch=arrival.etag)
        # A listing may tell fractions of a second, this answer does not.
        if found["LastModified"] > arrival.last_modified:
            raise SourceChanged(f"s3://{arrival.bucket}/{arrival.key} was sent again after it was listed.")

    def _copy(self, arrival: Arrival, target: str, source: dict[str, str]) -> None:
        if arrival.size > _MOST_COPIED_AT_ONCE:
            condition = {"CopySourceIfMatch": arrival.etag}
            self.client.copy(source, self.bucket, target, ExtraArgs=condition)
        else:
            self.client.copy_object(Bucket=self.bucket, Key=target, CopySource=source, CopySourceIfMatch=arrival.etag)


@contextmanager
def s3_faults(where: str) -> Iterator[None]:
    """What S3 or the way to it answers, as this project's errors; ``where`` names the object for the message."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _CHANGED or code in _GONE:
            raise SourceChanged(f"{where} was replaced or removed after it was listed ({code}).") from None
        if code == "NoSuchBucket":
            raise ConfigurationError(
                f"{where}: the bucket does not exist. Check DATAMART_DATA_BUCKET and DATAMART_BACKUP_BUCKET."
            ) from None
        if code in _REFUSED:
            raise TerminalFault(f"{where}: S3 refused ({code}). Check the object_store connection's rights.") from None
        raise TransientFault(f"{where}: S3 answered {code or 'an error'}.") from None
    except BotoCoreError as error:
        raise TransientFault(f"{where}: S3 could not be reached ({type(error).__name__}).") from None
