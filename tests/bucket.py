"""Buckets that tests make and take away again: each one holds volumes of the S3 server, whose disk has few of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from datamart.objects import ObjectStore


@contextmanager
def own_bucket(client: Any, name: str) -> Iterator[str]:
    """A new bucket whose name begins with ``name``."""
    bucket = f"{name}-{uuid4().hex}"
    client.create_bucket(Bucket=bucket)
    yield bucket
    store = ObjectStore(client, bucket)
    store.remove(one.key for one in store.walk(""))
    client.delete_bucket(Bucket=bucket)
