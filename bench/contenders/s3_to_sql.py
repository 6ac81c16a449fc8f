"""Airflow's own S3ToSqlOperator: its ``execute``, with the parser of its documentation, outside a scheduler.

Connections come from the environment, where Airflow looks first.
"""

import csv
from collections.abc import Iterator

from airflow.providers.amazon.aws.transfers.s3_to_sql import S3ToSqlOperator  # noqa: TID251 - Airflow is the peer

from bench.contenders import COLUMNS, Clock, job


def rows(path: str) -> Iterator[list[str]]:
    """The parser that the operator's documentation gives."""
    with open(path, newline="") as file:
        yield from csv.reader(file)


def main() -> None:
    """Load the job's ``key`` into ``public.hired_employees``."""
    wanted = job()
    clock = Clock()
    S3ToSqlOperator(
        task_id="load",
        s3_bucket=wanted["bucket"],
        s3_key=wanted["key"],
        schema="public",
        table="hired_employees",
        column_list=[f'"{name}"' for name in COLUMNS],
        parser=rows,
        sql_conn_id="warehouse",
        aws_conn_id="object_store",
    ).execute({})
    clock.finish()


if __name__ == "__main__":
    main()
