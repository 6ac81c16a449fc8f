"""The REST API as its clients use it: real HTTP, one client for each user of the stack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from tests.product import Product
from tests.stack import Stack

Answer = httpx.Response


@dataclass
class Rest:
    """Requests to ``/data-api`` as one user, by his token."""

    url: str
    passwords: dict[str, str]
    user: str = "uploader"
    _tokens: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, stack: Stack) -> Rest:
        file = stack.directory / "secrets" / "airflow_passwords.json"
        return cls(stack.env["AIRFLOW_URL"], json.loads(file.read_text()))

    def as_(self, user: str) -> Rest:
        """The same for another user."""
        return Rest(self.url, self.passwords, user, self._tokens)

    @property
    def token(self) -> str:
        if self.user not in self._tokens:
            login = {"username": self.user, "password": self.passwords[self.user]}
            answer = httpx.post(f"{self.url}/auth/token", json=login, trust_env=False, timeout=30)
            self._tokens[self.user] = answer.json()["access_token"]
        return self._tokens[self.user]

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def plain(self, method: str, path: str, **options: Any) -> Answer:
        """A request that says who sends it only by its options."""
        with self.client() as client:
            client.cookies.update(options.pop("cookies", {}))
            return client.request(method, path, **options)

    def get(self, path: str, **query: Any) -> Answer:
        return self.plain("GET", path, params=query, headers=self.bearer)

    def upload(
        self, name: str, body: bytes, *, key: str | None = None, headers: dict[str, str] | None = None, **query: Any
    ) -> Answer:
        """Send a file."""
        own = self.bearer | ({"Idempotency-Key": key} if key else {}) | (headers or {})
        files = {"file": (name, body, "text/csv")}
        return self.plain("POST", "/upload", files=files, params={"wait": 120, **query}, headers=own)

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=f"{self.url}/data-api", trust_env=False, timeout=330) as client:
            yield client


def loaded_rows(product: Product, load_id: str) -> int:
    """Rows of the ledger for one load."""
    return int(product.sql("SELECT count(*) FROM ops.loads WHERE load_id = %s", int(load_id))[0][0])


def unique_key() -> str:
    return f"key-{uuid4().hex}"


def form(*parts: tuple[str, str | None, bytes]) -> tuple[bytes, str]:
    """A multipart body written by hand - parts are (field, file name, content) - and its content type."""
    edge = uuid4().hex
    lines = []
    for name, filename, content in parts:
        file = f'; filename="{filename}"' if filename is not None else ""
        lines.append(
            f'--{edge}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"
        )
    return b"".join(lines) + f"--{edge}--\r\n".encode(), f"multipart/form-data; boundary={edge}"


SAMPLES = Path(__file__).resolve().parents[1] / "data"
