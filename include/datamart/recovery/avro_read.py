"""AVRO object container files as batches of rows: quick for files like our own, strict for those of others."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import fastavro
import numpy as np
import pyarrow as pa

from datamart.errors import BackupDamaged
from datamart.recovery.avro import long
from datamart.recovery.avro_columns import SideBySide, unfit
from datamart.recovery.avro_container import REFUSALS, Block, Container

# Rows of files that others wrote have no provenance: nothing here loaded them.
LOAD_ID = "_load_id"
_GROUP_BYTES = 1 << 23
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z\Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_avro(file: BinaryIO, schema: pa.Schema, *, rows_at_once: int = 250_000) -> Iterator[pa.RecordBatch]:
    """The rows of a file as batches of ``schema``, in the file's order; its other fields are passed over.

    A field that the file lacks is an error, but for ``_load_id``: that becomes 0. AVRO has no mark for a
    file's end, so a file that was cut between two blocks looks whole: compare the number of rows.

    Args:
        file: open for reading at its start; read once, forward.
        schema: int32, int64, string and timestamp[us] fields, none of them null.
        rows_at_once: the most rows of a batch. Memory is bounded by about these, or by the file's largest block.

    Raises:
        BackupDamaged: the file is damaged, or has a value that its column cannot hold.
    """
    container = Container(file)
    own = container.own
    wanted = pa.schema([field for field in schema if field.name in container.names or field.name != LOAD_ID])
    for field in wanted:
        if field.name not in container.names:
            raise BackupDamaged(f"The AVRO file has no field {field.name}.")
    for blocks in _groups(container, rows_at_once):
        rows = sum(block.rows for block in blocks)
        if own is not None and all(own.field(field.name).type == field.type for field in wanted):
            columns = SideBySide(own, blocks).columns(wanted.names)
        else:
            columns = _foreign_columns(container.schema, wanted, blocks)
        batch = pa.RecordBatch.from_arrays(
            [columns.get(field.name, _zeros(field, rows)) for field in schema], schema=schema
        )
        for start in range(0, rows, rows_at_once):
            yield batch.slice(start, rows_at_once)


def _groups(container: Container, rows_at_once: int) -> Iterator[list[Block]]:
    """Neighbouring blocks of about ``rows_at_once`` rows, or fewer if their rows are long."""
    group: list[Block] = []
    rows = size = 0
    for block in container.blocks():
        if group and (rows + block.rows > rows_at_once or size + len(block.data) > _GROUP_BYTES):
            yield group
            group, rows, size = [], 0, 0
        group.append(block)
        rows, size = rows + block.rows, size + len(block.data)
    if group:
        yield group


def _zeros(field: pa.Field, rows: int) -> pa.Array:
    return pa.array(np.zeros(rows, np.int64)).cast(field.type)


def _foreign_columns(schema: Any, wanted: pa.Schema, blocks: list[Block]) -> dict[str, pa.Array]:
    """The columns of ``wanted``, whatever the kinds of the file's fields: one row at a time."""
    rows = [row for block in blocks for row in _foreign_rows(schema, block)]
    return {field.name: _converted(field, [row[field.name] for row in rows]) for field in wanted}


def _foreign_rows(schema: Any, block: Block) -> list[dict[str, Any]]:
    # A block is an array without the number of its items before and its end behind. What is left over would be taken
    # for more items, or not be read.
    array = long(block.rows) + block.data + long(0)
    source = io.BytesIO(array)
    rows: list[dict[str, Any]]
    try:
        rows = fastavro.schemaless_reader(source, {"type": "array", "items": schema}, None)
    except REFUSALS:
        raise BackupDamaged("The AVRO file is damaged: a block does not hold what its header describes.") from None
    if len(rows) != block.rows or source.tell() != len(array):
        raise BackupDamaged("The AVRO file is damaged: the rows of a block do not end where it does.")
    return rows


def _converted(field: pa.Field, values: list[Any]) -> pa.Array:
    """Values of AVRO as a column, if each is of its type."""
    if any(value is None for value in values):
        raise BackupDamaged(f"Field {field.name} of the AVRO file has no value (null) in a row.")
    try:
        if pa.types.is_timestamp(field.type):
            return pa.array([_micros(value) for value in values], pa.int64()).view(field.type)
        expected = str if pa.types.is_string(field.type) else int
        if all(type(value) is expected for value in values):
            return pa.array(values, field.type)
    except (ValueError, OverflowError):
        pass
    raise BackupDamaged(unfit(field))


def _micros(value: Any) -> int:
    """A moment in microseconds since 1970: any logical type of AVRO for moments, or an ISO text with its Z."""
    if isinstance(value, str) and _ISO.match(value):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise ValueError
    moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return (moment - _EPOCH) // timedelta(microseconds=1)
