"""Backup files: any AVRO reader has our rows, we have those of other writers, and damage never passes for rows."""

from __future__ import annotations

import io
import json
import random
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datamart.errors import BackupDamaged, TerminalFault
from datamart.recovery import avro_container
from datamart.recovery.avro import MAGIC, AvroWriter, avro_schema, long
from datamart.recovery.avro_read import read_avro

TYPES = {"int": pa.int32(), "long": pa.int64(), "text": pa.string(), "moment": pa.timestamp("us")}
ints = st.one_of(st.sampled_from([0, 2147483647, -1, -2147483648, 63, 64, -64, -65]), st.integers(-(2**31), 2**31 - 1))
longs = st.one_of(st.sampled_from([0, 2**63 - 1, -(2**63), 2**55, -(2**62)]), st.integers(-(2**63), 2**63 - 1))
texts = st.one_of(st.sampled_from(["", "é" * 128, "x" * 64, 'a "b"\n\t😀']), st.text(max_size=9))
texts = texts.filter(lambda text: text.isascii() or text.encode(errors="ignore").decode() == text)
moments = st.one_of(st.sampled_from([datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)]), st.datetimes())
values = {"int": ints, "long": longs, "text": texts, "moment": moments}
tables = st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=6).flatmap(
    lambda kinds: st.tuples(st.just(kinds), st.lists(st.tuples(*(values[kind] for kind in kinds)), max_size=12))
)
HIRED = pa.schema(
    [
        pa.field("id", pa.int32(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("datetime", pa.timestamp("us"), nullable=False),
        pa.field("department_id", pa.int32(), nullable=False),
        pa.field("job_id", pa.int32(), nullable=False),
        pa.field("_load_id", pa.int64(), nullable=False),
    ]
)
WHOLE = datetime(2021, 7, 27, 16, 2, 8)
EDGES: list[tuple[Any, ...]] = [
    (0, "", datetime(1, 1, 1), 2147483647, -1, 0),
    (-2147483648, "é" * 128, datetime(9999, 12, 31, 23, 59, 59, 999999), 1, 2, 2**63 - 1),
    (1, 'O"Neill,\r\n😀', datetime(1970, 1, 1), 3, 4, -(2**63)),
    (2147483647, "x" * 256, datetime(1969, 12, 31, 23, 59, 59, 999999), 63, 64, 77),
]


def schema_of(kinds: list[str]) -> pa.Schema:
    return pa.schema([pa.field(f"_c{place}", TYPES[kind], nullable=False) for place, kind in enumerate(kinds)])


def batch(schema: pa.Schema, rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = [pa.array([row[place] for row in rows], field.type) for place, field in enumerate(schema)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def written(schema: pa.Schema, *batches: pa.RecordBatch, block_rows: int = 3) -> bytes:
    file = io.BytesIO()
    writer = AvroWriter(file, "hired_employees", schema, block_rows)
    for one in batches:
        writer.write(one)
    writer.close()
    return file.getvalue()


def read(data: bytes, schema: pa.Schema, rows_at_once: int = 250_000) -> list[tuple[Any, ...]]:
    rows = []
    for one in read_avro(io.BytesIO(data), schema, rows_at_once=rows_at_once):
        assert one.schema == schema
        assert 0 < one.num_rows <= rows_at_once
        one.validate(full=True)
        rows += [tuple(row.values()) for row in one.to_pylist()]
    return rows


def slow_read(data: bytes, schema: pa.Schema) -> list[tuple[Any, ...]]:
    """Rows as the way for other writers' files has them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(avro_container, "_own_schema", lambda _: None)
        return read(data, schema)


def unpacked(data: bytes) -> bytes:
    """A file of ours without its compression, which fastavro needs one more package for."""
    container = avro_container.Container(io.BytesIO(data))
    schema = json.dumps(container.schema).encode()
    meta = long(1) + long(11) + b"avro.schema" + long(len(schema)) + schema + long(0)
    sync = bytes(range(16))
    blocks = [long(block.rows) + long(len(block.data)) + block.data + sync for block in container.blocks()]
    return MAGIC + meta + sync + b"".join(blocks)


def foreign(fields: list[tuple[str, Any]], rows: list[tuple[Any, ...]], codec: str = "null", **options: Any) -> bytes:
    """A file as fastavro writes it."""
    described = [{"name": name, "type": kind} for name, kind in fields]
    schema = fastavro.parse_schema({"type": "record", "name": "other", "fields": described})
    file = io.BytesIO()
    records = [dict(zip([name for name, _ in fields], row, strict=True)) for row in rows]
    fastavro.writer(file, schema, records, codec=codec, **options)
    return file.getvalue()


@given(tables, st.integers(1, 5), st.integers(1, 7))
@example((["int", "text", "moment", "int", "int", "long"], EDGES), 2, 3)
@example((["text"], [("a",), ("",), ("é" * 128,)]), 2, 100)
@example((["text", "text"], []), 1, 1)
@settings(max_examples=60, deadline=None)
def test_rows_are_read_as_they_were_written(
    table: tuple[list[str], list[tuple[Any, ...]]], block_rows: int, at_once: int
) -> None:
    kinds, rows = table
    schema = schema_of(kinds)
    whole = batch(schema, rows)
    data = written(schema, whole.slice(0, 5), whole.slice(5), block_rows=block_rows)
    assert read(data, schema, at_once) == rows
    assert slow_read(data, schema) == rows


@given(tables)
@example((["int", "text", "moment", "int", "int", "long"], EDGES))
@settings(max_examples=40, deadline=None)
def test_another_reader_has_the_same_rows_and_types(table: tuple[list[str], list[tuple[Any, ...]]]) -> None:
    kinds, rows = table
    schema = schema_of(kinds)
    reader = fastavro.reader(io.BytesIO(unpacked(written(schema, batch(schema, rows)))))
    plain = [
        tuple(value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in record.values())
        for record in reader
        if isinstance(record, dict)
    ]
    assert plain == rows
    assert reader.writer_schema is not None
    names = {"int": "int", "long": "long", "text": "string"}
    moment = {"type": "long", "logicalType": "timestamp-micros"}
    assert [field["type"] for field in reader.writer_schema["fields"]] == [names.get(kind, moment) for kind in kinds]


def test_the_schema_is_plain_avro() -> None:
    described = avro_schema("hired_employees", HIRED)
    assert fastavro.schema.fullname(described) == "datamart.hired_employees"
    assert [field["name"] for field in described["fields"]] == HIRED.names
    assert described["fields"][2]["type"] == {"type": "long", "logicalType": "timestamp-micros"}


def test_the_file_is_what_the_specification_says() -> None:
    """Read by hand: a header, blocks of packed rows with their checksums, and the marker behind each."""
    data = written(HIRED, batch(HIRED, EDGES), block_rows=3)
    header = fastavro.schemaless_reader(io.BytesIO(data), fastavro.read._read.HEADER_SCHEMA, None)
    assert isinstance(header, dict)
    assert (header["magic"], header["meta"]["avro.codec"]) == (b"Obj\x01", b"snappy")
    assert json.loads(header["meta"]["avro.schema"]) == avro_schema("hired_employees", HIRED)
    source = io.BytesIO(data)
    fastavro.schemaless_reader(source, fastavro.read._read.HEADER_SCHEMA, None)
    counts = []
    while source.tell() < len(data):
        count, packed = (fastavro.schemaless_reader(source, kind, None) for kind in ("long", "bytes"))
        assert isinstance(packed, bytes)
        # Snappy's own length, seven bits a byte: two bytes for all that is longer than 127.
        size = packed[0] & 0x7F | (packed[1] << 7 if packed[0] > 0x7F else 0)
        block = pa.Codec("snappy").decompress(packed[:-4], size, asbytes=True)
        assert zlib.crc32(block).to_bytes(4, "big") == packed[-4:]
        assert source.read(16) == header["sync"]
        counts.append(count)
    assert counts == [3, 1]


def test_many_rows_in_batches_of_any_size_make_one_file() -> None:
    rows = [(n, f"Ann {n % 97}", WHOLE + timedelta(seconds=n), n % 12, n % 180, n // 1000) for n in range(20_000)]
    whole = batch(HIRED, rows)
    data = written(HIRED, whole, block_rows=100)
    parts = [whole.slice(0, 1), whole.slice(1, 0), whole.slice(1, 250), whole.slice(251, 17_000), whole.slice(17_251)]
    assert written(HIRED, *parts, block_rows=100) == data
    assert read(data, HIRED, 7777) == rows
    assert len(list(read_avro(io.BytesIO(data), HIRED, rows_at_once=5000))) == 4


def test_no_rows_make_a_file_too() -> None:
    assert read(written(HIRED), HIRED) == []
    assert read(written(HIRED, batch(HIRED, [])), HIRED) == []


def test_a_row_without_a_value_is_not_written() -> None:
    with pytest.raises(TerminalFault, match="column name"):
        written(HIRED, batch(HIRED, [*EDGES, (1, None, WHOLE, 1, 2, 3)]))


def test_blocks_of_unequal_length_are_read_side_by_side() -> None:
    schema = schema_of(["int", "text", "long"])
    rows = [(n, "x" * (n % 70), n**6) for n in range(300)]
    data = foreign([("_c0", "int"), ("_c1", "string"), ("_c2", "long")], rows, "deflate", sync_interval=200)
    counts = [block.rows for block in avro_container.Container(io.BytesIO(data)).blocks()]
    assert len(set(counts)) > 2
    assert read(data, schema) == slow_read(data, schema) == rows


MICROS = {"type": "long", "logicalType": "timestamp-micros"}
OWN: list[tuple[str, Any]] = [
    ("id", "int"), ("name", "string"), ("datetime", MICROS), ("department_id", "int"), ("job_id", "int"),
    ("_load_id", "long"),
]  # fmt: skip
ROW: tuple[Any, ...] = (5, "Ann", WHOLE, 6, 7, 8)


def with_kind(name: str, kind: Any) -> list[tuple[str, Any]]:
    return [(field, kind if field == name else own) for field, own in OWN]


def with_value(name: str, value: Any) -> tuple[Any, ...]:
    return tuple(value if field == name else own for (field, _), own in zip(OWN, ROW, strict=True))


@pytest.mark.parametrize("codec", ["null", "deflate"])
@pytest.mark.parametrize(
    ("fields", "row"),
    [
        (OWN, ROW),
        (OWN[::-1], ROW[::-1]),
        ([("more", "string"), *OWN, ("bytes", ["null", "bytes"])], ("x", *ROW, b"\xff")),
        ([*OWN, ("more", {"type": "array", "items": "double"})], (*ROW, [1.5, 2])),
        ([(name, ["null", kind]) for name, kind in OWN], ROW),
        ([(name, [kind, "null"]) for name, kind in OWN], ROW),
        (with_kind("id", "long"), ROW),
        (with_kind("_load_id", "int"), ROW),
        (with_kind("id", ["null", "int", "string"]), ROW),
        (with_kind("datetime", {"type": "long", "logicalType": "timestamp-millis"}), ROW),
        (with_kind("datetime", {"type": "long", "logicalType": "local-timestamp-micros"}), ROW),
        (with_kind("datetime", {"type": "long", "logicalType": "local-timestamp-millis"}), ROW),
        (with_kind("datetime", ["null", {"type": "long", "logicalType": "timestamp-millis"}]), ROW),
        (with_kind("datetime", "string"), with_value("datetime", "2021-07-27T16:02:08Z")),
        (with_kind("datetime", ["null", "string"]), with_value("datetime", "2021-07-27T16:02:08Z")),
    ],
)  # fmt: skip
def test_files_of_other_writers_are_read(codec: str, fields: list[tuple[str, Any]], row: tuple[Any, ...]) -> None:
    zoned = tuple(
        value.replace(tzinfo=UTC) if isinstance(value, datetime) and "local" not in str(fields) else value
        for value in row
    )
    assert read(foreign(fields, [zoned] * 5, codec), HIRED, 3) == [ROW] * 5


def test_rows_of_other_writers_were_loaded_by_nobody() -> None:
    zoned = (*ROW[:2], WHOLE.replace(tzinfo=UTC), *ROW[3:])
    for fields, row in (
        (OWN[:-1], zoned[:-1]),
        (OWN[-2::-1], zoned[-2::-1]),
        (with_kind("id", "long")[:-1], zoned[:-1]),
    ):
        assert read(foreign(fields, [row]), HIRED) == [(*ROW[:-1], 0)]


def test_other_years_are_read() -> None:
    years = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)]
    iso = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
    schema = pa.schema([pa.field("datetime", pa.timestamp("us"), nullable=False)])
    expected = [(year.replace(tzinfo=None),) for year in years]
    millis = {"type": "long", "logicalType": "timestamp-millis"}
    for kind, given_values in ((MICROS, years), (["null", MICROS], years), (millis, years), ("string", iso)):
        assert read(foreign([("datetime", kind)], [(value,) for value in given_values]), schema) == expected


@pytest.mark.parametrize(
    ("fields", "row", "reason"),
    [
        (OWN[1:], ROW[1:], "no field id"),
        (OWN[:2] + OWN[3:], ROW[:2] + ROW[3:], "no field datetime"),
        (with_kind("name", ["null", "string"]), with_value("name", None), "name .* no value"),
        (with_kind("datetime", ["null", MICROS]), with_value("datetime", None), "datetime .* no value"),
        (with_kind("_load_id", ["null", "long"]), with_value("_load_id", None), "_load_id .* no value"),
        (with_kind("id", "long"), with_value("id", 2**31), "Field id .* no int32"),
        (with_kind("id", "long"), with_value("id", -(2**31) - 1), "Field id .* no int32"),
        (with_kind("id", "string"), with_value("id", "5"), "Field id .* no int32"),
        (with_kind("id", "double"), with_value("id", 5.0), "Field id .* no int32"),
        (with_kind("id", "boolean"), with_value("id", True), "Field id .* no int32"),
        (with_kind("name", "bytes"), with_value("name", b"Ann"), "Field name .* no string"),
        (with_kind("name", "int"), with_value("name", 5), "Field name .* no string"),
        (with_kind("datetime", "long"), with_value("datetime", 5), "Field datetime .* no timestamp"),
        (with_kind("datetime", "string"), with_value("datetime", "2021-07-27 16:02:08"), "no timestamp"),
        (with_kind("datetime", "string"), with_value("datetime", "2021-02-29T16:02:08Z"), "no timestamp"),
        (with_kind("datetime", "string"), with_value("datetime", "2021-02-28T16:02:08+01:00"), "no timestamp"),
        (with_kind("id", MICROS), with_value("id", WHOLE.replace(tzinfo=UTC)), "Field id .* no int32"),
    ],
)  # fmt: skip
def test_values_that_no_column_can_hold_are_refused(
    fields: list[tuple[str, Any]], row: tuple[Any, ...], reason: str
) -> None:
    with pytest.raises(BackupDamaged, match=reason):
        read(foreign(fields, [row]), HIRED)


def outcome(data: bytes, how: Callable[[bytes, pa.Schema], list[tuple[Any, ...]]] = read) -> object:
    try:
        return how(data, HIRED)
    except BackupDamaged as refusal:
        return refusal


LONG_ENOUGH = [(n, f"Name {n} " + "abc" * (n % 30), WHOLE + timedelta(n), n % 12, 70 * n, n) for n in range(60)]
FILE = written(HIRED, batch(HIRED, LONG_ENOUGH), batch(HIRED, EDGES), block_rows=20)
BLOCKS_FROM = FILE.index(b"datamart.sync") + 13 + 1 + 20 + 1 + 16


@pytest.mark.parametrize("how", [read, slow_read])
def test_a_changed_byte_is_refused_or_does_not_matter(how: Callable[[bytes, pa.Schema], list[tuple[Any, ...]]]) -> None:
    dice = random.Random(2)
    assert how(FILE, HIRED) == [*LONG_ENOUGH, *EDGES]
    refused = 0
    places = [*range(BLOCKS_FROM), *dice.sample(range(BLOCKS_FROM, len(FILE)), 400)]
    for place in places:
        damaged = bytearray(FILE)
        damaged[place] ^= 1 << dice.randrange(8)
        found = outcome(bytes(damaged), how)
        refused += isinstance(found, BackupDamaged)
        assert isinstance(found, BackupDamaged) or found == [*LONG_ENOUGH, *EDGES], place
    assert refused > 0.95 * len(places)


def test_a_file_that_ends_early_is_refused() -> None:
    whole_blocks = {BLOCKS_FROM}
    for at in range(BLOCKS_FROM, len(FILE)):
        if FILE[at - 16 : at] == FILE[BLOCKS_FROM - 16 : BLOCKS_FROM]:
            whole_blocks.add(at)
    for end in [*range(0, BLOCKS_FROM + 30), *range(BLOCKS_FROM + 30, len(FILE), 7), len(FILE) - 1]:
        found = outcome(FILE[:end])
        assert isinstance(found, BackupDamaged) != (end in whole_blocks), end


@pytest.mark.parametrize(
    "garbage", [b"\0", b"\n", b"\xff" * 11, b"more", bytes(18), FILE[BLOCKS_FROM : BLOCKS_FROM + 40], FILE]
)
def test_what_follows_the_last_block_is_refused(garbage: bytes) -> None:
    assert isinstance(outcome(FILE + garbage), BackupDamaged)


def test_no_file_of_avro_is_refused() -> None:
    for data in (
        b"",
        b"Obj",
        b"Obj\x02" + FILE[4:],
        b"id,name\n1,Ann\n",
        b"PAR1" + bytes(50),
        b"Obj\x01\0" + bytes(16),
    ):
        assert isinstance(outcome(data), BackupDamaged)


def by_hand(*blocks: tuple[int, bytes], codec: bytes = b"null", schema: bytes | None = None) -> bytes:
    """A file of two fields, with blocks that say what they like."""
    fields = [{"name": "_c0", "type": "int"}, {"name": "_c1", "type": "string"}]
    described = schema or json.dumps({"type": "record", "name": "r", "fields": fields}).encode()
    entries = [b"avro.schema", described, b"avro.codec", codec]
    meta = long(2) + b"".join(long(len(entry)) + entry for entry in entries) + long(0)
    sync = bytes(range(16))
    return MAGIC + meta + sync + b"".join(long(rows) + long(len(data)) + data + sync for rows, data in blocks)


ONE = long(5) + long(3) + b"Ann"
TWO = long(7) + long(0)
SMALL = schema_of(["int", "text"])


def test_blocks_by_hand_are_read() -> None:
    data = by_hand((1, ONE), (0, b""), (3, ONE + TWO + TWO), (2, TWO + ONE))
    rows = [(5, "Ann"), (5, "Ann"), (7, ""), (7, ""), (7, ""), (5, "Ann")]
    assert read(data, SMALL) == slow_read(data, SMALL) == rows
    assert read(data, SMALL, 2) == rows


@pytest.mark.parametrize("how", [read, slow_read])
@pytest.mark.parametrize(
    "blocks",
    [
        [(2, ONE)],
        [(0, ONE)],
        [(-1, ONE)],
        [(2**62, ONE)],
        [(1, ONE + TWO)],
        [(3, ONE + TWO)],
        [(1, b"")],
        [(1, ONE), (1, TWO[:1])],
        [(1, ONE[:-1])],
        [(1, ONE[:-1]), (1, b"n" + TWO)],
        [(1, ONE + b"\0")],
        [(1, long(5) + long(-1))],
        [(2, ONE + long(5) + long(-4) + b"Ann")],
        [(1, long(5) + long(2**40) + b"Ann")],
        [(1, long(5) + long(2**63 - 1) + b"Ann")],
        [(1, long(5) + long(-(2**63)) + b"Ann")],
        [(1, long(2**31) + long(3) + b"Ann")],
        [(1, long(-(2**31) - 1) + long(3) + b"Ann")],
        [(1, b"\xff" * 11 + b"\0" + long(3) + b"Ann")],
        [(1, long(5) + long(2) + b"\xc3\x28")],
        [(2, long(5) + long(1) + b"\xc3" + long(5) + long(1) + b"\xa9")],
    ],
)  # fmt: skip
def test_blocks_that_lie_are_refused(
    how: Callable[[bytes, pa.Schema], list[tuple[Any, ...]]], blocks: list[tuple[int, bytes]]
) -> None:
    with pytest.raises(BackupDamaged):
        how(by_hand((1, ONE), *blocks, (1, TWO)), SMALL)
    with pytest.raises(BackupDamaged):
        how(by_hand(*blocks), SMALL)


@pytest.mark.parametrize(
    "data",
    [
        by_hand((1, ONE), codec=b"zstandard"),
        by_hand((1, ONE), codec=b"\xff"),
        by_hand((1, ONE), codec=b"snappy"),
        by_hand((1, b""), codec=b"snappy"),
        by_hand((1, b"\xff\xff\xff\xff\x0f" + ONE), codec=b"snappy"),
        by_hand((1, ONE), codec=b"deflate"),
        by_hand((1, zlib.compress(ONE)[2:-5]), codec=b"deflate"),
        by_hand((1, zlib.compress(ONE)[2:] + b"x"), codec=b"deflate"),
        by_hand((1, ONE), schema=b"{"),
        by_hand((1, ONE), schema=b'"int"'),
        by_hand((1, ONE), schema=b"[]"),
        by_hand((1, ONE), schema=b"{}"),
        by_hand((1, ONE), schema=b'{"type":"record","name":"r","fields":[1]}'),
        by_hand((1, ONE), schema=b'{"type":"record","name":"r","fields":5}'),
        by_hand((1, ONE), schema=b'{"type":"record","name":"r","fields":[{"name":"_c0"},{"name":"_c1"}]}'),
        by_hand((1, ONE), schema=b'{"type":"enum","name":"r","fields":[{"name":"_c0","type":"int"},'
                                 b'{"name":"_c1","type":"string"}]}'),
        by_hand((1, ONE), schema=b'{"type":"record","name":"r","fields":[{"name":"_c0","type":"int"},'
                                 b'{"name":"_c1","type":"nothing"}]}'),
        by_hand((1, ONE), schema=b'{"type":"record","name":"r","fields":[{"name":"_c1","type":"string"},'
                                 b'{"name":"_c0","type":"int"},{"name":"_c0","type":"int"}]}'),
    ],
)  # fmt: skip
def test_headers_that_describe_no_rows_are_refused(data: bytes) -> None:
    for how in (read, slow_read):
        with pytest.raises(BackupDamaged):
            how(data, SMALL)


def test_refusals_do_not_quote_rows() -> None:
    for data in (by_hand((2, ONE)), by_hand((1, long(2**31) + long(3) + b"Ann")), foreign(OWN[1:], [ROW[1:]])):
        with pytest.raises(BackupDamaged) as refusal:
            read(data, SMALL)
        assert "Ann" not in str(refusal.value)
        assert str(2**31) not in str(refusal.value)
