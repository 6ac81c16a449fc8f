"""Puts the application together: routes, the guard around them, and what they share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from fastapi import Depends, FastAPI
from starlette.types import Receive, Scope, Send

from data_api_app import (
    chart_routes,
    health_route,
    insight_routes,
    load_routes,
    openapi,
    page_routes,
    recovery_routes,
    refusals,
    upload_routes,
)
from data_api_app.airflow_app import Airflow
from data_api_app.guard import Guard
from data_api_app.parameters import require_known
from data_api_app.passwords import Passwords
from data_api_app.sources import Sources
from data_api_app.waiting import Waiting
from datamart.settings import load_settings

GREETING = "Hello! This is the hiring data. What can be asked here is described under docs."


class Mounted(FastAPI):
    """An application that knows the one it is mounted in."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it; the scope still names the outer application."""
        if scope["type"] == "http" and scope.get("app") is not None:
            self.state.airflow.mounted_in(scope["app"])
        await super().__call__(scope, receive, send)


@cache
def create_app() -> FastAPI:
    """The application; one for the process."""
    settings = load_settings()
    airflow, sources = Airflow(), Sources()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        sources.close()

    app = Mounted(
        title="Hiring data",
        description=openapi.DESCRIPTION,
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        dependencies=[Depends(require_known)],
    )
    app.state.settings, app.state.airflow, app.state.sources = settings, airflow, sources
    app.state.waiting = Waiting(sources, airflow)

    @app.get("/", summary="A greeting", tags=["about"], responses=openapi.OPEN, openapi_extra={"security": []})
    async def greeting() -> dict[str, str]:
        """The only route that anybody may read."""
        return {"message": GREETING}

    for routes in (upload_routes, insight_routes, chart_routes, load_routes, recovery_routes, health_route):
        app.include_router(routes.router)
    page_routes.install(app)
    openapi.install(app)
    refusals.install(app)
    open_paths = {"/", *(["/insights"] if settings.public_insights else [])}
    app.add_middleware(Guard, passwords=Passwords(airflow), open_paths=open_paths)
    return app
