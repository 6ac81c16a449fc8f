"""The page that describes the REST API, as a person sees it who is signed in to Airflow, and tries a route."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.pages.conftest import Picture
from tests.product import Product
from tests.stack import Stack


def test_the_page_shows_every_route_and_asks_nobody_else(
    admin_page: Page, stack: Stack, product: Product, picture: Picture
) -> None:
    product.known("ingest_upload")
    asked: list[str] = []
    admin_page.on("request", lambda request: asked.append(request.url))
    admin_page.set_viewport_size({"width": 1400, "height": 1000})
    admin_page.goto(f"{stack.env['AIRFLOW_URL']}/data-api/docs")
    for path in ("/upload", "/insights", "/loads", "/loads/{load_id}/rejected.csv", "/health"):
        expect(admin_page.locator(f'[data-path="{path}"]').first).to_be_visible()
    elsewhere = [url for url in asked if not url.startswith((stack.env["AIRFLOW_URL"], "data:"))]
    assert elsewhere == []
    picture("rest_api_docs", admin_page)


def test_a_file_can_be_sent_from_the_page(admin_page: Page, stack: Stack, product: Product, tmp_path: Path) -> None:
    file = tmp_path / "jobs_page.csv"
    file.write_text("9801,From the page\n")
    admin_page.goto(f"{stack.env['AIRFLOW_URL']}/data-api/docs")
    route = admin_page.locator(".opblock-post").filter(has=admin_page.locator('[data-path="/upload"]'))
    route.locator(".opblock-summary-control").click()
    route.get_by_role("button", name="Try it out").click()
    route.locator('input[type="file"]').set_input_files(file)
    route.get_by_role("button", name="Execute").click()
    answer = route.locator(".live-responses-table .response").first
    expect(answer).to_contain_text("200")
    expect(answer).to_contain_text("All the records have been uploaded")
    assert product.sql("SELECT job FROM jobs WHERE id = 9801") == [("From the page",)]


def test_a_stranger_is_told_who_may_come(page: Page, stack: Stack) -> None:
    answer = page.goto(f"{stack.env['AIRFLOW_URL']}/data-api/docs")
    assert answer is not None
    assert answer.status == 401
    expect(page.locator("body")).to_contain_text("log in to Airflow in this browser")
