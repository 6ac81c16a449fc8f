"""The page of loads: the ledger against SQL, uploads, rejected rows that are repaired, and text that stays text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Page, Route, expect

from tests.pages.conftest import Picture, Theme
from tests.pages.plugin_page import PluginPage
from tests.product import Product
from tests.rest import Rest
from tests.stack import Stack

LEDGER = "Loads, newest first"
OLD = 120
SHOWN = """SELECT split_part(source_key, '/', -1), table_name, verdict, rows_read, rows_inserted, rows_updated,
    rows_unchanged, rows_rejected FROM ops.loads"""
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def rest(stack: Stack, product: Product) -> Rest:
    product.known("ingest_upload")
    return Rest.of(stack)


@pytest.fixture(scope="module")
def loads(rest: Rest, product: Product) -> Product:
    """Loads of all three tables, some of them rejected."""
    rest.upload("jobs_seen.csv", b"9101,Seen\n9102,\n")
    rest.upload("departments_seen.csv", b"9101,Seen\n")
    rest.upload("hired_employees_seen.csv", b"9101,Ann,2021-01-01T00:00:00Z,9101,x\n")
    return product


@pytest.fixture
def old_loads(product: Product) -> Iterator[Product]:
    """So many loads that they fill more than two pages, from a year long ago; two ended at the same moment."""
    product.do(f"""INSERT INTO ops.loads (load_id, arrival_id, table_name, source_bucket, source_key, source_version,
        mode, verdict, warnings, started_at, finished_at, rows_read, rows_rejected)
        SELECT n, n, 'jobs', 'b', 'old/jobs_' || n || '.csv', '-', 'upsert', 'rejected', '{{}}', moment, moment,
        10, n % 3
        FROM generate_series(1, {OLD}) AS n,
        LATERAL (SELECT timestamptz '2001-05-01 12:00Z' + (n / 2) * interval '1 day') AS ended(moment)""")
    yield product
    product.do(f"DELETE FROM ops.loads WHERE load_id <= {OLD}")


def table_of(rows: list[list[str]]) -> list[tuple[Any, ...]]:
    """File, table, verdict and counts of the ledger's rows, as they are shown."""
    return [(row[1], row[3], row[4].split()[0], *(int(one.replace(",", "")) for one in row[5:10])) for row in rows]


def test_the_ledger_is_what_sql_says(
    themed_page: Page, stack: Stack, loads: Product, theme: Theme, picture: Picture
) -> None:
    page = PluginPage.opened(themed_page, stack, "loads")
    wanted = loads.sql(f"{SHOWN} ORDER BY finished_at DESC, load_id DESC LIMIT 50")
    assert table_of(page.rows(LEDGER)) == wanted
    page.assert_drawn(page.frame.locator(".chart"))
    assert page.violations() == []
    picture(f"page_loads_{theme}", themed_page)


def test_filters_ask_the_server_and_stay_in_the_address(admin_page: Page, stack: Stack, loads: Product) -> None:
    page = PluginPage.opened(admin_page, stack, "loads")
    page.frame.get_by_role("combobox", name="Table").select_option("jobs")
    page.frame.get_by_role("combobox", name="Verdict").select_option("loaded")
    expect(page.frame.locator("#ledger")).not_to_contain_text("departments_seen.csv")
    PluginPage.around(admin_page)
    wanted = loads.sql(
        f"{SHOWN} WHERE table_name = 'jobs' AND verdict = 'loaded' ORDER BY finished_at DESC, load_id DESC LIMIT 50"
    )
    assert table_of(page.rows(LEDGER)) == wanted
    assert "?table=jobs&verdict=loaded" in page.frame.url
    assert admin_page.url.endswith("/plugin/hiring-loads/data-api/pages/loads?table=jobs&verdict=loaded")
    admin_page.reload()
    page = PluginPage.around(admin_page)
    assert table_of(page.rows(LEDGER)) == wanted
    page.frame.get_by_label("To day").fill("1999-12-31")
    expect(page.frame.get_by_text("No load is like this. Choose other filters.")).to_be_visible()
    page.button("Show all").click()
    expect(page.frame.locator("#ledger")).to_contain_text("departments_seen.csv")


def test_old_loads_come_page_by_page_each_once(admin_page: Page, stack: Stack, old_loads: Product) -> None:
    page = PluginPage.alone(admin_page, stack, "loads", "?from=2001-05-01&to=2001-12-31")
    files = [row[1] for row in page.rows(LEDGER)]
    while (older := page.button("Older loads")).is_visible():
        last = files[-1]
        older.click()
        expect(page.frame.get_by_role("link", name=last, exact=True)).to_have_count(0)
        expect(page.frame.locator("main")).to_have_attribute("aria-busy", "false")
        files += [row[1] for row in page.rows(LEDGER)]
    assert files == [
        file for (file,) in old_loads.sql(
            "SELECT split_part(source_key, '/', -1) FROM ops.loads WHERE load_id <= %s "
            "ORDER BY finished_at DESC, load_id DESC", OLD,
        )
    ]  # fmt: skip
    assert len(files) == OLD


def test_one_click_leads_to_the_run_and_back_to_nothing_lost(admin_page: Page, stack: Stack, loads: Product) -> None:
    del loads
    page = PluginPage.opened(admin_page, stack, "loads")
    row = page.frame.get_by_role("row").filter(has_text="departments_seen.csv").first
    row.get_by_role("link", name="ingest_upload").click()
    expect(admin_page).to_have_url(re.compile(r"/dags/ingest_upload/runs/upload__[0-9a-f]{32}"))
    admin_page.go_back()
    expect(PluginPage.around(admin_page).frame.locator("#ledger")).to_contain_text("departments_seen.csv")


def test_a_file_is_checked_first_loaded_then_and_its_row_repaired(
    admin_page: Page, stack: Stack, loads: Product, picture: Picture
) -> None:
    key = 9310
    loads.do(f"DELETE FROM public.hired_employees WHERE id BETWEEN {key} AND {key + 9}")
    good = "".join(f"{key + at},Kim Lee {uuid4().hex[:6]},2021-05-0{at + 1}T08:00:00Z,9101,9101\n" for at in range(3))
    body = f"{good}{key + 3},,2021-05-09T08:00:00Z,9101,9101\n{key + 4},Ty Hofer,yesterday,9101,\n"
    before = loads.sql("SELECT count(*) FROM ops.loads")
    page = PluginPage.opened(admin_page, stack, "loads")
    file = {"name": "hired_employees_checked.csv", "mimeType": "text/csv", "buffer": body.encode()}
    page.frame.locator("#file").set_input_files(file)  # type: ignore[arg-type]
    expect(page.frame.get_by_text("nothing was written")).to_be_visible()
    assert page.rows("Rejected rows of") == [
        ["4", str(key + 3), "Missing or blank.", "2021-05-09T08:00:00Z", "9101", "9101"],
        [
            "5", str(key + 4), "Ty Hofer",
            "yesterday\nMust be an existing time, YYYY-MM-DDTHH:MM:SSZ, as in 2021-07-27T16:02:08Z.",
            "9101", "Missing or blank.",
        ],
    ]  # fmt: skip
    assert loads.sql("SELECT count(*) FROM ops.loads") == before
    assert loads.sql("SELECT count(*) FROM public.hired_employees WHERE id BETWEEN %s AND %s", key, key + 9) == [(0,)]
    for theme in page.in_both_themes():
        assert page.violations() == []
        picture(f"page_upload_{theme}", admin_page)
    page.button("Load 3 good rows").click()
    page.frame.get_by_role("link", name="See the load").click()
    assert loads.sql("SELECT count(*) FROM public.hired_employees WHERE id BETWEEN %s AND %s", key, key + 9) == [(3,)]
    repair(PluginPage.around(admin_page), loads, key, picture)


def repair(page: PluginPage, product: Product, key: int, picture: Picture) -> None:
    """Correct one of two rows in its cells, look at the verdict, load it."""
    expect(page.frame.get_by_label("name of line 4")).to_have_attribute("aria-invalid", "true")
    expect(page.frame.get_by_label("datetime of line 5")).to_have_value("yesterday")
    expect(page.frame.get_by_label("job_id of line 4")).not_to_have_attribute("aria-invalid", "true")
    for theme in page.in_both_themes():
        assert page.violations() == []
        picture(f"page_rejected_{theme}", page.outer)
    expect(page.button("Check the repaired rows")).to_be_disabled()
    page.frame.get_by_label("name of line 4").fill('Ann "Nan", O\'Neil; <b>é</b>')
    page.button("Check the repaired rows").click()
    page.button("Load 1 good row").click()
    expect(page.frame.get_by_text("All the records have been uploaded")).to_be_visible()
    repairs, verdict = "SELECT load_id FROM ops.loads WHERE repairs = %s", page.frame.get_by_text("Repaired by")
    expect(verdict).to_be_visible()
    load_id = int(re.findall(r"load=(\d+)", page.frame.url)[0])
    assert len(product.sql(repairs, load_id)) == 1
    assert product.sql("SELECT name FROM public.hired_employees WHERE id = %s", key + 3) == [
        ('Ann "Nan", O\'Neil; <b>é</b>',)
    ]
    assert product.sql("SELECT 1 FROM public.hired_employees WHERE id = %s", key + 4) == []


def drop(page: PluginPage, *files: tuple[str, str]) -> None:
    """What a person does who drags files from a folder."""
    transfer = page.frame.evaluate_handle(
        "files => { const made = new DataTransfer();"
        " files.forEach(([name, text]) => made.items.add(new File([text], name))); return made; }",
        [list(file) for file in files],
    )
    page.frame.locator(".drop").dispatch_event("dragover", {"dataTransfer": transfer})
    page.frame.locator(".drop").dispatch_event("drop", {"dataTransfer": transfer})


def test_a_dropped_file_that_is_refused_says_why(admin_page: Page, stack: Stack, loads: Product) -> None:
    before = loads.sql("SELECT count(*) FROM ops.loads")
    page = PluginPage.alone(admin_page, stack, "loads")
    drop(page, ("salaries.csv", "1,2\n"))
    expect(page.frame.get_by_role("alert")).to_contain_text("salaries.csv")
    drop(page, ("jobs.csv", "1,a\n"), ("jobs_2.csv", "2,b\n"))
    expect(page.frame.get_by_role("alert")).to_contain_text("2 files were dropped. Upload one at a time.")
    drop(page, ("jobs_many.csv", "".join(f"{n},x\n" for n in range(1001))))
    expect(page.frame.get_by_role("alert")).to_contain_text("landing/")
    drop(page, ("jobs_dropped.csv", "9401,Dropped\n"))
    expect(page.button("Load 1 good row")).to_be_visible()
    expect(page.frame.get_by_role("status").filter(has_text="nothing was written")).to_be_focused()
    page.button("Cancel").click()
    expect(page.button("Load 1 good row")).to_be_hidden()
    assert loads.sql("SELECT count(*) FROM ops.loads") == before


def held(page: PluginPage, address: str) -> list[Route]:
    """The next question to this address waits on its way, until it is told to go on."""
    found: list[Route] = []
    page.outer.route(address, lambda route: found.append(route), times=1)
    return found


def let_go(page: PluginPage, routes: list[Route]) -> None:
    """The question goes on, and its answer comes."""
    with page.outer.expect_response(routes[0].request.url):
        routes[0].continue_()
    page.outer.wait_for_timeout(300)


def wait_for(page: PluginPage, routes: list[Route]) -> None:
    for _ in range(100):
        if routes:
            return
        page.outer.wait_for_timeout(50)
    raise AssertionError("the question was not asked")


def test_the_newest_choice_of_filters_wins(admin_page: Page, stack: Stack, loads: Product) -> None:
    del loads
    page = PluginPage.alone(admin_page, stack, "loads")
    slow = held(page, "**/data-api/loads?*table=jobs*")
    page.frame.get_by_role("combobox", name="Table").select_option("jobs")
    wait_for(page, slow)
    page.frame.get_by_role("combobox", name="Table").select_option("departments")
    expect(page.frame.locator("#ledger")).not_to_contain_text("jobs_seen.csv")
    expect(page.frame.locator("main")).to_have_attribute("aria-busy", "false")
    let_go(page, slow)
    assert {row[3] for row in page.rows(LEDGER)} == {"departments"}


def test_the_verdict_is_that_of_the_newest_file(admin_page: Page, stack: Stack, loads: Product) -> None:
    del loads
    page = PluginPage.alone(admin_page, stack, "loads")
    slow = held(page, "**/data-api/upload?*")
    drop(page, ("jobs_first.csv", "9411,First\n9412,Second\n"))
    wait_for(page, slow)
    drop(page, ("jobs_mended.csv", "9411,First\n"))
    expect(page.button("Load 1 good row")).to_be_visible()
    let_go(page, slow)
    expect(page.button("Load 1 good row")).to_be_visible()
    expect(page.button("Load 2 good rows")).to_have_count(0)


def test_a_script_in_every_cell_stays_text(admin_page: Page, stack: Stack, rest: Rest, product: Product) -> None:
    """In the file's name, in accepted and in rejected rows, in headers, in rows that fit no columns."""
    name = f"departments_{SCRIPT.replace('/', '')}<img src=x onerror=alert(2)>.csv"
    page = PluginPage.alone(admin_page, stack, "loads")
    drop(page, (name, f"id,department,{SCRIPT}\n1,a,b\n"))
    expect(page.frame.get_by_role("alert")).to_contain_text("would be rejected")
    drop(page, (name, f"9501,{SCRIPT}\n{SCRIPT},{SCRIPT}\n{SCRIPT},{SCRIPT},{SCRIPT}\n"))
    expect(page.button("Load 1 good row")).to_be_visible()
    assert as_text(page) >= 3
    page.button("Load 1 good row").click()
    page.frame.get_by_role("link", name="See the load").click()
    expect(page.frame.get_by_label("id of line 2")).to_have_value(SCRIPT)
    assert as_text(page) >= 1
    assert product.sql("SELECT department FROM public.departments WHERE id = 9501") == [(SCRIPT,)]
    page = PluginPage.alone(admin_page, stack, "loads")
    expect(page.frame.locator("#ledger")).to_contain_text(name)
    hires = "".join(f"{9501 + at},{SCRIPT},1990-01-0{at + 1}T00:00:00Z,9501,9501\n" for at in range(6))
    assert rest.upload("jobs_script.csv", f"9501,{SCRIPT}\n".encode()).json()["nrows_failed"] == 0
    assert rest.upload("hired_employees_script.csv", hires.encode()).json()["nrows_failed"] == 0
    in_the_insights(admin_page, stack, product)
    product.do("DELETE FROM public.hired_employees WHERE id BETWEEN 9501 AND 9506")


def in_the_insights(tab: Page, stack: Stack, product: Product) -> None:
    """Once they are refreshed."""
    for _ in range(120):
        if product.sql("SELECT 1 FROM public.hires_department_job WHERE year = 1990"):
            break
        tab.wait_for_timeout(500)
    page = PluginPage.alone(tab, stack, "insights", "?year=1990")
    assert page.rows("Hires by department and job, 1990") == [[SCRIPT, SCRIPT, "6"]]
    for name in ("hires_by_department_job", "top_jobs", "departments_by_quarter"):
        chart = page.frame.locator(f"#{name} .chart")
        page.assert_drawn(chart)
        chart.hover()
    assert as_text(page) >= 4


def as_text(page: PluginPage) -> int:
    """How often the script is shown as text; the document has no element that came with it."""
    assert page.frame.locator("main script, main img, main b").count() == 0
    return page.frame.get_by_text(SCRIPT).count()


def test_who_is_not_signed_in_any_more_is_told(admin_page: Page, stack: Stack) -> None:
    page = PluginPage.alone(admin_page, stack, "loads")
    cookies = admin_page.context.cookies()
    admin_page.context.clear_cookies()
    page.frame.get_by_role("combobox", name="Table").select_option("jobs")
    expect(page.frame.get_by_role("alert")).to_contain_text("You are not signed in any more.")
    admin_page.context.add_cookies(cookies)  # type: ignore[arg-type]


def test_a_load_that_is_not_there_says_so(admin_page: Page, stack: Stack) -> None:
    page = PluginPage.alone(admin_page, stack, "loads", "?load=3")
    expect(page.frame.get_by_role("alert")).to_contain_text("There is no load 3.")
