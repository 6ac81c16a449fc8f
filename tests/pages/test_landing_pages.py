"""What a person sees of files that landed: the run names them, and says why one was refused."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.pages.conftest import Picture
from tests.product import Product
from tests.stack import REPOSITORY, Stack

DAG = "ingest_landing"
GOOD = [f"jobs_landed_{number}.csv" for number in range(1, 4)]
BAD = "jobs_no_rows.csv"


@pytest.fixture(scope="module")
def runs(product: Product) -> dict[str, str]:
    """The runs that took a few good files and a bad one; ids by the file that they began with."""
    for number, name in enumerate(GOOD):
        product.put("landing/", name, b"%d,Page %d\nx,y\n" % (9000 + number, number))
    first = taken(product, GOOD)
    product.put("landing/", BAD, (REPOSITORY / "data/bad/jobs_header_only.csv").read_bytes())
    return {GOOD[0]: first, BAD: taken(product, [BAD])}


def taken(product: Product, names: list[str]) -> str:
    """The run that loaded the first of these files, when all are done."""
    keys = [f"landing/{name}" for name in names]
    deadline = time.monotonic() + 120
    while True:
        found = dict(product.sql("SELECT source_key, run_id FROM ops.loads WHERE source_key = ANY(%s)", keys))
        if len(found) == len(keys) and not product.busy():
            return str(found[keys[0]])
        assert time.monotonic() < deadline, f"{names} were not taken"
        time.sleep(0.5)


def test_a_run_names_what_landed(admin_page: Page, stack: Stack, runs: dict[str, str], picture: Picture) -> None:
    admin_page.set_viewport_size({"width": 1580, "height": 600})
    admin_page.goto(f"{stack.env['AIRFLOW_URL']}/dags/{DAG}/runs/{quote(runs[GOOD[0]])}")
    row = admin_page.get_by_role("row").filter(has_text=GOOD[0])
    expect(row).to_contain_text("Success")
    for task in ("wait_for_files", "gate"):
        expect(admin_page.get_by_role("row").filter(has_text=task)).to_contain_text("Success")
    picture("ingest_landing_run", admin_page)


def test_a_refused_file_is_named_with_its_reason(admin_page: Page, stack: Stack, runs: dict[str, str]) -> None:
    run = f"{stack.env['AIRFLOW_URL']}/dags/{DAG}/runs/{quote(runs[BAD])}"
    admin_page.goto(run)
    expect(admin_page.get_by_role("row").filter(has_text="gate")).to_contain_text("Success")
    admin_page.goto(f"{run}/tasks/gate")
    expect(admin_page.get_by_text("1 file was not loaded").first).to_be_visible()
    expect(admin_page.get_by_text(f"landing/{BAD}: rejected.").first).to_be_visible()


def test_the_documentation_says_where_files_go(admin_page: Page, stack: Stack) -> None:
    admin_page.goto(f"{stack.env['AIRFLOW_URL']}/dags/{DAG}")
    admin_page.get_by_role("button", name="Dag Docs").click()
    shown = admin_page.get_by_role("dialog")
    expect(shown.get_by_role("heading", name="Ingest what lands in S3")).to_be_visible()
    expect(shown).to_contain_text("quarantine/")
