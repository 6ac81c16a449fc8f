"""The folder of a historic load, as a person gives it, and the files that are left out of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from datamart.batches import arrivals_of
from datamart.errors import ConfigurationError
from datamart.file_names import IGNORED, NO_TABLE, OTHER_TABLE, PARTIAL, LeftOut
from datamart.history import plan_history, prefix_within
from datamart.loads import Arrival
from datamart.objects import ObjectStore

SENT = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Listing(ObjectStore):
    """A bucket of which only names are asked."""

    names: tuple[str, ...] = field(default=(), kw_only=True)

    def walk(self, prefix: str) -> Iterator[Arrival]:
        yield from (Arrival(self.bucket, one, "e", SENT, 1) for one in self.names if one.startswith(prefix))

    def pinned(self, listed: Sequence[Arrival]) -> Sequence[Arrival]:
        return listed


@pytest.mark.parametrize(
    "given",
    [
        "historic/", " historic/", "historic/ ", "historic/\n", "/historic/", "//historic/", "s3://data/historic/",
        "S3://data/historic/", "s3a://data/historic/", "s3n://data//historic/", " s3://data/historic/ ",
        "arn:aws:s3:::data/historic/",
    ],
)  # fmt: skip
def test_a_folder_is_known_however_it_is_written(given: str) -> None:
    assert prefix_within(given, "data") == "historic/"


@pytest.mark.parametrize("given", ["historic", "a b/", "a//b/", "é/", "historic/jobs_2021", "s3/historic/"])
def test_other_prefixes_are_taken_as_they_are(given: str) -> None:
    assert prefix_within(given, "data") == given


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("s3://other/historic/", "names the bucket other, but files are loaded from the bucket data only"),
        ("s3://DATA/historic/", "names the bucket DATA"),
        ("s3:///historic/", "names the bucket "),
        ("https://data.s3.amazonaws.com/historic/", "is no address of S3"),
        ("gs://data/historic/", "is no address of S3"),
        ("historic\\2021\\", "has a backslash.* Give 'historic/2021/'"),
        ("s3://data", "names the whole bucket data"),
        ("s3://data/", "names the whole bucket data"),
        ("/", "names the whole bucket data"),
        ("  ", "names the whole bucket data"),
    ],
)
def test_a_prefix_that_cannot_work_is_refused_with_a_sentence(given: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        prefix_within(given, "data")


NAMES = (
    "historic/jobs.csv", "historic/departments.csv", "historic/.DS_Store", "historic/_SUCCESS",
    "historic/jobs.csv.part", "historic/notes.txt", "historic/job.csv", "elsewhere/x.txt",
)  # fmt: skip


def test_files_that_are_left_out_are_counted_and_named_by_reason() -> None:
    left_out = LeftOut()
    waves = plan_history(
        Listing(None, "data", names=NAMES), "s3://data/historic/", ["jobs"], "upsert", left_out=left_out
    )
    assert [one.key for wave in waves for batch in wave for one in arrivals_of(batch)] == ["historic/jobs.csv"]
    assert left_out.as_json() == {
        OTHER_TABLE: {"files": 1, "first": ["historic/departments.csv"]},
        IGNORED: {"files": 2, "first": ["historic/.DS_Store", "historic/_SUCCESS"]},
        PARTIAL: {"files": 1, "first": ["historic/jobs.csv.part"]},
        NO_TABLE: {"files": 2, "first": ["historic/job.csv", "historic/notes.txt"]},
    }


def test_a_folder_without_a_file_for_the_tables_names_what_is_there() -> None:
    with pytest.raises(ConfigurationError, match=r"None of the 1 files .*fits no table: historic/job\.csv"):
        plan_history(Listing(None, "data", names=("historic/job.csv",)), "historic/", ["jobs"], "upsert")


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("/historic/", "/historic/jobs.csv"),
        ("//historic/", "historic/jobs.csv"),
        (" lead/", " lead/jobs.csv"),
        ("lead/", "lead/jobs.csv"),
        (" historic/", "historic/jobs.csv"),
        ("s3://data/historic/", "historic/jobs.csv"),
    ],
)
def test_a_folder_that_is_there_as_it_is_given_is_the_one_meant(given: str, key: str) -> None:
    store = Listing(None, "data", names=("historic/jobs.csv", "/historic/jobs.csv", "lead/jobs.csv", " lead/jobs.csv"))
    (found,) = (
        one for wave in plan_history(store, given, ["jobs"], "upsert") for batch in wave for one in arrivals_of(batch)
    )
    assert found.key == key


@pytest.mark.parametrize("given", ["", " ", "/", " / ", "//", "s3://data", "s3://data/", "s3://other/historic/"])
def test_the_whole_bucket_or_another_one_is_refused_whatever_is_there(given: str) -> None:
    store = Listing(None, "data", names=("historic/jobs.csv", "/jobs.csv", " jobs.csv", " / /jobs.csv", "//jobs.csv"))
    with pytest.raises(ConfigurationError, match=r"names the (whole )?bucket"):
        plan_history(store, given, ["jobs"], "upsert")
