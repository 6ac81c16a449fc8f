"""The README is true: it names what there is, and its blocks are commands with their output."""

from __future__ import annotations

import re
import subprocess

from tests.docs.commands import blocks
from tests.stack import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
REST_API = (REPOSITORY / "docs/rest-api.md").read_text()
BLOCKS, STRANGE = blocks(README)


def test_every_route_is_in_the_rest_api_s_page() -> None:
    routes = ("POST /upload", "GET /insights", "GET /loads", "GET /loads/<id>", "rejected.csv", "GET /health")
    recovery = ("POST /backup", "POST /restore", "GET /backups", "POST /undo", "POST /drill")
    pages = ("GET /insights/charts", "GET /loads/<id>/rejected", "GET /loads/days")
    for route in (*routes, *recovery, *pages):
        assert route in REST_API


def test_every_block_is_commands_or_the_output_directly_after_them() -> None:
    assert STRANGE == [], "lines of README.md"
    assert README.count("```") == 2 * (len(BLOCKS) + len([block for block in BLOCKS if block.output is not None]))


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
