"""Makes the secrets that docker-compose.yaml asks for: ``python3 deploy/compose/make_secrets.py [FILE]``.

They go to ``.env`` beside that file, which Compose reads by itself and only its owner may; one that is there already
stays as it is, for what it holds is in the databases too.
"""

from __future__ import annotations

import base64
import os
import secrets
import sys
from pathlib import Path

FILE = Path(__file__).resolve().parents[2] / ".env"
NAMES = (
    "SECRET_POSTGRES_SUPERUSER", "SECRET_POSTGRES_AIRFLOW", "SECRET_POSTGRES_WAREHOUSE", "SECRET_POSTGRES_READER",
    "SECRET_REDIS",
    "SECRET_S3_ADMIN_ID", "SECRET_S3_ADMIN_KEY", "SECRET_S3_DATAMART_ID", "SECRET_S3_DATAMART_KEY",
    "SECRET_FERNET_KEY", "SECRET_API_KEY", "SECRET_JWT",
    "SECRET_PASSWORD_ADMIN", "SECRET_PASSWORD_OPERATOR", "SECRET_PASSWORD_UPLOADER", "SECRET_PASSWORD_VIEWER",
)  # fmt: skip


def make(file: Path) -> None:
    """Write a file with a new value for each secret.

    Raises:
        FileExistsError: there is a file of that name.
    """
    lines = "".join(f"{name}={_value(name)}\n" for name in NAMES)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(lines)


def _value(name: str) -> str:
    """Letters and digits, which need no quoting in an address, in JSON and in a shell; Fernet has a form of its own."""
    if name == "SECRET_FERNET_KEY":
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    if name.endswith("_ID"):
        return "DM" + secrets.token_hex(9).upper()
    return secrets.token_hex(24)


def main(arguments: list[str]) -> int:
    """Make them, or say why not."""
    file = Path(arguments[0]) if arguments else FILE
    try:
        make(file)
    except FileExistsError:
        print(f"{file} is there already and stays as it is: what it holds is in the databases too.", file=sys.stderr)
        return 1
    print(
        f"Made {file}, which only you can read. Keep a copy in a safe place: without it, backups of Airflow's database "
        "cannot be used. The password of the user admin is SECRET_PASSWORD_ADMIN."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
