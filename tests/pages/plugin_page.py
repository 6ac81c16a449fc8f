"""One of our pages within Airflow's: opened, read and judged as a person does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Frame, Locator, Page, expect

from tests.stack import Stack

EMPTY_COLORS = 5
_COLORS = (
    "canvas => new Set(new Uint32Array(canvas.getContext('2d')"
    ".getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"
)
SERIOUS = ("serious", "critical")


@dataclass(frozen=True)
class PluginPage:
    """The frame of a page that is ready, and Airflow's page around it."""

    outer: Page
    frame: Frame

    @classmethod
    def opened(cls, page: Page, stack: Stack, name: str, query: str = "") -> PluginPage:
        """Open a page by its address in Airflow."""
        page.goto(f"{stack.env['AIRFLOW_URL']}/plugin/hiring-{name}/data-api/pages/{name}{query}")
        return cls.around(page)

    @classmethod
    def around(cls, page: Page) -> PluginPage:
        """The page that is shown, once it may be used."""
        expect(page.frame_locator("iframe").locator("main")).to_have_attribute("aria-busy", "false")
        handle = page.locator("iframe").element_handle()
        assert handle is not None
        frame = handle.content_frame()
        assert frame is not None
        return cls(page, frame)

    @classmethod
    def alone(cls, page: Page, stack: Stack, name: str, query: str = "") -> PluginPage:
        """Open a page without Airflow's around it, which takes longer to load than ours."""
        page.goto(f"{stack.env['AIRFLOW_URL']}/data-api/pages/{name}{query}")
        expect(page.locator("main")).to_have_attribute("aria-busy", "false")
        return cls(page, page.main_frame)

    def button(self, name: str) -> Locator:
        return self.frame.get_by_role("button", name=name)

    def rows(self, caption: str) -> list[list[str]]:
        """The texts of a table's cells, row by row."""
        table = self.frame.locator("table").filter(has=self.frame.locator("caption", has_text=caption)).first
        expect(table).to_be_visible()
        found: list[list[str]] = table.evaluate(
            "table => [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.innerText.trim()))"
        )
        return found

    def assert_drawn(self, chart: Locator) -> None:
        """A chart has come, in more colours than an empty one."""
        canvas = chart.locator("canvas").first
        expect(canvas).to_be_visible()
        end = time.monotonic() + 20
        while int(canvas.evaluate(_COLORS)) <= EMPTY_COLORS:
            assert time.monotonic() < end, "the chart is empty"
            time.sleep(0.1)

    def in_both_themes(self) -> Iterator[str]:
        """The page as it is now, in one theme after the other: Airflow's follows the system's, and ours Airflow's."""
        for theme in ("dark", "light"):
            self.outer.emulate_media(color_scheme="dark" if theme == "dark" else "light")
            expect(self.frame.locator("html")).to_have_attribute("data-theme", theme)
            self.frame.evaluate(
                "Promise.allSettled(document.getAnimations().map(one => one.finished)).then(() => null)"
            )
            yield theme

    def violations(self) -> list[Any]:
        """What axe-core finds that keeps people out: the rule and the elements."""
        found = Axe().run(self.frame).response["violations"]
        return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found if one.get("impact") in SERIOUS]
