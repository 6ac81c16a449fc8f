"""Which files of a load are cleaned in ranges, and in which."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from datamart.batches import Batch, arrivals_of
from datamart.errors import DatamartError, TransientFault
from datamart.fingerprint import rules_in_force
from datamart.load import Loader
from datamart.loads import Arrival, Mode
from datamart.missing_rows import FEW_ROWS
from datamart.ranges.plan import Keys, Plan, make_plan
from datamart.tables import Table, table_named

log = logging.getLogger(__name__)

_CUTS = 8
"""A range may end where what is read at a time does: as often as this within its bytes, or more."""
MOST_RANGES = 1000  # mapped task instances of one load; Airflow allows 1024 by default
_MOST_OVERHANG = 2
"""A file's last range may be small: a little larger than one range, it has two."""


@dataclass
class Splitter:
    """Plans the ranges of files that are large and that are to be read at all."""

    loader: Loader
    _known: dict[str, Keys] = field(default_factory=dict)

    def plans(self, batches: Sequence[Batch], mode: Mode) -> Iterator[Plan]:
        """A plan for each file that is cleaned in ranges; a fault that one file meets is its own, it is read whole.

        Raises:
            TransientFault: S3 or the warehouse did not answer for the first of them.
        """
        large = [
            (arrival, table_named(batch["table"]))
            for batch in batches
            for arrival in arrivals_of(batch)
            if self._is_large(arrival)
        ]
        total = sum(arrival.size for arrival, _ in large)
        range_bytes = max(self._range_bytes, total * _MOST_OVERHANG // MOST_RANGES + 1)
        planned = 0
        for arrival, table in large:
            if arrival.size <= range_bytes:
                continue
            try:
                plan = self._plan(arrival, table, range_bytes) if self._is_new(arrival, table, mode) else None
            except DatamartError as fault:
                if isinstance(fault, TransientFault) and not planned:
                    raise
                log.warning("%s is read whole: %s", arrival.key, fault)
                continue
            if plan is not None:
                log.info("%s: %d rows in %d ranges", arrival.key, plan.cuts.rows, len(plan.cuts.ranges))
                planned += len(plan.cuts.ranges)
                yield plan

    @property
    def _range_bytes(self) -> int:
        return self.loader.settings.range_bytes or 0

    def _is_large(self, arrival: Arrival) -> bool:
        return bool(self._range_bytes) and arrival.size >= 2 * self._range_bytes

    def _is_new(self, arrival: Arrival, table: Table, mode: Mode) -> bool:
        """Whether it is to be judged at all: not when the ledger has its answer, or it looks like a known copy."""
        if mode is Mode.REPLACE:
            return True
        rules = rules_in_force(table, self.loader.settings)
        return self.loader.answer(arrival) is None and not self.loader.warehouse.has_load_of(
            table, arrival.size, rules, FEW_ROWS
        )

    def _plan(self, arrival: Arrival, table: Table, range_bytes: int) -> Plan | None:
        settings = self.loader.settings
        sizes = (max(min(settings.chunk_bytes, range_bytes // _CUTS), 1), range_bytes)
        rules = rules_in_force(table, settings)
        return make_plan(self.loader.store, arrival, table, rules, self._keys_for(table), sizes)

    def _keys_for(self, table: Table) -> Keys:
        if table.name not in self._known:
            others = {column: table_named(other) for column, other in table.references.items()}
            self._known[table.name] = {column: self.loader.warehouse.keys_of(other) for column, other in others.items()}
        return self._known[table.name]


def listed_ranges(plan: Plan) -> list[dict[str, Any]]:
    """The ranges of a plan, as a Dag's tasks hand them on."""
    count = len(plan.cuts.ranges)
    return [
        {
            "arrival_id": str(plan.arrival.arrival_id),  # JSON numbers end at 2**53
            "prefix": plan.prefix,
            "number": number,
            "label": f"{plan.arrival.name} {number + 1} of {count}",
        }
        for number in range(count)
    ]


def prefixes_of(ranges: Sequence[dict[str, Any]]) -> dict[int, str]:
    """Where the plans of these ranges lie, by the arrival's id."""
    return {int(one["arrival_id"]): one["prefix"] for one in ranges}
