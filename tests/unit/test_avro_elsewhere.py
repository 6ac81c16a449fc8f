"""Backup files and other programs' AVRO: equal values both ways, with Apache's own library and with polars."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import avro.datafile
import avro.io
import avro.schema
import polars as pl
import pyarrow as pa
import pytest

from datamart.recovery.avro import AvroWriter
from datamart.recovery.avro_read import read_avro
from datamart.tables import table_named

SCHEMA = table_named("hired_employees").kept_schema
ROWS: list[dict[str, Any]] = [
    {"id": 1, "name": "Ann", "datetime": datetime(2021, 7, 27, 16, 2, 8), "department_id": 1, "job_id": 2,
     "_load_id": 7},
    {"id": 2147483647, "name": 'quotes ", new\nline', "datetime": datetime(1, 1, 1), "department_id": 0, "job_id": 0,
     "_load_id": 2**63 - 1},
    {"id": 0, "name": "日本語 🦆", "datetime": datetime(9999, 12, 31, 23, 59, 59), "department_id": 3, "job_id": 4,
     "_load_id": 1},
    {"id": 4, "name": "x" * 256, "datetime": datetime(1969, 12, 31, 23, 59, 59), "department_id": 5, "job_id": 6,
     "_load_id": 1},
]  # fmt: skip


def ours() -> bytes:
    file = io.BytesIO()
    writer = AvroWriter(file, "hired_employees", SCHEMA)
    writer.write(pa.RecordBatch.from_pylist(ROWS, SCHEMA))
    writer.close()
    return file.getvalue()


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Moments as microseconds, without a zone."""

    def micros(value: Any) -> Any:
        if isinstance(value, datetime):
            whole = value.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
            return (whole.days * 86_400 + whole.seconds) * 1_000_000 + whole.microseconds
        return value

    return [{name: micros(row[name]) for name in SCHEMA.names} for row in rows]


def by_apache(body: bytes) -> list[dict[str, Any]]:
    with avro.datafile.DataFileReader(io.BytesIO(body), avro.io.DatumReader()) as reader:
        return list(reader)


def by_polars(body: bytes) -> list[dict[str, Any]]:
    frame = pl.read_avro(io.BytesIO(body))
    return frame.with_columns(pl.col("datetime").cast(pl.Int64)).to_dicts()


@pytest.mark.parametrize("reader", [by_apache, by_polars])
def test_another_reader_reads_equal_values(reader: Callable[[bytes], list[dict[str, Any]]]) -> None:
    assert plain(reader(ours())) == plain(ROWS)


def test_apache_s_library_knows_a_moment_when_it_sees_one() -> None:
    (moment,) = {type(row["datetime"]) for row in by_apache(ours())}
    assert moment is datetime


def of_apache(codec: str) -> bytes:
    """Fields in another order, unions with null, moments as milliseconds, numbers as long."""
    fields = [
        {"name": "datetime", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "name", "type": ["string", "null"]},
        *({"name": name, "type": ["null", "long"]} for name in ("job_id", "id", "department_id")),
        {"name": "remark", "type": "string"},
    ]
    schema = avro.schema.parse(json.dumps({"type": "record", "name": "row", "fields": fields}))
    file = io.BytesIO()
    writer = avro.datafile.DataFileWriter(file, avro.io.DatumWriter(), schema, codec=codec)
    for row in ROWS:
        known = {name: value for name, value in row.items() if name != "_load_id"}
        writer.append({**known, "datetime": row["datetime"].replace(tzinfo=UTC), "remark": "passed over"})
    writer.flush()
    return file.getvalue()


def of_polars(codec: Any) -> bytes:
    """All fields may be null, numbers are long, moments local."""
    file = io.BytesIO()
    pl.DataFrame([{name: row[name] for name in SCHEMA.names[:-1]} for row in ROWS]).write_avro(file, compression=codec)
    return file.getvalue()


FILES = [
    *(pytest.param(of_apache, codec, id=f"Apache {codec}") for codec in ("null", "deflate", "snappy")),
    *(pytest.param(of_polars, codec, id=f"polars {codec}") for codec in ("uncompressed", "deflate", "snappy")),
]


@pytest.mark.parametrize(("writer", "codec"), FILES)
def test_files_of_another_writer_are_read_as_the_same_rows(writer: Callable[[str], bytes], codec: str) -> None:
    found = [row for batch in read_avro(io.BytesIO(writer(codec)), SCHEMA) for row in batch.to_pylist()]
    assert found == [{**row, "_load_id": 0} for row in ROWS], "nobody here loaded them"
