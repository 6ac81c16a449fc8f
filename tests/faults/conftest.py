"""Fixtures: Airflow's connections lead through proxies as long as a module of this folder runs."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.faults.admin import Admin
from tests.faults.detour import Wires, detour
from tests.faults.files import send
from tests.faults.mart import Mart
from tests.faults.processes import Tasks
from tests.faults.runs import Airflow, Api
from tests.product import Product
from tests.stack import Stack


@pytest.fixture(scope="session")
def airflow(product: Product, stack: Stack) -> Airflow:
    env = stack.env
    return Airflow(Api(env["AIRFLOW_URL"], env["AIRFLOW_USER"], env["AIRFLOW_PASSWORD"]), product)


@pytest.fixture(scope="module")
def mart(stack: Stack) -> Mart:
    """The stack's warehouse with some rows: what happens to an empty one is in ``test_fill``."""
    found = Mart.of(stack)
    if not found.sql("SELECT 1 FROM public.hired_employees LIMIT 1"):
        (first,) = send(found, f"faults/{uuid4().hex}/", "first").values()
        found.load(first.arrival)
    return found


@pytest.fixture(scope="session")
def admin(stack: Stack) -> Admin:
    return Admin.of(stack)


@pytest.fixture(scope="module")
def tasks(stack: Stack) -> Tasks:
    assert stack.process is not None
    return Tasks(stack.process.pid)


@pytest.fixture(scope="module")
def wires(stack: Stack, airflow: Airflow) -> Iterator[Wires]:
    with detour(stack, airflow) as found:
        yield found


@pytest.fixture(scope="module")
def prefix() -> str:
    """A folder that no other module looks into."""
    return f"faults/{uuid4().hex}/"
