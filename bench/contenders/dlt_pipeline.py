"""dlt in three ways, into a data set of its own (its tables have its own columns, and no primary key).

``rows`` is its file source with ``read_csv``, row by row, all else as it comes; ``arrow_csv`` gives it record batches
of Arrow's CSV parser, which it sends by COPY of CSV; ``arrow_parquet`` gives it the same, which it sends by ADBC.
The benchmark sets the variables that keep dlt from reporting home and that put its files into the job's folder.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
from dlt.sources.filesystem import readers
from pyarrow import csv

from bench.contenders import COLUMNS, Clock, job

TABLE = "hired_employees"
FILE_ROWS = 250_000
TYPES = {
    "id": pa.int32(),
    "name": pa.string(),
    "datetime": pa.timestamp("us", tz="UTC"),
    "department_id": pa.int32(),
    "job_id": pa.int32(),
}
HINTS: Any = {
    "id": {"data_type": "bigint", "precision": 32, "nullable": False},
    "name": {"data_type": "text", "precision": 256, "nullable": False},
    "datetime": {"data_type": "timestamp", "nullable": False},
    "department_id": {"data_type": "bigint", "precision": 32, "nullable": False},
    "job_id": {"data_type": "bigint", "precision": 32, "nullable": False},
}


def rows(path: Path) -> Any:
    """Dictionaries, by dlt's own CSV reader."""
    source = readers(bucket_url=path.parent.as_uri(), file_glob=path.name)
    found = source.read_csv(header=None, names=list(COLUMNS), keep_default_na=False)
    return found.with_name(TABLE).apply_hints(columns=HINTS)


def arrow(path: Path) -> Any:
    """Record batches of Arrow's own parser."""

    @dlt.resource(name=TABLE, columns=HINTS)
    def batches() -> Iterator[pa.Table]:
        with csv.open_csv(
            path,
            read_options=csv.ReadOptions(column_names=list(COLUMNS), block_size=8 << 20),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(column_types=TYPES, strings_can_be_null=False),
        ) as found:
            for batch in found:
                yield pa.Table.from_batches([batch])

    return batches


WAYS: dict[str, tuple[Callable[[Path], Any], str | None]] = {
    "rows": (rows, None),
    "arrow_csv": (arrow, "csv"),
    "arrow_parquet": (arrow, "parquet"),
}


def main() -> None:
    """Load the job's ``file`` in the job's ``way`` into the data set of that name."""
    wanted = job()
    source, file_format = WAYS[wanted["way"]]
    if file_format:
        # Several files are copied at the same time.
        os.environ["DATA_WRITER__FILE_MAX_ITEMS"] = str(FILE_ROWS)
    clock = Clock()
    pipeline = dlt.pipeline(
        pipeline_name=wanted["way"],
        pipelines_dir=wanted["folder"],
        destination=dlt.destinations.postgres(wanted["dsn"]),
        dataset_name=f"dlt_{wanted['way']}",
    )
    info = pipeline.run(source(Path(wanted["file"])), loader_file_format=file_format)
    info.raise_on_failed_jobs()
    clock.finish()


if __name__ == "__main__":
    main()
