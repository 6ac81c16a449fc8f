"""The rejected rows of a load, a page at a time, with their values as they were sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datamart.reasons import Reject
from datamart.records import fields_of
from datamart.rejects import kept_reject
from datamart.warehouse.base import Warehouse

MOST_LISTED = 1000


def rejected_page(
    warehouse: Warehouse, load_id: int, names: Sequence[str], limit: int, after: int = 0
) -> dict[str, Any]:
    """At most ``limit`` rejected rows from behind line ``after`` of the file; ``names`` are the file's columns."""
    values = {"load_id": load_id, "after": after, "limit": limit + 1}
    found = warehouse.query(warehouse.sql("read_rejects_page"), values)
    kept = [kept_reject(int(line), str(reasons), warehouse.bytes_in(raw)) for line, reasons, raw in found[:limit]]
    rows = [_row(reject, names) for reject in kept]
    return {"columns": list(names), "rows": rows, "next": rows[-1]["line"] if len(found) > limit else None}


def _row(reject: Reject, names: Sequence[str]) -> dict[str, Any]:
    """Values by column; the row's text in their place when it does not fit the columns."""
    values = _values(reject) if reject.fits_columns else None
    fits = values is not None and len(values) == len(names)
    return {
        "line": reject.line,
        "values": values if fits else None,
        "text": None if fits else reject.raw.decode("utf-8", "replace"),
        "reasons": [{"column": reason.column or None, "reason": reason.code} for reason in reject.reasons],
    }


def _values(reject: Reject) -> list[str] | None:
    try:
        return [value.decode("utf-8", "replace") for value in fields_of(reject.raw)]
    except ValueError:  # its quote is never closed
        return None
