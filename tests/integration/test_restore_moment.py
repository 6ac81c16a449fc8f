"""Back to any moment: the table is what it was then, whatever happened to it."""

from __future__ import annotations

from datetime import datetime

from tests.integration.vault import Vault
from tests.integration.world import Row

JOBS = b"1,Actuary\n2,Baker\n3,Cook\n"


def truth(vault: Vault, kept: list[tuple[datetime, list[Row]]]) -> None:
    kept.append((vault.now(), vault.table("jobs")))


def test_each_moment_after_a_backup_can_be_reached(vault: Vault) -> None:
    world, kept = vault.world, []
    world.load("jobs.csv", JOBS)
    vault.backup()
    truth(vault, kept)
    world.load("jobs_2.csv", b"2,Barber\n4,Driver\n")
    truth(vault, kept)
    world.replace("jobs", world.put("jobs_3.csv", b"4,Driver\n5,Editor\n"))
    truth(vault, kept)
    last = world.load("jobs_4.csv", b"5,Eel\n6,Fisher\n")
    truth(vault, kept)
    vault.undo(last.load_id)
    truth(vault, kept)
    vault.restore("jobs")
    truth(vault, kept)
    world.load("jobs_5.csv", b"1,Archer\n")
    truth(vault, kept)
    for at, rows in kept:
        change = vault.restore("jobs", at=at)
        assert vault.table("jobs") == rows, (at, change)
    vault.drill()
