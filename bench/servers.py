"""The benchmarks' own PostgreSQL and S3: the project's embedded stack in a folder of its own, mostly without Airflow.

Without Airflow every run starts from a database that was just made as a copy of a template, so no run pays for what
another one left behind: no dead rows, no bloat, no statistics, no work for autovacuum. A CHECKPOINT follows.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg2
from psycopg2 import sql

from bench import OUT, REPOSITORY
from embedded import environment, objectstore, postgres, stacksecrets
from embedded.settings import DATA_BUCKET, Settings
from embedded.supervisor import die_with_parent
from tests.stack import Stack

WAREHOUSE = "warehouse"
IN_MEMORY = {"tmpfs", "ramfs"}
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
REPORTED = (
    "server_version", "fsync", "full_page_writes", "synchronous_commit", "wal_level", "shared_buffers", "max_wal_size",
    "maintenance_work_mem", "work_mem", "autovacuum", "wal_compression", "io_method", "data_checksums",
)  # fmt: skip
_BACKGROUND = (
    "checkpointer", "background writer", "walwriter", "autovacuum launcher", "logical replication", "io worker",
)  # fmt: skip


@dataclass(frozen=True)
class ServerCpu:
    """CPU seconds since the servers' start."""

    backends: float
    background: float
    s3: float
    airflow: float

    @property
    def total(self) -> float:
        """All of PostgreSQL."""
        return self.backends + self.background


@dataclass(frozen=True)
class Wal:
    """How much was ever written to the log, and how often a checkpoint was made."""

    bytes: int
    checkpoints: int


class StackWithPeers(Stack):
    """A stack whose Airflow knows the peers' Dags too."""

    def launch(self) -> None:
        """Start it, but do not wait."""
        with (self.directory.parent / f"{self.directory.name}.out").open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bench.up"],
                cwd=REPOSITORY,
                env=os.environ | self.variables,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )


class Servers:
    """A stack to measure on: ``start`` it, ``end`` it."""

    def __init__(self, *, airflow: bool = False) -> None:
        self.folder = _on_disk()
        self.airflow = airflow
        kind = StackWithPeers if airflow else Stack
        self.stack = kind(self.folder / "stack", airflow=airflow)

    def start(self) -> None:
        """Start the servers; refuse them when they would not keep what they acknowledge."""
        self.stack.start()
        require_durable(self.settings_in_force())

    def end(self) -> None:
        """End the servers and remove their folder."""
        if "_admin" in self.__dict__:
            self._admin.close()
        if self.stack.process is not None and self.stack.process.poll() is None:
            self.stack.stop()
        self.stack.command("down")
        if self.airflow and self.settings.logs.exists():
            kept = OUT / "logs" / "stack"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(self.settings.logs, kept)
        shutil.rmtree(self.folder, ignore_errors=True)

    @cached_property
    def settings(self) -> Settings:
        """The stack's settings, as it read them."""
        given = self.stack.variables
        ports = {name: int(given[name.upper()]) for name in ("airflow_port", "s3_port", "postgres_port")}
        return Settings(stack_dir=self.stack.directory, **ports, demo=False, airflow=self.airflow)

    @cached_property
    def secrets(self) -> stacksecrets.Secrets:
        """The stack's secrets."""
        return stacksecrets.load(self.settings.secrets_dir)

    @cached_property
    def s3(self) -> Any:
        """A client of the object store."""
        return objectstore.client(self.settings, self.secrets)

    @cached_property
    def _admin(self) -> Any:
        connection = psycopg2.connect(
            postgres.uri(self.settings, "postgres", self.secrets.postgres_superuser, "postgres")
        )
        connection.autocommit = True
        return connection

    @property
    def dsn(self) -> str:
        """The warehouse, as its owner."""
        return postgres.uri(self.settings, postgres.OWNER, self.secrets.postgres_warehouse, WAREHOUSE)

    @property
    def read_dsn(self) -> str:
        """The warehouse, as those who may only read."""
        return postgres.uri(self.settings, postgres.READER, self.secrets.postgres_reader, WAREHOUSE)

    @cached_property
    def env(self) -> dict[str, str]:
        """The environment of every contender: the caller's without foreign settings, the clients' variables, ours."""
        env = environment.base(self.settings) | self.stack.env
        env.pop(environment.MARK)
        address = urlsplit(self.dsn)
        return env | {
            "PATH": f"{postgres.binaries()}{os.pathsep}{env['PATH']}",
            "PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "include"))),
            "PGHOST": address.hostname or "",
            "PGPORT": str(address.port),
            "PGUSER": address.username or "",
            "PGPASSWORD": address.password or "",
            "PGDATABASE": WAREHOUSE,
        }

    def sql(self, text: str, values: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Rows of a query in the warehouse, as its owner."""
        connection = psycopg2.connect(self.dsn)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(text, values)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def maintain(self, text: str) -> None:
        """Run a statement in the warehouse that cannot be part of a transaction."""
        connection = psycopg2.connect(self.dsn)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(text)
        finally:
            connection.close()

    def settings_in_force(self) -> dict[str, str]:
        """What the server says of itself to the role that loads."""
        wanted = {"names": [*REPORTED]}
        rows = self.sql("SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%(names)s)", wanted)
        found: dict[str, str] = dict(rows)
        return {name: found[name] for name in REPORTED}

    def keep(self, name: str) -> None:
        """Remember the warehouse as it is now under ``name``."""
        self._copy_database(WAREHOUSE, f"kept_{name}")

    def reset(self, name: str = "empty") -> None:
        """Make the warehouse as it was when it was kept as ``name``; S3 loses what loads wrote; CHECKPOINT."""
        self._copy_database(f"kept_{name}", WAREHOUSE)
        postgres.ensure_databases(self.settings, self.secrets)
        for prefix in ("clean/", "rejected/"):
            self.remove(prefix)
        self.checkpoint()

    def _copy_database(self, source: str, target: str) -> None:
        names = {"source": sql.Identifier(source), "target": sql.Identifier(target)}
        names["owner"] = sql.Identifier(postgres.OWNER)
        with self._admin.cursor() as cursor:
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {target} WITH (FORCE)").format(**names))
            for left in range(20, -1, -1):
                try:
                    cursor.execute(
                        sql.SQL("CREATE DATABASE {target} OWNER {owner} TEMPLATE {source} STRATEGY file_copy").format(
                            **names
                        )
                    )
                    return
                except psycopg2.errors.ObjectInUse:  # a backend that has not quite ended
                    if not left:
                        raise
                    time.sleep(0.25)

    def checkpoint(self) -> float:
        """Write everything down; the seconds it took."""
        started = time.perf_counter()
        with self._admin.cursor() as cursor:
            cursor.execute("CHECKPOINT")
        return time.perf_counter() - started

    def wal(self) -> Wal:
        """The log's counters."""
        with self._admin.cursor() as cursor:
            cursor.execute(
                "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'), num_timed + num_requested"
                " FROM pg_stat_checkpointer"
            )
            (written, checkpoints) = cursor.fetchone()
        return Wal(int(written), int(checkpoints))

    def cpu(self) -> ServerCpu:
        """CPU seconds of the servers so far; backends that have ended count by way of the postmaster."""
        root = psutil.Process(int((self.settings.pg_data / "postmaster.pid").read_text().split()[0]))
        own = root.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        background = 0.0
        children = root.children()
        for child in children:
            try:
                times, title = child.cpu_times(), " ".join(child.cmdline())
            except psutil.Error:
                continue
            total += times.user + times.system
            if any(name in title for name in _BACKGROUND):
                background += times.user + times.system
        s3, airflow = self._others_cpu({root.pid, *(c.pid for c in children)})
        return ServerCpu(total - background, background, s3, airflow)

    def _others_cpu(self, postgres_pids: set[int]) -> tuple[float, float]:
        """What S3 and Airflow used; Airflow's tasks that have ended count by way of the processes that forked them."""
        s3 = airflow = 0.0
        if self.stack.process is None:
            return s3, airflow
        for child in psutil.Process(self.stack.process.pid).children(recursive=True):
            if child.pid in postgres_pids:
                continue
            try:
                times, is_s3 = child.cpu_times(), "weed" in " ".join(child.cmdline())
            except psutil.Error:
                continue
            if is_s3:
                s3 += times.user + times.system
            else:
                airflow += times.user + times.system + times.children_user + times.children_system
        return s3, airflow

    def put(self, path: Path, key: str) -> str:
        """Send a file to the data bucket; its key."""
        self.s3.upload_file(str(path), DATA_BUCKET, key)
        return key

    def keys(self, prefix: str) -> list[str]:
        """All keys under a prefix of the data bucket."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=DATA_BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def read(self, key: str) -> Any:
        """An object's body."""
        return self.s3.get_object(Bucket=DATA_BUCKET, Key=key)["Body"]

    def remove(self, prefix: str) -> None:
        """Delete all objects under a prefix."""
        for key in self.keys(prefix):
            self.s3.delete_object(Bucket=DATA_BUCKET, Key=key)

    def warm(self, path: Path | None, *keys: str) -> None:
        """Bring what will be read into the page cache, for every contender alike."""
        if path is not None:
            with path.open("rb") as stream:
                while stream.read(1 << 22):
                    pass
        for key in keys:
            body = self.read(key)
            while body.read(1 << 22):
                pass


class NotDurable(Exception):
    """The server would not keep what it acknowledged: no number it gives would mean anything."""


def require_durable(settings: Mapping[str, str]) -> None:
    """Refuse a server that does not write to disk what it commits."""
    wrong = {name: settings.get(name) for name, value in DURABLE.items() if settings.get(name) != value}
    if wrong:
        raise NotDurable(f"the server runs with {wrong}")


def filesystem(folder: Path) -> str:
    """The type of the file system that holds a folder."""
    best, kind = Path("/"), "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, found, *_ = line.split()
        point = Path(mount)
        if (folder == point or point in folder.parents) and len(point.parts) >= len(best.parts):
            best, kind = point, found
    return kind


def _on_disk() -> Path:
    """A new folder: the system's temporary one, or under ``bench/out`` where that one is only memory."""
    OUT.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.gettempdir()).resolve()
    inside = OUT if filesystem(place) in IN_MEMORY else place
    return Path(tempfile.mkdtemp(prefix="bench-", dir=inside)).resolve()
