"""Names that are never data, and names of files that are not complete."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from datamart.file_names import IGNORED, MAX_NAMED, NO_TABLE, LeftOut, is_ignored, is_left_alone, is_partial
from datamart.loads import Arrival
from datamart.routing import table_for
from datamart.settings import load_settings
from datamart_airflow.landing_queue import files_told
from tests.landing_queue import told

IGNORED_NAMES = [
    ".DS_Store", "._jobs.csv", "~$jobs.xlsx", ".~lock.jobs.csv#", "Thumbs.db", "THUMBS.DB", "desktop.ini", "_SUCCESS",
    "_metadata", "_committed_123", "_started_123", "jobs.csv.md5", "jobs.csv.sha256", "jobs.csv.SHA1", "SHA256SUMS",
    ".jobs.csv.crc", "jobs.csv.sig", "jobs.csv~", ".jobs.csv.swp", ".gitkeep", "Icon\r", "__MACOSX/jobs.csv",
    ".nfs000000000012", "sub/.DS_Store",
]  # fmt: skip
PARTIAL_NAMES = [
    "jobs.csv.part", "jobs.csv.partial", "jobs.csv.filepart", "Unconfirmed 12.crdownload", "jobs.csv.tmp",
    "jobs.csv.TMP", "jobs.csv.download", ".jobs.csv.aB3xY9", "_temporary/0/jobs.csv", "sub/jobs.csv.part",
]  # fmt: skip
DATA = [
    "jobs.csv", "JOBS.CSV", "jobs_part.csv", "jobs.part.csv", "jobs_tmp.csv", "jobs_md5.csv", "departments_2021.csv",
    "sub/jobs.csv", "jobs_~.csv", "jobs._x.csv", "thumbs.db/jobs.csv",
]  # fmt: skip
OTHERS = [
    "notes.txt",
    "jobs.csv.gz",
    "jobs.csv.asc",
    "jobs.csv.gpg",
    ".hidden.config",
    ".jobs.csv",
    "_jobs.csv",
    "jobs.csv.123456x",
    "success",
]


@pytest.mark.parametrize("name", IGNORED_NAMES)
def test_junk_is_ignored(name: str) -> None:
    key = f"landing/{name}"
    assert (is_ignored(key), is_partial(key), table_for(key)) == (True, False, None)


@pytest.mark.parametrize("name", PARTIAL_NAMES)
def test_a_file_that_is_being_written_is_known(name: str) -> None:
    key = f"landing/{name}"
    assert (is_ignored(key), is_partial(key), table_for(key)) == (False, True, None)


@pytest.mark.parametrize("name", [*DATA, *OTHERS])
def test_other_names_are_neither(name: str) -> None:
    key = f"landing/{name}"
    assert (is_ignored(key), is_partial(key)) == (False, False)
    assert (table_for(key) is not None) == (name in DATA)


def test_a_partial_name_is_left_alone_for_the_settings_time() -> None:
    settings, sent = load_settings({"DATAMART_PARTIAL_MINUTES": "5"}), datetime(2026, 3, 1, tzinfo=UTC)

    def left_alone(name: str, minutes: float) -> bool:
        arrival = Arrival("bucket", f"landing/{name}", "e", sent, 1)
        return is_left_alone(arrival, settings, lambda: sent + timedelta(minutes=minutes))

    assert [left_alone("jobs.csv.part", minutes) for minutes in (0, 4.9, 5, 600)] == [True, True, False, False]
    assert [left_alone(".DS_Store", minutes) for minutes in (0, 600)] == [True, True]
    assert not left_alone("jobs.csv", 0)


def test_a_message_about_names_that_are_left_alone_starts_no_run() -> None:
    left_alone = [f"landing/{name.replace(' ', '+')}" for name in (*IGNORED_NAMES, *PARTIAL_NAMES)]
    assert files_told(told(*left_alone)) == 0
    assert files_told(told(*left_alone, "landing/jobs.csv")) == 1


def test_a_report_counts_all_and_names_the_first() -> None:
    left_out = LeftOut()
    assert (left_out.as_json(), left_out.sentences()) == ({}, [])
    left_out.add(NO_TABLE, [f"historic/{number}.txt" for number in range(MAX_NAMED + 2)])
    left_out.add(IGNORED, ["historic/.DS_Store"])
    found = left_out.as_json()
    assert {reason: one["files"] for reason, one in found.items()} == {NO_TABLE: MAX_NAMED + 2, IGNORED: 1}
    assert found[NO_TABLE]["first"] == [f"historic/{number}.txt" for number in range(MAX_NAMED)]
    assert left_out.sentences()[0] == "1 file ignored by name: historic/.DS_Store."
    assert left_out.sentences()[1].endswith(f"historic/{MAX_NAMED - 1}.txt and others.")
