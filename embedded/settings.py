"""Where the stack lives and which ports it uses: from the environment, or as the stack's folder remembers them."""

import json
import os
import pwd
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from embedded import pidfile
from embedded.errors import SettingError

REPOSITORY = Path(__file__).resolve().parent.parent
DATA_BUCKET = "datamart-data"
BACKUP_BUCKET = "datamart-backup"
REGION = "us-east-1"
HOST = "127.0.0.1"
DEFAULT_STACK_DIR = ".stack"
PORTS = {"AIRFLOW_PORT": 8080, "S3_PORT": 8333, "POSTGRES_PORT": 5433}
"""The variables that choose ports, with their defaults."""


@dataclass(frozen=True)
class Settings:
    """One stack: its folder, its ports, and what to do after the start."""

    stack_dir: Path
    airflow_port: int
    s3_port: int
    postgres_port: int
    demo: bool
    airflow: bool
    samples_anywhere: bool = False
    """Whether the samples are asked for even where the warehouse is not the stack's own."""

    @property
    def logs(self) -> Path:
        return self.stack_dir / "logs"

    @property
    def secrets_dir(self) -> Path:
        return self.stack_dir / "secrets"

    @property
    def work_dir(self) -> Path:
        """The working folder of every process: also how leftovers are recognised."""
        return self.stack_dir / "work"

    @property
    def pid_file(self) -> Path:
        return self.stack_dir / "up.json"

    @property
    def ports_file(self) -> Path:
        """The ports of the last start: the next start and all other commands use them too."""
        return self.stack_dir / "settings.json"

    @property
    def ports(self) -> dict[str, int]:
        """The ports by the names of their variables."""
        return dict(zip(PORTS, (self.airflow_port, self.s3_port, self.postgres_port), strict=True))

    @property
    def postgres_dir(self) -> Path:
        return self.stack_dir / "postgres"

    @property
    def airflow_setup(self) -> Path:
        """Says for which connections and versions Airflow's database was set up."""
        return self.postgres_dir / "airflow_setup.sha256"

    @property
    def pg_data(self) -> Path:
        return self.postgres_dir / "data"

    @property
    def s3_dir(self) -> Path:
        return self.stack_dir / "s3"

    @property
    def airflow_home(self) -> Path:
        return self.stack_dir / "airflow"

    @property
    def passwords_file(self) -> Path:
        return self.secrets_dir / "airflow_passwords.json"

    @property
    def airflow_url(self) -> str:
        return f"http://{HOST}:{self.airflow_port}"

    @property
    def s3_url(self) -> str:
        return f"http://{HOST}:{self.s3_port}"

    @property
    def venv_bin(self) -> Path:
        return Path(sys.executable).parent


def for_start() -> Settings:
    """The settings of a start: a variable, else the port of the last start, else the default.

    Raises:
        SettingError: a variable has a value that cannot work.
    """
    return _settings(_stack_dir(open_to_root=False), running={})


def for_client() -> Settings:
    """The settings of every other command: those of the stack that runs, else those of its next start.

    Raises:
        SettingError: a variable has a value that cannot work.
    """
    stack_dir = _stack_dir(open_to_root=True)
    pid_file = stack_dir / "up.json"
    return _settings(stack_dir, running=pidfile.read(pid_file) if pidfile.running(pid_file) else {})


def _settings(stack_dir: Path, running: Mapping[str, object]) -> Settings:
    remembered = _remembered(stack_dir)
    chosen = {name: _port(name, remembered.get(name, default)) for name, default in PORTS.items()}
    ports = {name: _known_port(running.get(name)) or port for name, port in chosen.items()}
    airflow = bool(running.get("airflow", not _flag("NO_AIRFLOW")))
    return Settings(
        stack_dir=stack_dir,
        airflow_port=ports["AIRFLOW_PORT"],
        s3_port=ports["S3_PORT"],
        postgres_port=ports["POSTGRES_PORT"],
        demo=airflow and not _flag("NO_DEMO"),
        airflow=airflow,
        samples_anywhere=bool(os.environ.get("NO_DEMO")) and not _flag("NO_DEMO"),
    )


def _stack_dir(*, open_to_root: bool) -> Path:
    """The stack's folder as an absolute path; root may look at another user's stack and end it, but not start it.

    Raises:
        SettingError: STACK_DIR names no folder, or a folder of another user's stack.
    """
    text = os.environ.get("STACK_DIR") or DEFAULT_STACK_DIR
    try:
        folder = Path(text).expanduser()
        folder = (folder if folder.is_absolute() else REPOSITORY / folder).resolve()
        if folder.exists() and not folder.is_dir():
            raise SettingError(f"STACK_DIR={text} is a file. Set STACK_DIR to a folder.")
        if folder == Path(folder.anchor):
            raise SettingError(f"STACK_DIR={text} is the root of the file system. Set STACK_DIR to a folder below it.")
        there = next(one for one in folder.parents if one.exists())
        if not there.is_dir():
            raise SettingError(f"STACK_DIR={text} lies below {there}, which is a file. Set STACK_DIR to a folder.")
        owner = _owner_of_stack(folder)
    except (OSError, RuntimeError) as error:
        raise unusable_folder(text, error) from error
    if owner not in (None, os.geteuid()) and not (open_to_root and os.geteuid() == 0):
        raise SettingError(
            f"The stack in {folder} belongs to the user {_name_of(owner)}. Run this command as {_name_of(owner)}, "
            "or set STACK_DIR to another folder."
        )
    return folder


def unusable_folder(text: object, error: Exception) -> SettingError:
    """The sentence for a folder that the system refuses."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).rstrip(".")
    return SettingError(
        f"The stack cannot use the folder {text}: {reason}. Set STACK_DIR to a folder that you can write to."
    )


def _owner_of_stack(folder: Path) -> int | None:
    """The user id that made the stack in this folder; None when there is no stack yet."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return (folder / "secrets").stat().st_uid
    return None


def _name_of(user_id: int | None) -> str:
    with suppress(KeyError, TypeError):
        return pwd.getpwuid(user_id).pw_name  # type: ignore[arg-type]
    return str(user_id)


def _remembered(stack_dir: Path) -> dict[str, int]:
    """The ports of the last start; a file that is missing or damaged remembers none."""
    with suppress(FileNotFoundError, NotADirectoryError, ValueError):
        known = json.loads((stack_dir / "settings.json").read_text())
        if isinstance(known, dict):
            return {name: port for name in PORTS if (port := _known_port(known.get(name)))}
    return {}


def _known_port(value: object) -> int | None:
    return value if type(value) is int and 1 <= value <= 65535 else None


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise SettingError(f"{variable}={text} is not a port. Set {variable} to a number from 1 to 65535.")
    return int(text)


def _flag(variable: str) -> bool:
    return os.environ.get(variable, "").lower() not in ("", "0", "false", "no")
