"""The page of backups: one is taken, proven and restored by the page, and a load is undone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.pages.conftest import Picture, sign_in
from tests.pages.plugin_page import PluginPage
from tests.product import Product
from tests.rest import Rest
from tests.stack import Stack

LIST = "Backups, newest first"
JOBS = "SELECT * FROM public.jobs ORDER BY id"
SLOW = 90_000


@pytest.fixture(scope="module")
def rest(stack: Stack, product: Product) -> Rest:
    for dag_id in ("backup", "restore", "restore_drill", "undo_load", "ingest_upload"):
        product.known(dag_id)
    found = Rest.of(stack)
    assert found.upload("jobs_backed.csv", b"".join(b"%d,Backed %d\n" % (n, n) for n in range(9601, 9611))).is_success
    return found


def counted(dialog: Locator) -> list[int]:
    """Added, changed, removed."""
    numbers = dialog.locator(".difference strong")
    expect(numbers).to_have_count(3, timeout=SLOW)
    return [int(text.replace(",", "")) for text in numbers.all_inner_texts()]


def test_a_backup_is_taken_proven_and_restored(
    admin_page: Page, stack: Stack, product: Product, rest: Rest, picture: Picture
) -> None:
    del rest
    page = PluginPage.opened(admin_page, stack, "backups")
    page.button("Back up now").click()
    done = page.frame.get_by_text(re.compile("Backup .* is complete"))
    expect(done).to_be_visible(timeout=SLOW)
    backup_id = done.inner_text().split()[1]
    rows = product.sql(JOBS)
    newest = page.rows(LIST)[0]
    tables = {name: product.sql(f"SELECT count(*) FROM public.{name}")[0][0] for name in ("departments", "jobs")}
    assert newest[1] == backup_id
    assert all(f"{name} {count:,}" in newest[2] for name, count in tables.items())
    assert newest[5] == "not drilled"
    page.button(f"Drill with {backup_id}").click()
    expect(page.frame.get_by_text("is what was backed up")).to_be_visible(timeout=SLOW)
    expect(page.frame.get_by_text(f"Last proven restorable: {backup_id}")).to_be_visible()
    assert page.rows(LIST)[0][5].startswith("proven")
    for theme in page.in_both_themes():
        assert page.violations() == []
        picture(f"page_backups_{theme}", admin_page)
    for stays in (False, True):
        restored(page, product, backup_id, picture, stays=stays)
        assert product.sql(JOBS) == rows


def restored(page: PluginPage, product: Product, backup_id: str, picture: Picture, *, stays: bool) -> None:
    """Damage the table, see in the dialog what that was, bring it back; who does not stay is told on the page."""
    product.do("DELETE FROM public.jobs WHERE id IN (9601, 9602, 9603)")
    product.do("UPDATE public.jobs SET job = 'damaged' WHERE id IN (9604, 9605)")
    product.do("INSERT INTO public.jobs (id, job, _load_id) VALUES (9699, 'a stray', 1)")
    damaged = product.sql(JOBS)
    page.button(f"Restore from {backup_id}").click()
    dialog = page.frame.get_by_role("dialog")
    dialog.get_by_label("Table").select_option("jobs")
    dialog.get_by_role("button", name="Show the difference").click()
    assert counted(dialog) == [3, 2, 1]
    assert product.sql(JOBS) == damaged, "a look has changed the table"
    confirm(dialog, "Restore", "departments", "jobs")
    for theme in page.in_both_themes():
        assert page.violations() == []
        picture(f"page_restore_{theme}", page.outer)
    dialog.get_by_role("button", name="Restore", exact=True).click()
    if not stays:
        page.outer.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        expect(page.frame.locator("#outcomes")).to_contain_text("Table jobs restored from backup.", timeout=SLOW)
        return
    expect(dialog.get_by_text("Table jobs restored from backup.")).to_be_visible(timeout=SLOW)
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()


def confirm(dialog: Locator, act: str, wrong: str, right: str) -> None:
    """The button is for those who typed the table's name."""
    button, typed = dialog.get_by_role("button", name=act, exact=True), dialog.get_by_label("Type the table's name")
    expect(button).to_be_disabled()
    typed.fill(wrong)
    expect(button).to_be_disabled()
    typed.fill(right)
    expect(button).to_be_enabled()


def test_a_load_is_undone(admin_page: Page, stack: Stack, product: Product, rest: Rest) -> None:
    """A later load of the same rows has it refused, until a person lets those rows stay."""
    load_id = rest.upload("jobs_undone.csv", b"9701,Once\n9702,Twice\n").json()["load_id"]
    rest.upload("jobs_later.csv", b"9702,Later\n")
    page = PluginPage.alone(admin_page, stack, "loads", f"?load={load_id}")
    page.button("Undo this load").click()
    dialog = page.frame.get_by_role("dialog")
    dialog.get_by_role("button", name="Show the difference").click()
    expect(dialog.get_by_role("alert")).to_contain_text("It would be refused as it is.", timeout=SLOW)
    expect(dialog.get_by_role("button", name="Undo", exact=True)).to_have_count(0)
    dialog.get_by_label("Where later loads have the same rows, leave those as they are").check()
    dialog.get_by_role("button", name="Show the difference").click()
    assert counted(dialog) == [0, 0, 1]
    confirm(dialog, "Undo", "job", "jobs")
    assert page.violations() == []
    dialog.get_by_role("button", name="Undo", exact=True).click()
    expect(dialog.get_by_text(f"Load {load_id} undone.")).to_be_visible(timeout=SLOW)
    expect(page.frame.get_by_text("undone by")).to_be_attached()
    assert product.sql("SELECT id, job FROM public.jobs WHERE id IN (9701, 9702)") == [(9702, "Later")]


def test_the_dialog_is_used_by_keyboard_alone(admin_page: Page, stack: Stack, rest: Rest) -> None:
    del rest
    page = PluginPage.alone(admin_page, stack, "backups")
    opener = page.frame.get_by_role("button", name="Restore from").first
    opener.focus()
    admin_page.keyboard.press("Enter")
    dialog = page.frame.get_by_role("dialog")
    expect(dialog.get_by_label("Table")).to_be_focused()
    for _ in range(4):
        admin_page.keyboard.press("Tab")
        assert dialog.evaluate("dialog => dialog.contains(document.activeElement)"), "the focus left the dialog"
    admin_page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()


def test_an_id_that_is_no_load_s_is_refused_in_words(admin_page: Page, stack: Stack, rest: Rest) -> None:
    del rest
    page = PluginPage.alone(admin_page, stack, "backups")
    page.frame.get_by_label("Id of the load").fill("12")
    page.button("Undo a load").click()
    dialog = page.frame.get_by_role("dialog")
    dialog.get_by_role("button", name="Show the difference").click()
    expect(dialog.get_by_role("alert")).to_contain_text("there is no load 12", timeout=SLOW)


def test_a_viewer_is_told_that_he_may_not(page: Page, stack: Stack, rest: Rest) -> None:

    sign_in(page, stack.env["AIRFLOW_URL"], "viewer", rest.passwords["viewer"])
    expect(page.get_by_role("link", name="Dags", exact=True).first).to_be_visible()
    own = PluginPage.alone(page, stack, "backups")
    own.button("Back up now").click()
    expect(own.frame.get_by_role("alert")).to_contain_text("You may not start the Dag backup.")
    own.frame.get_by_role("button", name="Restore from").first.click()
    own.button("Show the difference").click()
    expect(own.frame.get_by_role("dialog").get_by_role("alert")).to_contain_text("You may not start the Dag restore.")
