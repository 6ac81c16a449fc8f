"""Files on their way into a warehouse that reads S3 by itself, or out of it: parquet under ``exchange/``.

What is sent is named by a manifest, file by file with its size, so that nothing else that begins like it is read.
All of it is removed when the server is done; what a process that was killed has left, maintenance removes.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO
from uuid import uuid4

import pyarrow as pa
from pyarrow import parquet

from datamart.clean import KeptBatches
from datamart.errors import BalanceError, ConfigurationError, DatamartError, TransientFault
from datamart.objects import EXCHANGE, ObjectStore, StoredFile

log = logging.getLogger(__name__)

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+(,arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+)*\Z")
PARQUET: dict[str, Any] = {"compression": "snappy", "use_deprecated_int96_timestamps": True}
"""What every reader of parquet at AWS takes: moments as they were written before there was a type for them."""
_PIECE = 1 << 20
_ROWS_AT_ONCE = 100_000


@dataclass(frozen=True)
class Sent:
    """Rows that lie in S3 to be read: the manifest's address, and how many they are."""

    manifest: str
    rows: int


@dataclass(frozen=True)
class Exchange:
    """A bucket that both sides reach; ``role`` is the one that the server takes: an IAM role's ARN, or ``default``."""

    store: ObjectStore
    role: str = "default"
    file_rows: int = 1_000_000
    file_bytes: int = 64 * 1024 * 1024
    """A file ends when it has about so many rows or bytes."""

    def __post_init__(self) -> None:
        if self.role != "default" and not _ROLE.match(self.role):
            raise ConfigurationError(
                "The warehouse connection's iam_role is no ARN of an IAM role (arn:aws:iam::<account>:role/<name>)."
            )

    @property
    def role_sql(self) -> str:
        """The role as COPY and UNLOAD are told it."""
        return self.role.upper() if self.role == "default" else f"'{self.role}'"

    @contextmanager
    def sent(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[Sent | None]:
        """All rows as files that a manifest names, for as long as the block lasts; None when there are none.

        Rows that are kept as clean parquet are there already and are not written again.
        """
        place = _new_place()
        try:
            files, rows = self._kept(batches) if isinstance(batches, KeptBatches) else self._put(place, schema, batches)
            if files:
                self.store.write(f"{place}manifest.json", _manifest(files))
            yield Sent(f"s3://{self.store.bucket}/{place}manifest.json", rows) if files else None
        finally:
            self._clear(place)

    @contextmanager
    def place(self) -> Iterator[str]:
        """A prefix for files of the server, for as long as the block lasts."""
        place = f"{_new_place()}part-"
        try:
            yield place
        finally:
            self._clear(place)

    def address(self, place: str) -> str:
        """The prefix as the server is told it."""
        return f"s3://{self.store.bucket}/{place}"

    def received(self, place: str, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
        """The rows that the server has written there, which it said were so many.

        Raises:
            BalanceError: they are not.
            TransientFault: a file of them is not there, or not whole.
        """
        found = 0
        for file in self._written(place) if rows else ():
            with self._fetched(file) as body:
                # A moment of twelve bytes reaches further than nanoseconds do.
                opened = parquet.ParquetFile(body, coerce_int96_timestamp_unit="us")
                for batch in opened.iter_batches(_ROWS_AT_ONCE):
                    found += batch.num_rows
                    yield batch.cast(schema)
        if found != rows:
            raise BalanceError(
                f"The warehouse has written {rows} rows to {self.address(place)}, but {found} were read."
            )

    def _kept(self, batches: KeptBatches) -> tuple[list[StoredFile], int]:
        rows = sum(batch.num_rows for batch in batches)
        return batches.files, rows

    def _put(self, place: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> tuple[list[StoredFile], int]:
        files: list[StoredFile] = []
        rows = 0
        waiting: list[pa.RecordBatch] = []
        for batch in batches:
            rows += batch.num_rows
            waiting.append(batch)
            if sum(b.num_rows for b in waiting) >= self.file_rows or sum(b.nbytes for b in waiting) >= self.file_bytes:
                files.append(self._write(f"{place}part-{len(files):05d}.parquet", schema, waiting))
                waiting = []
        if any(batch.num_rows for batch in waiting):
            files.append(self._write(f"{place}part-{len(files):05d}.parquet", schema, waiting))
        return files, rows

    def _write(self, key: str, schema: pa.Schema, batches: list[pa.RecordBatch]) -> StoredFile:
        with tempfile.TemporaryFile() as file:
            with parquet.ParquetWriter(file, schema, write_statistics=False, **PARQUET) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            size = file.tell()
            file.seek(0)
            self.store.write(key, file)
        return StoredFile(self.store.bucket, key, size)

    def _written(self, place: str) -> list[StoredFile]:
        body = self.store.fetch(f"{place}manifest")
        if body is None:
            raise TransientFault(f"The warehouse's manifest {self.address(place)}manifest is not there. Try again.")
        entries: list[dict[str, Any]] = json.loads(body)["entries"]
        bucket = self.store.bucket
        start = len(f"s3://{bucket}/")
        return [StoredFile(bucket, entry["url"][start:], int(entry["meta"]["content_length"])) for entry in entries]

    @contextmanager
    def _fetched(self, file: StoredFile) -> Iterator[BinaryIO]:
        with tempfile.TemporaryFile() as local:
            body = self.store.opened(file.key)
            if body is not None:
                with body:
                    for piece in self.store.pieces(file.key, body, _PIECE):
                        local.write(piece)
            if body is None or local.tell() != file.size:
                raise TransientFault(f"{self.address(file.key)} is not there, or not whole. Try again.")
            local.seek(0)
            yield local

    def _clear(self, place: str) -> None:
        try:
            self.store.remove([one.key for one in self.store.list(place)])
        except DatamartError as error:  # maintenance comes for what is left; why the block ended matters more
            log.warning("%s is left: %s", self.address(place), error)


def _new_place() -> str:
    return f"{EXCHANGE}{uuid4().hex}/"


def _manifest(files: list[StoredFile]) -> bytes:
    """As COPY reads it: https://docs.aws.amazon.com/redshift/latest/dg/loading-data-files-using-manifest.html."""
    entries = [
        {"url": f"s3://{file.bucket}/{file.key}", "mandatory": True, "meta": {"content_length": file.size}}
        for file in files
    ]
    return json.dumps({"entries": entries}, indent=1).encode()
