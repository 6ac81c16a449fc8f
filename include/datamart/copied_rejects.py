"""Rejected rows of a load for a copy of its file, which is known to be one and so is not judged again."""

from __future__ import annotations

from contextlib import ExitStack

from datamart.loads import Outcome
from datamart.objects import ObjectStore, rejected_key
from datamart.rejects import RejectSpool, kept_reject, names_in
from datamart.staging import keep_rejects
from datamart.tables import Table
from datamart.warehouse.base import Warehouse

MAX_BYTES = 256 * 1024 * 1024
"""Rejects of more bytes are found by judging the copy, before the table is locked."""
MAX_BYTES_AT_ONCE = 16 * 1024 * 1024
MAX_ROWS_AT_ONCE = 10_000
"""So much of them is in memory at a time."""


def rejects_again(
    warehouse: Warehouse, store: ObjectStore, first: Outcome, load_id: int, table: Table, resources: ExitStack
) -> RejectSpool | None:
    """The rejects of ``first`` for its copy too, by way of the disk.

    None when they have too many bytes, or when the file of them in S3 has expired.
    """
    spool = RejectSpool()
    resources.callback(spool.close)
    if not first.counts.rejected:
        return spool
    header = store.first_line(rejected_key(table.name, first.load_id))
    names = names_in(header) if header else None
    total, largest = warehouse.rejected_bytes(first.load_id)
    if not names or total > MAX_BYTES:
        return None
    at_once = max(1, min(MAX_ROWS_AT_ONCE, MAX_BYTES_AT_ONCE // max(largest, 1)))
    spool.add(kept_reject(*row) for row in warehouse.rejects_of(first.load_id, at_once))
    keep_rejects(store, table, load_id, spool, names)
    return spool
