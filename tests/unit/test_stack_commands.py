"""The stack's commands: settings that cannot work are one sentence, and ports are kept with the stack."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg2
import pytest

from embedded import environment, faults, pidfile, ports, settings, up
from embedded.__main__ import COMMANDS, main
from embedded.errors import SettingError, StackError
from embedded.pidfile import State
from tests.free_ports import free_ports

Run = Callable[..., tuple[int, str, str]]
OTHER_USER = 54_321


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A shell without the stack's variables but for a folder that is not there yet."""
    for name in (*settings.PORTS, "NO_DEMO", "NO_AIRFLOW"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STACK_DIR", str(tmp_path / "stack"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(name: str) -> tuple[int, str, str]:
        code = main([name])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def looped(folder: Path) -> Path:
    (folder / "loop").symlink_to(folder / "loop")
    return folder / "loop"


def file_in(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file"


FOLDERS: dict[str, Callable[[Path], str]] = {
    "a file": lambda folder: str(file_in(folder)),
    "below a file": lambda folder: str(file_in(folder) / "a" / "b"),
    "too long a name": lambda folder: str(folder / ("a" * 300)),
    "too long a path": lambda folder: str(folder / "/".join(["a" * 200] * 25)),
    "no such user": lambda _folder: "~no-such-user/stack",
    "the root": lambda _folder: "/",
    "the root by another name": lambda _folder: "/tmp/../..",
    "a circle": lambda folder: str(looped(folder) / "stack"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("folder", FOLDERS.values(), ids=list(FOLDERS))
def test_a_folder_that_cannot_be_is_one_sentence(
    command: str, folder: Callable[[Path], str], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACK_DIR", folder(tmp_path))
    code, out, err = run(command)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "STACK_DIR" in err
    assert err.endswith(".\n")


def test_a_folder_that_cannot_be_made_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK_DIR", "/proc/stack")
    code, out, err = run("up")
    assert (code, out) == (2, "")
    assert err == (
        "The stack cannot use the folder /proc/stack: No such file or directory. "
        "Set STACK_DIR to a folder that you can write to.\n"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_stack_of_another_user_is_left_alone(
    command: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stack" / "secrets").mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: OTHER_USER)
    code, out, err = run(command)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "belongs to the user" in err


def test_root_may_end_a_stack_of_another_user_but_not_start_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stack" / "secrets").mkdir(parents=True)
    monkeypatch.setattr(settings, "_owner_of_stack", lambda _folder: OTHER_USER)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert run("up")[0] == 2
    assert run("down")[0] == 0


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("variable", settings.PORTS)
@pytest.mark.parametrize("value", ["abc", "0", "65536", "-1", "8080.5", " "])
def test_a_port_that_is_no_number_is_one_sentence(
    command: str, variable: str, value: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert run(command) == (
        2,
        "",
        f"{variable}={value} is not a port. Set {variable} to a number from 1 to 65535.\n",
    )


def test_a_port_in_use_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("POSTGRES_PORT", str(other.getsockname()[1]))
        code, _, err = run("up")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "is busy" in err
    assert not settings.for_client().ports_file.exists(), "a start that was refused is remembered"


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports on which nothing listens; a start ends before its servers."""
    monkeypatch.setattr(up, "_run", lambda _settings, _console: 0)
    for name, port in zip(settings.PORTS, free_ports(len(settings.PORTS)), strict=True):
        monkeypatch.setenv(name, str(port))


@pytest.mark.usefixtures("free")
def test_a_start_with_a_setting_that_cannot_work_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAMART_TYPO", "1")
    code, out, err = run("up")
    assert (code, out) == (2, "")
    assert err.startswith("Unknown settings: DATAMART_TYPO.")
    assert len(err.splitlines()) == 1
    own = settings.for_client()
    assert not own.ports_file.exists(), "a start that was refused is remembered"
    assert list(own.secrets_dir.iterdir()) == []


@pytest.mark.usefixtures("free")
def test_a_start_says_which_variables_it_uses_again(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stack" / "secrets").mkdir(parents=True)
    with monkeypatch.context() as first:
        first.setenv("DATAMART_ALERT_WEBHOOK", "hook_of_the_first_start")
        environment.remember(settings.for_start())
    code, out, err = run("up")
    assert (code, err) == (0, "")
    assert "Variables of the last start are used again: DATAMART_ALERT_WEBHOOK. " in out
    assert "hook_of_the_first_start" not in out


def test_one_port_for_two_servers_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_PORT", "5433")
    code, _, err = run("up")
    assert code == 1
    assert "are both 5433" in err


def test_ports_are_kept_with_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start and the other commands need no variables; a variable is for a start on another port."""
    monkeypatch.setenv("AIRFLOW_PORT", "9001")
    first = settings.for_start()
    first.stack_dir.mkdir()
    ports.remember(first)
    monkeypatch.delenv("AIRFLOW_PORT")
    assert settings.for_client() == settings.for_start() == first
    monkeypatch.setenv("AIRFLOW_PORT", "9002")
    second = settings.for_start()
    assert (second.airflow_port, second.s3_port) == (9002, first.s3_port)
    ports.remember(second)
    monkeypatch.delenv("AIRFLOW_PORT")
    assert settings.for_client().ports == second.ports


@pytest.mark.parametrize("text", ["", "{", "[]", '{"AIRFLOW_PORT": "x", "S3_PORT": 70000}', '{"AIRFLOW_PORT": true}'])
def test_damaged_notes_are_no_ports(text: str, tmp_path: Path) -> None:
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / "settings.json").write_text(text)
    assert settings.for_client().ports == settings.PORTS


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_health_with_damaged_variables_is_one_sentence(text: str, run: Run) -> None:
    own = settings.for_client()
    own.secrets_dir.mkdir(parents=True)
    running(State.UP, airflow=True)
    (own.secrets_dir / "variables.json").write_text(text)
    code, _, err = run("health")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "variables.json is damaged" in err


def running(state: State, **facts: object) -> None:
    """This process is the stack's."""
    own = settings.for_client()
    own.stack_dir.mkdir(exist_ok=True)
    pidfile.write(own.pid_file, ready=state is State.UP, state=state.value, **facts)


def test_commands_find_a_running_stack_whatever_the_variables_say(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    running(State.UP, airflow=True, AIRFLOW_PORT=9001, S3_PORT=9002, POSTGRES_PORT=9003)
    monkeypatch.setenv("AIRFLOW_PORT", "9009")
    monkeypatch.setenv("NO_AIRFLOW", "1")
    code, out, _ = run("status")
    assert code == 0
    assert "http://127.0.0.1:9001" in out
    assert "127.0.0.1:9003" in out


def test_a_stack_of_the_version_before_is_found_by_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """It noted its process, and whether it was ready."""
    running(State.UP)
    own = settings.for_client()
    pidfile.write(own.pid_file, ready=True)
    monkeypatch.setenv("AIRFLOW_PORT", "9001")
    assert settings.for_client().airflow_port == 9001
    assert pidfile.state(own.pid_file) is State.UP


def test_health_of_a_stack_that_starts_says_so_and_since_when(run: Run) -> None:
    running(State.STARTING, airflow=True)
    code, _, err = run("health")
    assert code == 1
    assert "is still starting, since " in err
    assert pidfile.since(psutil.Process())[:16] in err
    assert len(err.splitlines()) == 1
    _, out, _ = run("status")
    assert out.startswith("stack       starting  (")


@pytest.mark.parametrize(
    ("state", "airflow", "words"), [(State.STOPPING, True, "is stopping"), (State.UP, False, "runs without Airflow")]
)
def test_health_says_why_it_cannot_be_asked(state: State, airflow: bool, words: str, run: Run) -> None:
    running(state, airflow=airflow)
    code, _, err = run("health")
    assert code == 1
    assert words in err


def test_health_without_a_stack_says_so(run: Run) -> None:
    code, _, err = run("health")
    assert code == 1
    assert err.startswith("No stack runs in ")


@pytest.mark.parametrize("command", ["status", "health", "env", "down"])
def test_who_forgot_the_folder_is_told_where_stacks_run(command: str, run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other stack"
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={environment.MARK: str(other)}
    ) as process:
        while not psutil.Process(process.pid).environ():
            time.sleep(0.01)  # it has not become another program yet
        _, out, err = run(command)
        process.communicate(b"\n")
    assert f"STACK_DIR='{other}'" in out + err


@pytest.mark.parametrize("name", ["for_start", "for_client"])
def test_a_path_with_blanks_is_a_folder_like_any_other(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACK_DIR", str(tmp_path / "my stack"))
    assert getattr(settings, name)().stack_dir == tmp_path / "my stack"


def test_sockets_lie_where_their_path_is_short_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    for folder, chosen in ((deep, environment.SHORT_TEMPORARY_FOLDER), (Path("/var/tmp"), "/var/tmp")):
        monkeypatch.setattr(environment.tempfile, "gettempdir", lambda folder=folder: str(folder))
        assert environment.temporary_folder() == chosen
        assert environment.base(settings.for_client())["TMPDIR"] == chosen


@pytest.mark.parametrize(
    ("error", "words", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/d/x"), "No space left on device: /d/x. Free some space", 1),
        (PermissionError(errno.EACCES, "Permission denied", "/d/x"), "Permission denied: /d/x. Run the command as", 1),
        (psycopg2.OperationalError("FATAL:  gone\n\tall of it\n"), "PostgreSQL reports: FATAL: gone all of it. See", 1),
        (StackError("A sentence."), "A sentence.", 1),
        (SettingError("A sentence."), "A sentence.", 2),
    ],
)
def test_a_fault_of_the_machine_is_one_sentence(error: Exception, words: str, code: int) -> None:
    assert isinstance(error, faults.REPORTED)
    assert faults.sentence(error).startswith(words)
    assert "\n" not in faults.sentence(error)
    assert faults.exit_code(error) == code


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def defect() -> None:
        raise TypeError("a defect")

    monkeypatch.setattr(settings, "for_client", defect)
    with pytest.raises(TypeError):
        main(["status"])


def test_remembered_ports_are_complete(tmp_path: Path) -> None:
    (tmp_path / "stack").mkdir()
    ports.remember(settings.for_start())
    assert json.loads((tmp_path / "stack" / "settings.json").read_text()) == settings.PORTS
