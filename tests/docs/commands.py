"""The commands of all documents: which are run by tests, and which cannot be, with the reason."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import dedent

from tests.product import Product
from tests.stack import REPOSITORY, Stack

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
CONTINUED = re.compile(r"\s*\\\n\s*")
FIRST = ("README.md", "docs/operations.md", "docs/rest-api.md")
"""In this order a new user reads; the other documents follow."""


@dataclass(frozen=True)
class Elsewhere:
    """Commands that no test runs as they stand."""

    document: str
    lines: re.Pattern[str]
    reason: str


def only(document: str, reason: str, *commands: str) -> tuple[Elsewhere, ...]:
    """These commands, to the letter: another one in the document is run."""
    return tuple(Elsewhere(document, re.compile(re.escape(command)), reason) for command in commands)


PRODUCTION = "docs/production.md"
AWS = "docs/aws.md"
NO_ENGINE = "needs a container engine; tests/deploy runs the services of the same file as processes"
IN_POSTGRES = "docker compose exec -T postgres sh -c 'PGPASSWORD=$POSTGRES_PASSWORD"
NO_ACCOUNT = (
    "needs an account of AWS; test_template.py makes the stack in a simulation, without the warehouse and hosts"
)
NO_HOST = "is for the host at AWS, which the simulation does not start"
DEPLOY = (
    "aws cloudformation deploy --stack-name datamart --template-file deploy/aws/template.yaml "
    "--capabilities CAPABILITY_IAM --parameter-overrides "
)
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
    *only(
        PRODUCTION,
        "changes the checkout; the tests run from this one",
        "git clone <this repository> datamart && cd datamart",
        "git pull",
    ),
    *only(
        PRODUCTION,
        NO_ENGINE,
        "docker compose up -d",
        "docker compose ps",
        "docker compose up -d --scale worker=4",
        "docker compose stop api-server scheduler dag-processor triggerer worker watch",
        "docker compose build --pull",
        f"(umask 077; {IN_POSTGRES} pg_dump -h 127.0.0.1 -U postgres -Fc airflow' > airflow.dump.new) "
        "&& mv airflow.dump.new airflow.dump",
        f"{IN_POSTGRES} pg_restore -h 127.0.0.1 -U postgres --clean --if-exists -d airflow' < airflow.dump",
    ),
    *only(
        AWS,
        "needs a warehouse at AWS; the same tests run on the stand-in",
        "export REDSHIFT_URI='postgresql://datamart:...@<endpoint>:5439/contract?sslmode=require'",
        "export REDSHIFT_BUCKET=<bucket> REDSHIFT_IAM_ROLE=arn:aws:iam::<account>:role/<role>",
        ".venv/bin/python -m pytest -m live_redshift tests/contract",
    ),
    *only(
        AWS,
        "names a warehouse at AWS, which later commands would ask; a test below reads the connections",
        """export AIRFLOW_CONN_WAREHOUSE='{"conn_type": "redshift", "host": "<endpoint>", "port": 5439, """
        """"schema": "dev",""",
        """  "login": "datamart", "password": "...",""",
        """  "extra": {"iam_role": "arn:aws:iam::123456789012:role/datamart-warehouse"}}'""",
        """export AIRFLOW_CONN_WAREHOUSE_READ='{"conn_type": "redshift", "host": "<endpoint>", "port": 5439, """
        """"schema": "dev",""",
        """  "login": "datamart_read", "password": "...", "extra": {}}'""",
    ),
    *only(
        AWS,
        NO_ACCOUNT,
        f"{DEPLOY}Host=compose RepositoryUrl=https://<where this repository is>",
        f"{DEPLOY}Mwaa=environment",
        "output() { aws cloudformation describe-stacks --stack-name datamart --output text "
        """--query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue"; }""",
        """aws s3 cp data/ "s3://$(output DataBucketName)/historic/" """
        "--recursive --exclude '*' --include '*.csv' --exclude '*/*'",
        """aws ssm start-session --target "$(output HostId)" --document-name AWS-StartPortForwardingSession """
        "--parameters portNumber=8080,localPortNumber=8080",
        "aws mwaa invoke-rest-api --name datamart --method POST --path /dags/historic_load/dagRuns "
        """--body '{"logical_date": null, "conf": {"prefix": "historic/"}}'""",
        "secret=$(aws redshift-serverless get-namespace --namespace-name datamart "
        "--query namespace.adminPasswordSecretArn --output text)",
        "aws redshift-data execute-statement --workgroup-name datamart --database datamart "
        """--secret-arn "$secret" --query Id --output text --sql 'SELECT department, hired """
        "FROM public.departments_hired_above_mean WHERE year = 2021 ORDER BY hired DESC'",
        "aws redshift-data get-statement-result --id <what that printed>",
    ),
    *only(
        AWS,
        "needs an account of AWS; test_create_users.py runs it against a simulation",
        ".venv/bin/python deploy/aws/create_users.py datamart",
    ),
    *only(
        AWS,
        "needs an account of AWS; test_aws_code.py runs it against a simulation",
        "PYTHON=.venv/bin/python deploy/aws/mwaa_code.sh datamart",
    ),
    *only(
        AWS,
        "asks Airflow on the host at AWS; the commands of README.md ask the tests' stack the same",
        "token=$(curl -sf http://localhost:8080/auth/token -H 'Content-Type: application/json' "
        """-d '{"username": "admin", "password": "<the password>"}' """
        r"""| sed 's/.*"access_token":"\([^"]*\)".*/\1/')""",
        'curl -sf http://localhost:8080/api/v2/dags/historic_load/dagRuns -H "Authorization: Bearer $token" '
        """-H 'Content-Type: application/json' -d '{"logical_date": null, "conf": {"prefix": "historic/"}}'""",
        """curl -s -H "Authorization: Bearer $token" """
        "'http://localhost:8080/data-api/insights?table=DEPARTMENTS_HIRED_ABOVE_MEAN'",
    ),
    *only(
        AWS,
        NO_HOST,
        "sudo -i",
        "cd /opt/datamart && set -a && . /etc/datamart.env",
        "python3 deploy/compose/make_secrets.py   # the compose file asks for them; "
        "nothing that they are for is started",
        "docker compose run --build --rm --no-deps init python -m datamart_airflow.migrate",
    ),
)


@dataclass(frozen=True)
class Block:
    """Commands, and the output that the document shows for them."""

    document: str
    line: int
    commands: str
    output: str | None

    @property
    def elsewhere(self) -> tuple[Elsewhere, ...]:
        """The reasons for which no test runs it, one for each line; they count for whole blocks only."""
        own = [one for one in ELSEWHERE if one.document == self.document]
        reasons = [next((one for one in own if one.lines.fullmatch(line)), None) for line in self.lines]
        found = tuple(one for one in reasons if one is not None)
        return found if len(found) == len(reasons) else ()

    @property
    def lines(self) -> list[str]:
        """Its lines, each with those that continue it."""
        return CONTINUED.sub(" ", self.commands.strip()).splitlines()

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
        follows = bool(found) and (not text[end : fence.start()].strip() or bool(found[-1].elsewhere))
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
            if entry.name == "deploy":  # its scripts write beside where they lie
                shutil.copytree(entry, folder / "deploy")
            elif entry.name != ".env":
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
