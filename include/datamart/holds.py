"""Files on hold: what a fault kept from being loaded or moved away waits, each time longer, and is told of.

A hold is of one arrival: the same name sent again is another one and does not wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from datamart.loads import Arrival
from datamart.settings import Settings
from datamart.warehouse.base import Warehouse


@dataclass(frozen=True)
class Hold:
    """One file that waits for its next try."""

    arrival_id: int
    key: str
    attempts: int
    reason: str
    since: datetime
    next_try_at: datetime


@dataclass(frozen=True)
class Holds:
    """The holds in a warehouse's ledger; times are by its clock."""

    warehouse: Warehouse
    settings: Settings

    def all(self) -> dict[int, Hold]:
        """Every hold by arrival."""
        return {row[0]: Hold(*row) for row in self.warehouse.query(self.warehouse.sql("read_holds"))}

    def waiting(self, at: datetime | None = None) -> set[int]:
        """Arrivals whose next try is not due (at that time) yet."""
        at = at or self.warehouse.now()
        return {hold.arrival_id for hold in self.all().values() if hold.next_try_at > at}

    def put(self, arrival: Arrival, reason: str, *, counted: bool = False) -> Hold:
        """Hold an arrival, twice as long as the time before; ``counted`` tells that this try was counted before."""
        now, before = self.warehouse.now(), self.all().get(arrival.arrival_id)
        attempts = (before.attempts if before else 0) + (0 if before and counted else 1)
        since = before.since if before else now
        hold = Hold(arrival.arrival_id, arrival.key, attempts, reason[:4096], since, now + self._pause(attempts))
        self.warehouse.put_hold(vars(hold))
        return hold

    def release(self, arrivals: Iterable[int]) -> None:
        """End holds; arrivals that are not on hold are no error."""
        for arrival_id in set(arrivals) & set(self.all()):
            self.warehouse.execute("DELETE FROM ops.holds WHERE arrival_id = %(id)s", {"id": arrival_id})

    def _pause(self, attempts: int) -> timedelta:
        seconds = self.settings.hold_seconds * 2.0 ** min(attempts - 1, 40)
        return timedelta(seconds=min(seconds, self.settings.hold_most_seconds))
