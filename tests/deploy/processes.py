"""docker-compose.yaml's services as processes of this machine: their commands, environment and health checks.

What a container gives is given in another way, and nothing else is changed: a service's name and port are an address
on the loopback, a volume or tmpfs is a folder, the image's project folder is this one, its programs those of the
virtual environment, and each worker is told a host's name of its own.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import psutil

from embedded import objectstore, postgres
from embedded.console import Console
from embedded.settings import Settings
from embedded.stacksecrets import Secrets
from embedded.supervisor import Supervisor
from tests.deploy.composefile import REPOSITORY, Service, services
from tests.free_ports import free_ports

HOST = "127.0.0.1"
_PORT = re.compile(r"port(?:\.grpc)?[= ](\d{4,5})\b")
SERVERS = ("postgres", "redis", "s3")
AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer", "watch")
READY_SECONDS = 180


@dataclass(frozen=True)
class Process:
    """One container of a service, as a process."""

    name: str
    service: Service
    argv: list[str]
    env: dict[str, str]
    check: list[str]
    user: str | None = None


class Composed:
    """All of them, below one folder."""

    def __init__(self, folder: Path, values: Mapping[str, str], workers: int) -> None:
        self.folder = folder
        self.values = dict(values)
        (self._api,) = free_ports(1)
        self.url = f"http://{HOST}:{self._api}"
        self.services = services(self.values | {"PUBLIC_URL": self.url})
        self._ports = self._free_ports()
        self.workers = [f"worker-{number + 1}" for number in range(workers)]
        for name in ("logs", "scripts", "volumes", "homes"):
            (folder / name).mkdir()
        procfile = folder / "Procfile"
        procfile.write_text("")
        self.supervisor = Supervisor(procfile, folder / "logs", REPOSITORY)
        self._settings = Settings(folder / "stack", 0, self.port("s3", 8333), self.port("postgres", 5432), False, True)
        self.processes: dict[str, Process] = {}

    def _free_ports(self) -> dict[str, dict[int, int]]:
        """For each service a free port in the place of each that its command or environment names."""
        named = {}
        for name, service in self.services.items():
            text = "\n".join([*service.command, *(f"port={v}" for k, v in service.environment.items() if "PORT" in k)])
            named[name] = sorted({int(port) for port in _PORT.findall(text)})
        free = iter(free_ports(sum(map(len, named.values()))))
        found = {name: {port: next(free) for port in wanted} for name, wanted in named.items()}
        found["api-server"] = {8080: self._api}
        return found

    def port(self, service: str, port: int) -> int:
        return self._ports[service][port]

    # Life

    def start(self) -> None:
        """Servers, the one job, then Airflow, each when those before it are healthy."""
        self._start("s3")
        self._start_postgres()
        self._start("redis")
        self.wait(*SERVERS)
        self.run("init")
        for name in AIRFLOW:
            self._start(name)
        for name in self.workers:
            # What the name of its container is to a worker.
            self._start("worker", name, ["--celery-hostname", f"celery@{name}"], self._apart(name))
        self.wait(*AIRFLOW, *self.workers)

    def stop(self) -> None:
        """Airflow first, its database last."""
        self.supervisor.stopping = True
        self.supervisor.stop([*self.workers, *AIRFLOW], grace=10)
        self.supervisor.stop(["s3", "redis"], grace=3)
        self.supervisor.stop(["postgres"], grace=20)
        objectstore.remove_sockets({str(port): port for port in self._ports["s3"].values()})

    def wait(self, *names: str) -> None:
        """Until the health checks of the file say that all is well."""
        for name in names:
            self.supervisor.wait(name, lambda name=name: self.healthy(name), READY_SECONDS)

    def healthy(self, name: str) -> bool:
        process = self.processes[name]
        done = subprocess.run(process.check, env=process.env, capture_output=True, timeout=60, check=False)
        return done.returncode == 0

    def run(self, name: str) -> str:
        """A service that ends: what it said."""
        process = self._process(name, name)
        done = subprocess.run(
            process.argv, env=process.env, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        return said

    def kill(self, name: str) -> None:
        """SIGKILL to all processes of a container at once, as its end is."""
        child = self.supervisor.children.pop(name)
        main = psutil.Process(child.process.pid)
        for process in (main, *main.children(recursive=True)):
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        child.process.wait(30)

    def below(self, name: str) -> list[psutil.Process]:
        """The processes of a container."""
        return psutil.Process(self.supervisor.children[name].process.pid).children(recursive=True)

    # What a service is here

    def _start(
        self, service: str, name: str = "", more: list[str] | None = None, env: dict[str, str] | None = None
    ) -> None:
        self._launch(self._process(service, name or service, more, env))

    def _start_postgres(self) -> None:
        self._settings.stack_dir.mkdir(mode=0o700)
        self._settings.postgres_dir.mkdir()
        user = postgres.system_user(self._settings, Console())
        others = ["unused"] * (len(fields(Secrets)) - 1)
        secrets = Secrets(self.values["SECRET_POSTGRES_SUPERUSER"], *others)
        postgres.init_cluster(self._settings, secrets, user)
        inside = ["-D", str(self._settings.pg_data), "-c", f"listen_addresses={HOST}", "-c", "unix_socket_directories="]
        self._launch(self._process("postgres", "postgres", inside, {"LC_ALL": "C.UTF-8"}, user))

    def _process(
        self,
        service: str,
        name: str,
        more: list[str] | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
    ) -> Process:
        found = self.services[service]
        words = [*found.entrypoint, *found.command]
        if found.image.startswith("datamart:") and words[0] != "python":
            words.insert(0, "airflow")  # as the image's entry does
        argv = [self._here(word, found, name) for word in words] + (more or [])
        own = {key: self._here(value, found, name) for key, value in found.environment.items()}
        check = [self._here(word, found, name) for word in found.healthcheck]
        return Process(name, found, argv, self._image(name) | own | (env or {}), check, user)

    def _launch(self, process: Process) -> None:
        script = self.folder / "scripts" / f"{process.name}.sh"
        script.write_text(f"exec {shlex.join(process.argv)}\n")
        script.chmod(0o644)
        self.processes[process.name] = process
        self.supervisor.commands[process.name] = f". {shlex.quote(str(script))}"
        self.supervisor.start(process.name, process.env, process.user)

    def _image(self, name: str) -> dict[str, str]:
        """What an image sets, and nothing of who runs the tests."""
        home = self.folder / "homes" / name
        if not home.exists():
            home.mkdir()
            (home / "airflow.cfg").touch()
        path = os.pathsep.join([str(Path(sys.executable).parent), str(postgres.binaries()), os.environ["PATH"]])
        return {
            "PATH": path, "HOME": str(home), "AIRFLOW_HOME": str(home), "TMPDIR": str(self._tmp(name, "/tmp")),
            "PYTHONPATH": str(REPOSITORY / "include"), "HOSTNAME": name, "NO_PROXY": HOST, "no_proxy": HOST,
        }  # fmt: skip

    @staticmethod
    def _apart(name: str) -> dict[str, str]:
        """Containers may all serve their logs on one port."""
        return {"AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(*free_ports(1)), "HOSTNAME": name}

    def _tmp(self, name: str, path: str) -> Path:
        found = self.folder / "tmp" / name / quote(path.strip("/"), safe="")
        found.mkdir(parents=True, exist_ok=True)
        return found

    def _here(self, text: str, service: Service, name: str) -> str:
        """A text of the file with addresses, ports and folders of this machine."""
        for other, known in self._ports.items():
            for port, free in known.items():
                text = re.sub(rf"(?<![\w.-]){other}:{port}\b", f"{HOST}:{free}", text)
        for port, free in self._ports[service.name].items():
            text = str(free) if text == str(port) else re.sub(rf"(?<=[=: ]){port}\b", str(free), text)
        folders = {path: self._tmp(name, path) for path in service.tmpfs}
        for path, volume in service.volumes.items():
            folders[path] = self.folder / "volumes" / volume
            folders[path].mkdir(exist_ok=True)
        folders["/opt/datamart"] = REPOSITORY
        for path, folder in folders.items():
            text = re.sub(rf"(?<![\w/.]){re.escape(path)}(?![\w-])", str(folder), text)
        return text.replace("0.0.0.0", HOST)

    # Clients: what `tests.product.Product` asks a stack for

    @property
    def env(self) -> dict[str, str]:
        login = f"datamart:{self.values['SECRET_POSTGRES_WAREHOUSE']}"
        return {
            "AIRFLOW_URL": self.url,
            "AIRFLOW_USER": "admin",
            "AIRFLOW_PASSWORD": self.values["SECRET_PASSWORD_ADMIN"],
            "WAREHOUSE_URI": f"postgresql://{login}@{HOST}:{self.port('postgres', 5432)}/warehouse",
            "DATA_BUCKET": "datamart-data",
        }

    @property
    def s3(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=f"http://{HOST}:{self.port('s3', 8333)}",
            region_name="us-east-1",
            aws_access_key_id=self.values["SECRET_S3_DATAMART_ID"],
            aws_secret_access_key=self.values["SECRET_S3_DATAMART_KEY"],
        )
