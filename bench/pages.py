"""``pages``: how long a person waits from the server's answer until a page of ours may be used, in real Chromium.

The ledger holds 10,000 loads with rejected rows, the insights 1,000 pairs of department and job. Each page is opened
by its address in Airflow, by a browser that keeps nothing; the time is that of the frame: from the end of the
document's answer to the moment when the lists are there, and until the charts are drawn. In turn, Airflow's own list
of Dags: from the end of its document's answer until the first Dag can be seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.sync_api import Browser, BrowserContext, Page, StorageState, sync_playwright

from bench.measure import Contender, Goal, Result, Run, interleave, require_equal
from bench.options import Bench
from bench.rest import Client, prepared
from bench.servers import Servers
from tests import needs
from tests.pages.conftest import FLAGS, WINDOW, sign_in

LOADS, PAIRS, REJECTED, YEAR = 10_000, 1_000, 100, 1990
ROUNDS, QUICK_ROUNDS = 7, 2
GOAL = 1.0
LIMIT = 60_000
DAGS = "Airflow's list of Dags"
PAGES = {
    "insights": f"insights?year={YEAR}",
    "loads": "loads",
    "loads, filtered": "loads?table=jobs&verdict=rejected&from=2001-01-01",
    "a load with 100 rejected rows": "loads?load=1",
    "backups": "backups",
}
_FILL = (
    """INSERT INTO ops.loads (load_id, arrival_id, table_name, source_bucket, source_key, source_version, mode, verdict,
        warnings, started_at, finished_at, rows_read, rows_inserted, rows_rejected, dag_id, run_id)
        SELECT n, n, (ARRAY['departments', 'jobs', 'hired_employees'])[n %% 3 + 1], 'datamart-data',
        'landing/jobs_' || n || '.csv', '-', 'upsert', CASE WHEN n %% 7 = 0 THEN 'rejected' ELSE 'loaded' END, '{}',
        now() - n * interval '53 minutes', now() - n * interval '53 minutes', 1000, 900, 100,
        'ingest_landing', 'run ' || n
        FROM generate_series(1, %(loads)s) AS n""",
    """INSERT INTO ops.rejected_rows (load_id, line, reasons, raw)
        SELECT 1, n, 'job:missing', convert_to(n || ',', 'UTF8') FROM generate_series(1, %(rejected)s) AS n""",
    "UPDATE ops.loads SET table_name = 'jobs', rows_rejected = %(rejected)s WHERE load_id = 1",
    """INSERT INTO public.hires_department_job (year, department, job, q1, q2, q3, q4)
        SELECT %(year)s, 'Department ' || n %% 40, 'Job ' || n, n %% 9 + 2, n %% 7 + 2, n %% 5 + 2, n %% 3
        FROM generate_series(1, %(pairs)s) AS n""",
    """INSERT INTO public.departments_hired_above_mean (year, id, department, hired, mean_hired)
        SELECT %(year)s, n, 'Department ' || n, 500 - n, 400 FROM generate_series(1, 40) AS n""",
)


@dataclass(frozen=True)
class Reader:
    """Somebody who is signed in, whose browser keeps no files."""

    browser: Browser
    url: str
    state: StorageState

    @contextmanager
    def tab(self) -> Iterator[Page]:
        """An empty tab of a new browser profile."""
        context: BrowserContext = self.browser.new_context(viewport=WINDOW, storage_state=self.state)
        context.set_default_timeout(LIMIT)
        yield context.new_page()
        context.close()

    def page(self, address: str) -> Run:
        """One of ours."""
        name = address.partition("?")[0]
        with self.tab() as tab:
            tab.goto(f"{self.url}/plugin/hiring-{name}/data-api/pages/{address}")
            tab.frame_locator("iframe").locator("main[aria-busy=false]").wait_for()
            (frame,) = [one for one in tab.frames if one != tab.main_frame]
            usable = float(frame.evaluate(_since("usable")))
            drawn = float(frame.evaluate(_since("drawn"))) if name != "backups" and "load=" not in address else usable
            rows = int(frame.evaluate("document.querySelectorAll('tbody tr').length"))
            require_equal(f"an error on {address}", frame.locator("[role=alert]").count(), 0)
            return Run(usable, rows, numbers={"charts drawn, s": drawn, "rows": rows})

    def dags(self) -> Run:
        """Airflow's own."""
        with self.tab() as tab:
            tab.goto(f"{self.url}/dags")
            tab.get_by_role("link", name="historic_load").first.wait_for()
            return Run(float(tab.evaluate(f"(performance.now() - {_ANSWERED}) / 1000")), 1)


_ANSWERED = "performance.getEntriesByType('navigation')[0].responseEnd"


def _since(mark: str) -> str:
    """Seconds from the answer to a mark, which is waited for."""
    return (
        "new Promise(tell => { const look = () => { const [mark] = performance.getEntriesByName("
        + json.dumps(mark)
        + ");"
        " mark ? tell((mark.startTime - " + _ANSWERED + ") / 1000) : setTimeout(look, 5); }; look(); })"
    )


def run(bench: Bench) -> Result:
    """Measure."""
    servers = bench.with_airflow
    client = prepared(servers)
    _fill(servers)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=needs.find("chromium"), headless=True, args=FLAGS)
        reader = Reader(browser, str(client.http.base_url).rstrip("/"), _signed_in(browser, client, servers))
        contenders = [
            Contender(name, _quiet(client, reader, address), f"/data-api/pages/{address}")
            for name, address in PAGES.items()
        ]
        contenders.append(Contender(DAGS, reader.dags, "/dags"))
        runs = interleave(contenders, bench.runs or (QUICK_ROUNDS if bench.quick else ROUNDS))
        browser.close()
    question = f"A page with {LOADS:,} loads and {PAIRS:,} pairs, from its document's answer until it may be used."
    result = Result("pages", question, LOADS, DAGS, runs, contenders)
    result.goals = [_goal(result, name) for name in PAGES]
    return result


def _goal(result: Result, name: str) -> Goal:
    seconds = result.median(name, lambda one: one.seconds)
    drawn = result.median(name, lambda one: one.numbers["charts drawn, s"])
    ratio = sorted(result.ratios(name))[len(result.runs[name]) // 2]
    return Goal(name, f"{GOAL:g} s", f"{seconds:.2f} s, charts {drawn:.2f} s, {ratio:.2f} x {DAGS}", seconds <= GOAL)


def _quiet(client: Client, reader: Reader, address: str) -> Callable[[], Run]:
    def measured() -> Run:
        client.airflow.wait_until_quiet()
        return reader.page(address)

    return measured


def _signed_in(browser: Browser, client: Client, servers: Servers) -> StorageState:
    env = servers.stack.env
    context = browser.new_context()
    page = context.new_page()
    sign_in(page, str(client.http.base_url), env["AIRFLOW_USER"], env["AIRFLOW_PASSWORD"])
    page.get_by_role("link", name="Dags", exact=True).first.wait_for()
    state = context.storage_state()
    context.close()
    return state


def _fill(servers: Servers) -> None:
    values = {"loads": LOADS, "pairs": PAIRS, "rejected": REJECTED, "year": YEAR}
    for statement in _FILL:
        servers.sql(statement, values)
