"""UNLOAD: a query's rows into parquet files under a prefix, and a manifest that lists them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from tests.redshift.backend import Backend
from tests.redshift.failure import Failure, refused
from tests.redshift.plans import Unload
from tests.redshift.wire import described

# By the number of PostgreSQL's type: Arrow's, and Redshift's name for it.
_TYPES: dict[int, tuple[pa.DataType, str]] = {
    16: (pa.bool_(), "boolean"),
    20: (pa.int64(), "bigint"),
    21: (pa.int16(), "smallint"),
    23: (pa.int32(), "integer"),
    25: (pa.string(), "character varying"),
    701: (pa.float64(), "double precision"),
    1042: (pa.string(), "character"),
    1043: (pa.string(), "character varying"),
    1082: (pa.date32(), "date"),
    1114: (pa.timestamp("us"), "timestamp without time zone"),
    17: (pa.binary(), "binary varying"),
}


def unload(plan: Unload, backend: Backend, s3: Any, slices: int) -> int:
    """Write the files; how many rows they have.

    Raises:
        Failure: the prefix is in use, a type has no place in parquet, or the query fails.
    """
    bucket, _, prefix = plan.prefix.removeprefix("s3://").partition("/")
    columns = described(backend.describe(plan.query))
    for name, kind in columns:
        if kind not in _TYPES:
            raise refused(f"UNLOAD of column {name}: its type ({kind}) in parquet")
    try:
        if s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1).get("Contents"):
            raise Failure("XX000", f"Specified unload destination on S3 is not empty: {plan.prefix}")
        table = _read(backend.copy_out(plan.query), columns)
        entries = []
        for key, part, rows in _files(plan, prefix, table, slices):
            s3.put_object(Bucket=bucket, Key=key, Body=part)
            meta = {"content_length": len(part), "record_count": rows}
            entries.append({"url": f"s3://{bucket}/{key}", "meta": meta})
        if entries:
            s3.put_object(Bucket=bucket, Key=f"{prefix}manifest", Body=_manifest(entries, columns))
    except ClientError as error:
        raise Failure("XX000", f"S3ServiceException:{error}") from error
    return int(table.num_rows)


def _read(data: bytes, columns: list[tuple[str, int]]) -> pa.Table:
    names = [str(index) for index in range(len(columns))]
    kinds = [pa.string() if kind == 17 else _TYPES[kind][0] for _, kind in columns]
    if not data:
        return pa.table([pa.array([], kind) for kind in kinds], names=[name for name, _ in columns])
    table = pyarrow.csv.read_csv(
        pa.BufferReader(data),
        read_options=pyarrow.csv.ReadOptions(column_names=names),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict(zip(names, kinds, strict=True)),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    arrays = [
        _from_hex(column) if kind == 17 else column for column, (_, kind) in zip(table.columns, columns, strict=True)
    ]
    return pa.table(arrays, names=[name for name, _ in columns])


def _from_hex(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([None if value is None else bytes.fromhex(value[2:]) for value in column.to_pylist()], pa.binary())


def _files(plan: Unload, prefix: str, table: pa.Table, slices: int) -> Iterator[tuple[str, bytes, int]]:
    """Keys, contents and rows of the files."""
    if not plan.parallel:
        for number, (part, rows) in enumerate(_parts(table, plan.max_bytes)):
            yield f"{prefix}{number:03d}.parquet", part, rows
        return
    for one in range(slices):
        dealt = table.take(pa.array(np.arange(one, table.num_rows, slices)))
        for number, (part, rows) in enumerate(_parts(dealt, plan.max_bytes)):
            yield f"{prefix}{one:04d}_part_{number:02d}.parquet", part, rows


def _parts(table: pa.Table, max_bytes: int | None) -> Iterator[tuple[bytes, int]]:
    """The rows as files of at most so many bytes."""
    if not table.num_rows:
        return
    sink = pa.BufferOutputStream()
    # INT96 holds every year from 1 to 9999, since it is written from microseconds and not by way of nanoseconds.
    pq.write_table(table, sink, compression="snappy", use_deprecated_int96_timestamps=True, store_schema=False)
    data = sink.getvalue().to_pybytes()
    if max_bytes is None or len(data) <= max_bytes or table.num_rows == 1:
        yield data, table.num_rows
        return
    half = table.num_rows // 2
    yield from _parts(table.slice(0, half), max_bytes)
    yield from _parts(table.slice(half), max_bytes)


def _manifest(entries: list[dict[str, Any]], columns: list[tuple[str, int]]) -> bytes:
    totals = {name: sum(entry["meta"][name] for entry in entries) for name in ("content_length", "record_count")}
    elements = [{"name": name, "type": {"base": _TYPES[kind][1]}} for name, kind in columns]
    listed = {
        "entries": entries,
        "schema": {"elements": elements},
        "meta": totals,
        "author": {"name": "Amazon Redshift", "version": "1.0.0"},
    }
    return json.dumps(listed, indent=2).encode()
