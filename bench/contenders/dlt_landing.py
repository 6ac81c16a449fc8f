"""dlt with many small files in S3, merged by id into a data set of its own, in two ways.

``read_csv`` is dlt's filesystem source with its own reader. ``arrow`` is what one writes by hand to be quicker: the
files of a page are fetched at the same time by s3fs and parsed by Arrow. Both are set as they were found to be
quickest: a file's content is fetched whole, rows are sent by COPY of CSV, and merged by the strategy ``upsert``.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import dlt
import pyarrow as pa
from dlt.sources.credentials import AwsCredentials
from dlt.sources.filesystem import filesystem, read_csv
from pyarrow import csv

from bench.contenders import COLUMNS, Clock, job
from bench.contenders.dlt_pipeline import HINTS, TABLE, TYPES

PAGE = 1000
_READ = csv.ReadOptions(column_names=list(COLUMNS), use_threads=False)
_CONVERT = csv.ConvertOptions(column_types=TYPES, strings_can_be_null=False)


def listed(url: str, **options: Any) -> Any:
    """The files of a folder."""
    credentials = AwsCredentials(
        aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region_name=os.environ["AWS_DEFAULT_REGION"],
        endpoint_url=os.environ["S3_ENDPOINT_URL"],
    )
    return filesystem(url, credentials, file_glob="hired_employees_*.csv", **options)


def by_read_csv(url: str) -> Any:
    """Dictionaries, by dlt's own CSV reader."""
    return listed(url, extract_content=True) | read_csv(header=None, names=list(COLUMNS), keep_default_na=False)


@dlt.transformer
def parsed(files: list[Any]) -> Iterator[pa.Table]:
    """One Arrow table of a page of files."""
    bodies = files[0].fsspec.cat([file["file_url"] for file in files])
    yield pa.concat_tables(
        csv.read_csv(pa.BufferReader(body), read_options=_READ, convert_options=_CONVERT) for body in bodies.values()
    )


def by_arrow(url: str) -> Any:
    """Arrow tables."""
    return listed(url, files_per_page=PAGE) | parsed()


WAYS: dict[str, Callable[[str], Any]] = {"read_csv": by_read_csv, "arrow": by_arrow}


def main() -> None:
    """Merge all files under the job's ``url`` in the job's ``way`` into the data set of that name."""
    wanted = job()
    clock = Clock()
    source = WAYS[wanted["way"]](wanted["url"]).with_name(TABLE)
    source.apply_hints(
        columns=HINTS, primary_key="id", write_disposition={"disposition": "merge", "strategy": "upsert"}
    )
    pipeline = dlt.pipeline(
        pipeline_name=f"landing_{wanted['way']}",
        pipelines_dir=wanted["folder"],
        destination=dlt.destinations.postgres(wanted["dsn"]),
        dataset_name=f"dlt_landing_{wanted['way']}",
    )
    pipeline.run(source, loader_file_format="csv").raise_on_failed_jobs()
    clock.finish()


if __name__ == "__main__":
    main()
