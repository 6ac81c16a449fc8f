"""The forms of the Dags that bring rows back: typed, explained, and doing nothing by default."""

from __future__ import annotations

import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.pages.conftest import Picture, leave
from tests.product import Product
from tests.stack import Stack


def open_form(page: Page, stack: Stack, product: Product, dag_id: str) -> Page:
    product.known(dag_id)
    page.goto(f"{stack.env['AIRFLOW_URL']}/dags/{dag_id}")
    page.get_by_role("button", name="Trigger Dag").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    return page


@pytest.mark.parametrize("dag_id", ["restore", "undo_load"])
def test_nothing_is_changed_unless_the_dry_run_is_switched_off(
    admin_page: Page, stack: Stack, product: Product, dag_id: str
) -> None:
    form = open_form(admin_page, stack, product, dag_id).get_by_role("dialog")
    expect(form.get_by_text("Only say what would change. Switch it off to change the table.")).to_be_visible()
    expect(form.get_by_role("checkbox", name="dry_run")).to_be_checked()


def test_the_form_of_a_restore_explains_each_param(
    admin_page: Page, stack: Stack, product: Product, picture: Picture
) -> None:
    admin_page.set_viewport_size({"width": 1400, "height": 1040})
    form = open_form(admin_page, stack, product, "restore").get_by_role("dialog")
    for name, words in {
        "table": "The table to bring back.",
        "backup_id": "Which backup: its id",
        "at": "Or which moment, in place of a backup.",
        "into": "or the name of a new table",
    }.items():
        expect(form.get_by_role("group").filter(has_text=words)).to_contain_text(name)
    picture("restore_form", form)


def test_the_form_of_an_undo_wants_a_load(admin_page: Page, stack: Stack, product: Product) -> None:
    form = open_form(admin_page, stack, product, "undo_load").get_by_role("dialog")
    expect(form.get_by_text("Id of the load to undo.")).to_be_visible()
    expect(form.get_by_text("What to do where later loads have changed or brought the same rows.")).to_be_visible()


def test_the_form_of_a_restore_starts_as_it_is(admin_page: Page, stack: Stack, product: Product) -> None:
    """What is left empty is taken for nothing, and the dry run says what it has found."""
    for dag_id, task in (("backup", "take"), ("restore", "bring_back")):
        form = open_form(admin_page, stack, product, dag_id).get_by_role("dialog")
        before = newest_run(product, dag_id)
        form.get_by_role("button", name="Trigger").click()
        run_id = started_after(before, product, dag_id)
        leave(admin_page)
        told = result_of(run_id, product, dag_id, task)
        assert "error" not in told, told
    assert told["dry_run"] is True
    assert told["message"]


def newest_run(product: Product, dag_id: str) -> dict[str, Any]:
    runs = product.api.get(f"/dags/{dag_id}/dagRuns", order_by="-run_after", limit=1)["dag_runs"]
    return dict(runs[0]) if runs else {"dag_run_id": None}


def started_after(before: dict[str, Any], product: Product, dag_id: str) -> str:
    """The run that the form has started."""
    end = time.monotonic() + 90
    while (run := newest_run(product, dag_id))["dag_run_id"] == before["dag_run_id"]:
        assert time.monotonic() < end, "the form started no run"
        time.sleep(0.2)
    return str(run["dag_run_id"])


def result_of(run_id: str, product: Product, dag_id: str, task: str) -> dict[str, Any]:
    """What the task of the run said, once that has ended."""
    path = f"/dags/{dag_id}/dagRuns/{run_id}"
    end = time.monotonic() + 90
    while product.api.get(path)["state"] not in ("success", "failed"):
        assert time.monotonic() < end, f"{run_id} did not end"
        time.sleep(0.5)
    return dict(product.api.get(f"{path}/taskInstances/{task}/xcomEntries/return_value")["value"])
