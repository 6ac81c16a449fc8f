"""A real stack as a user runs it, on ports and in a folder of its own; `conftest` starts and ends them."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import boto3

from embedded import pidfile, ports
from embedded.supervisor import die_with_parent
from tests.free_ports import free_ports

REPOSITORY = Path(__file__).resolve().parents[1]
START_SECONDS = 240
PARSED_SELDOM = "[dag_processor]\nmin_file_process_interval = 300\n"
"""Airflow parses a Dag's file when it is new or changed; that it also does so each half minute is not needed here."""


@dataclass
class Stack:
    """A stack as a user runs it: one command, a few variables, and what it prints.

    It is ended with the process that starts it, also when that is killed.
    """

    PROGRAM: ClassVar[tuple[str, ...]] = ("-m", "embedded", "up")
    directory: Path
    airflow: bool = True
    process: subprocess.Popen[bytes] | None = None
    variables: dict[str, str] = field(default_factory=dict)
    _env: dict[str, str] = field(default_factory=dict)
    _inner: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        airflow, s3, postgres, *inner = free_ports(3 + len(ports.INNER))
        self._inner = dict(zip(ports.INNER, inner, strict=True))
        self.variables = {
            "STACK_DIR": str(self.directory),
            "AIRFLOW_PORT": str(airflow),
            "S3_PORT": str(s3),
            "POSTGRES_PORT": str(postgres),
            "NO_DEMO": "1",
            "NO_AIRFLOW": "" if self.airflow else "1",
        }

    @property
    def output(self) -> str:
        file = self.directory.parent / f"{self.directory.name}.out"
        return file.read_text() if file.exists() else ""

    def command(self, name: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "embedded", name],
            cwd=REPOSITORY,
            env=os.environ | self.variables | variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def launch(self) -> None:
        self._env = {}
        self.directory.mkdir(mode=0o700, exist_ok=True)
        inner = self.directory / "ports.json"
        if not inner.exists():
            inner.write_text(json.dumps(self._inner))
        home = self.directory / "airflow"
        if self.airflow and not home.exists():
            home.mkdir()
            (home / "airflow.cfg").write_text(PARSED_SELDOM)
        with (self.directory.parent / f"{self.directory.name}.out").open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, *self.PROGRAM],
                cwd=REPOSITORY,
                env=os.environ | self.variables,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )

    def start(self) -> None:
        self.launch()
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        while not self.says_ready or self.command("status").returncode != 0:
            assert self.process.poll() is None, f"the stack ended while it started:\n{self.output}"
            assert time.monotonic() < deadline, f"the stack did not start:\n{self.output}"
            time.sleep(0.2)

    @property
    def says_ready(self) -> bool:
        """Whether it has noted that it is ready: cheaper to ask, many times, than the command of its users."""
        return pidfile.read(self.directory / "up.json").get("ready") is True

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    @property
    def env(self) -> dict[str, str]:
        """What `make -s env` exports, without PATH; asked once for each start."""
        if not self._env:
            lines = self.command("env").stdout.splitlines()
            pairs = [shlex.split(line)[1].split("=", 1) for line in lines if not line.startswith("export PATH=")]
            self._env = dict(pairs)
        return dict(self._env)

    @property
    def s3(self) -> Any:
        """A client of its S3 server."""
        env = self.env
        return boto3.client(
            "s3",
            endpoint_url=env["S3_ENDPOINT_URL"],
            region_name=env["AWS_DEFAULT_REGION"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        )

    def left_after(self, seconds: float = 10) -> list[str]:
        """What of its processes does not end within some seconds: a killed one takes a moment to be gone."""
        deadline = time.monotonic() + seconds
        while (left := self.leftovers()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left

    def leftovers(self) -> list[str]:
        """Every process that mentions the stack's folder in its command, environment or working folder."""
        needle = str(self.directory).encode()
        found = []
        for proc in Path("/proc").glob("[0-9]*"):
            if int(proc.name) == os.getpid():
                continue
            try:
                command = (proc / "cmdline").read_bytes()
                places = (command, (proc / "environ").read_bytes(), os.fsencode(os.readlink(proc / "cwd")))
            except OSError:
                continue
            if any(needle in place for place in places):
                found.append(f"{proc.name} {command.replace(bytes(1), b' ').decode(errors='replace')[:120]}")
        return found
