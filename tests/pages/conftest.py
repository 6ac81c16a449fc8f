"""A real browser for the tests of pages, and where their pictures go."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Browser, Locator, Page, StorageState, ViewportSize, expect, sync_playwright

from tests import needs
from tests.stack import REPOSITORY, Stack

PICTURES = REPOSITORY / "docs" / "pictures"
MOST_BYTES = 250_000
BLANK_BYTES = 12_000  # a page of one colour in this window packs into less
WINDOW = ViewportSize(width=1400, height=900)
PATIENCE = 30_000  # milliseconds; a busy machine is slow, not wrong
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

Theme = Literal["light", "dark"]
Picture = Callable[[str, Page | Locator], Path]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module: its event loop must not outlive it, or asyncio.run fails in later modules."""
    executable = needs.program("chromium")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, headless=True, args=FLAGS)
        yield opened
        opened.close()


@dataclass
class Tab:
    """A tab for one test after another: what pages are made of is loaded and compiled once, what tests leave goes."""

    page: Page
    state: StorageState | None = None
    broken: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, browser: Browser, state: StorageState | None = None) -> Tab:
        """In a window of its own, with the cookies of ``state`` and no others: light, English, UTC."""
        context = browser.new_context(
            viewport=WINDOW, color_scheme="light", locale="en-US", timezone_id="UTC", storage_state=state
        )
        context.set_default_timeout(PATIENCE)
        tab = cls(context.new_page(), state)
        broken = tab.broken
        tab.page.on("pageerror", lambda error: broken.append(str(error)))
        tab.page.on("dialog", lambda dialog: broken.append(f"a dialog: {dialog.message}"))
        tab.page.on(
            "console", lambda said: broken.append(said.text) if "Content Security Policy" in said.text else None
        )
        return tab

    def used(self, theme: Theme = "light") -> Iterator[Page]:
        """The page for one test, which may leave it as it likes."""
        self.page.set_viewport_size(WINDOW)
        self.page.emulate_media(color_scheme=theme)
        yield self.page
        broken = [*self.broken]
        self.clear()
        assert broken == [], "scripts of the page failed, or were forbidden"

    def clear(self) -> None:
        """As it was before its first test."""
        self.page.unroute_all()
        if self.page.url.startswith("http"):
            leave(self.page)
            self.page.evaluate("localStorage.clear(), sessionStorage.clear()")
        self.page.context.clear_cookies()
        if self.state is not None:
            self.page.context.add_cookies(self.state["cookies"])  # type: ignore[typeddict-item,arg-type]
        self.broken.clear()


def leave(page: Page) -> None:
    """Go where nothing moves: Airflow's pages ask and draw for as long as they are open. The site stays the same."""
    page.goto(urljoin(page.url, "/data-api/page-files/style.css"))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty tab of a stranger: light, English, UTC."""
    tab = Tab.of(browser)
    yield from tab.used()
    tab.page.context.close()


def sign_in(page: Page, url: str, user: str, password: str) -> None:
    """Open a page of Airflow that asks for a login, and answer as a person does."""
    page.goto(url)
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


@pytest.fixture(scope="session")
def logins() -> dict[str, StorageState]:
    """What the browsers of all modules know of those who have signed in."""
    return {}


@pytest.fixture(scope="module")
def signed_in_state(browser: Browser, stack: Stack, logins: dict[str, StorageState]) -> StorageState:
    """Cookies of the admin, from one login by form."""
    env = stack.env
    if env["AIRFLOW_USER"] not in logins:
        context = browser.new_context(locale="en-US")
        page = context.new_page()
        sign_in(page, env["AIRFLOW_URL"], env["AIRFLOW_USER"], env["AIRFLOW_PASSWORD"])
        expect(page.get_by_role("link", name="Dags", exact=True).first).to_be_visible()
        logins[env["AIRFLOW_USER"]] = context.storage_state()
        context.close()
    return logins[env["AIRFLOW_USER"]]


@pytest.fixture(scope="module")
def admin_tab(browser: Browser, signed_in_state: StorageState) -> Iterator[Tab]:
    """The tab of the admin in this module."""
    tab = Tab.of(browser, signed_in_state)
    yield tab
    tab.page.context.close()


@pytest.fixture
def admin_page(admin_tab: Tab) -> Iterator[Page]:
    """A tab in which the admin of the session's stack is signed in."""
    yield from admin_tab.used()


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> Theme:
    """Airflow follows the system's theme, and our pages follow Airflow's."""
    found: Theme = request.param
    return found


@pytest.fixture
def themed_page(admin_tab: Tab, theme: Theme) -> Iterator[Page]:
    """The admin's tab in each of the themes."""
    yield from admin_tab.used(theme)


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    """Takes a picture of a page or a part of it; those that a document shows are replaced only by UPDATE_PICTURES=1."""
    documents = "".join(file.read_text() for file in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")))
    update = os.environ.get("UPDATE_PICTURES") == "1"

    def take(name: str, shown: Page | Locator) -> Path:
        file = (PICTURES if update and f"/{name}.png" in documents else tmp_path) / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        shown.screenshot(path=file, animations="disabled")
        assert BLANK_BYTES < file.stat().st_size < MOST_BYTES, f"{file} has {file.stat().st_size} bytes"
        return file

    return take
