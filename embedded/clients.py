"""What other shells ask: the environment of clients, the status, the end."""

import contextlib
import os
import shlex
import subprocess
import sys

import psutil

from embedded import environment, leftovers, pidfile, ports, postgres, stacksecrets
from embedded.errors import StackError
from embedded.settings import Settings


def env(settings: Settings) -> int:
    """Print export lines."""
    if not (settings.secrets_dir / "secrets.json").exists():
        raise StackError(f"There is no stack in {settings.stack_dir} yet: start it with make run.")
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
    ready = bool(process) and bool(pidfile.read(settings.pid_file).get("ready"))
    state = "up" if ready else "starting or stopping" if process else "down"
    print(f"stack       {state}  ({settings.stack_dir}{f', pid {process.pid}' if process else ''})")
    left = [] if process else leftovers.find(settings)
    places = {
        "Airflow": (settings.airflow_url, settings.airflow_port),
        "S3": (settings.s3_url, settings.s3_port),
        "PostgreSQL": (f"127.0.0.1:{settings.postgres_port}", settings.postgres_port),
    }
    for name, (place, port) in places.items():
        answer = "free" if ports.is_free(port) else "listening" if process or left else "taken by something else"
        print(f"{name:<11} {answer:<10} {place}")
    if left:
        print(f"{len(left)} processes are left of a stack that was killed; make down ends them.")
    return 0 if ready else 3


def health(settings: Settings) -> int:
    """Ask once whether all is well; the exit code is 0 when it is."""
    ready = pidfile.running(settings.pid_file) and pidfile.read(settings.pid_file).get("ready")
    if not ready or not settings.airflow:
        raise StackError(f"No Airflow is up in {settings.stack_dir}: see make status, or start it with make run.")
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
        process.terminate()
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(60)
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            process.kill()
    ended = leftovers.end_all(settings)
    settings.pid_file.unlink(missing_ok=True)
    if ended:
        print(f"Ended {len(ended)} processes left of a stack that was killed.")
    elif process:
        print("The stack has ended.")
    else:
        print(f"Nothing runs in {settings.stack_dir}.")
    return 0
