"""A very large file is cleaned in ranges by tasks beside each other; what comes of it is what one task makes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from tests.oracle import rules
from tests.product import Product
from tests.stack import Stack

NAME = "hired_employees_large.csv"


def large(stack: Stack, first: int) -> bytes:
    """Rows of three and a half ranges: some bad, some with line ends in their values, some keys twice, far apart."""
    rows, size = [b"id,name,datetime,department_id,job_id\r\n"], 0
    while size < 3.5 * int(stack.variables["DATAMART_RANGE_BYTES"]):
        number = first + len(rows)
        key = first + 5 if number % 1000 == 0 else number
        moment = b"2021-07-27T16:02:08Z" if number % 700 else b"yesterday"
        rows.append(b'%d,"Ann\r\n""%s"" %d",%s,%d,2\n' % (key, b"x" * 100, number, moment, number % 50))
        size += len(rows[-1])
    return b"".join(rows)


def tasks_of(product: Product, run_id: str, task_id: str) -> list[dict[str, Any]]:
    found = product.api.get(f"/dags/historic_load/dagRuns/{run_id}/taskInstances", limit=200)["task_instances"]
    return sorted((one for one in found if one["task_id"] == task_id), key=lambda one: one["map_index"])


def left(product: Product) -> list[str]:
    found = product.s3.list_objects_v2(Bucket=product.bucket, Prefix="exchange/")
    return [one["Key"] for one in found.get("Contents", [])]


def assert_loaded(product: Product, verdict: dict[str, Any], body: bytes) -> None:
    """Exactly what the judge says, row by row; nothing is left for the ranges."""
    expected, load_id = rules.judge("hired_employees", body), int(verdict["load_id"])
    rows = product.sql(
        "SELECT id, name, to_char(datetime, 'YYYY-MM-DD'), department_id, job_id FROM hired_employees "
        "WHERE _load_id = %s ORDER BY id",
        load_id,
    )
    assert rows == sorted(
        (key, name, f"{moment:%Y-%m-%d}", *others) for key, name, moment, *others in expected.accepted
    )
    kept = product.sql("SELECT line, raw FROM ops.rejected_rows WHERE load_id = %s ORDER BY line", load_id)
    assert [(line, bytes(raw)) for line, raw in kept] == [(r.line, r.raw) for r in expected.rejected]
    assert left(product) == []


def test_a_large_file_is_cleaned_in_ranges(product: Product, stack: Stack) -> None:
    prefix, body = f"large/{uuid4().hex}/", large(stack, 50_000_000)
    product.put(prefix, NAME, body)
    state, (verdict,), run_id = product.run(prefix, tables=["hired_employees"])
    assert (state, verdict["verdict"]) == ("success", "loaded")
    ranges = tasks_of(product, run_id, "ranges_2.clean")
    assert [one["state"] for one in ranges] == ["success"] * 4
    assert [one["rendered_map_index"] for one in ranges] == [f"{NAME} {number} of 4" for number in (1, 2, 3, 4)]
    assert [one["state"] for one in tasks_of(product, run_id, "ranges_1.clean")] == ["skipped"]
    assert_loaded(product, verdict, body)
    where = f"/dags/historic_load/dagRuns/{run_id}/taskInstances/load_2/logs/1"
    assert "read whole" not in str(product.api.get(where, map_index=0))


@contextmanager
def no_plan_stays(product: Product) -> Iterator[None]:
    """Whatever is planned is gone before anybody can read it."""
    over = Event()

    def remove() -> None:
        while not over.is_set():
            for key in left(product):
                if key.endswith("/plan.json"):
                    product.s3.delete_object(Bucket=product.bucket, Key=key)
            time.sleep(0.02)

    remover = Thread(target=remove)
    remover.start()
    try:
        yield
    finally:
        over.set()
        remover.join()


def test_a_file_whose_ranges_cannot_be_cleaned_is_read_whole(product: Product, stack: Stack) -> None:
    prefix, body = f"large/{uuid4().hex}/", large(stack, 60_000_000) + b"\n"  # of another size: it is no known copy
    product.put(prefix, NAME, body)
    with no_plan_stays(product):
        state, (verdict,), run_id = product.run(prefix, tables=["hired_employees"])
    assert (state, verdict["verdict"]) == ("success", "loaded")
    assert [one["state"] for one in tasks_of(product, run_id, "ranges_2.clean")] == ["failed"] * 4
    assert_loaded(product, verdict, body)


def test_ranges_that_failed_hold_up_no_load_and_a_wave_that_failed_does(product: Product) -> None:
    """Where ``batches`` did not succeed, nothing is loaded; whatever became of the ranges is all one."""
    tasks = product.api.get("/dags/historic_load/tasks")["tasks"]
    for wave in (1, 2):
        load = next(task for task in tasks if task["task_id"] == f"load_{wave}")
        before = {task["task_id"] for task in tasks if load["task_id"] in task["downstream_task_ids"]}
        assert (load["trigger_rule"], before) == ("none_failed", {f"batches_{wave}", f"ranges_{wave}.over"})
        (over,) = (task for task in tasks if task["task_id"] == f"ranges_{wave}.over")
        assert over["trigger_rule"] == "all_done"
