"""Tests that walk processes pass over those that end meanwhile."""

from __future__ import annotations

import ast
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from embedded.settings import REPOSITORY
from tests import alive, free_ports

ASKED = {
    "net_connections",
    "cmdline",
    "environ",
    "cwd",
    "create_time",
    "name",
    "status",
    "ppid",
    "terminal",
    "cpu_times",
}
"""Questions that psutil answers by an error when the process has ended."""


@pytest.fixture
def ended() -> psutil.Process:
    """A process that was found and has ended before it is asked."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = psutil.Process(child.pid)
    child.communicate(b"\n")
    return found


def test_a_process_that_has_ended_is_passed_over(ended: psutil.Process) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = list(alive.ask([ended, psutil.Process()], alive.listening))
        ((process, places),) = found
    assert process == psutil.Process()
    assert server.family is socket.AF_INET
    assert places


def test_a_process_that_has_ended_would_be_a_failure(ended: psutil.Process) -> None:
    with pytest.raises(psutil.NoSuchProcess):
        alive.listening(ended)


def unguarded(source: str) -> list[int]:
    """Lines that ask processes in a loop, with nothing around the question that expects them to end."""
    found: list[int] = []

    def visit(node: ast.AST, looping: bool, guarded: bool) -> None:
        if isinstance(node, ast.Try):
            for part in node.body:
                visit(part, looping, True)
            for part in (*node.handlers, *node.orelse, *node.finalbody):
                visit(part, looping, guarded)
            return
        if isinstance(node, ast.With) and any("suppress" in ast.unparse(item.context_expr) for item in node.items):
            guarded = True
        loops = (ast.For, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
        if isinstance(node, loops) and any(word in ast.unparse(node) for word in ("process_iter", ".children(")):
            looping = True
        asks = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ASKED
        if asks and looping and not guarded:
            found.append(node.lineno)
        for child in ast.iter_child_nodes(node):
            visit(child, looping, guarded)

    visit(ast.parse(source), False, False)
    return found


PLACES = [
    path for room in ("tests", "embedded", "bench", "include", "plugins") for path in (REPOSITORY / room).rglob("*.py")
]


@pytest.mark.parametrize("path", [path for path in PLACES if "psutil" in path.read_text()], ids=lambda path: path.stem)
def test_processes_are_asked_as_if_they_may_have_ended(path: Path) -> None:
    assert unguarded(path.read_text(encoding="utf-8")) == []


def test_a_question_without_a_guard_is_found() -> None:
    """The defect that this is about: a list of what all processes of the stack listen on."""
    source = "found = [link for one in top.children(recursive=True) for link in one.net_connections('inet')]"
    assert unguarded(source) == [1]
    loop = "for one in psutil.process_iter():\n    {}\n"
    assert unguarded(loop.format("one.cmdline()")) == [2]
    assert unguarded(loop.format("with suppress(psutil.Error):\n        one.cmdline()")) == []


def test_two_runs_of_the_tests_are_given_different_ports() -> None:
    """Both would find the same port free, and the second of their servers would not start."""
    (port,) = free_ports.free_ports(1)
    code = f"from tests import free_ports; print(free_ports._reserve({port}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["False"]
