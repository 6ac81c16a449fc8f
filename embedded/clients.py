"""What other shells ask: the environment of clients, the status, the end."""

import contextlib
import os
import shlex
import subprocess
import sys

import psutil

from embedded import environment, leftovers, pidfile, ports, postgres, stacksecrets
from embedded.errors import StackError
from embedded.pidfile import State
from embedded.settings import Settings


def env(settings: Settings) -> int:
    """Print export lines."""
    if not (settings.secrets_dir / "secrets.json").exists() or not settings.passwords_file.exists():
        raise StackError(f"There is no stack in {settings.stack_dir} yet: start it with make run.{_others(settings)}")
    secrets = stacksecrets.load(settings.secrets_dir)
    passwords = stacksecrets.load_airflow_passwords(settings.passwords_file)
    for name, value in environment.client(settings, secrets, passwords).items():
        print(f"export {name}={shlex.quote(value)}")
    binaries = str(postgres.binaries())
    if binaries not in os.environ.get("PATH", "").split(os.pathsep):
        print(f'export PATH={shlex.quote(binaries)}:"$PATH"')
    return 0


def status(settings: Settings) -> int:
    """Say what runs, where; the exit code is 0 when the stack is up and ready."""
    process = pidfile.running(settings.pid_file)
    state = pidfile.state(settings.pid_file) if process else None
    details = f", pid {process.pid}, started {pidfile.since(process)}" if process else ""
    print(f"stack       {state or 'down'}  ({settings.stack_dir}{details})")
    left = [] if process else leftovers.find(settings)
    places = {
        "Airflow": (settings.airflow_url, settings.airflow_port),
        "S3": (settings.s3_url, settings.s3_port),
        "PostgreSQL": (f"127.0.0.1:{settings.postgres_port}", settings.postgres_port),
    }
    if not settings.airflow:
        del places["Airflow"]
    for name, (place, port) in places.items():
        answer = "free" if ports.is_free(port) else "listening" if process or left else "taken by something else"
        print(f"{name:<11} {answer:<10} {place}")
    if left:
        print(f"{len(left)} processes are left of a stack that was killed; make down ends them.")
    if not process and (others := _others(settings)):
        print(others.strip())
    return 0 if state is State.UP else 3


def health(settings: Settings) -> int:
    """Ask once whether all is well; the exit code is 0 when it is."""
    process = pidfile.running(settings.pid_file)
    if process is None:
        raise StackError(f"No stack runs in {settings.stack_dir}: start it with make run.{_others(settings)}")
    state = pidfile.state(settings.pid_file)
    if state is State.STARTING:
        raise StackError(
            f"The stack in {settings.stack_dir} is still starting, since {pidfile.since(process)}. "
            "Ask again when make status says that it is up."
        )
    if state is State.STOPPING:
        raise StackError(f"The stack in {settings.stack_dir} is stopping. Start it again with make run.")
    if not settings.airflow:
        raise StackError(
            f"The stack in {settings.stack_dir} runs without Airflow (NO_AIRFLOW=1), so there is no health to ask for."
        )
    asked = subprocess.run(  # nosec B603  # a fixed command
        [sys.executable, "-m", "datamart_airflow.watch", "--once"],
        env=environment.airflow(settings, stacksecrets.load(settings.secrets_dir)),
        cwd=settings.work_dir,
        check=False,
    )
    return asked.returncode


def down(settings: Settings) -> int:
    """End a running stack, and what is left of a killed one."""
    process = pidfile.running(settings.pid_file)
    if process:
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended meanwhile
            process.terminate()
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(60)
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                process.kill()
    ended = leftovers.end_all(settings)
    with contextlib.suppress(NotADirectoryError):
        settings.pid_file.unlink(missing_ok=True)
    if ended:
        print(f"Ended {len(ended)} processes left of a stack that was killed.")
    elif process:
        print("The stack has ended.")
    else:
        print(f"Nothing runs in {settings.stack_dir}.{_others(settings)}")
    return 0


def _others(settings: Settings) -> str:
    """Where stacks run that the caller may have meant, as a sentence to add; empty when there are none."""
    folders = sorted(leftovers.other_stacks(settings))
    return f" Stacks run in: {', '.join(f'STACK_DIR={shlex.quote(one)}' for one in folders)}." if folders else ""
