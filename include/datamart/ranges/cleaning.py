"""One range of a file: its rows judged, the accepted ones and the rejects written to S3 for who joins the ranges.

All is done of them but for one thing: whether a row's key came before in another range. So it is noted of each
accepted row where in the file it stands, in case that it must be rejected after all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import pyarrow as pa

from datamart.clean import ZSTD, CleanParts
from datamart.errors import ConfigurationError
from datamart.fingerprint import rules_in_force
from datamart.objects import ObjectStore
from datamart.ranges.pieces import Pieces, pieces_of, spans
from datamart.ranges.plan import Plan, known_keys
from datamart.reader import Chunk, Reader
from datamart.rejects import RejectSpool
from datamart.settings import Settings
from datamart.tables import Table
from datamart.validation import Judged, Validator

LINE, START, END = "_line", "_start", "_end"
_POSITIONS = (LINE, START, END)
_PARQUET = {**ZSTD, "column_encoding": dict.fromkeys(_POSITIONS, "DELTA_BINARY_PACKED")}
"""Positions only grow, by about the same each time."""


@dataclass
class Cleaned:
    """What was found in one range."""

    rows: int = 0
    blank: int = 0
    rejected: int = 0
    ragged: int = 0
    parts: int = 0
    lines: int = 0
    """Physical lines of the rows that passed."""
    warnings: dict[str, int] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        """Rows that passed, as far as the range alone can tell."""
        return self.rows - self.rejected


def placed_schema(table: Table) -> pa.Schema:
    """Of accepted rows with their places: the physical line, and from where to where in the file's bytes."""
    return pa.schema([*table.arrow_schema, *(pa.field(name, pa.int64(), nullable=False) for name in _POSITIONS)])


def part_name(part: int) -> str:
    """What accepted rows of a range are called."""
    return f"part-{part:05d}.parquet"


def clean_range(store: ObjectStore, settings: Settings, plan: Plan, number: int) -> Cleaned:
    """Clean one range of a plan; what was found is noted last, so what has a note is whole.

    Raises:
        ConfigurationError: other rules are in force here than when the plan was made.
        SourceChanged, TransientFault, TerminalFault: as S3 answers.
    """
    if rules_in_force(plan.table, settings) != plan.rules:
        raise ConfigurationError(
            f"{plan.arrival.key}: other rules are in force here than where its ranges were planned. Let all workers "
            "run the same version with the same settings; until then the file is read whole."
        )
    own = plan.cuts.ranges[number]
    validator = Validator(plan.table, known_keys(store, plan), reject_unknown=settings.unknown_reference == "reject")
    parts = CleanParts(
        store, plan.table, 0, settings.part_rows, schema=placed_schema(plan.table), parquet=_PARQUET,
        key_of=lambda part: plan.key(number, part_name(part)),
    )  # fmt: skip
    rejects, cleaned = RejectSpool(), Cleaned()
    try:
        with pieces_of(store, plan.arrival, spans(own.start, own.end)) as stream:
            last = number == len(plan.cuts.ranges) - 1
            reader = Reader(Pieces(stream), plan.table, settings.chunk_bytes, plan.place(number), to_end=last)
            for _ in parts.keep(_placed(reader, validator, rejects, cleaned)):
                pass
        cleaned.rows, cleaned.blank, cleaned.parts = reader.rows, reader.blank, parts.sent
        cleaned.rejected, cleaned.ragged = rejects.count, rejects.ragged
        if rejects.count:
            store.write(plan.key(number, REJECTS), rejects.file)
    finally:
        rejects.close()
    store.write(plan.key(number, NOTE), json.dumps(asdict(cleaned)).encode())
    return cleaned


REJECTS, NOTE = "rejects", "cleaned.json"


def read_cleaned(store: ObjectStore, plan: Plan, number: int) -> Cleaned | None:
    """What was found in a range; None when it was not cleaned, or by a version with notes of another kind."""
    body = store.fetch(plan.key(number, NOTE))
    try:
        return None if body is None else Cleaned(**json.loads(body))
    except (ValueError, TypeError):
        return None


def _placed(reader: Reader, validator: Validator, rejects: RejectSpool, cleaned: Cleaned) -> Iterator[pa.RecordBatch]:
    for chunk in reader.chunks():
        judged = validator.judge(chunk)
        rejects.add(judged.rejects)
        for column, count in judged.warnings.items():
            cleaned.warnings[column] = cleaned.warnings.get(column, 0) + count
        cleaned.lines += judged.accepted.num_rows + chunk.more_lines(judged.rows)
        if judged.accepted.num_rows:
            yield _with_places(chunk, judged, placed_schema(validator.table))


def _with_places(chunk: Chunk, judged: Judged, schema: pa.Schema) -> pa.RecordBatch:
    block, records = chunk.block, chunk.index[judged.rows]
    places = (block.lines[records], block.starts[records] + block.offset, block.ends[records] + block.offset)
    return pa.RecordBatch.from_arrays([*judged.accepted.columns, *map(pa.array, places)], schema=schema)
