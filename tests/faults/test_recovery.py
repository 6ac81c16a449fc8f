"""24, 33, 42, 45, 49: tasks that back up, restore and undo are killed, cut off or refused; the table stays whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.faults.detour import Wires
from tests.faults.faults import hang_up, s3_says
from tests.faults.mart import Mart
from tests.faults.processes import Tasks
from tests.faults.runs import Airflow, until
from tests.faults.wire import CLIENT, SERVER, Rule

JOBS = "SELECT * FROM public.jobs ORDER BY id"
BACKUPS = "SELECT backup_id FROM ops.backups WHERE expired_at IS NULL ORDER BY backup_id"
_DONE = rb"\AC.{4}"


@dataclass(frozen=True)
class Done:
    """A run that has ended: its state, the states of its task by try, and what the task said."""

    state: str
    tries: dict[int, str]
    told: dict[str, Any]


@dataclass(frozen=True)
class Recovery:
    """The Dags of this project's recovery, as they are triggered."""

    airflow: Airflow

    def run(self, dag_id: str, task: str, **conf: Any) -> Done:
        self.airflow.product.known(dag_id)
        api = self.airflow.api
        run_id = api.post(f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"]
        path = f"/dags/{dag_id}/dagRuns/{run_id}"
        until(f"{run_id} ends", lambda: api.get(path)["state"] in ("success", "failed"))
        tries = api.get(f"{path}/taskInstances/{task}/tries")["task_instances"]
        told = api.get(f"{path}/taskInstances/{task}/xcomEntries/return_value")["value"]
        return Done(api.get(path)["state"], {one["try_number"]: one["state"] for one in tries}, told)

    def backup(self) -> Done:
        return self.run("backup", "take", tables=["jobs"])

    def restore(self, backup_id: str) -> Done:
        return self.run("restore", "bring_back", table="jobs", backup_id=backup_id, dry_run=False)


@pytest.fixture(scope="module")
def recovery(airflow: Airflow) -> Recovery:
    return Recovery(airflow)


@pytest.fixture
def damaged(recovery: Recovery, mart: Mart, wires: Wires) -> Iterator[tuple[str, list[Any]]]:
    """A backup of a table, which was damaged since, and its rows as they were."""
    mart.run("DELETE FROM public.jobs WHERE id >= 700000")
    mart.run("INSERT INTO public.jobs SELECT n, 'job ' || n, 1 FROM generate_series(700000, 700999) AS n")
    backup_id, rows = recovery.backup().told["backup_id"], mart.sql(JOBS)
    mart.run("DELETE FROM public.jobs WHERE id BETWEEN 700100 AND 700199")
    mart.run("UPDATE public.jobs SET job = 'damaged' WHERE id BETWEEN 700200 AND 700299")
    yield backup_id, rows
    wires.warehouse.clear()
    wires.s3.clear()
    mart.run("DELETE FROM public.jobs WHERE id >= 700000")


KILLS = {
    "reading": ("s3", rb"\AHTTP/1.1 200", rb"\AGET /\S*part-00000.avro", SERVER),
    "staging": ("warehouse", rb"\Ad", rb"COPY difference_", CLIENT),
    "replacing": ("warehouse", _DONE + rb"DELETE", rb"INSERT INTO ops.jobs_history", SERVER),
    "before the commit": ("warehouse", rb"\AQ.{4}COMMIT", rb"INSERT INTO ops.restores", CLIENT),
    "after the commit": ("warehouse", _DONE + rb"COMMIT", rb"INSERT INTO ops.restores", SERVER),
}


@pytest.mark.parametrize("where", KILLS)
def test_45_a_restore_that_is_killed_is_done_once_by_its_retry(
    where: str, recovery: Recovery, mart: Mart, wires: Wires, tasks: Tasks, damaged: tuple[str, list[Any]]
) -> None:
    backup_id, rows = damaged
    wire, pattern, after, side = KILLS[where]
    restores = mart.sql("SELECT count(*) FROM ops.restores")[0][0]
    rule = Rule(side, pattern, tasks.kill, after=after)
    getattr(wires, wire).add(rule)
    done = recovery.restore(backup_id)
    assert rule.hits == 1
    assert (done.state, done.tries) == ("success", {1: "failed", 2: "success"})
    assert mart.sql(JOBS) == rows
    assert mart.sql("SELECT count(*) FROM ops.restores")[0][0] == restores + 1, "it was done twice, or is not told"
    assert (done.told["added"], done.told["changed"]) == (100, 100)


def test_45_a_restore_whose_commit_is_not_acknowledged_is_done_once(
    recovery: Recovery, mart: Mart, wires: Wires, damaged: tuple[str, list[Any]]
) -> None:
    backup_id, rows = damaged
    restores = mart.sql("SELECT count(*) FROM ops.restores")[0][0]
    wires.warehouse.add(Rule(SERVER, _DONE + rb"COMMIT", hang_up, after=rb"INSERT INTO ops.restores"))
    assert recovery.restore(backup_id).tries == {1: "failed", 2: "success"}
    assert mart.sql(JOBS) == rows
    assert mart.sql("SELECT count(*) FROM ops.restores")[0][0] == restores + 1


def test_42_a_backup_that_is_killed_is_no_backup_and_its_retry_takes_another(
    recovery: Recovery, mart: Mart, wires: Wires, tasks: Tasks
) -> None:
    before = mart.sql(BACKUPS)
    rule = Rule(CLIENT, rb"\APUT /\S*manifest.json", tasks.kill)
    wires.s3.add(rule)
    done = recovery.backup()
    wires.s3.clear()
    assert (rule.hits, done.state, done.tries) == (1, "success", {1: "failed", 2: "success"})
    assert [one for one in mart.sql(BACKUPS) if one not in before] == [(done.told["backup_id"],)]


def test_49_refused_credentials_are_told_and_nothing_changes(
    recovery: Recovery, mart: Mart, wires: Wires, damaged: tuple[str, list[Any]]
) -> None:
    backup_id, _ = damaged
    before = mart.sql(JOBS)
    refusal = s3_says(403, "InvalidAccessKeyId")
    wires.s3.add(Rule(CLIENT, rb"\A(GET|PUT) /", refusal, times=1000))
    for done in (recovery.restore(backup_id), recovery.backup()):
        assert (done.state, done.tries) == ("failed", {1: "failed"}), "a refusal is not worth a retry"
        assert "S3 refused" in done.told["error"]
    assert mart.sql(JOBS) == before
