"""Batches: files of one table in the order of their arrival, as a Dag's tasks hand them on.

Which files go into which batch is decided by ``history`` and ``landing``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from datamart.loads import Arrival

Batch = dict[str, Any]


def batch_of(table: str | None, arrivals: Sequence[Arrival]) -> Batch:
    """A batch; a table that is None stands for names that fit none."""
    return {"table": table, "files": [_listed(arrival) for arrival in arrivals]}


def _listed(arrival: Arrival) -> dict[str, Any]:
    return {
        "bucket": arrival.bucket,
        "key": arrival.key,
        "etag": arrival.etag,
        "last_modified": arrival.last_modified.isoformat(),
        "size": arrival.size,
        "version_id": arrival.version_id,
        "listed_at": arrival.listed_at.isoformat() if arrival.listed_at else None,
    }


def arrivals_of(batch: Batch) -> list[Arrival]:
    """The arrivals of a batch, as they were listed."""
    return [
        Arrival(
            **{
                **listed,
                "last_modified": datetime.fromisoformat(listed["last_modified"]),
                "listed_at": datetime.fromisoformat(listed["listed_at"]) if listed.get("listed_at") else None,
            }
        )
        for listed in batch["files"]
    ]


def batch_label(batch: Batch) -> str:
    """What a person reads in place of a map index."""
    first = batch["files"][0]["key"].rsplit("/", 1)[-1]
    more = len(batch["files"]) - 1
    return f"{first} and {more} more" if more else first
