"""The README is true: its commands run, print what it shows, and name what there is."""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import pytest

from embedded.console import table
from embedded.demo import INSIGHTS, MOST, YEAR
from tests.product import Product
from tests.stack import REPOSITORY, Stack

README = (REPOSITORY / "README.md").read_text()
OPERATIONS = (REPOSITORY / "docs/operations.md").read_text()
SAMPLES = sorted((REPOSITORY / "data").glob("*.csv"))
NOT_HERE = re.compile(r"(git clone .*|make (run|test|down)|DATAMART_\w+=\S+ make run)\Z")
FENCE = re.compile(r"^```(?P<language>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """Commands, and the output that the README shows for them."""

    line: int
    commands: str
    output: str | None

    @property
    def elsewhere(self) -> bool:
        """Whether these commands make the stack that the tests have already."""
        return any(NOT_HERE.match(line) for line in self.commands.splitlines())


def blocks(text: str) -> tuple[list[Block], list[int]]:
    """Commands, each with the output that directly follows, and the lines of fenced blocks that are neither."""
    found: list[Block] = []
    strange: list[int] = []
    end = 0
    for fence in FENCE.finditer(text):
        line = text.count("\n", 0, fence.start()) + 1
        follows = bool(found) and (not text[end : fence.start()].strip() or found[-1].elsewhere)
        if fence["language"] == "sh":
            found.append(Block(line, fence["body"], None))
        elif fence["language"] == "text" and follows and found[-1].output is None:
            found[-1] = replace(found[-1], output=fence["body"])
        else:
            strange.append(line)
        end = fence.end()
    return found, strange


BLOCKS, STRANGE = blocks(README)
RUN = [block for block in BLOCKS if not block.elsewhere]
REST_API = (REPOSITORY / "docs/rest-api.md").read_text()
BY_REST = [block for block in blocks(REST_API)[0] if not block.elsewhere]
HOW_TO = [block for block in blocks(OPERATIONS)[0] if not block.elsewhere]


class Reader:
    """Someone at a shell in a fresh checkout, who waits until Airflow has done what a command started."""

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
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.stderr == ""
        self.waits()
        return done.stdout

    def waits(self) -> None:
        """Until nothing is left to do, the runs included that asset events are about to start."""
        deadline, quiet = time.monotonic() + 180, 0
        while quiet < 3:
            quiet = 0 if self._product.busy() else quiet + 1
            assert time.monotonic() < deadline, "Airflow has not ended its runs"
            time.sleep(0.4)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, stack: Stack, product: Product) -> Reader:
    """A reader whose stack holds the samples and nothing else, as after the first `make run`."""
    someone = Reader(tmp_path_factory.mktemp("checkout"), stack, product)
    for file in SAMPLES:
        product.put("readme/", file.name, file.read_bytes())
    state, verdicts, _ = product.run("readme/", mode="replace")
    assert (state, len(verdicts)) == ("success", len(SAMPLES))
    someone.waits()
    return someone


def normal(text: str) -> list[str]:
    """Lines without what differs each time: long numbers (ids), ports, and the widths of psql's columns."""
    text = re.sub(r"\d{12,}", "<id>", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:<port>", text)
    return [re.sub(r" +", " ", re.sub(r"-{2,}", "--", line)).strip() for line in text.strip().splitlines()]


def test_insights_that_make_run_prints_are_those_of_the_samples(reader: Reader, product: Product) -> None:
    del reader  # has brought the tables to the state after `make run`
    (shown,) = [block.output for block in BLOCKS if "make run\n" in block.commands]
    assert shown is not None
    for title, insight in INSIGHTS.items():
        records = product.api.insights(table=insight, year=YEAR, limit=MOST)
        whole = table(tuple(records[0]), [tuple(record.values()) for record in records]).splitlines()
        start = shown.index(f"{title}\n") + len(title) + 1
        lines = shown[start:].split("\n\n")[0].splitlines()
        rows = list(takewhile(lambda line: line.strip() != "...", lines))
        assert len(rows) >= 5
        assert normal("\n".join(rows)) == normal("\n".join(whole[: len(rows)]))
        assert (len(rows) < len(whole)) == (len(rows) < len(lines)), "cut without saying so"


@pytest.mark.parametrize("block", RUN, ids=lambda block: f"line_{block.line}")
def test_commands_run_and_print_what_is_shown(reader: Reader, block: Block) -> None:
    printed = reader.types(block.commands)
    if block.output is not None:
        assert normal(printed) == normal(block.output)


@pytest.mark.parametrize("block", HOW_TO, ids=lambda block: f"operations_line_{block.line}")
def test_commands_of_operations_run(reader: Reader, block: Block) -> None:
    reader.types(block.commands)


@pytest.mark.parametrize("block", BY_REST, ids=lambda block: f"rest_api_line_{block.line}")
def test_commands_of_the_rest_api_run_and_print_what_is_shown(reader: Reader, block: Block) -> None:
    printed = reader.types(block.commands)
    if block.output is not None:
        assert normal(printed) == normal(block.output)


def test_every_route_is_in_the_rest_api_s_page() -> None:
    routes = ("POST /upload", "GET /insights", "GET /loads", "GET /loads/<id>", "rejected.csv", "GET /health")
    recovery = ("POST /backup", "POST /restore", "GET /backups", "POST /undo", "POST /drill")
    pages = ("GET /insights/charts", "GET /loads/<id>/rejected", "GET /loads/days")
    for route in (*routes, *recovery, *pages):
        assert route in REST_API


def test_operations_has_commands_to_run() -> None:
    assert len(HOW_TO) >= 5


def test_every_block_is_commands_or_the_output_directly_after_them() -> None:
    assert STRANGE == [], "lines of README.md"
    assert README.count("```") == 2 * (len(BLOCKS) + len([block for block in BLOCKS if block.output is not None]))


def test_there_are_commands_to_run() -> None:
    assert len(RUN) >= 5
    assert [block for block in RUN if block.output]


def test_commands_that_are_not_run_here_stand_alone() -> None:
    for block in BLOCKS:
        if block.elsewhere:
            assert [line for line in block.commands.splitlines() if not NOT_HERE.match(line)] == []


def makefile_targets() -> set[str]:
    """Targets that a person may call: those of .PHONY."""
    (line,) = re.findall(r"^\.PHONY: (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    return set(line.split())


def make_help() -> str:
    return subprocess.run(
        ["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True
    ).stdout


def test_make_help_lists_every_target_with_help_and_the_readme_names_it() -> None:
    helped = set(re.findall(r"^  (\w+) +\S", make_help(), re.MULTILINE))
    assert helped == set(re.findall(r"^(\w+):.*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert helped
    assert {target for target in helped if not re.search(rf"\bmake (-s )?{target}\b", README)} == set()


def test_every_make_command_in_the_readme_is_a_target() -> None:
    named = set(re.findall(r"(?:`|^|\()make (?:-s )?([a-z]+)", README, re.MULTILINE))
    assert {"run", "test"} <= named
    assert named - makefile_targets() == set()


def test_every_variable_of_the_stack_is_named() -> None:
    read = set(re.findall(r'"([A-Z][A-Z0-9]*_[A-Z_]+)"', (REPOSITORY / "embedded/settings.py").read_text()))
    (line,) = re.findall(r"^Variables .*$", make_help(), re.MULTILINE)
    helped = set(re.findall(r"\b([A-Z][A-Z0-9_]+)=", line))
    assert {"STACK_DIR", "AIRFLOW_PORT"} <= read & helped
    assert {name for name in read | helped if f"`{name}" not in README} == set()
    assert helped <= read


def test_links_and_pictures_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert any(target.endswith(".png") for target in targets)
    local = [target.split("#")[0] for target in targets if not target.startswith("https://")]
    assert [target for target in local if not (REPOSITORY / target).exists()] == []


def test_no_picture_is_left_without_a_reader() -> None:
    documents = README + "".join(file.read_text() for file in (REPOSITORY / "docs").rglob("*.md"))
    assert [file.name for file in (REPOSITORY / "docs/pictures").glob("*.png") if file.name not in documents] == []
