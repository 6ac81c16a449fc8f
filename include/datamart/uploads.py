"""What a program may upload and how an upload is known: judged by its envelope alone, before any work starts.

What is in the rows is judged where every file is judged (``validation``).
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from uuid import uuid4

from datamart.errors import FileRejected
from datamart.loads import upload_load_id
from datamart.reader import layout_of
from datamart.records import read_blocks
from datamart.routing import table_for
from datamart.tables import TABLES, Table

MOST_ROWS = 1000
MOST_BYTES = 2 * 1024 * 1024
PREFIX = "uploads/"
LONGEST_NAME = 200
"""Bytes of UTF-8: S3 servers allow 255 between two slashes, and the archive puts the load's id in front."""

_ELSEWHERE = "Put bigger files into landing/ in the data bucket, or load a folder with the Dag historic_load."
_OTHER_FORMATS = {
    b"\x1f\x8b": "a gzip file", b"PK\x03\x04": "a zip file or a workbook", b"%PDF-": "a PDF", b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file", b"7z\xbc\xaf": "a 7z file", b"\xd0\xcf\x11\xe0": "a workbook of old Excel",
    b"\xff\xfe": "text in UTF-16", b"\xfe\xff": "text in UTF-16", b"PAR1": "parquet", b"Obj\x01": "AVRO",
    b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture", b"SQLite format 3": "a database",
}  # fmt: skip


@dataclass(frozen=True)
class Upload:
    """A file that may be loaded; the same id stands for one upload for ever."""

    upload_id: str
    name: str
    table: Table
    sha256: str

    @property
    def key(self) -> str:
        """Where it lies until it is loaded; other bytes under the same id would lie elsewhere."""
        return f"{PREFIX}{self.upload_id}/{self.sha256[:16]}/{self.name}"

    def load_id(self, bucket: str) -> int:
        """The id of its load, known before there is one."""
        return upload_load_id(bucket, self.upload_id)


def upload_id(user: str, key: str | None) -> str:
    """The same for the same user and idempotency key; without a key a new one each time."""
    if key is None:
        return uuid4().hex
    return hashlib.sha256(f"{user}\0{key}".encode()).hexdigest()[:32]


def dry_run_key(one: str) -> str:
    """Where the answer of an upload's dry run lies."""
    return f"{PREFIX}{one}/dry_run.json"


def envelope(one: str, name: str, body: bytes, tables: tuple[Table, ...] = TABLES) -> Upload:
    """The upload of this id, when name, size, format and number of rows allow it.

    Raises:
        FileRejected: ``bad_name``, ``no_table``, ``too_large``, ``not_csv``, ``empty`` or ``too_many_rows``.
    """
    _require_name(name)
    table = table_for(name, tables)
    if table is None:
        names = ", ".join(table.name for table in tables)
        raise FileRejected(
            "no_table", f"The name '{name}' fits no table. It must start with one of {names} and end in .csv."
        )
    if len(body) > MOST_BYTES:
        raise too_large()
    _require_csv(body)
    rows = _rows(body, table)
    if not rows:
        raise FileRejected("empty", f"The file has no rows. Send between 1 and {MOST_ROWS} rows.")
    if rows > MOST_ROWS:
        raise FileRejected("too_many_rows", f"The file has {rows} rows; at most {MOST_ROWS} are allowed. {_ELSEWHERE}")
    return Upload(one, name, table, hashlib.sha256(body).hexdigest())


def too_large() -> FileRejected:
    """A body that is over the limit, seen before it was read whole."""
    return FileRejected("too_large", f"The file is larger than {MOST_BYTES // 1024**2} MiB. {_ELSEWHERE}")


def _require_name(name: str) -> None:
    reason = ""
    if not name:
        reason = "The file part has no file name. It tells which table the rows are for, as in jobs.csv."
    elif not name.isprintable():
        reason = "The file name holds characters that cannot be printed. Send it under a plain name, as in jobs.csv."
    elif set(name) & set("/\\"):
        reason = "The file name holds a path. Send it under its own name alone, as in jobs.csv."
    elif len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
        reason = f"The file name is longer than {LONGEST_NAME} bytes. Send it under a shorter one, as in jobs.csv."
    if reason:
        raise FileRejected("bad_name", reason)


def _require_csv(body: bytes) -> None:
    for start, what in _OTHER_FORMATS.items():
        if body.startswith(start):
            raise FileRejected("not_csv", f"The file is {what}, whatever its name. Send CSV in UTF-8.")


def _rows(body: bytes, table: Table) -> int:
    """Records that are no header, as far as can be told; what is wrong with them is found when they are judged."""
    rows, header = 0, None
    try:
        for block in read_blocks(io.BytesIO(body), MOST_BYTES):
            if header is None and len(block.starts):
                header = 0
                header = int(layout_of(block, table).header)
            rows += len(block.starts)
    except FileRejected:
        return max(rows, 1)
    return rows - (header or 0)
