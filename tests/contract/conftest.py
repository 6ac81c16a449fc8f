"""One suite for every dialect: each test gets an empty warehouse of its dialect, and real S3 beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.contract.served import LIVE, Served, live_redshift, postgres, redshift, unique_prefix
from tests.integration.vault import Vault
from tests.integration.world import World


def pytest_configure(config: pytest.Config) -> None:
    """The mark for tests that are about some of the warehouses only."""
    config.addinivalue_line("markers", "served(*names): only with these of the warehouses postgres, redshift and live")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out what is about another warehouse: nothing is left untested by that."""
    chosen = [item for item in items if _is_meant(item)]
    config.hook.pytest_deselected(items=[item for item in items if not _is_meant(item)])
    items[:] = chosen


def _is_meant(item: pytest.Item) -> bool:
    """All marks of a test name its warehouse."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return True
    name = item.callspec.params.get("served")
    return name is None or all(name in mark.args for mark in item.iter_markers("served"))


@pytest.fixture(scope="session", params=["postgres", "redshift", pytest.param("live", marks=pytest.mark.live_redshift)])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """The warehouse of a dialect, migrated once."""
    if request.param == "live":
        missing = [name for name in LIVE if not os.environ.get(name)]
        if missing:
            pytest.fail(f"Set {', '.join(missing)} to run against a real Redshift.")
        with live_redshift() as found:
            yield found
        return
    opens = {"postgres": postgres, "redshift": redshift}[request.param]
    with opens(request.getfixturevalue("warehouse_and_s3")) as found:
        yield found


@pytest.fixture
def world(served: Served) -> Iterator[World]:
    """An empty warehouse and a corner of the bucket."""
    served.empty()
    with closing(served.connect()) as warehouse:
        yield World(served, served.data, unique_prefix(), warehouse)


@pytest.fixture
def vault(world: World, served: Served) -> Vault:
    """The same with an empty bucket of backups."""
    found = Vault(world, served.backups)
    found.clear()
    return found
