"""The warehouse's two users are made by the Redshift Data API, and no password is sent."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from deploy.aws import create_users
from deploy.aws.create_users import SESSION_SECONDS, DatabaseError, User, create
from embedded.settings import REPOSITORY

OUTPUTS = {
    "WorkgroupName": "hiring",
    "DatabaseName": "datamart",
    "NamespaceName": "hiring",
    "ConnectionsPrefixInUse": "airflow/connections",
}
ADMINISTRATOR = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:redshift!hiring-administrator-x"
PASSWORDS = {"datamart": "Writes1" * 6, "datamart_read": "Reads2" * 7}


class Secrets:
    """Two connections."""

    def get_secret_value(self, **asked: str) -> dict[str, str]:
        """As Secrets Manager answers."""
        login = {"warehouse": "datamart", "warehouse_read": "datamart_read"}[asked["SecretId"].rsplit("/", 1)[1]]
        assert asked["SecretId"].startswith("airflow/connections/")
        return {"SecretString": json.dumps({"login": login, "password": PASSWORDS[login]})}


class Serverless:
    """One namespace."""

    def get_namespace(self, **asked: str) -> dict[str, dict[str, str]]:
        """As Redshift Serverless answers."""
        assert asked == {"namespaceName": "hiring"}
        return {"namespace": {"adminPasswordSecretArn": ADMINISTRATOR}}


class DataApi:
    """A database that has some users; each statement takes a look or two."""

    def __init__(self, users: set[str], refuses: str = "") -> None:
        self.users = users
        self.refuses = refuses
        self.sent: list[dict[str, Any]] = []
        self._looks = 0

    def execute_statement(self, **asked: Any) -> dict[str, str]:
        """As the service takes a statement."""
        self.sent.append(asked)
        self._looks = 0
        return {"Id": str(len(self.sent))}

    def describe_statement(self, **asked: str) -> dict[str, Any]:
        """As the service tells of it."""
        self._looks += 1
        sent = self.sent[int(asked["Id"]) - 1]
        if self._looks < 2:
            return {"Status": "STARTED"}
        if self.refuses and self.refuses in sent["Sql"]:
            return {"Status": "FAILED", "Error": "ERROR: permission denied"}
        found = sent["Parameters"][0]["value"] in self.users if "Parameters" in sent else False
        return {"Status": "FINISHED", "ResultRows": int(found)}

    @property
    def statements(self) -> list[str]:
        """Those that change something."""
        return [one["Sql"] for one in self.sent if not one["Sql"].startswith("SELECT")]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits."""
    monkeypatch.setattr(create_users, "PAUSE_SECONDS", 0)


def test_users_are_made_with_the_rights_that_the_documentation_names() -> None:
    api = DataApi(users=set())
    assert create(OUTPUTS, Secrets(), Serverless(), api) == ["datamart", "datamart_read"]
    assert [one.split(" PASSWORD ")[0] for one in api.statements] == [
        "CREATE USER datamart",
        "CREATE USER datamart_read",
        "GRANT CREATE, TEMPORARY ON DATABASE datamart TO datamart",
        "GRANT CREATE, USAGE ON SCHEMA public TO datamart WITH GRANT OPTION",
    ]
    written = (REPOSITORY / "docs" / "aws.md").read_text(encoding="utf-8")
    assert f"SESSION TIMEOUT {SESSION_SECONDS};" in written
    assert "GRANT CREATE, TEMPORARY ON DATABASE" in written
    assert "GRANT CREATE, USAGE ON SCHEMA public TO datamart" in written


def test_users_that_are_there_get_the_password_anew() -> None:
    api = DataApi(users={"datamart"})
    create(OUTPUTS, Secrets(), Serverless(), api)
    assert [one.split(" USER")[0] for one in api.statements[:2]] == ["ALTER", "CREATE"]


def test_no_password_is_sent() -> None:
    api = DataApi(users=set())
    create(OUTPUTS, Secrets(), Serverless(), api)
    told = json.dumps(api.sent)
    for user, password in PASSWORDS.items():
        assert password not in told
        assert f"'md5{hashlib.md5((password + user).encode()).hexdigest()}'" in told
    assert all(one["SecretArn"] == ADMINISTRATOR for one in api.sent)


def test_what_is_refused_is_told() -> None:
    with pytest.raises(DatabaseError, match="permission denied"):
        create(OUTPUTS, Secrets(), Serverless(), DataApi(users=set(), refuses="GRANT"))


@pytest.mark.parametrize("name", ["", "a b", "x'; DROP USER y; --", "Datamart", "1a"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        User(name, "x")
