"""Files of hires with bad rows in them, each scenario's with ids of its own, and the judge's word on them."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from typing import Any

from data.generate import write_bench
from datamart.loads import Arrival
from tests.faults.mart import Mart
from tests.oracle import rules

TABLE = "hired_employees"
ROWS = 4000
_next_id = 1_000_000 * random.randrange(100, 1_900)


@dataclass(frozen=True)
class Sent:
    """A file in S3 as it was listed, and what a correct load makes of it."""

    arrival: Arrival
    expected: rules.Verdict
    place: int
    """Its place in the listing, which is its map index in the Dag run."""

    @property
    def load_id(self) -> int:
        """The id of its first load."""
        return self.arrival.arrival_id

    @property
    def source(self) -> bytes:
        """What a request for it looks like on the wire."""
        return f"{self.arrival.bucket}/{self.arrival.key}".encode()


def hires(rows: int = ROWS, bad: float = 0.02) -> bytes:
    """A file of hires that no other scenario has a row of."""
    global _next_id
    out = io.BytesIO()
    write_bench(out, rows, bad, seed=1, start_id=_next_id)
    _next_id += rows
    return out.getvalue()


def send(mart: Mart, prefix: str, *names: str, bodies: dict[str, bytes] | None = None) -> dict[str, Sent]:
    """Put one file a scenario below ``prefix``; by scenario. ``bodies`` are what the judge is given."""
    judged = dict(bodies or {})
    for name in names:
        mart.store.write(f"{prefix}{TABLE}_{name}.csv", judged.setdefault(name, hires()))
    found = {}
    for place, arrival in enumerate(mart.store.list(prefix)):
        name = arrival.key.removeprefix(f"{prefix}{TABLE}_").removesuffix(".csv")
        if name in judged:
            found[name] = Sent(arrival, rules.judge(TABLE, judged[name]), place)
    return found


def held(mart: Mart, sent: Sent) -> tuple[Any, ...]:
    """What the warehouse holds of a file: rows, rejected rows, settled verdicts."""
    ids = [row[0] for row in sent.expected.accepted]
    rows = mart.sql("SELECT count(*) FROM public.hired_employees WHERE id = ANY(%s)", ids)
    rejected = mart.sql("SELECT count(*) FROM ops.rejected_rows WHERE load_id = %s", sent.load_id)
    verdicts = mart.sql("SELECT verdict FROM ops.loads WHERE source_key = %s AND verdict <> 'failed'", sent.arrival.key)
    return rows[0][0], rejected[0][0], verdicts
