"""Reading a local file in one process on one core: by Arrow alone, by our reader, by our reader and validation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from bench.contenders import COLUMNS, Clock, job
from datamart.reader import Reader
from datamart.settings import load_settings
from datamart.tables import table_named
from datamart.validation import Validator

TABLE = table_named("hired_employees")


def arrow(path: Path) -> Iterator[tuple[int, int]]:
    """The limit: columns of bytes by Arrow's parser, nothing judged, no lines known; whole well-formed files only."""
    with csv.open_csv(
        path,
        read_options=csv.ReadOptions(
            column_names=list(COLUMNS), use_threads=False, block_size=load_settings({}).chunk_bytes
        ),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pa.binary())),
    ) as batches:
        for batch in batches:
            yield batch.num_rows, 0


def reader(path: Path) -> Iterator[tuple[int, int]]:
    """Our reader: every record with its line and its own text, ragged ones told apart."""
    with path.open("rb") as stream:
        for chunk in Reader(stream, TABLE, load_settings({}).chunk_bytes):
            yield len(chunk.index), len(chunk.ragged)


def validation(path: Path) -> Iterator[tuple[int, int]]:
    """Our reader, and pandera's judgement on every cell; typed rows and rejects with all their reasons come out."""
    validator = Validator(TABLE, {"department_id": np.arange(1, 13), "job_id": np.arange(1, 183)})
    with path.open("rb") as stream:
        for chunk in Reader(stream, TABLE, load_settings({}).chunk_bytes):
            judged = validator.judge(chunk)
            yield judged.accepted.num_rows, len(judged.rejects)


WAYS: dict[str, Callable[[Path], Iterator[tuple[int, int]]]] = {
    "arrow": arrow,
    "reader": reader,
    "validation": validation,
}


def main() -> None:
    """Read the job's ``file`` in the job's ``way``, on one core; counts of good and of other rows."""
    wanted = job()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    clock = Clock()
    good = other = 0
    first = None
    for found, left in WAYS[wanted["way"]](Path(wanted["file"])):
        first = first or clock.seconds
        good += found
        other += left
    clock.finish(good=good, other=other, first_seconds=first)


if __name__ == "__main__":
    main()
