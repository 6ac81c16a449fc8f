"""What was not tested is said at the end of a run; with `--no-skips` it fails the run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

OPTION = "--no-skips"


class Skips:
    """Counts the tests that were skipped, by reason."""

    def __init__(self, *, refused: bool) -> None:
        self.refused = refused
        self.reasons: Counter[str] = Counter()

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._count(report.longrepr)

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._count(report.longrepr)

    def _count(self, why: Any) -> None:
        text = why[2] if isinstance(why, tuple) else str(why)
        self.reasons[text.removeprefix("Skipped: ")] += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if (
            self.refused
            and self.reasons
            and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.reasons:
            return
        title = f"NOT TESTED: {self.reasons.total()} tests were skipped"
        if self.refused:
            title += f", which {OPTION} does not allow"
        terminalreporter.section(title, yellow=True)
        for why, count in self.reasons.most_common():
            terminalreporter.write_line(f"{count:5d}  {why}")
