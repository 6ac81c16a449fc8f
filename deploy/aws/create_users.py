"""Makes the two users of the warehouse that a stack's connections name: ``python deploy/aws/create_users.py STACK``.

Their passwords are in Secrets Manager, and the database is told them by the Redshift Data API as its administrator, so
that no way into the stack's network is needed. Run again, as after a password was changed, it brings both up to date.

What is sent holds a password's digest only: statements can be read for a day by whoever sent them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

SESSION_SECONDS = 7200
"""After so long without a statement a session ends, and lets go of its locks; docs/aws.md says why."""
PAUSE_SECONDS = 0.5
"""Between two questions whether a statement has ended."""
USERS_OF = ("warehouse", "warehouse_read")
"""The connections whose logins are made: who writes, and who only reads."""
_NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")
_ENDED = {"FINISHED", "FAILED", "ABORTED"}


class DatabaseError(Exception):
    """A statement was refused."""


@dataclass(frozen=True)
class User:
    """A login of an Airflow connection."""

    name: str
    password: str

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise ValueError(f"{self.name!r} is no name of a user of the database.")

    @property
    def digest(self) -> str:
        """As CREATE USER takes it. Not SHA-256: libpq cannot log in to a user whose password is kept so."""
        return "md5" + hashlib.md5((self.password + self.name).encode(), usedforsecurity=False).hexdigest()


class Database:
    """Statements by the Redshift Data API, one after another, as the administrator."""

    def __init__(self, client: Any, outputs: dict[str, str], administrator: str) -> None:
        self._client = client
        self._where = {
            "WorkgroupName": outputs["WorkgroupName"],
            "Database": outputs["DatabaseName"],
            "SecretArn": administrator,
        }

    def execute(self, text: str, **values: str) -> int:
        """Wait for one statement; how many rows it found.

        Raises:
            DatabaseError: it was refused.
        """
        bound = {"Parameters": [{"name": name, "value": value} for name, value in values.items()]} if values else {}
        sent = self._client.execute_statement(Sql=text, **self._where, **bound)["Id"]
        while (state := self._client.describe_statement(Id=sent))["Status"] not in _ENDED:
            time.sleep(PAUSE_SECONDS)
        if state["Status"] != "FINISHED":
            raise DatabaseError(state.get("Error") or state["Status"])
        return int(state.get("ResultRows", 0))


def statements(writer: User, reader: User, database: str, there: Callable[[str], bool]) -> Iterator[str]:
    """All that the administrator does; a user that is there gets the password anew."""
    for user in (writer, reader):
        verb = "ALTER" if there(user.name) else "CREATE"
        yield f"{verb} USER {user.name} PASSWORD '{user.digest}' SESSION TIMEOUT {SESSION_SECONDS}"
    yield f"GRANT CREATE, TEMPORARY ON DATABASE {database} TO {writer.name}"
    # With the right to hand it on, as the writer lets the reader in.
    yield f"GRANT CREATE, USAGE ON SCHEMA public TO {writer.name} WITH GRANT OPTION"


def create(outputs: dict[str, str], secrets: Any, serverless: Any, data: Any) -> list[str]:
    """Make or change both users of a stack, by clients of three services; their names."""
    namespace = serverless.get_namespace(namespaceName=outputs["NamespaceName"])["namespace"]
    database = Database(data, outputs, namespace["adminPasswordSecretArn"])
    writer, reader = (_user(secrets, f"{outputs['ConnectionsPrefixInUse']}/{one}") for one in USERS_OF)
    for text in statements(
        writer,
        reader,
        outputs["DatabaseName"],
        lambda name: database.execute("SELECT 1 FROM pg_user WHERE usename = :name", name=name) > 0,
    ):
        database.execute(text)
    return [writer.name, reader.name]


def _user(secrets: Any, name: str) -> User:
    found = json.loads(secrets.get_secret_value(SecretId=name)["SecretString"])
    return User(found["login"], found["password"])


def stack_outputs(client: Any, stack: str) -> dict[str, str]:
    """What a stack says of itself."""
    (found,) = client.describe_stacks(StackName=stack)["Stacks"]
    return {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}


def main(arguments: list[str]) -> int:
    """Make them, and say so."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    parser = argparse.ArgumentParser(description="Make the two users of the warehouse of a stack.")
    parser.add_argument("stack", help="the stack's name")
    stack = parser.parse_args(arguments).stack
    try:
        outputs = stack_outputs(boto3.client("cloudformation"), stack)
        services = (boto3.client(one) for one in ("secretsmanager", "redshift-serverless", "redshift-data"))
        made = create(outputs, *services)
    except (BotoCoreError, ClientError, DatabaseError) as error:
        print(f"The users could not be made: {error}", file=sys.stderr)
        return 1
    print(f"The users {' and '.join(made)} have the passwords of their connections.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
