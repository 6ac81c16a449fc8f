"""The note that lies beside a refused file: why it was refused, and what to do about it."""

from __future__ import annotations

import json

from datamart.loads import Arrival, Outcome
from datamart.objects import rejected_key

_WHAT_TO_DO = {
    "no_table": "Give the file a name that starts with its table's name and ends in .csv, and send it again.",
    "empty": "The file has no rows. If it should have some, export it again; otherwise nothing needs to be done.",
    "header_only": "The file has no rows. If it should have some, export it again; otherwise nothing needs to be done.",
    "over_threshold": "Repair the rejected rows and send the file again, or raise DATAMART_REJECT_THRESHOLD.",
    "all_rows_bad": "Repair the rows (their reasons are in the file of rejected rows) and send the file again.",
    "superseded": "Nothing, if the newer version has all rows. Otherwise send this file again under a name of its own.",
    "partial_name": "If the file is complete, send it again under its final name. Otherwise let its sender finish it.",
}
_OTHERWISE = "Correct the file as the message says and send it again, under any name that fits its table."


def note(arrival: Arrival, outcome: Outcome) -> bytes:
    """The note as JSON; ids are text, as JSON numbers end at 2**53."""
    rejected = outcome.counts.rejected and outcome.table
    text = {
        "file": f"s3://{arrival.bucket}/{arrival.key}",
        "arrived_at": arrival.last_modified.isoformat(),
        "verdict": outcome.verdict.value,
        "code": outcome.code,
        "why": outcome.message,
        "what_to_do": _WHAT_TO_DO.get(outcome.code or "", _OTHERWISE),
        "table": outcome.table,
        "rows_read": outcome.counts.read,
        "rows_rejected": outcome.counts.rejected,
        "rejected_rows": rejected_key(str(outcome.table), outcome.load_id) if rejected else None,
        "load_id": str(outcome.load_id),
    }
    return json.dumps(text, indent=2, ensure_ascii=False).encode() + b"\n"
