"""One file loaded by a process of its own: what a task does, without Airflow around it."""

from __future__ import annotations

import os
import sys

import boto3

from datamart.load import Loader
from datamart.objects import ObjectStore
from datamart.settings import load_settings
from datamart.warehouse.postgres import PostgresWarehouse


def main() -> None:
    """Load the object whose key is the first argument; print the verdict."""
    store = ObjectStore(boto3.client("s3", endpoint_url=os.environ["S3_URL"]), os.environ["BUCKET"])
    (arrival,) = store.list(sys.argv[1])
    warehouse = PostgresWarehouse(os.environ["URI"])
    run = {"run_id": f"process-{os.getpid()}"}
    outcome = Loader(warehouse, store, load_settings(), run, fill_from_bytes=0).load(arrival)
    print(outcome.verdict, outcome.counts, flush=True)
