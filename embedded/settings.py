"""Where the stack lives and which ports it uses, from the environment."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from embedded.errors import StackError

REPOSITORY = Path(__file__).resolve().parent.parent
DATA_BUCKET = "datamart-data"
BACKUP_BUCKET = "datamart-backup"
REGION = "us-east-1"
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Settings:
    """One stack: its folder, its ports, and what to do after the start."""

    stack_dir: Path
    airflow_port: int
    s3_port: int
    postgres_port: int
    demo: bool
    airflow: bool

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


def from_environment() -> Settings:
    """Read the settings; a value that makes no sense is an error that names its variable."""
    stack_dir = Path(os.environ.get("STACK_DIR") or ".stack").expanduser()
    return Settings(
        stack_dir=(stack_dir if stack_dir.is_absolute() else REPOSITORY / stack_dir).resolve(),
        airflow_port=_port("AIRFLOW_PORT", 8080),
        s3_port=_port("S3_PORT", 8333),
        postgres_port=_port("POSTGRES_PORT", 5433),
        demo=not _flag("NO_DEMO") and not _flag("NO_AIRFLOW"),
        airflow=not _flag("NO_AIRFLOW"),
    )


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise StackError(f"{variable}={text} is not a port: set {variable} to a number from 1 to 65535.")
    return int(text)


def _flag(variable: str) -> bool:
    return os.environ.get(variable, "").lower() not in ("", "0", "false", "no")
