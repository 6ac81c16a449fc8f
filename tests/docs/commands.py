"""The commands of all documents: which are run by tests, and which cannot be, with the reason."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import dedent

from tests.product import Product
from tests.stack import REPOSITORY, Stack

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
FIRST = ("README.md", "docs/operations.md", "docs/rest-api.md")
"""In this order a new user reads; the other documents follow."""


@dataclass(frozen=True)
class Elsewhere:
    """Commands that no test runs as they stand."""

    document: str
    lines: re.Pattern[str]
    reason: str


ELSEWHERE = (
    Elsewhere(
        "README.md",
        re.compile(r"git clone .*|make run"),
        "installs all packages once more; the stack of the tests is started by the command that `make run` executes",
    ),
    Elsewhere("README.md", re.compile(r"make test"), "runs these tests"),
    Elsewhere(
        "docs/operations.md",
        re.compile(r"make down|DATAMART_ALERT_\w+=\S+ make run"),
        "ends the stack that other tests use; tests/monitoring starts watches with these variables",
    ),
    Elsewhere(
        "docs/monitoring.md",
        re.compile(r"export AIRFLOW__\w+=.*|make run"),
        "starts a stack; test_monitoring.py gives the variables to Airflow's settings",
    ),
    Elsewhere(
        "docs/production.md",
        re.compile(r".*"),
        "needs a container engine; tests/deploy runs the services of the same file as processes",
    ),
    Elsewhere("docs/aws.md", re.compile(r".*"), "needs an account of AWS; tests/deploy runs it against a simulation"),
)


@dataclass(frozen=True)
class Block:
    """Commands, and the output that the document shows for them."""

    document: str
    line: int
    commands: str
    output: str | None

    @property
    def elsewhere(self) -> Elsewhere | None:
        """The reason for which no test runs it; it counts for whole blocks only."""
        lines = self.commands.strip().splitlines()
        for one in ELSEWHERE:
            if one.document == self.document and all(one.lines.fullmatch(line) for line in lines):
                return one
        return None

    def __str__(self) -> str:
        return f"{Path(self.document).stem}_line_{self.line}"


def documents() -> list[str]:
    """All documents, in the order of reading."""
    rooms = ("*.md", "docs/**/*.md", "deploy/**/*.md", "tests/**/*.md", "bench/**/*.md")
    found = {str(path.relative_to(REPOSITORY)) for room in rooms for path in REPOSITORY.glob(room)}
    return [*FIRST, *sorted(found - set(FIRST))]


def text_of(document: str) -> str:
    return (REPOSITORY / document).read_text(encoding="utf-8")


def blocks(text: str, document: str = "README.md") -> tuple[list[Block], list[int]]:
    """Commands, each with the output that directly follows, and the lines of fenced blocks that are neither."""
    found: list[Block] = []
    strange: list[int] = []
    end = 0
    for fence in FENCE.finditer(text):
        line = text.count("\n", 0, fence.start()) + 1
        body = dedent(fence["body"])
        follows = bool(found) and (not text[end : fence.start()].strip() or found[-1].elsewhere is not None)
        if fence["language"] == "sh":
            found.append(Block(document, line, body, None))
        elif fence["language"] == "text" and follows and found[-1].output is None:
            found[-1] = replace(found[-1], output=body)
        else:
            strange.append(line)
        end = fence.end()
    return found, strange


def all_blocks() -> Iterator[Block]:
    for document in documents():
        yield from blocks(text_of(document), document)[0]


class Reader:
    """Someone at a shell in a fresh checkout, who pastes one block after another without a pause."""

    def __init__(self, folder: Path, stack: Stack, product: Product) -> None:
        self._folder = folder
        self._state = folder / ".shell"
        self._env = os.environ | stack.variables
        self._product = product
        # What the commands write must not land in the repository.
        for entry in REPOSITORY.iterdir():
            (folder / entry.name).symlink_to(entry)

    def types(self, commands: str) -> str:
        """Run a block, go on with its variables and functions in the next one, and return what it printed."""
        script = f"set -aeuo pipefail; [ ! -e {self._state} ] || . {self._state}\n{commands}\n"
        done = subprocess.run(
            ["bash", "-c", f"{script}\n{{ export -p; declare -f; }} > {self._state}"],
            cwd=self._folder,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.stderr == "", done.stderr
        return done.stdout

    def waits_for_the_start(self) -> None:
        """As `make run` does before it gives the address: nothing is left to do, refreshes of insights included."""
        deadline, quiet = time.monotonic() + 180, 0
        while quiet < 3:
            quiet = 0 if self._product.busy() else quiet + 1
            assert time.monotonic() < deadline, "Airflow has not ended its runs"
            time.sleep(0.4)


def normal(text: str) -> list[str]:
    """Lines without what differs each time: long numbers (ids), ports, and the widths of psql's columns."""
    text = re.sub(r"\d{12,}", "<id>", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:<port>", text)
    return [re.sub(r" +", " ", re.sub(r"-{2,}", "--", line)).strip() for line in text.strip().splitlines()]
