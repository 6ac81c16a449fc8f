"""Users that the guard knows, and applications behind it."""

from __future__ import annotations

import pytest

from data_api_app import airflow_app
from tests.plugin.guarded import (
    TOKENS,
    User,
    World,
)


@pytest.fixture(autouse=True)
def _users(monkeypatch: pytest.MonkeyPatch) -> None:
    async def user_of(token: str) -> User | None:
        return User(TOKENS[token]) if token in TOKENS else None

    monkeypatch.setattr(airflow_app, "user_of", user_of)
    monkeypatch.setattr(airflow_app, "any_password_passes", lambda: False)
    monkeypatch.delenv("AIRFLOW__API__BASE_URL", raising=False)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(params=["", "/data-api"], ids=["alone", "mounted"])
def placed(request: pytest.FixtureRequest) -> World:
    """The application by itself, and mounted in another one."""
    return World(prefix=request.param)
