"""The commands of the documents run one block after another without a pause, and print what is shown."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from functools import cache
from itertools import takewhile

import pytest
import yaml

from embedded import environment, postgres
from embedded.console import table
from embedded.demo import HISTORIC, INSIGHTS, MOST, YEAR
from tests.docs import commands
from tests.docs.commands import ELSEWHERE, Block, Reader, all_blocks, blocks, documents, normal, text_of
from tests.product import Product
from tests.stack import REPOSITORY, Stack

SAMPLES = sorted((REPOSITORY / "data").glob("*.csv"))
BLOCKS = list(all_blocks())
RUN = [block for block in BLOCKS if not block.elsewhere]
NOT_RUN = [block for block in BLOCKS if block.elsewhere]
COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text(encoding="utf-8"))["services"]
PLACE = re.compile(r"(?<![\w/.-])((?:\.venv|deploy|tests|data|docs|dags|include|plugins|sql|bench)/[\w./-]*)")
TEST = re.compile(r"\b((?:\w+/)*test_\w+\.py)\b")
MODULE = re.compile(r"\bpython3? -m ([\w.]+)")
CALL = re.compile(r"\bdatamart(?:_airflow)?(?:\.\w+)+\(")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, stack: Stack, product: Product) -> Reader:
    """A reader whose stack holds the samples and nothing else, as after the first `make run`."""
    someone = Reader(tmp_path_factory.mktemp("checkout"), stack, product)
    for file in SAMPLES:
        product.put(HISTORIC, file.name, file.read_bytes())
    state, verdicts, _ = product.run(HISTORIC, mode="replace")
    assert (state, len(verdicts)) == ("success", len(SAMPLES))
    someone.waits_for_the_start()
    return someone


def test_insights_that_make_run_prints_are_those_of_the_samples(reader: Reader, product: Product) -> None:
    del reader  # has brought the tables to the state after `make run`
    (shown,) = [block.output for block in NOT_RUN if block.output is not None]
    for title, insight in INSIGHTS.items():
        records = product.api.insights(table=insight, year=YEAR, limit=MOST)
        whole = table(tuple(records[0]), [tuple(record.values()) for record in records]).splitlines()
        start = shown.index(f"{title}\n") + len(title) + 1
        lines = shown[start:].split("\n\n")[0].splitlines()
        rows = list(takewhile(lambda line: line.strip() != "...", lines))
        assert len(rows) >= 5
        assert normal("\n".join(rows)) == normal("\n".join(whole[: len(rows)]))
        assert (len(rows) < len(whole)) == (len(rows) < len(lines)), "cut without saying so"


@pytest.mark.parametrize("block", RUN, ids=str)
def test_commands_run_and_print_what_is_shown(reader: Reader, block: Block) -> None:
    printed = reader.types(block.commands)
    if block.output is not None:
        assert normal(printed) == normal(block.output)
    else:
        assert '"error":' not in printed


def test_each_document_for_users_has_commands_to_run() -> None:
    for document in commands.FIRST:
        assert len([block for block in RUN if block.document == document]) >= 5
    assert len([block for block in RUN if block.output]) >= 15


def test_each_reason_to_run_no_test_is_needed() -> None:
    assert {one for block in NOT_RUN for one in block.elsewhere} == set(ELSEWHERE)


@pytest.mark.parametrize("document", documents())
def test_no_reason_covers_a_command_that_it_does_not_name(document: str) -> None:
    """A document whose commands are all excused would hide those that run anywhere."""
    for command in ("python3 deploy/compose/make_secrets.py", "make sql", "docker compose down", "aws s3 ls", "true"):
        assert not Block(document, 1, command, None).elsewhere, command


def test_the_connections_that_a_document_names_can_be_read() -> None:
    (block,) = [block for block in NOT_RUN if "export AIRFLOW_CONN_WAREHOUSE=" in block.commands]
    names = re.findall(r"export (\w+)=", block.commands)
    assert names == list(environment.OWN_WAREHOUSE)
    for name in names:
        script = f'{block.commands}\nprintf %s "${name}"'
        text = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=True).stdout
        connection = json.loads(text)
        assert set(connection) == {"conn_type", "host", "port", "schema", "login", "password", "extra"}
        assert connection["conn_type"] == "redshift"


def test_blocks_that_are_not_run_stand_alone() -> None:
    """A command that can be run is not hidden among those that cannot."""
    for block in RUN:
        for one in ELSEWHERE:
            hidden = any(one.lines.fullmatch(line) for line in block.lines)
            assert one.document != block.document or not hidden, str(block)


def problems(block: Block) -> list[str]:
    """What can be said against commands without running them: syntax, and names of what is not there."""
    text = re.sub(r"<[a-z][^<>\n]*>", "placeholder", block.commands)
    read = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, timeout=30, check=False)
    found = [f"syntax: {read.stderr}"] if read.returncode else []
    found += [f"no file {name}" for name in PLACE.findall(text) if not (REPOSITORY / name).exists()]
    found += [f"no target {name}" for name in re.findall(r"\bmake ([a-z]\w*)", text) if name not in targets()]
    found += [f"no module {name}" for name in MODULE.findall(text) if not is_module(name)]
    found += [f"no mark {name}" for name in re.findall(r"pytest -m (\w+)", text) if f'"{name}: ' not in PYPROJECT]
    found += [one for match in re.findall(r"docker compose (\w+)([^\n;|&]*)", text) for one in compose_problems(*match)]
    found += [one for match in re.findall(r"\b(pg_\w+) ([^\n']*)", text) for one in server_problems(*match)]
    return found + stack_problems(text)


PYPROJECT = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
TEMPLATE = (REPOSITORY / "deploy" / "aws" / "template.yaml").read_text(encoding="utf-8")
COMPOSE_OPTIONS = {
    "up": {"-d", "--scale"}, "ps": set(), "stop": set(), "down": {"-v"}, "exec": {"-T"}, "build": {"--pull"},
    "run": {"--build", "--rm", "--no-deps"}, "logs": {"-f"},
}  # fmt: skip
"""Of Compose's own documentation; there is no container engine here to ask."""


def compose_problems(command: str, rest: str) -> list[str]:
    words = rest.split()
    if command in ("exec", "run"):  # what follows the service is the container's own command
        service = next((place for place, word in enumerate(words) if not word.startswith("-")), len(words))
        words = words[: service + 1]
    options = [word for word in words if word.startswith("-")]
    names = [word.split("=")[0] for word in words if not word.startswith("-")]
    found = [f"no option {one} of docker compose {command}" for one in options if one not in COMPOSE_OPTIONS[command]]
    return found + [f"no service {name}" for name in names if name not in COMPOSE]


def server_problems(program: str, rest: str) -> list[str]:
    options = re.findall(r"(?<!\S)(--[a-z][a-z-]*|-[a-zA-Z])", rest)
    return [f"no option {one} of {program}" for one in options if not re.search(rf"\s{one}\b", server_help(program))]


def stack_problems(text: str) -> list[str]:
    """Parameters and outputs of the CloudFormation template."""
    inner, outputs = TEMPLATE.split("\nOutputs:")
    parameters = inner.split("\nResources:")[0]
    given = " ".join(re.findall(r"--parameter-overrides ((?:\w+=\S+ ?)+)", text))
    found = [f"no parameter {name}" for name in re.findall(r"(\w+)=", given) if f"\n  {name}:\n" not in parameters]
    named = re.findall(r"\$\(output (\w+)\)", text)
    return found + [f"no output {name}" for name in named if f"\n  {name}:\n" not in outputs]


def targets() -> set[str]:
    """Targets that a person may call: those of .PHONY."""
    (line,) = re.findall(r"^\.PHONY: (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    return set(line.split())


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of what comes before the last dot
        return False


@cache
def server_help(program: str) -> str:
    done = subprocess.run([postgres.binaries() / program, "--help"], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("block", NOT_RUN, ids=str)
def test_commands_that_are_not_run_have_no_fault_that_can_be_seen(block: Block) -> None:
    assert problems(block) == []


@pytest.mark.parametrize(
    ("commands", "problem"),
    [
        ("if true; then", "syntax"),
        ("python3 deploy/compose/make_secret.py", "no file deploy/compose/make_secret.py"),
        ("make runs", "no target runs"),
        ("python -m datamart_airflow.migrations", "no module datamart_airflow.migrations"),
        (".venv/bin/python -m pytest -m live tests/contract", "no mark live"),
        ("docker compose up -d --scale workers=4", "no service workers"),
        ("docker compose exec -t postgres true", "no option -t of docker compose exec"),
        ("pg_dump --formatted -h 127.0.0.1", "no option --formatted of pg_dump"),
        ("aws cloudformation deploy --parameter-overrides Hosts=compose", "no parameter Hosts"),
        ('aws s3 cp data/ "s3://$(output DataBucket)/historic/"', "no output DataBucket"),
    ],
)
def test_a_fault_in_such_commands_is_seen(commands: str, problem: str) -> None:
    (found,) = problems(Block("docs/aws.md", 1, commands, None))
    assert found.startswith(problem)


def missing_tests(text: str) -> list[str]:
    """Tests that a text names and that are not there."""
    tests = [str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "tests").rglob("test_*.py")]
    return [name for name in TEST.findall(text) if not any(path.endswith(f"/{name}") or path == name for path in tests)]


@pytest.mark.parametrize("document", documents())
def test_tests_and_code_that_a_document_names_are_there(document: str) -> None:
    text = text_of(document)
    assert missing_tests(text) == []
    assert [name for name in MODULE.findall(text) if not is_module(name)] == []
    assert CALL.findall(text) == [], "a document tells commands, which the tests can run"
    assert set(re.findall(r"`make (?:-s )?([a-z]+)", text)) - targets() == set()


def test_a_name_of_nothing_is_seen() -> None:
    assert missing_tests("see `plugin/test_nothing.py`, `test_commands.py` and `tests/docs/test_commands.py`") == [
        "plugin/test_nothing.py"
    ]
    assert CALL.findall("elsewhere `datamart.migrations.migrate(<dsn>, reader_role=<role>)`")
    assert not CALL.findall("the metric `datamart.rows.read` (a counter)")


def test_a_block_in_a_list_is_found_with_its_output() -> None:
    found, strange = blocks("1. Do:\n\n   ```sh\n   echo a\n   ```\n\n   ```text\n   a\n   ```\n```json\n{}\n```\n")
    assert found == [Block("README.md", 3, "echo a\n", "a\n")]
    assert len(strange) == 1
