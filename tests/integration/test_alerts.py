"""Alerts arrive at a real web server and a real mail server; one that does not take them breaks nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.listeners import Calls, Mails, mail_server, web_server

INCLUDE = Path(__file__).resolve().parents[2] / "include"
SECRET = "T0K3N-in-the-path"
SEND = """
import sys, json
from datamart_airflow.alerts import Alert, send
given = json.load(sys.stdin)
send(Alert(given["title"], tuple(given["lines"]), given["link"], given["details"]))
print("the caller goes on")
print("hooks", sorted(name for name in sys.modules if name.endswith(("hooks.smtp", "hooks.http"))))
"""
FAIL = """
import sys
from types import SimpleNamespace
from airflow.sdk.exceptions import AirflowFailException
from datamart.errors import FileRejected
from datamart_airflow.alerts import TaskFailed
errors = {"ours": FileRejected("empty", "jobs.csv is empty."), "told": AirflowFailException("1 file was not loaded"),
          "foreign": ValueError("a row: Jane Doe"), "none": None, "text": "a row: Jane Doe",
          "long": FileRejected("empty", "x" * 9000)}
for number, name in enumerate(sys.argv[1:], -1):
    task = SimpleNamespace(dag_id="load it", task_id="load_1", run_id="manual__2026-05-01T12:00:00+00:00",
                           map_index=number)
    TaskFailed()({"ti": task, "exception": errors[name], "dag": None})
"""
REMEMBER = """
import json, os, sys
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from datamart_airflow.connections import Remembered

def keep(connections):
    with open(sys.argv[1], "w") as file:
        json.dump(connections, file)

def host(connection):
    try:
        return BaseHook.get_connection(connection).host
    except AirflowNotFoundException:
        return None

def step(*, reading=True):
    if reading:
        known.read()
    print("STEP", sorted(known.lend()), host("a"), host("given"))

known = Remembered(["a", "b", "given"])
keep({"a": "http://one"})
step()
keep({})
step(reading=False)
step()
step()
keep({"a": "http://two"})
step()
"""
ALERT = {
    "title": "2 files were not loaded",
    "lines": ["jobs.csv: rejected <b>whole</b>", "ünïcode.csv: failed"],
    "link": "http://127.0.0.1:8080/dags/a/runs/b?c=1&d=2",
    "details": {"kind": "files", "files": [{"file": "jobs.csv", "verdict": "rejected", "rejected": 3}]},
}


@pytest.fixture
def web() -> Iterator[Calls]:
    with web_server() as calls:
        yield calls


@pytest.fixture
def mail() -> Iterator[Mails]:
    with mail_server() as mails:
        yield mails


def smtp(port: int, **extra: object) -> dict[str, str]:
    """E-mail through a connection to a plain server on this machine."""
    options = {"from_email": "datamart@example.com", "disable_ssl": True, "disable_tls": True} | extra
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": options}
    return {"DATAMART_ALERT_EMAIL": "a@example.com, b@example.com", "AIRFLOW_CONN_ALERT_EMAIL": json.dumps(connection)}


def hook(port: int, **extra: object) -> dict[str, str]:
    """The webhook through a connection whose address holds a secret."""
    connection = {"conn_type": "http", "host": f"http://127.0.0.1:{port}/hooks/{SECRET}", "extra": extra}
    return {"DATAMART_ALERT_WEBHOOK": "my_webhook", "AIRFLOW_CONN_MY_WEBHOOK": json.dumps(connection)}


def run(script: str, home: Path, variables: dict[str, str], *arguments: str, given: object = None) -> str:
    """Run a script as a process of Airflow's; all it wrote."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "DATAMART_"))}
    airflow = {"AIRFLOW_HOME": str(home), "AIRFLOW__API__BASE_URL": "http://airflow.example.com/", "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=clean | airflow | {"PYTHONPATH": str(INCLUDE)} | variables,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def sent(home: Path, variables: dict[str, str]) -> str:
    output = run(SEND, home, variables, given=ALERT)
    assert "the caller goes on" in output
    assert SECRET not in output
    return output


def errors(output: str) -> list[str]:
    return [
        line for line in output.splitlines() if "alert" in line and "the caller" not in line and "hooks" not in line
    ]


def no_server() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_both_tell_the_whole(tmp_path: Path, web: Calls, mail: Mails) -> None:
    output = sent(tmp_path, smtp(mail.port) | hook(web.port, Authorization="Bearer b"))
    assert errors(output) == []
    ((method, path, headers),) = web.requests
    assert (method, path) == ("POST", f"/hooks/{SECRET}")
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer b"
    (body,) = web.bodies
    text = "\n".join([ALERT["title"], *ALERT["lines"], ALERT["link"]])  # type: ignore[misc,list-item]
    assert body == {**ALERT["details"], "title": ALERT["title"], "lines": ALERT["lines"], "link": ALERT["link"],
                    "text": text}  # type: ignore[dict-item]  # fmt: skip
    ((addresses, message),) = mail.taken
    assert addresses == ["a@example.com", "b@example.com"]
    assert message["Subject"] == ALERT["title"]
    assert message["From"] == "datamart@example.com"
    (part,) = message.get_payload()  # type: ignore[misc]
    shown = part.get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert "rejected &lt;b&gt;whole&lt;/b&gt;" in shown
    assert "ünïcode.csv" in shown
    assert 'href="http://127.0.0.1:8080/dags/a/runs/b?c=1&amp;d=2"' in shown


@pytest.mark.parametrize(("encryption", "off"), [("starttls", "disable_ssl"), ("tls", "disable_tls")])
def test_mail_is_encrypted_as_the_connection_says_and_only_to_whom_it_trusts(
    tmp_path: Path, encryption: Literal["starttls", "tls"], off: str
) -> None:
    options = {"disable_ssl": False, "disable_tls": False, off: True}
    with mail_server(encryption) as mails:
        (line,) = errors(sent(tmp_path, smtp(mails.port, **options)))
        assert "(SSLCertVerificationError)" in line
        assert mails.taken == []
        assert errors(sent(tmp_path, smtp(mails.port, **options, ssl_context="none"))) == []
        assert len(mails.taken) == 1


def test_by_default_nobody_is_told(tmp_path: Path, web: Calls, mail: Mails) -> None:
    connections = {name: value for name, value in (smtp(mail.port) | hook(web.port)).items() if "CONN" in name}
    output = sent(tmp_path, connections)
    assert (errors(output), web.requests, mail.taken) == ([], [], [])
    assert "hooks []" in output


@pytest.mark.parametrize("status", [500, 302])
def test_a_webhook_that_refuses_is_one_sentence_and_the_mail_goes(
    tmp_path: Path, web: Calls, mail: Mails, status: int
) -> None:
    web.status, web.headers = status, {"Location": f"http://127.0.0.1:{web.port}/elsewhere"}
    output = sent(tmp_path, smtp(mail.port) | hook(web.port))
    (line,) = errors(output)
    assert f"could not be sent by the webhook. The address of my_webhook answered {status}." in line
    assert "quotes what it was sent" not in output
    assert len(mail.taken) == len(web.requests) == 1


def test_a_mail_server_that_refuses_is_one_sentence_and_the_webhook_is_called(
    tmp_path: Path, web: Calls, mail: Mails
) -> None:
    mail.answer = "550 no"
    (line,) = errors(sent(tmp_path, smtp(mail.port) | hook(web.port)))
    assert "could not be sent by e-mail. The mail server of alert_email answered 550." in line
    assert len(mail.taken) == len(web.bodies) == 1


def test_servers_that_are_away_are_a_sentence_each(tmp_path: Path) -> None:
    lines = errors(sent(tmp_path, smtp(no_server()) | hook(no_server())))
    assert len(lines) == 2
    assert "by e-mail. The mail server of alert_email did not take it (ConnectionRefusedError)." in lines[0]
    assert "by the webhook. The address of my_webhook cannot be reached (ConnectionError)." in lines[1]


def test_servers_that_stay_silent_are_given_up(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        port = server.getsockname()[1]
        started = time.monotonic()
        lines = errors(sent(tmp_path, smtp(port, timeout=1) | hook(port)))
        assert 10 < time.monotonic() - started < 40
    assert len(lines) == 2
    assert "by e-mail. The mail server of alert_email said nothing, or broke off." in lines[0]
    assert "by the webhook. The address of my_webhook cannot be reached (ReadTimeout)." in lines[1]


def test_connections_that_are_missing_or_incomplete_are_named(tmp_path: Path, mail: Mails) -> None:
    nameless = smtp(mail.port, from_email=None) | {"DATAMART_ALERT_WEBHOOK": "my_webhook"}
    lines = errors(sent(tmp_path, nameless))
    assert len(lines) == 2
    assert 'The connection alert_email names no sender: set "from_email" in its extra.' in lines[0]
    assert "There is no Airflow connection my_webhook" in lines[1]
    (line,) = errors(sent(tmp_path, smtp(mail.port, disable_ssl=False, ssl_context="strange")))
    assert "could not be sent by e-mail (RuntimeError)." in line
    assert mail.taken == []


def test_settings_that_cannot_work_break_no_caller(tmp_path: Path, web: Calls) -> None:
    (line,) = errors(sent(tmp_path, hook(web.port) | {"DATAMART_ALERT_WEBHOK": "typo"}))
    assert "sent to nobody. Unknown settings: DATAMART_ALERT_WEBHOK" in line
    assert web.requests == []


def test_a_failed_task_is_told_with_its_place_and_a_link_and_no_contents_of_others_messages(
    tmp_path: Path, web: Calls
) -> None:
    reasons = {
        "ours": "jobs.csv is empty.",
        "told": "1 file was not loaded",
        "foreign": "An unexpected ValueError. See the log of the task.",
        "none": "Its process ended without saying why. See the log of the task.",
        "text": "Its process ended without saying why. See the log of the task.",
        "long": "x" * 2000,
    }
    output = run(FAIL, tmp_path, hook(web.port), *reasons)
    assert "Jane" not in output + json.dumps(web.bodies)
    run_id = "manual__2026-05-01T12:00:00+00:00"
    for map_index, (body, reason) in enumerate(zip(web.bodies, reasons.values(), strict=True), -1):
        place = f"load_1 [{map_index}]" if map_index >= 0 else "load_1"
        assert body == {
            "kind": "task_failed",
            "dag_id": "load it",
            "task_id": "load_1",
            "run_id": run_id,
            "map_index": map_index,
            "reason": reason,
            "title": f"load it: task {place} failed",
            "lines": [f"Run: {run_id}", reason],
            "link": "http://airflow.example.com/dags/load%20it/runs/manual__2026-05-01T12%3A00%3A00%2B00%3A00",
            "text": body["text"],
        }


def test_connections_are_remembered_until_they_are_missing_twice(tmp_path: Path) -> None:
    store = tmp_path / "connections.json"
    variables = {
        "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(store)}),
        "AIRFLOW_CONN_GIVEN": "http://given",
    }
    output = run(REMEMBER, tmp_path, variables, str(store))
    assert [line.removeprefix("STEP ") for line in output.splitlines() if line.startswith("STEP")] == [
        "['b'] one given",
        "['b'] one given",
        "['b'] one given",
        "['a', 'b'] None given",
        "['b'] two given",
    ]
