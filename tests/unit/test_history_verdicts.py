"""Which planned files of a historic load were not loaded, and which of them nobody has said a word of."""

from __future__ import annotations

from datetime import UTC, datetime

from datamart.batches import batch_of
from datamart.history import not_loaded, summary, without_verdict
from datamart.loads import Arrival, Counts, Outcome, Verdict

PLANNED = [
    [batch_of("jobs", [Arrival("data", f"history/jobs_{n}.csv", "e", datetime.now(UTC), 1) for n in range(3)])],
    [batch_of("hired_employees", [Arrival("data", "history/hired_employees.csv", "e", datetime.now(UTC), 1)])],
]


def verdict(key: str, found: Verdict, message: str = "") -> dict:
    return summary(Outcome(1, "jobs", key, found, Counts(read=1, inserted=1), message=message))


VERDICTS = [
    verdict("history/jobs_0.csv", Verdict.LOADED),
    verdict("history/jobs_1.csv", Verdict.REJECTED, "All 1 rows are bad."),
]


def test_a_file_without_a_verdict_has_failed() -> None:
    found = without_verdict(PLANNED, VERDICTS)
    assert [(one["file"], one["table"], one["verdict"]) for one in found] == [
        ("history/jobs_2.csv", "jobs", "failed"),
        ("history/hired_employees.csv", "hired_employees", "failed"),
    ]
    assert set(found[0]) <= set(VERDICTS[0])
    assert all(one["message"] for one in found)


def test_each_file_that_was_not_loaded_has_a_sentence() -> None:
    assert not_loaded(PLANNED, VERDICTS) == [
        "history/jobs_1.csv: rejected. All 1 rows are bad.",
        "history/jobs_2.csv: failed. Its load task ended by a fault; see the log of that, then clear it.",
        "history/hired_employees.csv: failed. Its load task ended by a fault; see the log of that, then clear it.",
    ]
