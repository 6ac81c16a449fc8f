"""Old log files of tasks go; nothing else below or beside Airflow's log folder does."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from datamart_airflow import maintenance_tasks
from datamart_airflow.task_logs import RemovedLogs, remove_task_logs

BEFORE = datetime.now(UTC) - timedelta(days=30)
OLD = "dag_id=a/run_id=1/task_id=t/attempt=1.log"
WAITED = "dag_id=a/run_id=1/task_id=t/attempt=1.log.trigger.7.log"
ALONE = "dag_id=b/run_id=1/task_id=t/map_index=0/attempt=1.log"
YOUNG = "dag_id=a/run_id=2/task_id=t/attempt=1.log"
OTHERS = ["dag_id=a/run_id=1/notes.txt", "dag_id=a/attempt.log.gz", "scheduler/2020-01-01/a.py.log", "scheduler.log"]


def old(path: Path) -> Path:
    moment = time.time() - 31 * 86400
    os.utime(path, (moment, moment), follow_symlinks=False)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Logs, all old with their folders, but for one."""
    folder = tmp_path / "logs"
    for name in (OLD, WAITED, ALONE, YOUNG, *OTHERS):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("said\n")
    (folder / "dag_id=a/run_id=3/task_id=t").mkdir(parents=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        old(path)
    os.utime(folder / YOUNG)
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_old_logs_go_with_the_folders_that_they_leave_empty(folder: Path) -> None:
    assert remove_task_logs(folder, BEFORE) == RemovedLogs(files=3, bytes=15)
    assert files(folder) == {YOUNG, *OTHERS}
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir()}
    assert left == {"dag_id=a", "dag_id=a/run_id=1", "dag_id=a/run_id=2", "dag_id=a/run_id=2/task_id=t",
                    "scheduler", "scheduler/2020-01-01"}  # fmt: skip
    assert remove_task_logs(folder, BEFORE) == RemovedLogs()


def test_a_dry_run_only_counts(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    assert remove_task_logs(folder, BEFORE, dry_run=True) == RemovedLogs(files=3, bytes=15)
    assert sorted(folder.rglob("*")) == before


def test_an_empty_folder_that_a_task_may_be_about_to_write_into_stays(folder: Path) -> None:
    about_to = folder / "dag_id=a/run_id=1/task_id=t"
    os.utime(about_to)
    remove_task_logs(folder, BEFORE)
    assert list(about_to.iterdir()) == []


def test_removers_that_meet_remove_each_log_once(folder: Path) -> None:
    """A retry of the task may begin while its first try still goes on; tasks write meanwhile."""
    for number in range(400):
        file = folder / f"dag_id=a/run_id=m{number % 40}/task_id=t{number}/attempt=1.log"
        file.parent.mkdir(parents=True)
        file.write_text("said\n")
        for path in (file, file.parent, file.parent.parent):
            old(path)
    with ThreadPoolExecutor(8) as threads:
        counted = list(threads.map(lambda _: remove_task_logs(folder, BEFORE).files, range(8)))
    assert sum(counted) == 403
    assert files(folder) == {YOUNG, *OTHERS}


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "run_id=1").mkdir(parents=True)
    (elsewhere / "run_id=1" / "kept.log").write_text("said\n")
    kept = old(elsewhere / "run_id=1" / "kept.log")
    links = [folder / "dag_id=c", folder / "dag_id=a/run_id=9", folder / "dag_id=a/linked.log"]
    for link, target in zip(links, (elsewhere, elsewhere / "run_id=1", kept), strict=True):
        link.symlink_to(target)
        old(link)
    assert remove_task_logs(folder, BEFORE).files == 3
    assert kept.exists()
    assert all(link.is_symlink() for link in links)


def test_the_task_cleans_the_folder_of_airflow_s_setting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(folder))
    assert maintenance_tasks.clean_task_logs(dry_run=False) == {"files": 3, "bytes": 15}


@pytest.mark.parametrize("elsewhere", ["s3://bucket/logs", "logs", "/no/such/folder"])
def test_logs_that_are_not_on_this_machine_are_skipped(
    elsewhere: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", elsewhere)
    with pytest.raises(AirflowSkipException, match="no folder of this machine"):
        maintenance_tasks.clean_task_logs(dry_run=False)


@pytest.mark.parametrize("act", [maintenance_tasks.clean_task_logs, maintenance_tasks.clean_metadata])
def test_an_empty_setting_keeps_what_airflow_remembers(act: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAMART_METADATA_KEEP_DAYS", "")
    with pytest.raises(AirflowSkipException, match="for ever"):
        act(dry_run=False)  # type: ignore[operator]


def test_a_setting_that_cannot_work_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAMART_METADATA_KEEP_DAYS", "0")
    with pytest.raises(AirflowFailException, match="METADATA_KEEP_DAYS"):
        maintenance_tasks.clean_metadata(dry_run=False)
