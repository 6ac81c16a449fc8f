"""Airflow's own pages of this project's Dags: what a person needs to see and to fill in is there."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.pages.conftest import Picture, leave, sign_in
from tests.product import Product
from tests.stack import REPOSITORY, Stack

SAMPLES = sorted((REPOSITORY / "data").glob("*.csv"))
LOAD = "historic_load"


@pytest.fixture(scope="module")
def loaded(product: Product) -> str:
    """The run that has loaded the samples."""
    for file in SAMPLES:
        product.put("pages/", file.name, file.read_bytes())
    state, verdicts, run_id = product.run("pages/")
    assert (state, len(verdicts)) == ("success", len(SAMPLES))
    return run_id


@pytest.fixture
def url(stack: Stack) -> str:
    return stack.env["AIRFLOW_URL"]


def details(product: Product) -> dict[str, Any]:
    return dict(product.api.get(f"/dags/{LOAD}/details"))


def open_form(page: Page, url: str) -> Any:
    page.goto(f"{url}/dags/{LOAD}")
    page.get_by_role("button", name="Trigger Dag").click()
    form = page.get_by_role("dialog")
    expect(form.locator("#element_prefix")).to_be_visible()
    return form


def test_a_stranger_is_asked_who_they_are_and_a_wrong_password_is_refused(page: Page, url: str, stack: Stack) -> None:
    sign_in(page, f"{url}/dags/{LOAD}", "admin", "not-" + stack.env["AIRFLOW_PASSWORD"])
    expect(page.get_by_text("Invalid credentials")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/auth/login"))


def test_the_admin_signs_in_and_comes_to_the_page_they_wanted(page: Page, url: str, stack: Stack) -> None:
    sign_in(page, f"{url}/dags/{LOAD}", stack.env["AIRFLOW_USER"], stack.env["AIRFLOW_PASSWORD"])
    expect(page.get_by_role("button", name="Trigger Dag")).to_be_visible()
    expect(page).to_have_url(re.compile(rf"/dags/{LOAD}"))


def test_the_list_of_dags_shows_those_of_this_project_and_their_tags(admin_page: Page, url: str) -> None:
    admin_page.goto(f"{url}/dags")
    for file in sorted((REPOSITORY / "dags").glob("*.py")):
        named = admin_page.get_by_role("link", name=file.stem, exact=True)
        expect(admin_page.get_by_test_id("dag-id").and_(named)).to_be_visible()  # a tag may have the same name


def test_a_run_names_its_files(admin_page: Page, url: str, loaded: str, picture: Picture) -> None:
    admin_page.set_viewport_size({"width": 1580, "height": 840})
    admin_page.goto(f"{url}/dags/{LOAD}/runs/{loaded}")
    for file in SAMPLES:
        row = admin_page.get_by_role("row").filter(has=admin_page.get_by_role("link", name=file.name, exact=True))
        expect(row).to_contain_text("Success")
    expect(admin_page.get_by_role("row").filter(has_text="Success")).to_have_count(8 + len(SAMPLES))
    admin_page.get_by_role("columnheader").filter(has_text="Start Date").get_by_role("button").click()
    expect(admin_page.get_by_role("row").nth(1)).to_contain_text("plan")
    picture("historic_load_run", admin_page)


def test_the_graph_shows_the_order_of_the_waves(admin_page: Page, url: str, loaded: str, picture: Picture) -> None:
    admin_page.set_viewport_size({"width": 1400, "height": 560})
    admin_page.goto(f"{url}/dags/{LOAD}/runs/{loaded}")
    admin_page.get_by_role("button", name="Show Graph").click()
    admin_page.get_by_role("button", name="Collapse Details Panel").click()
    # Only nodes within the view are there, and which are depends on whether it was fitted before the panel went.
    admin_page.get_by_role("button", name="Fit View").click()
    nodes = admin_page.locator(".react-flow__node")
    tasks = ["plan", "batches_1", "ranges_1", "load_1 [2]", "batches_2", "ranges_2", "load_2 [1]", "gate"]
    expect(nodes).to_have_count(len(tasks))
    left = []
    for task in tasks:
        node = nodes.filter(has_text=re.compile(rf"^{re.escape(task)}"))
        expect(node).to_contain_text("success")
        left.append((node.bounding_box() or {"x": 0.0})["x"])
    assert left == sorted(left)
    admin_page.get_by_role("button", name="Fit View").click()
    picture("historic_load_graph", admin_page)


def test_the_form_explains_each_param(admin_page: Page, url: str, product: Product, picture: Picture) -> None:
    admin_page.set_viewport_size({"width": 1400, "height": 1040})
    form = open_form(admin_page, url)
    params = details(product)["params"]
    assert list(params) == ["prefix", "tables", "mode", "dry_run"]
    for name, param in params.items():
        assert param["description"]
        expect(form.get_by_role("group").filter(has_text=param["description"])).to_contain_text(name)
    picture("historic_load_form", form)
    form.locator("#element_mode").click()
    shown = params["mode"]["schema"]["values_display"]
    expect(admin_page.get_by_role("option")).to_have_text([shown["upsert"], shown["replace"]])


def test_the_form_starts_what_was_filled_in(admin_page: Page, url: str, product: Product, loaded: str) -> None:
    known = product.sql("SELECT count(*) FROM ops.loads")
    form = open_form(admin_page, url)
    form.locator("#element_prefix").fill("pages/")
    for table in ("jobs", "hired_employees"):
        form.get_by_label(f"Remove {table}").click()
    form.locator("label", has=admin_page.locator("[name=element_dry_run]")).click()
    form.get_by_role("button", name="Trigger").click()
    run = newest_run(product, other_than=loaded)
    leave(admin_page)
    assert run["conf"] == {"prefix": "pages/", "tables": ["departments"], "mode": "upsert", "dry_run": True}
    assert finished(product, run["dag_run_id"]) == "success"
    assert product.sql("SELECT count(*) FROM ops.loads") == known


def test_the_documentation_is_one_click_away(admin_page: Page, url: str) -> None:
    admin_page.goto(f"{url}/dags/{LOAD}")
    admin_page.get_by_role("button", name="Dag Docs").click()
    shown = admin_page.get_by_role("dialog")
    expect(shown.get_by_role("heading", name="Load the history")).to_be_visible()
    expect(shown).to_contain_text("ops.rejected_rows")


def test_a_failed_run_says_which_file_and_why(admin_page: Page, url: str, product: Product) -> None:
    product.put("pages_bad/", "jobs_bad.csv", (REPOSITORY / "data/bad/jobs_header_only.csv").read_bytes())
    state, _, run_id = product.run("pages_bad/")
    assert state == "failed"
    admin_page.goto(f"{url}/dags/{LOAD}/runs/{run_id}/tasks/gate")
    expect(admin_page.get_by_text("1 file was not loaded").first).to_be_visible()
    expect(admin_page.get_by_text("pages_bad/jobs_bad.csv: rejected.").first).to_be_visible()


def newest_run(product: Product, other_than: str) -> dict[str, Any]:
    """The run that started last, once it is not the one given."""
    deadline = time.monotonic() + 60
    while True:
        runs = product.api.get(f"/dags/{LOAD}/dagRuns", order_by="-run_after", limit=1)["dag_runs"]
        if runs and runs[0]["dag_run_id"] != other_than:
            return dict(runs[0])
        assert time.monotonic() < deadline, "the form started no run"
        time.sleep(0.5)


def finished(product: Product, run_id: str) -> str:
    """The state in which a run has ended."""
    deadline = time.monotonic() + 120
    while True:
        state = str(product.api.get(f"/dags/{LOAD}/dagRuns/{run_id}")["state"])
        if state in ("success", "failed"):
            return state
        assert time.monotonic() < deadline, f"{run_id} is still {state}"
        time.sleep(0.5)
