"""The ledger of loads, read: one load, or a page of them, newest first.

Who writes it is ``load``; this needs a connection that may only read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from datamart.errors import ConfigurationError
from datamart.loads import LARGEST_ID
from datamart.moments import utc
from datamart.warehouse.base import Warehouse
from datamart.warehouse.values import Ended

MOST_LISTED = 1000


@dataclass(frozen=True)
class Page:
    """Some loads, and where the next older ones begin (None: there are none)."""

    loads: list[dict[str, Any]]
    after: str | None


@dataclass(frozen=True)
class Wanted:
    """Which loads are asked for; None asks for all."""

    table: str | None = None
    verdict: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Loads that ended from ``since`` on and before ``until``."""
    repairs: int | None = None
    """Loads of this load's rejected rows."""

    def conditions(self) -> tuple[list[str], dict[str, object]]:
        """As SQL, and the values that it binds."""
        asked = {
            "table_name = %(table)s": ("table", self.table),
            "verdict = %(verdict)s": ("verdict", self.verdict),
            "finished_at >= %(since)s": ("since", self.since),
            "finished_at < %(until)s": ("until", self.until),
            "repairs = %(repairs)s": ("repairs", self.repairs),
        }
        found = {text: pair for text, pair in asked.items() if pair[1] is not None}
        return ["1 = 1", *found], dict(found.values())


ALL = Wanted()


@dataclass(frozen=True)
class Ledger:
    """The ledger of one warehouse."""

    warehouse: Warehouse

    def one(self, load_id: int) -> dict[str, Any] | None:
        """A load as JSON values, or None."""
        found = self._read("load_id = %(load_id)s", {"load_id": load_id, "limit": 1})
        return found[0] if found else None

    def page(self, limit: int, after: tuple[datetime, int] | None = None, wanted: Wanted = ALL) -> Page:
        """At most ``limit`` loads that ended before the one that ``after`` stands for (see ``place_of``)."""
        conditions, values = wanted.conditions()
        values["limit"] = limit + 1
        if after is not None:
            conditions.append("(finished_at < %(finished)s OR (finished_at = %(finished)s AND load_id < %(below)s))")
            values |= {"finished": after[0], "below": after[1]}
        found = self._read(" AND ".join(conditions), values)
        more = len(found) > limit
        shown = found[:limit]
        return Page(shown, f"{shown[-1]['finished_at']}~{shown[-1]['load_id']}" if more else None)

    def days(self, limit: int, wanted: Wanted = ALL) -> list[dict[str, Any]]:
        """Files and rows by UTC day on which loads ended, newest day first, at most ``limit`` days that had any."""
        conditions, values = wanted.conditions()
        text = self.warehouse.sql("loads_by_day", conditions=" AND ".join(conditions))
        found = self.warehouse.query(text, values | {"limit": limit})
        keys = ("loads", "rows_read", "rows_rejected")
        return [{"day": day.isoformat(), **dict(zip(keys, counts, strict=True))} for day, *counts in found]

    def ended(self, load_ids: Sequence[int]) -> dict[int, Ended]:
        """Those of these loads that came to a verdict; a fault is none."""
        return {one.outcome.load_id: one for one in self.warehouse.ended_loads(load_ids)} if load_ids else {}

    def _read(self, conditions: str, values: Mapping[str, object]) -> list[dict[str, Any]]:
        text = self.warehouse.sql("read_loads", conditions=conditions)
        return [_load(*row) for row in self.warehouse.query(text, values)]


def place_of(after: str) -> tuple[datetime, int]:
    """The place in the ledger that a page has called the next one's beginning.

    Raises:
        ConfigurationError: no page has given this.
    """
    time, _, load_id = after.partition("~")
    try:
        found = datetime.fromisoformat(time)
        if found.tzinfo is None or not (load_id.isascii() and load_id.isdigit() and len(load_id) <= 19):
            raise ValueError
    except ValueError:
        raise ConfigurationError("after: it must be what the page before has given as next.") from None
    return found, min(int(load_id), LARGEST_ID)


def _load(
    load_id: int, table: str | None, key: str, version: str, sha256: str | None, size: int | None, mode: str,
    verdict: str, code: str | None, message: str | None, read: int, inserted: int, updated: int, unchanged: int,
    rejected: int, removed: int, blank: int, lines: str | None, warnings: str, started_at: datetime,
    finished_at: datetime, dag_id: str | None, run_id: str | None, repairs: int | None, duplicate_of: int | None,
    commit_seq: int | None, rejects_expired_at: datetime | None, undone_by: int | None,
) -> dict[str, Any]:  # fmt: skip
    """One row as JSON values; ids are text, as JSON numbers end at 2**53."""
    return {
        "load_id": str(load_id),
        "table": table,
        "file": key.rsplit("/", 1)[-1],
        "key": key,
        "version": version,
        "sha256": sha256,
        "bytes": size,
        "mode": mode,
        "verdict": verdict,
        "code": code,
        "message": message or "",
        "rows_read": read,
        "rows_inserted": inserted,
        "rows_updated": updated,
        "rows_unchanged": unchanged,
        "rows_rejected": rejected,
        "rows_removed": removed,
        "blank_lines": blank,
        "lines": json.loads(lines) if lines else None,
        "warnings": json.loads(warnings),
        "started_at": utc(started_at),
        "finished_at": utc(finished_at),
        "dag_id": dag_id,
        "run_id": run_id,
        "repairs": None if repairs is None else str(repairs),
        "duplicate_of": None if duplicate_of is None else str(duplicate_of),
        "commit_seq": commit_seq,
        "rejects_expired_at": utc(rejects_expired_at) if rejects_expired_at else None,
        "undone_by": None if undone_by is None else str(undone_by),
    }
