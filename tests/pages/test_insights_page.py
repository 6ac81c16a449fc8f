"""The page of insights: its tables against SQL over the tables of hires, its charts, downloads and empty states."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.pages.conftest import Picture, Theme
from tests.pages.plugin_page import PluginPage
from tests.product import Product
from tests.rest import SAMPLES
from tests.stack import Stack

HIRES = """(SELECT d.id, d.department, j.job, h.datetime, extract(quarter FROM h.datetime) AS quarter
  FROM public.hired_employees h LEFT JOIN public.departments d ON d.id = h.department_id
  LEFT JOIN public.jobs j ON j.id = h.job_id WHERE extract(year FROM h.datetime) = %s) AS hires"""
QUARTERS = ", ".join(f"count(*) FILTER (WHERE quarter = {one})" for one in (1, 2, 3, 4))
TABLES = {
    "hires_by_department_job": f"""SELECT department, job, count(*) FROM {HIRES} GROUP BY 1, 2 HAVING count(*) > 5
        ORDER BY 3 DESC, department COLLATE "C", job COLLATE "C" """,
    "top_jobs": f"""SELECT job, {QUARTERS}, count(*) FROM {HIRES} GROUP BY 1
        ORDER BY count(*) DESC, job COLLATE "C" LIMIT 9""",
    "departments_by_quarter": f"""SELECT department, {QUARTERS}, count(*) FROM {HIRES} GROUP BY 1
        ORDER BY department COLLATE "C" """,
    "departments_above_mean": f"""SELECT department, id, hired FROM (
        SELECT department, id, count(*) AS hired, avg(count(*)) OVER () AS mean FROM {HIRES} GROUP BY 1, 2) AS counted
        WHERE hired > mean ORDER BY hired DESC, id""",
}
TITLES = {
    "hires_by_department_job": "Hires by department and job",
    "top_jobs": "The nine most hired jobs, by quarter",
    "departments_by_quarter": "Hires by department in each quarter",
    "departments_above_mean": "Departments that hired more than the mean",
}
KEPT = ("public.hires_department_job", "public.departments_hired_above_mean", "ops.insight_refreshes")


@pytest.fixture(scope="module")
def samples(stack: Stack, product: Product) -> Product:
    """The samples are the whole tables, and the insights have them."""
    del stack
    product.known("historic_load")
    for name in ("departments", "jobs", "hired_employees"):
        product.put("pages/", f"{name}.csv", (SAMPLES / f"{name}.csv").read_bytes())
    assert product.run("pages/", mode="replace")[0] == "success"
    fresh(product)
    return product


def fresh(product: Product) -> None:
    """Wait until the insights have what was loaded."""
    behind = """SELECT 1 FROM ops.tables WHERE changed_seq > (SELECT (complete_up_to::json ->> table_name)::bigint
        FROM ops.insight_refreshes ORDER BY refreshed_at DESC LIMIT 1)"""
    end = time.monotonic() + 60
    while product.sql(behind):
        assert time.monotonic() < end, "the insights were not refreshed"
        time.sleep(0.3)


def shown(value: Any) -> str:
    return "(unknown)" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def expected(product: Product, name: str, year: int) -> list[list[str]]:
    found = [[shown(value) for value in row] for row in product.sql(TABLES[name], year)]
    if name == "departments_above_mean":
        return [["" if at == 1 and value == "(unknown)" else value for at, value in enumerate(row)] for row in found]
    return found


def test_every_table_is_what_sql_says_of_the_year_that_is_chosen(
    themed_page: Page, stack: Stack, samples: Product, theme: Theme, picture: Picture
) -> None:
    page = PluginPage.opened(themed_page, stack, "insights")
    for year in (2022, 2021):
        page.frame.get_by_label("Year").select_option(str(year))
        expect(page.frame.get_by_role("region", name=f"{TITLES['top_jobs']}, {year}")).to_be_visible()
        for name, title in TITLES.items():
            wanted = expected(samples, name, year)
            assert page.rows(f"{title}, {year}") == wanted
            assert wanted, "an empty table proves nothing"
    for name in TITLES:
        place = page.frame.locator(f"#{name} .chart")
        place.scroll_into_view_if_needed()
        page.assert_drawn(place)
    assert page.violations() == []
    page.frame.evaluate("scrollTo(0, 0)")
    picture(f"page_insights_{theme}", themed_page)


def test_means_are_those_of_departments_that_hired(admin_page: Page, stack: Stack, samples: Product) -> None:
    page = PluginPage.alone(admin_page, stack, "insights", "?year=2021")
    ((mean,),) = samples.sql(f"SELECT avg(n) FROM (SELECT count(*) AS n FROM {HIRES} GROUP BY id) AS counted", 2021)
    expect(page.frame.locator("#departments_above_mean")).to_contain_text(f"Mean: {mean:.1f}.")
    quarters = dict(
        samples.sql(
            "SELECT quarter, avg(n) FROM (SELECT quarter, department, count(*) AS n "
            f"FROM {HIRES} GROUP BY 1, 2) AS counted GROUP BY 1",
            2021,
        )
    )
    words = ", ".join(f"Q{quarter} {quarters[quarter]:.1f}" for quarter in (1, 2, 3, 4))
    expect(page.frame.locator("#departments_by_quarter")).to_contain_text(f"Means: {words}.")


def test_each_csv_has_the_rows_of_its_table(admin_page: Page, stack: Stack, samples: Product, tmp_path: Path) -> None:
    page = PluginPage.alone(admin_page, stack, "insights", "?year=2021")
    for name in TITLES:
        assert_csv(page, samples, name, tmp_path)


def assert_csv(page: PluginPage, samples: Product, name: str, folder: Path) -> None:
    with page.outer.expect_download() as download:
        page.frame.locator(f"#{name}").get_by_role("link", name="Download CSV").click()
    assert download.value.suggested_filename == f"{name}_2021.csv"
    download.value.save_as(folder / "chart.csv")
    with (folder / "chart.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    columns = ("department", "id", "hired") if name == "departments_above_mean" else tuple(read[0])
    wanted = [["" if value is None else str(value) for value in row] for row in samples.sql(TABLES[name], 2021)]
    assert [[line[column] for column in columns] for line in read] == wanted


def test_the_newest_loads_that_are_in_the_numbers_are_named(admin_page: Page, stack: Stack, samples: Product) -> None:
    page = PluginPage.alone(admin_page, stack, "insights")
    page.frame.get_by_text("Complete up to these loads").click()
    for table in ("departments", "jobs", "hired_employees"):
        ((load_id,),) = samples.sql(
            "SELECT load_id FROM ops.loads WHERE table_name = %s AND verdict IN ('loaded', 'duplicate') "
            "AND undone_by IS NULL AND commit_seq <= (SELECT "
            "(complete_up_to::json ->> table_name)::bigint FROM ops.insight_refreshes ORDER BY refreshed_at DESC "
            "LIMIT 1) ORDER BY commit_seq DESC LIMIT 1",
            table,
        )
        expect(page.frame.locator(f'#fresh a[href*="load={load_id}"]')).to_be_visible()


@pytest.fixture
def no_insights(samples: Product) -> Iterator[Product]:
    """Insights as they are before the first refresh."""
    for at, table in enumerate(KEPT):
        samples.do(f"CREATE TABLE ops.kept_{at} AS SELECT * FROM {table}; DELETE FROM {table}")
    yield samples
    for at, table in enumerate(KEPT):
        samples.do(f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM ops.kept_{at}; DROP TABLE ops.kept_{at}")


def test_who_has_nothing_yet_is_told_what_to_do(admin_page: Page, stack: Stack, no_insights: Product) -> None:
    page = PluginPage.alone(admin_page, stack, "insights")
    expect(page.frame.get_by_text("The insights were not computed yet.")).to_be_visible()
    expect(page.frame.get_by_text("Upload a file on the page Loads")).to_be_visible()
    expect(page.frame.get_by_label("Year")).to_be_hidden()
    no_insights.do("INSERT INTO ops.insight_refreshes SELECT * FROM ops.kept_2")
    page = PluginPage.alone(admin_page, stack, "insights")
    expect(page.frame.locator("main")).to_contain_text("Nobody is in the table of hires yet.")
    page.frame.get_by_role("link", name="historic_load").click()
    expect(admin_page).to_have_url(f"{stack.env['AIRFLOW_URL']}/dags/historic_load")


def test_a_year_without_hires_says_so(admin_page: Page, stack: Stack, samples: Product) -> None:
    del samples
    page = PluginPage.alone(admin_page, stack, "insights", "?year=1950")
    for words in ("No job had more than five hires", "Nobody was hired.", "No department hired more than the others."):
        expect(page.frame.get_by_text(words).first).to_be_visible()


def test_numbers_that_are_behind_say_so(admin_page: Page, stack: Stack, samples: Product) -> None:
    before = samples.sql("SELECT changed_seq FROM ops.tables WHERE table_name = 'jobs'")[0][0]
    samples.do("UPDATE ops.tables SET changed_seq = changed_seq + 1000 WHERE table_name = 'jobs'")
    try:
        page = PluginPage.alone(admin_page, stack, "insights")
        expect(page.frame.get_by_text("Tables have changed since.")).to_be_visible()
    finally:
        samples.do(f"UPDATE ops.tables SET changed_seq = {before} WHERE table_name = 'jobs'")


def test_the_page_follows_airflow_s_theme(admin_page: Page, stack: Stack, samples: Product) -> None:
    del samples
    page = PluginPage.opened(admin_page, stack, "insights", "?year=2021")
    background = "getComputedStyle(document.body).backgroundColor"
    canvas = page.frame.locator("#top_jobs canvas").first
    light, drawn = page.frame.evaluate(background), canvas.evaluate("canvas => canvas.toDataURL()")
    admin_page.evaluate("document.documentElement.className = 'dark'")
    expect(page.frame.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.frame.evaluate(background) != light
    assert canvas.evaluate("canvas => canvas.toDataURL()") != drawn
