"""COPY: the parquet files that a manifest lists, into a table, all or none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from tests.redshift.backend import Backend
from tests.redshift.failure import Failure, refused
from tests.redshift.plans import Copy

_CODECS = {"UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD"}
# By PostgreSQL's type of the column: parquet's physical type, its logical types, and Arrow's.
_TYPES: dict[str, tuple[set[str], set[str], pa.DataType]] = {
    "integer": ({"INT32"}, {"NONE", "INT32"}, pa.int32()),
    "bigint": ({"INT64"}, {"NONE", "INT64"}, pa.int64()),
    "smallint": ({"INT32"}, {"INT16"}, pa.int16()),
    "boolean": ({"BOOLEAN"}, {"NONE"}, pa.bool_()),
    "double precision": ({"DOUBLE"}, {"NONE"}, pa.float64()),
    "character varying": ({"BYTE_ARRAY"}, {"STRING"}, pa.string()),
    "character": ({"BYTE_ARRAY"}, {"STRING"}, pa.string()),
    "bytea": ({"BYTE_ARRAY"}, {"NONE"}, pa.binary()),
    "date": ({"INT32"}, {"DATE"}, pa.date32()),
    "timestamp without time zone": ({"INT64", "INT96"}, {"TIMESTAMP", "NONE"}, pa.timestamp("us")),
}
_COLUMNS = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = to_regclass('{table}') AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


def copy(plan: Copy, backend: Backend, s3: Any) -> int:
    """Load the files; how many rows they have.

    Raises:
        Failure: something about the manifest, a file or a row is wrong.
    """
    columns = backend.run(_COLUMNS.format(table=plan.table))
    if not columns:
        raise Failure("42P01", f'relation "{plan.table}" does not exist')
    types = [str(kind) for _, kind in columns]
    tables = [_table(url, _fetched(url, size, s3), types) for url, size in _listed(plan.manifest, s3)]
    try:
        backend.copy_in(plan.table, (part for table in tables for part in _csv(table)))
    except Failure as failure:
        if failure.message == "1023" or not failure.code.startswith(("22", "23")):
            raise
        raise _failed(plan.table) from failure
    return sum(table.num_rows for table in tables)


def _failed(table: str) -> Failure:
    name = table.rpartition(".")[2].replace('"', "")
    return Failure("XX000", f"Load into table '{name}' failed. Check 'sys_load_error_detail' system table for details.")


def _scan_error(what: str) -> Failure:
    return Failure("XX000", "Spectrum Scan Error", what)


def _object(url: str, s3: Any) -> bytes | None:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    try:
        return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchBucket", "404"):
            return None
        raise Failure("XX000", f"S3ServiceException:{error}") from error


def _listed(manifest: str, s3: Any) -> Iterator[tuple[str, int]]:
    """The files that are there to be loaded, with their promised sizes."""
    data = _object(manifest, s3)
    if data is None:
        raise Failure("XX000", f"Problem reading manifest file - S3ServiceException:NoSuchKey {manifest}")
    try:
        listed = json.loads(data)
        entries = listed["entries"]
    except (ValueError, KeyError, TypeError) as error:
        raise Failure("XX000", f"Manifest file is not in correct json format {manifest}") from error
    _only(listed, {"entries", "schema", "meta", "author"})
    there = [entry for entry in map(_entry, entries) if _is_there(entry, s3)]
    if not there:
        raise Failure("XX000", f"The manifest lists no file: {manifest}")
    return ((entry["url"], entry["meta"]["content_length"]) for entry in there)


def _only(holder: dict[str, Any], known: set[str]) -> None:
    if unknown := set(holder) - known:
        raise refused(f"'{min(unknown)}' in a manifest")


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    _only(entry, {"url", "mandatory", "meta"})
    _only(entry.get("meta", {}), {"content_length", "record_count"})
    if not str(entry.get("url", "")).startswith("s3://") or not isinstance(entry.get("mandatory", False), bool):
        raise Failure("XX000", f"Manifest file is not in correct json format: {entry}")
    if not isinstance(entry.get("meta", {}).get("content_length"), int):
        raise Failure("XX000", "Manifest for COPY of PARQUET must give the content_length of every file")
    return entry


def _is_there(entry: dict[str, Any], s3: Any) -> bool:
    bucket, _, key = entry["url"].removeprefix("s3://").partition("/")
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if entry.get("mandatory", False) or error.response["Error"]["Code"] not in ("404", "NoSuchKey"):
            raise Failure("XX000", f"Problem reading file {entry['url']} - the specified key does not exist") from error
        return False
    return True


def _fetched(url: str, size: int, s3: Any) -> bytes:
    data = _object(url, s3)
    if data is None or len(data) != size:
        raise _scan_error(f"{url} is not of the {size} bytes that the manifest gives it")
    return data


def _table(url: str, data: bytes, types: list[str]) -> pa.Table:
    try:
        file = pq.ParquetFile(pa.BufferReader(data), coerce_int96_timestamp_unit="us")
        _check_columns(url, file, types)
        return file.read()
    except pa.ArrowException as error:
        raise _scan_error(f"{url} is no parquet file: {error}") from error


def _check_columns(url: str, file: pq.ParquetFile, types: list[str]) -> None:
    schema = file.schema
    if len(schema) != len(types) or len(file.schema_arrow) != len(types):
        raise _scan_error(f"{url} has {len(schema)} columns, the table has {len(types)}")
    for index, kind in enumerate(types):
        if not _fits(schema.column(index), kind):
            raise _scan_error(f"{url} has an incompatible column '{schema.column(index).name}' for {kind}")
    groups = (file.metadata.row_group(group) for group in range(file.metadata.num_row_groups))
    codecs = {group.column(index).compression for group in groups for index in range(len(types))}
    if codecs - _CODECS:
        raise _scan_error(f"{url} is compressed by {min(codecs - _CODECS)}")


def _fits(column: Any, kind: str) -> bool:
    if kind not in _TYPES or column.max_repetition_level:
        return False
    physical, logical, _ = _TYPES[kind]
    described = json.loads(column.logical_type.to_json())
    name = str(described["Type"]).upper()
    if name == "INT":
        name = f"INT{described['bitWidth']}" if described["isSigned"] else "UNSIGNED"
    if column.physical_type not in physical or name not in logical:
        return False
    if name != "TIMESTAMP":
        return kind != "timestamp without time zone" or column.physical_type == "INT96"
    return not described["isAdjustedToUTC"] and described["timeUnit"] in ("milliseconds", "microseconds")


def _csv(table: pa.Table) -> Iterator[memoryview]:
    columns = [_plain(column) for column in table.columns]
    plain = pa.table(columns, names=[str(index) for index in range(len(columns))])
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="all_valid")
    for start in range(0, plain.num_rows, 50_000):
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(plain.slice(start, 50_000), sink, options)
        yield memoryview(sink.getvalue())


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column in a type that CSV has."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        hexed = [None if value is None else "\\x" + value.hex() for value in column.to_pylist()]
        return pa.chunked_array([pa.array(hexed, pa.string())])
    return column
