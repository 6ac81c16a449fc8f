"""Registers the REST API with Airflow. Every process of Airflow runs this file, so it imports next to nothing."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/data-api"


class _Apps:
    """The list of applications, made when the API server asks for it: a task never pays for their imports."""

    def __get__(self, _instance: object, _owner: type) -> list[dict[str, Any]]:
        from data_api_app.factory import create_app

        return [{"app": create_app(), "url_prefix": PREFIX, "name": "data-api"}]


class WithSlash:
    """The application's own address without a slash at its end, which is none of a mount."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As ASGI has it."""
        if scope["type"] == "http" and scope["path"] == scope.get("root_path", "") + PREFIX:
            scope = {**scope, "path": f"{scope['path']}/"}
        await self._app(scope, receive, send)


def _view(name: str, page: str) -> dict[str, Any]:
    """A page in Airflow's navigation; the addresses are relative, as Airflow may be under a path of its own."""
    files = f"{PREFIX[1:]}/page-files"
    return {
        "name": name,
        "href": f"{PREFIX[1:]}/pages/{page}",
        "destination": "nav",
        "url_route": f"hiring-{page}",
        "nav_top_level": True,
        "icon": f"{files}/icons/{page}.svg",
        "icon_dark_mode": f"{files}/icons/{page}_dark.svg",
    }


class DataApi(AirflowPlugin):
    """The REST API under ``/data-api``, and the pages that show what it knows."""

    name = "data_api"
    fastapi_apps = _Apps()
    external_views: ClassVar = [_view("Insights", "insights"), _view("Loads", "loads"), _view("Backups", "backups")]
    fastapi_root_middlewares: ClassVar = [{"middleware": WithSlash, "name": "data-api"}]
