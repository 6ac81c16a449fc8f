"""The REST API with the other auth manager: users, passwords and roles of Flask-AppBuilder, in a server of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from embedded import environment, stacksecrets
from embedded.settings import Settings
from embedded.supervisor import die_with_parent
from tests.free_ports import free_ports
from tests.product import Product
from tests.rest import Rest, form, unique_key
from tests.stack import Stack

MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
ROLES = {"fab_viewer": "Viewer", "fab_user": "User", "fab_op": "Op"}
PASSWORD = "a password of nobody else"
START_SECONDS = 120


def settings_of(stack: Stack) -> Settings:
    given = stack.variables
    found = {name: int(given[name.upper()]) for name in ("airflow_port", "s3_port", "postgres_port")}
    return Settings(stack_dir=stack.directory, **found, demo=False, airflow=True)


@dataclass
class Server:
    """A second API server on the stack's database, whose users are those of Flask-AppBuilder."""

    url: str
    env: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["airflow", "api-server"],
                env=self.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        wait_for(self.url, self.process, self.log)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)


@pytest.fixture(scope="module")
def server(stack: Stack, product: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    product.known("ingest_upload")
    settings = settings_of(stack)
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    env = environment.airflow(settings, stacksecrets.load(settings.secrets_dir)) | {
        "AIRFLOW__CORE__AUTH_MANAGER": MANAGER,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
    }
    add_users(env)
    found = Server(url, env, tmp_path_factory.mktemp("fab") / "api-server.log")
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def rest(server: Server) -> Rest:
    return Rest(server.url, dict.fromkeys(ROLES, PASSWORD), "fab_user")


COMMANDS = """
import json, sys
from airflow.cli.cli_parser import get_parser
for command in json.load(sys.stdin):
    given = get_parser().parse_args(command)
    given.func(given)
"""
"""What the command airflow does, for several in one process: each would take seconds to import Airflow."""


def add_users(env: dict[str, str]) -> None:
    commands = [["fab-db", "migrate"], ["sync-perm"]]
    for name, role in ROLES.items():
        person = ["--username", name, "--email", f"{name}@example.org", "--firstname", name, "--lastname", name]
        commands.append(["users", "create", *person, "--role", role, "--password", PASSWORD])
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        env=env, input=json.dumps(commands), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        try:
            if httpx.get(f"{url}/data-api/", trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)


def test_41_nobody_and_wrong_passwords(rest: Rest) -> None:
    for path in ("/loads", "/health", "/insights", "/docs", "/openapi.json", "/upload", "/nothing"):
        assert rest.plain("GET", path).status_code == 401
        assert rest.plain("GET", path, headers={"Authorization": "Bearer x"}).status_code == 401
    answer = rest.plain("GET", "/loads", auth=("fab_user", "wrong"))
    assert (answer.status_code, "www-authenticate" in answer.headers) == (401, False)


@pytest.mark.parametrize("user", ROLES)
def test_who_may_see_the_dags_may_read(rest: Rest, user: str) -> None:
    for path in ("/loads", "/insights?table=HIRES_DEPARTMENT_JOB", "/docs", "/openapi.json"):
        assert rest.plain("GET", path, headers=rest.as_(user).bearer).status_code == 200
        assert rest.plain("GET", path, auth=(user, PASSWORD)).status_code == 200


def test_who_may_trigger_the_dag_may_upload(rest: Rest, product: Product) -> None:
    parts = (("username", None, b"fab_user"), ("password", None, PASSWORD.encode()), ("file", "jobs.csv", b"71,Fab\n"))
    body, kind = form(*parts)
    answer = rest.plain("POST", "/upload", params={"wait": 120}, content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["verdict"]) == (200, "loaded"), answer.text
    assert product.sql("SELECT job FROM jobs WHERE id = 71") == [("Fab",)]
    assert rest.as_("fab_op").upload("jobs.csv", b"72,Fab\n").status_code == 200


def test_41_a_viewer_may_not_upload(rest: Rest) -> None:
    answer = rest.as_("fab_viewer").upload("jobs.csv", b"73,Fab\n")
    assert (answer.status_code, answer.json()["error"][:15]) == (403, "You may not sta")


def test_39_the_same_key_gets_the_first_answer_after_a_restart(rest: Rest, server: Server) -> None:
    key, body = unique_key(), b"74,Fab\nx,bad\n"
    first = rest.upload("jobs.csv", body, key=key)
    waiting = rest.upload("jobs.csv", b"75,Fab\n", key=f"{key}-b", wait=0)
    server.stop()
    server.start()
    second = rest.upload("jobs.csv", body, key=key)
    assert (first.status_code, second.json()) == (200, first.json())
    finished = rest.upload("jobs.csv", b"75,Fab\n", key=f"{key}-b")
    assert (waiting.status_code, finished.status_code, finished.json()["verdict"]) == (202, 200, "loaded")


def test_guesses_are_counted_whatever_the_case_of_the_name(rest: Rest) -> None:
    names = ("guessed", "Guessed", "GUESSED", "gUESSED")
    statuses = [rest.plain("GET", "/loads", auth=(names[n % 4], f"guess {n}")).status_code for n in range(14)]
    assert statuses == [401] * 10 + [429] * 4
