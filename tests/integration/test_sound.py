"""The checks are checked: every claim of ``assert_sound`` turns red when its defect is planted."""

from __future__ import annotations

import re

import pytest

from datamart.load import Loader
from datamart.loads import Arrival, Outcome
from tests.integration.sound import CHECKS, assert_converged, assert_sound
from tests.integration.world import World

# By claim: statements that plant its defect into the scenario below.
PLANTS: dict[str, list[str]] = {
    "rows read are inserted, updated, unchanged or rejected": [
        "UPDATE ops.loads SET rows_read = rows_read + 1 WHERE commit_seq = 2 AND table_name = 'jobs'",
        "UPDATE ops.loads SET rows_unchanged = rows_unchanged * 2 WHERE verdict = 'duplicate'",
        "UPDATE ops.loads SET rows_rejected = 0",
    ],
    "rejected rows are kept until they expire, and only those": [
        "UPDATE ops.loads SET rejects_expired_at = now() WHERE rows_rejected > 0",
        "DELETE FROM ops.rejected_rows WHERE line = 3",
        "TRUNCATE ops.rejected_rows",
        "INSERT INTO ops.rejected_rows SELECT load_id, line + 100, reasons, raw FROM ops.rejected_rows",
        "INSERT INTO ops.rejected_rows VALUES (12345, 1, 'id:missing', '')",
    ],
    "physical lines are those of rows, rejects, header, blank and ignored lines": [
        """UPDATE ops.loads SET line_counts = replace(line_counts, '"file": 3', '"file": 4')""",
        """UPDATE ops.loads SET line_counts = replace(line_counts, '"ignored": 0', '"ignored": 1')""",
        "UPDATE ops.loads SET blank_lines = 1 WHERE verdict = 'loaded'",
        "UPDATE ops.loads SET line_counts = NULL WHERE verdict = 'loaded'",
    ],
    "rejected lines are those of the rejected rows that are kept": [
        r"UPDATE ops.rejected_rows SET raw = 'a\012b'",
        """UPDATE ops.loads SET line_counts = replace(line_counts, '"rejected": 1', '"rejected": 2')""",
    ],
    "only a load that is loaded changes rows": [
        "UPDATE ops.loads SET rows_inserted = 1, rows_read = rows_read + 1 WHERE verdict = 'duplicate'",
        "UPDATE ops.loads SET verdict = 'rejected', message = 'no' WHERE rows_inserted > 0",
    ],
    "an arrival is applied once, and again only for rows that were gone": [
        "UPDATE ops.loads SET source_key = 'k', source_version = 'v' WHERE mode = 'upsert'",
    ],
    "what was applied has a commit number": ["UPDATE ops.loads SET commit_seq = NULL WHERE verdict = 'loaded'"],
    "a duplicate names the load that brought the bytes": [
        "UPDATE ops.loads SET duplicate_of = NULL WHERE verdict = 'duplicate'",
        "UPDATE ops.loads SET duplicate_of = load_id WHERE verdict = 'duplicate'",
        "UPDATE ops.loads SET sha256 = repeat('0', 64) WHERE verdict = 'duplicate'",
    ],
    "what was not applied says why": [
        "UPDATE ops.loads SET message = '' WHERE verdict = 'rejected'",
        "UPDATE ops.loads SET message = NULL WHERE verdict = 'duplicate'",
    ],
    "a repair names a load": ["UPDATE ops.loads SET repairs = 1"],
    "jobs: every row is of a load that is loaded": [
        "DELETE FROM ops.loads WHERE commit_seq = 1",
        "UPDATE jobs SET _load_id = 1 WHERE id = 1",
        "UPDATE jobs SET _load_id = (SELECT load_id FROM ops.loads WHERE table_name = 'departments')",
        "UPDATE jobs SET _load_id = (SELECT load_id FROM ops.loads WHERE verdict = 'duplicate')",
    ],
    "jobs: live rows are those inserted and not removed": [
        "DELETE FROM jobs WHERE id = 1",
        "INSERT INTO jobs SELECT 77, job, _load_id FROM jobs WHERE id = 1",
        "UPDATE ops.loads SET rows_removed = 0",
    ],
    "jobs: replaced and removed rows are in the history": [
        "DELETE FROM ops.jobs_history WHERE id = 2",
        "INSERT INTO ops.jobs_history SELECT * FROM ops.jobs_history LIMIT 1",
        "UPDATE ops.loads SET rows_updated = rows_updated + 1, rows_read = rows_read + 1 WHERE rows_updated > 0",
    ],
    "jobs: history names both loads by their commit numbers": [
        "UPDATE ops.jobs_history SET _commit_seq = 0 WHERE id = 2",
        "UPDATE ops.jobs_history SET _replaced_seq = _replaced_seq + 1",
        "UPDATE ops.jobs_history SET _replaced_by = _load_id WHERE id = 2",
    ],
    "jobs: commit numbers rise by one": [
        "UPDATE ops.loads SET commit_seq = commit_seq + 1 WHERE table_name = 'jobs'",
        "UPDATE ops.loads SET commit_seq = 1 WHERE table_name = 'jobs' AND commit_seq = 2",
        "DELETE FROM ops.loads WHERE verdict = 'rejected'",
    ],
    "jobs: the table knows its last commit number": [
        "UPDATE ops.tables SET commit_seq = commit_seq + 1",
        "UPDATE ops.tables SET changed_seq = changed_seq - 1 WHERE table_name = 'jobs'",
        "DELETE FROM ops.loads WHERE table_name = 'jobs' AND commit_seq = 5",
    ],
    "jobs: what is undone names what undid it": [
        "UPDATE ops.loads SET undone_by = 1 WHERE commit_seq = 2 AND table_name = 'jobs'",
        "UPDATE ops.loads SET undone_seq = 5 WHERE commit_seq = 2 AND table_name = 'jobs'",
        "UPDATE ops.loads SET undone_by = 1, undone_seq = 5 WHERE commit_seq = 2 AND table_name = 'jobs'",
    ],
}
CASES = [(claim, plant) for claim, plants in PLANTS.items() for plant in plants]


@pytest.fixture
def busy(spoiled: World) -> World:
    """A world in which every kind of load has happened."""
    spoiled.load("jobs_1.csv", b"1,a\n2,a\nx,bad\n")
    spoiled.load("jobs_2.csv", b"2,b\n3,b\n")
    spoiled.load("jobs_2 copy.csv", b"2,b\n3,b\n")
    spoiled.load("jobs_bad.csv", b"x,bad\n")
    spoiled.replace("jobs", spoiled.put("jobs_only.csv", b"1,a\n2,c\n"))
    spoiled.load("departments.csv", b"1,a\n")
    return spoiled


def test_nothing_is_wrong_before_something_is_planted(busy: World) -> None:
    assert_sound(busy)
    assert_converged(busy)


@pytest.mark.parametrize(("claim", "plant"), CASES, ids=[plant for _, plant in CASES])
def test_a_planted_defect_is_seen(busy: World, claim: str, plant: str) -> None:
    busy.sql(plant)
    with pytest.raises(AssertionError, match=re.escape(claim)):
        assert_sound(busy)


def test_every_claim_has_a_defect() -> None:
    plain = {claim for claim in CHECKS if not claim.startswith(("departments: ", "hired_employees: "))}
    assert set(PLANTS) == plain


def test_a_second_try_that_is_not_a_duplicate_is_seen(busy: World) -> None:
    busy.sql("UPDATE ops.loads SET load_id = -load_id, arrival_id = -load_id WHERE source_key LIKE %s", "%jobs_2.csv")
    with pytest.raises(AssertionError, match="was loaded"):
        assert_converged(busy)


def test_a_second_try_that_changes_something_is_seen(busy: World, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Loader.load

    def chatty(self: Loader, arrival: Arrival, *, recheck: bool) -> Outcome:
        self.warehouse.execute("UPDATE ops.loads SET finished_at = finished_at + INTERVAL '1 day'")
        return honest(self, arrival, recheck=recheck)

    monkeypatch.setattr(Loader, "load", chatty)
    with pytest.raises(AssertionError, match=r"changed ops\.loads"):
        assert_converged(busy)
