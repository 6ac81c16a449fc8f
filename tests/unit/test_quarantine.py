"""The note beside a refused file says why and what to do, in words for each code."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from datamart.loads import Arrival, Counts, Outcome, Verdict
from datamart.quarantine import note

ARRIVAL = Arrival("bucket", "landing/jobs.csv", "e", datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC), 9)
CODES = [
    "no_table",
    "empty",
    "header_only",
    "wrong_header",
    "record_too_long",
    "all_rows_bad",
    "over_threshold",
    "superseded",
    "partial_name",
]


def noted(code: str, rejected: int = 0) -> dict[str, Any]:
    table = None if code == "no_table" else "jobs"
    counts = Counts(read=rejected, rejected=rejected)
    outcome = Outcome(2**60 + 1, table, ARRIVAL.key, Verdict.REJECTED, counts, code=code, message="Because.")
    found: dict[str, Any] = json.loads(note(ARRIVAL, outcome))
    return found


@pytest.mark.parametrize("code", CODES)
def test_every_code_says_what_to_do(code: str) -> None:
    found = noted(code)
    assert (found["file"], found["code"], found["why"]) == ("s3://bucket/landing/jobs.csv", code, "Because.")
    assert len(found["what_to_do"]) > 30


def test_names_and_thresholds_have_advice_of_their_own() -> None:
    assert len({noted(code)["what_to_do"] for code in ("no_table", "empty", "all_rows_bad", "over_threshold")}) == 4


def test_an_id_survives_programs_that_know_no_large_numbers() -> None:
    assert noted("empty")["load_id"] == str(2**60 + 1)


def test_rejected_rows_are_named_where_there_are_any() -> None:
    assert noted("all_rows_bad", rejected=2)["rejected_rows"] == f"rejected/jobs/jobs_rejected_{2**60 + 1}.csv"
    assert noted("wrong_header")["rejected_rows"] is None
