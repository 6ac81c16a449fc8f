"""What became of landed files, as it is handed on: nothing that needs a look is left out, and sizes are bounded."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from datamart.batches import batch_of
from datamart.ingest import GONE
from datamart.landing_report import MOST_TOLD, Tally, files_to_tell, not_loaded, totals, without_answer
from datamart.loads import Arrival, Counts, Outcome, Verdict

NOW = datetime(2026, 5, 4, tzinfo=UTC)


def outcome(number: int, verdict: Verdict = Verdict.LOADED, rejected: int = 0, code: str | None = None) -> Outcome:
    counts = Counts(read=3, inserted=3 - rejected, rejected=rejected)
    return Outcome(number, "jobs", f"landing/jobs_{number}.csv", verdict, counts, code=code, message="Why.")


def result(*outcomes: Outcome) -> dict[str, object]:
    tally = Tally("jobs")
    for one in outcomes:
        tally.add(one)
    return tally.result()


def planned(*names: str) -> dict[str, object]:
    return batch_of("jobs", [Arrival("b", f"landing/{name}", "e", NOW, 1) for name in names])


def test_files_that_are_loaded_are_numbers_only() -> None:
    found = result(outcome(1), outcome(2, Verdict.DUPLICATE))
    assert (found["not_loaded"], found["with_rejects"], found["wrong"]) == ([], [], 0)
    assert totals([found]) == {
        "files loaded": 1, "files duplicate": 1, "rows read": 6, "rows inserted": 6, "rows updated": 0,
        "rows unchanged": 0, "rows rejected": 0,
    }  # fmt: skip
    assert not_loaded([planned("jobs_1.csv")], [found]) == []


@pytest.mark.parametrize("verdict", [Verdict.REJECTED, Verdict.FAILED])
def test_a_file_that_was_not_loaded_is_named_with_its_reason(verdict: Verdict) -> None:
    found = result(outcome(1), outcome(2, verdict))
    assert not_loaded([planned("x.csv")], [found]) == [f"landing/jobs_2.csv: {verdict}. Why."]
    assert [file["file"] for file in files_to_tell([found])] == ["landing/jobs_2.csv"]


def test_a_file_with_rejected_rows_is_told_but_fails_nothing() -> None:
    found = result(outcome(1, rejected=2))
    assert not_loaded([planned("x.csv")], [found]) == []
    assert [(file["file"], file["rows"], file["rejected"]) for file in files_to_tell([found])] == [
        ("landing/jobs_1.csv", 3, 2)
    ]


def test_a_file_that_was_taken_away_is_counted_and_not_missed() -> None:
    found = result(outcome(1, Verdict.FAILED, code=GONE))
    assert (not_loaded([planned("x.csv")], [found]), files_to_tell([found])) == ([], [])
    assert totals([found])["files gone"] == 1


def test_many_files_are_told_by_their_number() -> None:
    found = result(*(outcome(n, Verdict.REJECTED) for n in range(MOST_TOLD + 7)))
    lines = not_loaded([planned("x.csv")], [found])
    assert (len(lines), lines[-1]) == (MOST_TOLD + 1, "7 more: see ops.loads.")


def test_files_with_rejects_never_push_out_those_that_were_not_loaded() -> None:
    found = result(*(outcome(n, rejected=1) for n in range(2 * MOST_TOLD)), outcome(999, Verdict.REJECTED))
    assert not_loaded([planned("x.csv")], [found]) == ["landing/jobs_999.csv: rejected. Why."]
    assert len(files_to_tell([found])) == MOST_TOLD + 1


def test_a_batch_without_an_answer_is_told() -> None:
    (line,) = without_answer([planned("jobs_1.csv", "jobs_2.csv")], [])
    assert line.startswith("jobs_1.csv and 1 more: the task ended without an answer")
    assert not_loaded([planned("jobs_1.csv", "jobs_2.csv")], []) == [line]
