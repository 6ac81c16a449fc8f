"""Silence is told by ``make health``; by the process that watches too: ``faults/test_new_start.py``."""

from __future__ import annotations

from tests.product import Product
from tests.stack import Stack

# Whether there is a backup is not a matter of these tests.
VARIABLES = {"DATAMART_BACKUP_HOURS": ""}


def health(stack: Stack, **variables: str) -> tuple[int, str]:
    """Exit code and output of what `make health` runs."""
    done = stack.command("health", **VARIABLES, **variables)
    return done.returncode, done.stdout + done.stderr


def test_a_paused_dag_is_told_until_it_is_switched_on(stack: Stack, product: Product) -> None:
    assert health(stack) == (0, "All is well.\n")
    product.api.patch("/dags/refresh_insights", {"is_paused": True})
    code, output = health(stack)
    product.api.patch("/dags/refresh_insights", {"is_paused": False})
    assert code == 1
    header, line = output.splitlines()
    assert header.split() == ["SINCE", "WHAT"]
    assert line.split()[:3] == ["warning", "-", "dag_paused"]
    assert "The Dag refresh_insights is paused" in line
    assert header.index("WHAT") == line.index("dag_paused")
    assert health(stack) == (0, "All is well.\n")


def test_settings_that_cannot_work_are_said(stack: Stack) -> None:
    code, output = health(stack, DATAMART_LATE_MINUTES="soon")
    assert code == 2
    assert output.startswith("Settings that cannot work: DATAMART_LATE_MINUTES")
    assert output.count("\n") == 1


def test_a_stack_that_is_not_up_is_said(servers: Stack) -> None:
    code, output = health(servers)
    assert code == 1
    assert output.startswith("No stack runs in ")
