"""Airflow as this API sees it: its own REST API, asked within this process, and what its auth manager says of callers.

The only file here that uses more of Airflow than its REST API and its plugin interface.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from airflow.api_fastapi.app import AUTH_MANAGER_FASTAPI_APP_PREFIX, get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.resource_details import (
    ConnectionDetails,
    DagAccessEntity,
    DagDetails,
)
from airflow.configuration import conf
from jwt import InvalidTokenError
from sqlalchemy.exc import SQLAlchemyError

from data_api_app.refusals import Refused, unavailable

log = logging.getLogger(__name__)

COOKIE = COOKIE_NAME_JWT_TOKEN
CALLS = 8
_READY_SECONDS = 1.0
_PATIENCE_SECONDS = 30.0
_LATE = timedelta(minutes=1)
_AWAY = "Airflow's database does not answer."


class Airflow:
    """The application that this one is mounted in."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None
        self._ready: dict[str, float] = {}
        # Each holds a session with Airflow's database, of which there are few: who waits for one more while others
        # wait for a thread to go on would hold up the whole server.
        self._calls = asyncio.Semaphore(CALLS)

    def mounted_in(self, application: Any) -> None:
        """Remember the application; the first request tells it."""
        if self._client is None:
            transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
            self._client = httpx.AsyncClient(transport=transport, base_url="http://airflow")

    async def call(self, method: str, path: str, token: str, **options: Any) -> httpx.Response:
        """One request to Airflow's REST API with the rights of ``token``."""
        return await self._send(method, f"/api/v2{path}", headers={"Authorization": f"Bearer {token}"}, **options)

    async def token_for(self, name: str, password: str) -> str | None:
        """A token for these credentials from the auth manager's own route; None when it refuses them."""
        login = {"username": name, "password": password}
        answer = await self._send("POST", f"{AUTH_MANAGER_FASTAPI_APP_PREFIX}/token", json=login)
        if answer.status_code == 201:
            return str(answer.json()["access_token"])
        if answer.status_code in (400, 401, 403, 422):
            return None
        log.error("The auth manager answered %d when it was asked for a token", answer.status_code)
        raise Refused(503, "Passwords cannot be checked now. Try again in a moment.", headers={"Retry-After": "5"})

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        if self._client is None:
            raise Refused(503, "This API is not mounted in Airflow.")
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), self._calls:
                return await self._client.request(method, path, **options)
        except TimeoutError:
            raise unavailable("Airflow has not answered in time.") from None
        finally:
            self._client.cookies.clear()  # the next call is another user's

    async def require_ready(self, dag_id: str, token: str) -> None:
        """Runs of this Dag are started.

        Raises:
            Refused: 503, when the Dag is paused or missing or the scheduler is dead.
        """
        if time.monotonic() < self._ready.get(dag_id, 0.0):
            return
        dag, health = await asyncio.gather(
            self.call("GET", f"/dags/{quote(dag_id)}", token), self._send("GET", "/api/v2/monitor/health")
        )
        _require_dag(dag_id, dag)
        if health.status_code != 200 or health.json()["scheduler"]["status"] != "healthy":
            raise unavailable("Airflow's scheduler gives no sign of life, so nothing would be done. Start it again.")
        self._ready[dag_id] = time.monotonic() + _READY_SECONDS

    async def ended_runs(self, dag_id: str, token: str) -> dict[str, str]:
        """State by run of those that ended in the last minute."""
        since = (datetime.now(UTC) - _LATE).isoformat()
        query = {"state": ["success", "failed"], "end_date_gte": since, "order_by": "-end_date", "limit": 100}
        answer = await self.call("GET", f"/dags/{quote(dag_id)}/dagRuns", token, params=query)
        answer.raise_for_status()
        return {run["dag_run_id"]: run["state"] for run in answer.json()["dag_runs"]}


def _require_dag(dag_id: str, answer: httpx.Response) -> None:
    if answer.status_code == 404:
        raise unavailable(f"Airflow does not know the Dag {dag_id} (yet).")
    if answer.status_code == 403:
        raise Refused(403, f"You may not see the Dag {dag_id}. Ask an administrator of Airflow for the right to.")
    if answer.status_code != 200:
        raise unavailable("Airflow cannot be asked now.")
    if answer.json()["is_paused"]:
        raise unavailable(f"The Dag {dag_id} is paused, so nothing would be done. Switch it on again in Airflow.")


async def user_of(token: str) -> Any:
    """The user that a token is for; None when it is not, or no longer, valid."""
    try:
        return await get_auth_manager().get_user_from_token(token)
    except InvalidTokenError:
        return None
    except SQLAlchemyError:
        raise unavailable(_AWAY) from None


def may_read(user: Any, dag_id: str) -> bool:
    """He may see the Dag."""
    with _database():
        return bool(get_auth_manager().is_authorized_dag(method="GET", details=DagDetails(id=dag_id), user=user))


def may_trigger(user: Any, dag_id: str) -> bool:
    """He may start runs of the Dag."""
    details = DagDetails(id=dag_id)
    with _database():
        return bool(
            get_auth_manager().is_authorized_dag(
                method="POST", access_entity=DagAccessEntity.RUN, details=details, user=user
            )
        )


def may_operate(user: Any) -> bool:
    """He may change the connection to the warehouse, as those who run this place may."""
    details = ConnectionDetails(conn_id="warehouse")
    with _database():
        return bool(get_auth_manager().is_authorized_connection(method="PUT", details=details, user=user))


@contextmanager
def _database() -> Iterator[None]:
    """The auth manager may ask Airflow's database."""
    try:
        yield
    except SQLAlchemyError:
        raise unavailable(_AWAY) from None


def any_password_passes() -> bool:
    """The simple auth manager makes everybody an administrator, whatever he says."""
    return bool(conf.getboolean("core", "simple_auth_manager_all_admins", fallback=False))


def own_origins() -> Iterable[str]:
    """Hosts under which browsers see Airflow."""
    return filter(None, [urlsplit(conf.get("api", "base_url", fallback="") or "").netloc])
