"""An Airflow connection becomes a session with the warehouse that its type names, on the servers themselves."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow.sdk import Connection

from datamart.errors import ConfigurationError, TransientFault
from datamart.warehouse.base import Warehouse
from datamart.warehouse.exchange import Exchange
from datamart_airflow.warehouses import open_warehouse
from embedded.settings import REPOSITORY
from tests.contract.served import ROLE, Served

pytestmark = pytest.mark.served("postgres", "redshift")
"""A real Redshift has its own address, which the suite is told as a URI."""


def connection(served: Served, **changes: Any) -> Connection:
    """As a person would write it."""
    at = urlsplit(served.dsn)
    fields: dict[str, Any] = {
        "conn_id": "warehouse", "conn_type": served.dialect, "host": at.hostname, "port": at.port,
        "schema": at.path.strip("/"), "login": at.username, "password": at.password,
        "extra": json.dumps({"iam_role": ROLE, "sslmode": "disable"}),
    }  # fmt: skip
    return Connection(**(fields | changes))


def opened(served: Served, **changes: Any) -> Warehouse:
    return open_warehouse(connection(served, **changes), lambda: served.data)


def test_the_type_of_the_connection_chooses_the_dialect(served: Served) -> None:
    with closing(opened(served)) as warehouse:
        assert warehouse.dialect == served.dialect
        assert warehouse.size_of("public.jobs") >= 0


def test_another_type_is_refused(served: Served) -> None:
    with pytest.raises(ConfigurationError, match="postgres or redshift"):
        opened(served, conn_type="mysql")


def test_extras_say_how_to_encrypt_and_are_not_part_of_the_address(served: Served) -> None:
    """Neither server here speaks TLS, so that asking for it must fail."""
    with pytest.raises(TransientFault, match="SSL"):
        opened(served, extra=json.dumps({"sslmode": "require"}))
    odd = json.dumps({"sslmode": "disable", "host": "elsewhere.invalid", "options": "-c x=y", "iam_role": ROLE})
    with closing(opened(served, extra=odd)) as warehouse:
        assert warehouse.alive()


def test_a_password_may_have_any_characters(served: Served) -> None:
    with pytest.raises(TransientFault) as refused:
        opened(served, password="a@b:c/d?e#f%20 g'")
    assert "a@b" not in str(refused.value)


@pytest.mark.parametrize("host", ["[fe80", "[]", "[::1]x", "a b", "127.0.0.1,other", "x'y"])
def test_an_address_that_is_none_is_told_without_the_password(served: Served, host: str) -> None:
    with pytest.raises(TransientFault) as refused:
        opened(served, host=host, password="geheim")
    assert "geheim" not in str(refused.value)


def test_a_connection_without_a_host_is_refused(served: Served) -> None:
    with pytest.raises(ConfigurationError, match="no host"):
        opened(served, host=None)


def test_redshift_is_asked_for_tls_unless_told_otherwise(served: Served) -> None:
    """The stand-in speaks none, and the stack's own server neither."""
    if served.dialect == "redshift":
        with pytest.raises(TransientFault, match="SSL"):
            opened(served, extra=json.dumps({"iam_role": ROLE}))
    else:
        opened(served, extra="{}").close()


@pytest.mark.parametrize("role", ["arn:aws:iam::1:role/x", "x'; DROP TABLE t; --", f"{ROLE}' FORMAT CSV", " "])
def test_a_role_that_is_none_is_refused(served: Served, role: str) -> None:
    with pytest.raises(ConfigurationError, match="iam_role"):
        Exchange(served.data, role)
    assert Exchange(served.data, f"{ROLE},{ROLE}").role_sql == f"'{ROLE},{ROLE}'"
    assert Exchange(served.data).role_sql == "DEFAULT"


@pytest.fixture
def aws(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What is asked of a service that gives out temporary logins: here, those of the warehouse itself."""
    asked: list[dict[str, Any]] = []
    at = urlsplit(served.dsn)

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            asked.append({"target": self.headers["X-Amz-Target"], **json.loads(self.rfile.read(length))})
            body = json.dumps({"dbUser": at.username, "dbPassword": at.password}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        extra = {"endpoint_url": f"http://127.0.0.1:{server.server_port}", "region_name": "us-east-1"}
        held = {"conn_type": "aws", "login": "key", "password": "secret", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_OBJECT_STORE", json.dumps(held))
        yield asked
        server.shutdown()


@pytest.mark.served("redshift")
def test_a_temporary_login_is_asked_of_aws(served: Served, aws: list[dict[str, Any]]) -> None:
    extra = {"iam": True, "is_serverless": True, "serverless_work_group": "hiring", "sslmode": "disable"}
    with closing(opened(served, login=None, password=None, extra=json.dumps(extra))) as warehouse:
        assert warehouse.size_of("public.jobs") >= 0
    (one,) = aws
    assert (one["target"], one["workgroupName"]) == ("RedshiftServerless.GetCredentials", "hiring")


@pytest.mark.served("redshift")
def test_the_connections_of_the_documentation_are_understood(served: Served) -> None:
    """All but the address and the login of docs/aws.md, which are those of nobody."""
    text = (REPOSITORY / "docs" / "aws.md").read_text(encoding="utf-8")
    written = re.findall(r"^ *export AIRFLOW_CONN_WAREHOUSE\w*='(\{.*?\})'", text, re.M | re.S)
    found = [json.loads(one) for one in written]
    assert len(found) >= 2
    for one in found:
        assert set(one) <= {"conn_type", "host", "port", "schema", "login", "password", "extra"}
        extra = one["extra"] | {"sslmode": "disable"}
        with closing(opened(served, conn_type=one["conn_type"], extra=json.dumps(extra | {"iam": False}))) as warehouse:
            assert warehouse.dialect == "redshift"
