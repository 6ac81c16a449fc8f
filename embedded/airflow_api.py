"""A minimal client for Airflow's REST API."""

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ApiError(Exception):
    """An answer that is not a success."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text[:300]}")
        self.status = status


class AirflowApi:
    """Calls as one user; the token is fetched once."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        self._token = ""  # nosec B105  # none yet

    def get(self, path: str, **query: object) -> Any:
        suffix = f"?{urllib.parse.urlencode(query, doseq=True)}" if query else ""
        return self._call("GET", f"/api/v2{path}{suffix}")

    def insights(self, **query: object) -> Any:
        """Records of an insight, from the plugin's API."""
        return self._call("GET", f"/data-api/insights?{urllib.parse.urlencode(query)}")

    def loads(self, **query: object) -> Any:
        """A page of the ledger of loads, newest first, from the plugin's API."""
        return self._call("GET", f"/data-api/loads?{urllib.parse.urlencode(query)}")

    def post(self, path: str, body: object) -> Any:
        return self._call("POST", f"/api/v2{path}", body)

    def patch(self, path: str, body: object) -> Any:
        return self._call("PATCH", f"/api/v2{path}", body)

    def _call(self, method: str, path: str, body: object = None) -> Any:
        if not self._token:
            self._token = self._send("POST", "/auth/token", self._login)["access_token"]
        return self._send(method, path, body)

    def _send(self, method: str, path: str, body: object) -> Any:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with _opener.open(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, error.read().decode(errors="replace")) from error


def healthy(url: str, needed: tuple[str, ...] = ("metadatabase", "scheduler", "dag_processor", "triggerer")) -> bool:
    """Say whether Airflow's parts report that they are well."""
    try:
        with _opener.open(f"{url}/api/v2/monitor/health", timeout=5) as answer:
            health = json.load(answer)
        # The way for tasks is made at its first use, which takes seconds: the first task would wait for it.
        with _opener.open(f"{url}/execution/health", timeout=30):
            pass
    except (OSError, ValueError):
        return False
    return all((health.get(part) or {}).get("status") == "healthy" for part in needed)
