"""
### The peer: a mapped `S3ToSqlOperator`

What is built with Airflow's own operators when many files lie in S3: list the keys, load each by a mapped task. There
is no merge, no check of a value beyond what `int` and `strptime` do, no ledger, and the files stay where they are.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from datetime import datetime

from airflow.providers.amazon.aws.operators.s3 import S3ListOperator  # noqa: TID251 - Airflow is the peer
from airflow.providers.amazon.aws.transfers.s3_to_sql import S3ToSqlOperator  # noqa: TID251
from airflow.sdk import dag  # noqa: TID251

BUCKET = os.environ["DATAMART_DATA_BUCKET"]


def rows(path: str) -> Iterator[tuple[object, ...]]:
    """Typed values, as the table wants them."""
    with open(path, newline="") as file:
        for number, name, moment, department, job in csv.reader(file):
            when = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ")
            yield int(number), name, when, int(department), int(job)


@dag(schedule=None, catchup=False, doc_md=__doc__, params={"prefix": "peers/", "table": "hired_employees"})
def s3_to_sql_files():
    list_files = S3ListOperator(
        task_id="list_files", bucket=BUCKET, prefix="{{ params.prefix }}", aws_conn_id="object_store"
    )
    S3ToSqlOperator.partial(
        task_id="load",
        s3_bucket=BUCKET,
        table="{{ params.table }}",  # with its schema: the operator's own argument for that never reaches the INSERT
        column_list=["id", "name", '"datetime"', "department_id", "job_id"],
        parser=rows,
        sql_conn_id="warehouse",
        aws_conn_id="object_store",
    ).expand(s3_key=list_files.output)


s3_to_sql_files()
