"""Secrets, generated once and kept in files that only their owner can read."""

import base64
import json
import os
import secrets as generator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

USERS = {"admin": "admin", "operator": "op", "uploader": "user", "viewer": "viewer"}


@dataclass(frozen=True)
class Secrets:
    """Everything that must not be guessed."""

    postgres_superuser: str
    postgres_airflow: str
    postgres_warehouse: str
    postgres_reader: str
    postgres_analyst: str
    s3_access_key: str
    s3_secret_key: str
    fernet_key: str
    api_secret_key: str
    jwt_secret: str


def load(directory: Path) -> Secrets:
    """Return the secrets of a stack, generating those that are missing."""
    file = directory / "secrets.json"
    known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    complete = Secrets(**{f.name: known.get(f.name) or _generate(f.name) for f in fields(Secrets)})
    if asdict(complete) != known:
        write_private(file, json.dumps(asdict(complete), indent=1))
    return complete


def load_airflow_passwords(file: Path) -> dict[str, str]:
    """Return the passwords of Airflow's users, by name."""
    known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    complete = {user: known.get(user) or generator.token_urlsafe(15) for user in USERS}
    if complete != known:
        write_private(file, json.dumps(complete) + "\n")
    return complete


def write_private(file: Path, text: str) -> None:
    """Replace a file in one step; it is never readable by others."""
    draft = file.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    draft.replace(file)


def _generate(name: str) -> str:
    if name == "fernet_key":
        return base64.urlsafe_b64encode(generator.token_bytes(32)).decode()
    if name == "s3_access_key":
        return "DM" + generator.token_hex(9).upper()
    return generator.token_hex(24)
