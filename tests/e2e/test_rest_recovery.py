"""Backup and restore by REST: the older API's answers, an operator's rights, and the table afterwards by SQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.product import Product
from tests.rest import Rest, form, unique_key
from tests.stack import Stack

JOBS = b"900001,Bargee\n900002,Cooper\n900003,Dyer\n"


@pytest.fixture(scope="module")
def rest(stack: Stack, product: Product) -> Iterator[Rest]:
    """Nobody here looks at the insights, so that they need not be computed anew for each upload."""
    for dag_id in ("backup", "restore", "restore_drill", "undo_load", "ingest_upload"):
        product.known(dag_id)
    with product.paused("refresh_insights"):
        yield Rest.of(stack).as_("admin")


def backed_up(rest: Rest, **query: str) -> dict[str, Any]:
    """Start a backup and wait until the list has it."""
    before = {one["backup_id"] for one in rest.get("/backups", limit=200).json()["backups"]}
    answer = rest.plain("POST", "/backup", params=query, headers=rest.bearer)
    assert answer.status_code == 200, answer.text
    end = time.monotonic() + 120
    while True:
        new = [one for one in rest.get("/backups", limit=200).json()["backups"] if one["backup_id"] not in before]
        if new:
            return answer.json() | {"backup": new[0]}
        assert time.monotonic() < end, "no backup came"
        time.sleep(0.3)


def restore(rest: Rest, **query: Any) -> Any:
    return rest.plain("POST", "/restore", params={"wait": 120, **query}, headers=rest.bearer)


def runs(product: Product, dag_id: str) -> int:
    """How many runs of a Dag there ever were."""
    return int(product.api.get(f"/dags/{dag_id}/dagRuns", limit=1)["total_entries"])


def jobs(product: Product) -> list[tuple[Any, ...]]:
    return product.sql("SELECT id, job FROM public.jobs ORDER BY id")


@pytest.fixture(scope="module")
def before(rest: Rest, product: Product) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """A backup, and the table as it was then."""
    assert rest.upload("jobs_recovery.csv", JOBS).status_code == 200
    rows = jobs(product)
    return backed_up(rest, table="jobs"), rows


def test_a_backup_answers_as_the_older_api_and_is_in_the_list(before: tuple[dict[str, Any], Any]) -> None:
    answer, rows = before
    assert answer["result"] == "Backup process for jobs started."
    assert answer["duration(s)"] >= 0
    assert answer["backup"]["tables"]["jobs"]["rows"] == len(rows)
    assert answer["backup"]["proven_at"] is None


def test_a_restore_brings_the_table_back_and_says_so_when_it_is_true(
    rest: Rest, product: Product, before: tuple[dict[str, Any], list[tuple[Any, ...]]]
) -> None:
    answer, rows = before
    backup_id = answer["backup"]["backup_id"]
    rest.upload("jobs_recovery_2.csv", b"900001,Damaged\n900004,Intruder\n")
    assert jobs(product) != rows
    dry = restore(rest, table="jobs", backup_id=backup_id, dry_run=True).json()
    assert (dry["added"], dry["changed"], dry["removed"]) == (0, 1, 1)
    assert jobs(product) != rows
    done = restore(rest, table="jobs", backup_id=backup_id)
    assert done.status_code == 200
    assert done.json()["result"] == "Table jobs restored from backup."
    assert jobs(product) == rows
    again = rest.upload("jobs_recovery_2.csv", b"900001,Damaged\n900004,Intruder\n").json()
    assert again["verdict"] == "loaded", "a file that a restore undid counts as new"
    restore(rest, table="jobs", backup_id=backup_id)
    assert jobs(product) == rows


def test_50_the_answer_of_an_upload_that_was_taken_back_is_not_given_again(
    rest: Rest, product: Product, before: tuple[dict[str, Any], list[tuple[Any, ...]]]
) -> None:
    key, body = unique_key(), b"900005,Taken back\n"
    first = rest.upload("jobs_recovery_5.csv", body, key=key)
    assert rest.upload("jobs_recovery_5.csv", body, key=key).json() == first.json()
    restore(rest, table="jobs", backup_id=before[0]["backup"]["backup_id"])
    again = rest.upload("jobs_recovery_5.csv", body, key=key)
    assert again.status_code == 409
    assert "taken back" in again.json()["error"]
    assert rest.upload("jobs_recovery_5.csv", body, key=unique_key()).json()["verdict"] == "loaded"
    assert (900005, "Taken back") in jobs(product)
    assert rest.get(f"/loads/{first.json()['load_id']}").json()["undone_by"]


@pytest.mark.usefixtures("before")
def test_a_moment_can_be_asked_for(rest: Rest, product: Product) -> None:
    rest.upload("jobs_recovery_3.csv", b"900002,Changed\n")
    rows, moment = jobs(product), product.sql("SELECT now()::text")[0][0]
    rest.upload("jobs_recovery_4.csv", b"900002,Changed once more\n")
    assert restore(rest, table="jobs", at=moment.replace("+00", "Z")).status_code == 200
    assert jobs(product) == rows


@pytest.mark.usefixtures("before")
def test_who_does_not_wait_is_told_where_to_ask(rest: Rest) -> None:
    answer = restore(rest, table="jobs", wait=0)
    assert answer.status_code == 202
    path = answer.json()["links"]["status"].removeprefix("/data-api")
    assert answer.headers["location"] == answer.json()["links"]["status"]
    end = time.monotonic() + 60
    while (found := rest.get(path)).status_code == 202:
        assert time.monotonic() < end
        time.sleep(0.3)
    assert (found.status_code, found.json()["result"]) == (200, "Table jobs restored from backup.")
    assert rest.get("/restore/" + "0" * 32).status_code == 404


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"table": "nothing"}, 400, "There is no table"),
        ({"table": "jobs", "backup_id": "20200101T000000Z-00000000"}, 404, "There is no backup"),
        ({"table": "jobs", "backup_id": "../x"}, 400, "backup_id"),
        ({"table": "jobs", "at": "yesterday"}, 400, "is no moment"),
        ({"table": "jobs", "at": ""}, 400, "is no moment"),
        ({"table": "jobs", "at": "0001-01-01T00:00:00+14:00"}, 400, "is no moment"),
        ({"table": "jobs", "at": "2001-01-01T00:00:00Z"}, 422, "from before"),
        ({"table": "jobs", "at": "2999-01-01T00:00:00Z"}, 422, "is yet to come"),
        ({"table": "jobs", "at": "2001-01-01T00:00:00Z", "backup_id": "x1"}, 400, "either backup_id or at"),
        ({}, 400, "table"),
    ],
)
def test_what_cannot_be_restored_is_refused_with_a_sentence(
    rest: Rest, product: Product, query: dict[str, str], status: int, words: str
) -> None:
    rows, started = jobs(product), runs(product, "restore")
    answer = restore(rest, **query)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]
    assert (jobs(product), runs(product, "restore")) == (rows, started)


@pytest.mark.usefixtures("before")
def test_a_backup_that_does_not_hold_the_table_is_refused_before_a_run_starts(rest: Rest, product: Product) -> None:
    backup_id, started = backed_up(rest, table="departments")["backup"]["backup_id"], runs(product, "restore")
    answer = restore(rest, table="jobs", backup_id=backup_id)
    assert (answer.status_code, "holds departments, not jobs" in answer.json()["error"]) == (404, True), answer.text
    assert runs(product, "restore") == started
    unknown = rest.plain("POST", "/backup", params={"table": "nothing"}, headers=rest.bearer)
    assert (unknown.status_code, "There is no table" in unknown.json()["error"]) == (400, True)


def test_a_restore_that_changes_nothing_says_so(
    rest: Rest, product: Product, before: tuple[dict[str, Any], list[tuple[Any, ...]]]
) -> None:
    backup_id = before[0]["backup"]["backup_id"]
    restore(rest, table="jobs", backup_id=backup_id)
    rows = jobs(product)
    again = restore(rest, table="jobs", backup_id=backup_id).json()
    assert (again["result"], again["note"]) == (
        "Table jobs restored from backup.", "The table was already equal to the backup; nothing changed."
    )  # fmt: skip
    product.do("UPDATE public.jobs SET job = 'Changed' WHERE id = 900001")
    done = restore(rest, table="jobs", backup_id=backup_id).json()
    assert (done["result"], done["note"], done["changed"]) == ("Table jobs restored from backup.", None, 1)
    assert jobs(product) == rows


@pytest.mark.usefixtures("before")
def test_49_only_an_operator_may_restore(rest: Rest, product: Product) -> None:
    rows = jobs(product)
    for user in ("viewer", "uploader"):
        assert restore(rest.as_(user), table="jobs").status_code == 403
    assert rest.plain("POST", "/backup", headers=rest.as_("viewer").bearer).status_code == 403
    assert rest.as_("viewer").get("/backups").status_code == 200
    body, kind = form(("username", None, b"admin"), ("password", None, b"wrong"))
    wrong = rest.plain("POST", "/restore", params={"table": "jobs"}, content=body, headers={"Content-Type": kind})
    assert wrong.status_code == 401
    assert jobs(product) == rows


def test_44_a_damaged_backup_is_refused_and_the_table_stays(rest: Rest, product: Product, stack: Stack) -> None:
    backup_id = backed_up(rest, table="jobs")["backup"]["backup_id"]
    key, bucket = f"{backup_id}/jobs/part-00000.avro", stack.env["BACKUP_BUCKET"]
    body = bytearray(product.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    body[len(body) // 2] ^= 1
    product.s3.put_object(Bucket=bucket, Key=key, Body=bytes(body))
    rows = jobs(product)
    answer = restore(rest, table="jobs", backup_id=backup_id)
    assert answer.status_code == 409
    assert "SHA-256" in answer.json()["error"]
    assert jobs(product) == rows
    product.s3.delete_object(Bucket=bucket, Key=f"{backup_id}/manifest.json")
    assert restore(rest, table="jobs", backup_id=backup_id).status_code == 404, "without a manifest there is no backup"


def undo(rest: Rest, **query: Any) -> Any:
    return rest.plain("POST", "/undo", params={"wait": 120, **query}, headers=rest.bearer)


def ended(rest: Rest, answer: Any) -> Any:
    """The answer that the address in ``Location`` gives in the end."""
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == answer.json()["links"]["status"]
    end = time.monotonic() + 60
    while (found := again(rest, answer)).status_code == 202:
        assert time.monotonic() < end
        time.sleep(0.3)
    return found


def again(rest: Rest, answer: Any) -> Any:
    """What the status route says of a restore or undo."""
    return rest.get(answer.json()["links"]["status"].removeprefix("/data-api"))


def test_49_a_load_is_undone_once_and_later_rows_stay_only_when_they_are_to(rest: Rest, product: Product) -> None:
    before = jobs(product)
    load_id = rest.upload("jobs_undo.csv", b"900021,Mason\n900022,Tiler\n").json()["load_id"]
    rest.upload("jobs_undo_later.csv", b"900022,Slater\n")
    rows = jobs(product)
    dry = ended(rest, undo(rest, load_id=load_id, dry_run=True, wait=0)).json()
    assert (dry["dry_run"], dry["added"], dry["changed"], dry["removed"]) == (True, 0, 0, 1)
    assert "would be refused" in dry["result"]
    assert (jobs(product), rest.get(f"/loads/{load_id}").json()["undone_by"]) == (rows, None)

    refused = undo(rest, load_id=load_id)
    assert refused.status_code == 409, refused.text
    assert "later changes touched its rows" in refused.json()["error"]
    repeated = rest.get(f"/undo/{refused.json()['undo_id']}")
    assert (repeated.status_code, repeated.json()["error"]) == (409, refused.json()["error"])
    assert jobs(product) == rows

    done = undo(rest, load_id=load_id, later_rows="keep")
    assert (done.status_code, done.json()["result"]) == (200, f"Load {load_id} undone."), done.text
    told = {name: done.json()[name] for name in ("table", "dry_run", "added", "changed", "removed", "rows")}
    assert told == {
        "table": "jobs", "dry_run": False, "added": 0, "changed": 0, "removed": 1, "rows": len(before) + 1,
    }  # fmt: skip
    assert (again(rest, done).status_code, again(rest, done).json()) == (200, done.json())
    assert again(rest.as_("viewer"), done).json() == done.json()
    assert jobs(product) == sorted([*before, (900022, "Slater")])
    assert rest.get(f"/loads/{load_id}").json()["undone_by"]

    twice = undo(rest, load_id=load_id, later_rows="keep")
    assert (twice.status_code, "is undone already" in twice.json()["error"]) == (409, True), twice.text
    assert jobs(product) == sorted([*before, (900022, "Slater")])


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({}, 400, "load_id"),
        ({"load_id": ""}, 400, "load_id"),
        ({"load_id": "x"}, 400, "load_id"),
        ({"load_id": "1"}, 404, "there is no load 1"),
        ({"load_id": "9" * 19}, 404, "there is no load"),
        ({"load_id": "9" * 20}, 400, "load_id"),
        ({"load_id": "1", "later_rows": "perhaps"}, 400, "later_rows"),
    ],
    ids=str,
)
def test_what_cannot_be_undone_is_refused_with_a_sentence(
    rest: Rest, product: Product, query: dict[str, str], status: int, words: str
) -> None:
    started = runs(product, "undo_load")
    answer = undo(rest, **query)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
    assert runs(product, "undo_load") == started


def test_a_load_that_did_nothing_is_not_undone(rest: Rest, product: Product) -> None:
    for body in (b"x,bad\n", b"id,wrong\n1,a\n"):
        load_id, started = rest.upload("jobs_undo_nothing.csv", body).json()["load_id"], runs(product, "undo_load")
        for query in ({}, {"dry_run": True}, {"later_rows": "keep"}):
            answer = undo(rest, load_id=load_id, **query)
            assert (answer.status_code, "there is nothing to undo" in answer.json()["error"]) == (409, True), (
                answer.text
            )
        assert runs(product, "undo_load") == started


def test_a_load_that_found_its_rows_as_they_were_is_undone_and_says_that_no_row_changed(rest: Rest) -> None:
    rest.upload("jobs_undo_same.csv", b"900031,Miller\n")
    load_id = rest.upload("jobs_undo_same.csv", b"900031,Miller\n").json()["load_id"]
    done = undo(rest, load_id=load_id).json()
    assert (done["result"], done["note"]) == (f"Load {load_id} undone.", "No row of the table jobs changed.")


def test_undos_that_there_are_none_of(rest: Rest) -> None:
    assert rest.get("/undo/" + "0" * 32).status_code == 404
    for wrong in ("x", "0" * 31, "0" * 33, "G" * 32):
        assert rest.get(f"/undo/{wrong}").status_code == 400, wrong


def test_49_only_an_operator_may_undo_and_only_who_may_start_runs_may_drill(rest: Rest, product: Product) -> None:
    rows = jobs(product)
    (load, *_) = rest.get("/loads", table="jobs", verdict="loaded", limit=1).json()["loads"]
    for user in ("viewer", "uploader"):
        for query in ({}, {"dry_run": True}):
            answer = undo(rest.as_(user), load_id=load["load_id"], **query)
            assert answer.status_code == 403, answer.text
    assert rest.plain("POST", "/drill", headers=rest.as_("viewer").bearer).status_code == 403
    assert jobs(product) == rows
    assert rest.get(f"/loads/{load['load_id']}").json()["undone_by"] is None


def test_a_drill_proves_a_backup_and_the_list_says_so(rest: Rest, before: tuple[dict[str, Any], Any]) -> None:
    backup_id = before[0]["backup"]["backup_id"]
    uploader = rest.as_("uploader")
    answer = uploader.plain("POST", "/drill", params={"backup_id": backup_id}, headers=uploader.bearer)
    assert (answer.status_code, answer.json()["result"]) == (200, f"Drill with backup {backup_id} started.")
    assert answer.json()["links"]["run"] == f"/dags/restore_drill/runs/{answer.json()['run_id']}"
    end = time.monotonic() + 60
    while True:
        found = rest.get("/backups", limit=200).json()
        (one,) = [one for one in found["backups"] if one["backup_id"] == backup_id]
        if one["proven_at"]:
            break
        assert time.monotonic() < end, "the drill has proven nothing"
        time.sleep(0.3)
    assert found["last_proven"] == {"backup_id": backup_id, "proven_at": one["proven_at"]}
    for wrong in ("../x", "x", ""):
        assert rest.plain("POST", "/drill", params={"backup_id": wrong}, headers=rest.bearer).status_code == 400, wrong


@pytest.mark.usefixtures("before")
def test_the_list_of_backups_is_paged(rest: Rest) -> None:
    backed_up(rest, table="departments")
    everything = rest.get("/backups", limit=200).json()
    assert (len(everything["backups"]) >= 2, everything["next"]) == (True, None)
    seen: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        page = rest.get("/backups", limit=1, **after).json()
        assert page["last_proven"] == everything["last_proven"]
        seen += page["backups"]
        if page["next"] is None:
            break
        assert page["next"] == seen[-1]["backup_id"]
        after = {"after": page["next"]}
    assert seen == everything["backups"]
    for wrong in ({"after": "../x"}, {"after": ""}, {"limit": 0}, {"limit": 201}):
        assert rest.get("/backups", **wrong).status_code == 400, wrong
