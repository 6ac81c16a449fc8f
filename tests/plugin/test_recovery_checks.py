"""The name of the newest backup means the same as no id, before a run is started too; without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from data_api_app.recovery_checks import require_backup, require_restorable
from data_api_app.refusals import Refused
from datamart.recovery.catalogue import LATEST
from datamart.recovery.point import Wanted

MOMENT = datetime(2026, 11, 25, 14, 5, tzinfo=UTC)
ANOTHER = "20200101T000000Z-00000000"


class Sources:
    """A bucket without any backup, and a warehouse to which MOMENT is yet to come."""

    warehouse: Any = SimpleNamespace(query=lambda _sql: [(None,)], now=lambda: MOMENT - timedelta(days=1))

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        return question(self.warehouse)

    async def thread(self, work: Callable[[], Any]) -> Any:
        return work()

    def backups(self) -> Any:
        return SimpleNamespace(walk=lambda _prefix: [], fetch=lambda _key: None)


REQUEST: Any = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(sources=Sources())))


def refusal(work: Awaitable[object]) -> tuple[int, str]:
    """Status and sentence of a refusal."""

    async def done() -> None:
        await work

    with pytest.raises(Refused) as raised:
        asyncio.run(done())
    return raised.value.status_code, str(raised.value.detail)


@pytest.mark.parametrize(
    ("backup_id", "at", "status", "words"),
    [
        (None, MOMENT, 422, "is yet to come"),
        (LATEST, MOMENT, 422, "is yet to come"),
        (ANOTHER, MOMENT, 400, "either backup_id or at"),
        (None, None, 409, "There is no backup of jobs"),
        (LATEST, None, 409, "There is no backup of jobs"),
        (ANOTHER, None, 404, f"There is no backup {ANOTHER}"),
    ],
)
def test_the_newest_backup_may_be_named_in_a_restore(
    backup_id: str | None, at: datetime | None, status: int, words: str
) -> None:
    found = refusal(require_restorable(REQUEST, Wanted("jobs", backup_id, at)))
    assert (found[0], words in found[1]) == (status, True), found


@pytest.mark.parametrize(
    ("backup_id", "status", "words"),
    [
        (None, 409, "There is no backup at all"),
        (LATEST, 409, "There is no backup at all"),
        (ANOTHER, 404, f"There is no backup {ANOTHER}"),
    ],
)
def test_the_newest_backup_may_be_named_in_a_drill(backup_id: str | None, status: int, words: str) -> None:
    found = refusal(require_backup(REQUEST, backup_id))
    assert (found[0], words in found[1]) == (status, True), found
