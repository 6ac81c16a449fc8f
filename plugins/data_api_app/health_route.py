"""``GET /health``: is all well? The same check that watches and alerts."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from data_api_app import openapi, rights
from data_api_app.rights import UPLOAD_DAG
from data_api_app.sources import CONNECTION
from datamart.health import Finding, check
from datamart_airflow.airflow_state import airflow_state
from datamart_airflow.clients import warehouse

router = APIRouter(tags=["about"])

_SECONDS = 5.0
"""An answer is good for so long: many who ask are no burden."""


@router.get("/health", summary="What is stale, paused or stuck", responses=openapi.HEALTH)
async def health(request: Request) -> JSONResponse:
    """Findings, critical ones first; each says what to do. 503 when one of them is critical, or else 200."""
    await rights.read(request, UPLOAD_DAG)
    findings = await _findings(request)
    critical = any(one.severity == "critical" for one in findings)
    content = {"healthy": not findings, "findings": [one.as_json() for one in findings]}
    return JSONResponse(content, 503 if critical else 200, {"Cache-Control": "no-store"})


async def _findings(request: Request) -> list[Finding]:
    """The newest answer; who comes while it is looked for waits for the same."""
    state: Any = request.app.state
    known: tuple[asyncio.Task[list[Finding]], float] | None = getattr(state, "health", None)
    if known is None or (known[0].done() and (known[1] < time.monotonic() - _SECONDS or known[0].exception())):
        known = asyncio.create_task(state.sources.thread(lambda: _check(state))), time.monotonic()
        state.health = known
    return await asyncio.shield(known[0])


def _check(state: Any) -> list[Finding]:
    return check(lambda: warehouse(CONNECTION), state.sources.store, state.settings, airflow_state(), datetime.now(UTC))
