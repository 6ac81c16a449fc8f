"""The warehouse is gone: a new one is made, tables come back from S3, and files are judged anew."""

from __future__ import annotations

import pytest

from datamart.errors import ConfigurationError
from datamart.loads import Verdict
from tests.integration.vault import NAMES, Vault

HIRES = b"1,Ann,2021-01-01T00:00:00Z,1,1\n2,Ben,2021-02-01T00:00:00Z,1,2\n"


def lose(vault: Vault) -> None:
    """Another warehouse, as its migration leaves it."""
    vault.world.database.empty()
    vault.world.sql("UPDATE ops.migrations SET applied_at = now()")


def test_every_table_comes_back_and_the_restore_is_named_for_its_rows(vault: Vault) -> None:
    """Load ids of the lost ledger would be those of the same files when they come again."""
    world = vault.world
    for name, body in (("departments", b"1,a\n"), ("jobs", b"1,a\n2,b\n"), ("hired_employees", HIRES)):
        world.load(f"{name}.csv", body)
    manifest, before = vault.backup(), {name: world.rows(name) for name in NAMES}
    lose(vault)
    assert [world.rows(name) for name in NAMES] == [[], [], []]
    for name in NAMES:
        change = vault.restore(name)
        assert (change.backup_id, change.added) == (manifest.backup_id, len(before[name]))
        assert {row[-1] for row in vault.table(name)} == {change.change_id}
        assert not vault.restore(name).any
    assert {name: world.rows(name) for name in NAMES} == before
    assert vault.drill()["passed"]


def test_files_that_come_again_are_judged_anew_and_nothing_is_doubled(vault: Vault) -> None:
    world = vault.world
    arrival = world.put("jobs.csv", b"1,a\n2,b\n")
    world.judge(arrival)
    vault.backup()
    later = world.put("jobs_later.csv", b"2,B\n3,c\n")
    world.judge(later)
    wanted = world.rows("jobs")
    lose(vault)
    vault.restore("jobs")
    assert world.judge(arrival).counts.unchanged == 2
    outcome = world.judge(later)
    assert (outcome.verdict, outcome.counts.inserted, outcome.counts.updated) == (Verdict.LOADED, 1, 1)
    assert world.rows("jobs") == wanted


def test_a_moment_of_the_lost_ledger_cannot_be_reached_and_that_is_said(vault: Vault) -> None:
    vault.world.load("jobs.csv", b"1,a\n")
    vault.backup()
    lose(vault)
    vault.world.load("jobs_2.csv", b"2,b\n")
    with vault.untouched(), pytest.raises(ConfigurationError, match="There is no backup of jobs from before"):
        vault.restore("jobs", at=vault.now())
