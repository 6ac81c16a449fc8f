"""What the servers must hold before Airflow's processes start: ``python -m deploy.compose.prepare``.

Roles and databases, Airflow's own tables and connections, users with their roles, buckets, and the warehouse's tables.
Run again it brings all that up to date, passwords of roles and connections included; users keep theirs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2

from embedded import roles

PROJECT = Path(__file__).resolve().parents[2]
REGION = "us-east-1"
USERS = {"admin": "Admin", "operator": "Op", "uploader": "User", "viewer": "Viewer"}
AIRFLOW_COMMANDS = """
import json, sys
from airflow.cli.cli_parser import get_parser
for command in json.load(sys.stdin):
    given = get_parser().parse_args(command)
    given.func(given)
from airflow.providers.celery.executors.celery_executor import app
app.backend.ResultSession().close()
"""
"""What the command airflow does, without passwords in a list of processes, and for several in the time of one.

The last lines make Celery's tables, which workers that start at the same time would all make.
"""


def prepare() -> None:
    """All of it, in the order in which one needs the other."""
    make_databases()
    _python(["-P", str(PROJECT / "embedded" / "airflow_setup.py")], json.dumps(connections()))
    _python(["-c", AIRFLOW_COMMANDS], json.dumps(user_commands()))
    make_buckets()
    _python(["-m", "datamart_airflow.migrate"])


def make_databases() -> None:
    """Roles and databases; the addresses that the connections get say which passwords the roles have."""
    passwords = {}
    for name in ("METADATA_URI", "WAREHOUSE_URI", "WAREHOUSE_READ_URI"):
        address = urlsplit(os.environ[name])
        passwords[address.username or ""] = address.password or ""
    made = roles.ensure(_administration, passwords)
    print(f"Databases made: {', '.join(sorted(made)) or 'none, all are there'}.", flush=True)


@contextmanager
def _administration(database: str) -> Iterator[Any]:
    """A superuser's connection, each statement a transaction."""
    address = urlsplit(os.environ["SUPERUSER_URI"])._replace(path=f"/{database}").geturl()
    with closing(psycopg2.connect(address)) as connection:
        connection.autocommit = True
        yield connection


def connections() -> dict[str, dict[str, str]]:
    """Airflow's connections, by id."""
    metadata = {"airflow_metadata": {"uri": os.environ["METADATA_URI"]}}
    if os.environ.get("AIRFLOW__SECRETS__BACKEND"):
        # Airflow would fall back on those of here whenever the store of secrets does not answer.
        return metadata
    return metadata | {
        "warehouse": {"uri": os.environ["WAREHOUSE_URI"]},
        "warehouse_read": {"uri": os.environ["WAREHOUSE_READ_URI"]},
        "object_store": {
            "conn_type": "aws",
            "login": os.environ["S3_DATAMART_ID"],
            "password": os.environ["S3_DATAMART_KEY"],
            "extra": json.dumps({"endpoint_url": os.environ["S3_URL"], "region_name": REGION}),
        },
    }


def user_commands() -> list[list[str]]:
    """Commands for the tables, the roles and the first users of Flask-AppBuilder."""
    commands = [["fab-db", "migrate"], ["sync-perm"]]
    for user, role in USERS.items():
        person = ["--username", user, "--email", f"{user}@localhost", "--firstname", user, "--lastname", user]
        password = os.environ[f"PASSWORD_{user.upper()}"]
        commands.append(["users", "create", *person, "--role", role, "--password", password])
    return commands


def make_buckets() -> None:
    """The two buckets, unless they are there."""
    import boto3
    from botocore.config import Config

    s3 = boto3.session.Session().client(
        "s3",
        endpoint_url=os.environ["S3_URL"],
        aws_access_key_id=os.environ["S3_ADMIN_ID"],
        aws_secret_access_key=os.environ["S3_ADMIN_KEY"],
        region_name=REGION,
        config=Config(retries={"max_attempts": 5}, s3={"addressing_style": "path"}, proxies={}),
    )
    there = {bucket["Name"] for bucket in s3.list_buckets().get("Buckets", [])}
    for bucket in (os.environ["DATAMART_DATA_BUCKET"], os.environ["DATAMART_BACKUP_BUCKET"]):
        if bucket not in there:
            s3.create_bucket(Bucket=bucket)
            print(f"Bucket made: {bucket}.", flush=True)


def _python(arguments: list[str], text: str = "") -> None:
    subprocess.run([sys.executable, *arguments], input=text, text=True, check=True)


if __name__ == "__main__":
    prepare()
