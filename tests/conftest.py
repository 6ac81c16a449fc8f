"""Real servers for the tests: one whole stack and one without Airflow for the session, and fresh ones to mistreat."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.product import Product
from tests.skips import OPTION, Skips
from tests.stack import Stack

# How long an example takes is a matter of the machine, not of what is tested.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

LOTS = {"e2e": "requests", "docs": "requests", "pages": "pages and faults", "faults": "pages and faults"}
"""Folders of tests that run on Airflow's stack, most of the time waiting for it; all else needs none."""


class ByLot(LoadScopeScheduling):
    """Three lots, each for a process of its own, the first two with a stack each."""

    def _split_scope(self, nodeid: str) -> str:
        return LOTS.get(nodeid.split("/")[1], "elsewhere")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """How three test processes share the tests."""
    return ByLot(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`.ci/run` counts the tests that are skipped and expects none."""
    parser.addoption(OPTION, action="store_true", help="fail the run when a test is skipped")


def pytest_configure(config: pytest.Config) -> None:
    """Say at the end what was not tested."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Skips(refused=config.getoption(OPTION)), "skips")


@contextmanager
def _started(*, airflow: bool, **variables: str) -> Iterator[Stack]:
    """A started stack without the demo's data; that nothing survives it is part of its end."""
    with tempfile.TemporaryDirectory(prefix="test-", ignore_cleanup_errors=True) as folder:
        own = Stack(Path(folder).resolve() / "stack", airflow=airflow)
        own.variables |= variables
        try:
            own.start()
            yield own
        finally:
            if own.process is not None and own.process.poll() is None:
                own.stop()
            left = own.left_after()
            own.command("down")
        assert left == [], "processes survived SIGTERM"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """PostgreSQL, S3 and Airflow's processes; files of 1 MiB are very large ones."""
    with _started(airflow=True, DATAMART_RANGE_BYTES=str(512 * 1024)) as own:
        yield own


@pytest.fixture(scope="session")
def warehouse_and_s3() -> Iterator[Stack]:
    """PostgreSQL and S3 without Airflow: ready in seconds."""
    with _started(airflow=False) as own:
        yield own


@pytest.fixture(scope="session")
def product(stack: Stack) -> Product:
    """The started stack as its users reach it."""
    return Product(stack)


@pytest.fixture
def servers() -> Iterator[Stack]:
    """PostgreSQL and S3 only, not yet started: for tests that end a stack in unkind ways."""
    with tempfile.TemporaryDirectory(prefix="test-", ignore_cleanup_errors=True) as folder:
        own = Stack(Path(folder).resolve() / "stack", airflow=False)
        yield own
        own.command("down")
        if own.process is not None and own.process.poll() is None:
            own.process.kill()
            own.process.wait()
