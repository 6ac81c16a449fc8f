"""The forms of the Dags that bring rows back: typed, explained, and doing nothing by default."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.pages.conftest import Picture
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
    switch = form.locator("#element_dry_run")
    expect(switch).to_be_visible()
    expect(form.get_by_text("Only say what would change. Switch it off to change the table.")).to_be_visible()
    expect(form.get_by_role("checkbox").first).to_be_checked()


def test_the_form_of_a_restore_explains_each_param(
    admin_page: Page, stack: Stack, product: Product, picture: Picture
) -> None:
    form = open_form(admin_page, stack, product, "restore").get_by_role("dialog")
    for name, words in {
        "table": "The table to bring back.",
        "backup_id": "Which backup: its id",
        "at": "Or which moment, in place of a backup.",
        "into": "or the name of a new table",
    }.items():
        expect(form.locator(f"#element_{name}")).to_be_visible()
        expect(form.get_by_text(words)).to_be_visible()
    picture("restore_form", form)


def test_the_form_of_an_undo_wants_a_load(admin_page: Page, stack: Stack, product: Product) -> None:
    form = open_form(admin_page, stack, product, "undo_load").get_by_role("dialog")
    expect(form.get_by_text("Id of the load to undo.")).to_be_visible()
    expect(form.get_by_text("What to do where later loads have changed or brought the same rows.")).to_be_visible()
