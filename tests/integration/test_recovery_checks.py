"""What cannot be restored, undone or drilled is refused beforehand, by a session that may only read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from data_api_app.recovery_checks import require_backup, require_restorable, require_undoable
from data_api_app.refusals import Refused
from datamart.objects import ObjectStore
from datamart.recovery.point import Wanted
from datamart.warehouse.base import Warehouse
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.vault import Vault

T = TypeVar("T")
JOBS = b"1,Actuary\n2,Baker\n"
UNKNOWN = "20200101T000000Z-00000000"


@dataclass
class Sources:
    """The warehouse as routes have it, and the bucket of backups."""

    reader: Warehouse
    store: ObjectStore

    async def ask(self, question: Callable[[Warehouse], T]) -> T:
        return question(self.reader)

    async def thread(self, work: Callable[[], T]) -> T:
        return work()

    def backups(self) -> ObjectStore:
        return self.store


@pytest.fixture
def request_(vault: Vault) -> Iterator[Any]:
    """A request of a route."""
    reader = PostgresWarehouse(vault.world.database.reader_dsn)
    yield SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(sources=Sources(reader, vault.store))))
    reader.close()


def refusal(work: Awaitable[object]) -> tuple[int, str] | None:
    """Status and sentence of a refusal; None when there is none."""

    async def done() -> None:
        await work

    try:
        asyncio.run(done())
    except Refused as refused:
        return refused.status_code, str(refused.detail)
    return None


def assert_refused(work: Awaitable[object], status: int, words: str) -> None:
    found = refusal(work)
    assert found is not None
    assert (found[0], words in found[1]) == (status, True), found


def test_without_any_backup_there_is_nothing_to_restore_or_to_prove(vault: Vault, request_: Any) -> None:
    vault.world.load("jobs.csv", JOBS)
    assert_refused(require_restorable(request_, Wanted("jobs")), 409, "There is no backup of jobs")
    assert_refused(require_restorable(request_, Wanted("jobs", UNKNOWN)), 404, "There is no backup")
    assert_refused(require_restorable(request_, Wanted("jobs", at=vault.now())), 422, "There is no backup of jobs")
    assert_refused(require_backup(request_, None), 409, "There is no backup at all")
    assert_refused(require_backup(request_, UNKNOWN), 404, "There is no backup")


def test_what_there_is_may_be_restored(vault: Vault, request_: Any) -> None:
    vault.world.load("jobs.csv", JOBS)
    manifest = vault.backup("jobs")
    vault.backup("departments")
    for wanted in (Wanted("jobs"), Wanted("jobs", manifest.backup_id), Wanted("jobs", at=vault.now())):
        assert refusal(require_restorable(request_, wanted)) is None
    assert refusal(require_backup(request_, None)) is None
    assert refusal(require_backup(request_, manifest.backup_id)) is None


def test_other_tables_and_moments_are_refused(vault: Vault, request_: Any) -> None:
    vault.world.load("jobs.csv", JOBS)
    before, manifest = vault.now() - timedelta(days=1), vault.backup("departments")
    wanted = Wanted("jobs", manifest.backup_id)
    assert_refused(require_restorable(request_, wanted), 404, "holds departments, not jobs")
    assert_refused(require_restorable(request_, Wanted("jobs")), 409, "There is no backup of jobs")
    vault.backup("jobs")
    assert_refused(require_restorable(request_, Wanted("jobs", at=before)), 422, "from before")
    future = datetime.now(UTC) + timedelta(days=1)
    assert_refused(require_restorable(request_, Wanted("jobs", at=future)), 422, "is yet to come")
    both = Wanted("jobs", manifest.backup_id, before)
    assert_refused(require_restorable(request_, both), 400, "either backup_id or at")


def test_a_damaged_manifest_is_told_and_an_older_backup_does(vault: Vault, request_: Any) -> None:
    vault.world.load("jobs.csv", JOBS)
    older = vault.backup("jobs")
    newer = vault.backup("jobs")
    vault.store.write(f"{newer.backup_id}/manifest.json", b"{")
    assert_refused(require_restorable(request_, Wanted("jobs", newer.backup_id)), 409, newer.backup_id)
    assert_refused(require_backup(request_, newer.backup_id), 409, newer.backup_id)
    assert refusal(require_restorable(request_, Wanted("jobs"))) is None
    vault.store.write(f"{older.backup_id}/manifest.json", b"{")
    assert_refused(require_restorable(request_, Wanted("jobs")), 409, "There is no backup of jobs")


def test_only_loads_that_brought_rows_are_undone_and_once(vault: Vault, request_: Any) -> None:
    world = vault.world
    first = world.load("jobs.csv", JOBS)
    again = world.load("jobs_again.csv", JOBS)
    refused = world.load("jobs_bad.csv", b"x,bad\n")
    other = world.load("nothing.csv", b"1,a\n")
    assert refusal(require_undoable(request_, str(first.load_id))) is None
    assert refusal(require_undoable(request_, str(again.load_id))) is None, "it is in the way of the first one"
    assert_refused(require_undoable(request_, str(refused.load_id)), 409, "was rejected")
    assert_refused(require_undoable(request_, str(other.load_id)), 404, "of a table")
    for unknown in ("1", "9" * 19):
        assert_refused(require_undoable(request_, unknown), 404, "there is no load")
    vault.undo(again.load_id)
    assert_refused(require_undoable(request_, str(again.load_id)), 409, "is undone already")
    vault.undo(first.load_id)
    assert_refused(require_undoable(request_, str(first.load_id)), 409, "is undone already")
