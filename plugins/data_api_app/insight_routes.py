"""``GET /insights``: the two reports of who hired how many, as records or CSV, and how fresh they are."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from data_api_app import openapi, rights
from data_api_app.refusals import parameter
from data_api_app.rights import INSIGHTS_DAG
from datamart import insights
from datamart.insights import Freshness, Insight
from datamart.warehouse.base import Warehouse

router = APIRouter(tags=["insights"])

MOST_RECORDS = 1_000_000
MOST_AT_ONCE = 10_000
"""Records that are no burden for the server."""


Year = Annotated[int, Query(ge=1, le=9999, description="The year of the hires, UTC.")]
T = TypeVar("T")


class Format(StrEnum):
    """How records are written."""

    JSON = "json"
    CSV = "csv"


@router.get("/insights", summary="Hires by quarter, or departments above the mean", responses=openapi.INSIGHTS)
async def read(
    request: Request,
    table: Annotated[
        str,
        Query(
            description=f"One of {', '.join(one.name.upper() for one in insights.INSIGHTS)}; in any case.",
            max_length=63,
        ),
    ],
    limit: Annotated[int, Query(ge=1, le=MOST_RECORDS, description="At most so many records.")] = 100,
    year: Year = 2021,
    format: Annotated[Format, Query(description="JSON, or CSV with a header.")] = Format.JSON,
    fresh: Annotated[
        bool, Query(description="Compute from the tables now, in place of reading what was computed.")
    ] = False,
) -> Response:
    """Records in the report's own order. The headers `Data-Refreshed-At`, `Data-Complete-Up-To` (a number for each
    table; see `commit_seq` of a load) and `Data-Behind` say how fresh they are."""
    if not request.app.state.settings.public_insights:
        await rights.read(request, INSIGHTS_DAG)
    with parameter():
        insight = insights.insight_named(table)
    sources = request.app.state.sources
    ask = sources.ask_costly if fresh or limit > MOST_AT_ONCE else sources.ask
    return await ask(lambda opened: _response(insight, year, format, *_read(opened, insight, year, limit, fresh)))


def _response(
    insight: Insight, year: int, wanted: Format, records: Sequence[dict[str, Any]], known: Freshness
) -> Response:
    headers = _headers(known)
    if wanted is Format.CSV:
        headers["Content-Disposition"] = f'attachment; filename="{insight.name}_{year}.csv"'
        return Response(csv_of(insight.keys, records), media_type="text/csv; charset=utf-8", headers=headers)
    return JSONResponse(records, headers=headers)


def _read(
    warehouse: Warehouse, insight: Insight, year: int, limit: int, fresh: bool
) -> tuple[list[dict[str, Any]], Freshness]:
    def both() -> tuple[list[dict[str, Any]], Freshness]:
        found = insights.read(warehouse, insight, year, limit, fresh=fresh)
        return found, insights.now_fresh(warehouse) if fresh else insights.freshness(warehouse, insight)

    return at_one_moment(warehouse, both)


def at_one_moment(warehouse: Warehouse, work: Callable[[], T]) -> T:
    """Work that reads more than once sees the same moment each time."""
    with warehouse.one_moment():
        return work()


def _headers(known: Freshness) -> dict[str, str]:
    headers = {
        "Data-Complete-Up-To": json.dumps(known.complete_up_to),
        "Data-Behind": "true" if known.behind else "false",
        "Cache-Control": "no-store",
    }
    if known.refreshed_at is not None:
        headers["Data-Refreshed-At"] = _iso(known.refreshed_at)
    return headers


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def csv_of(keys: Sequence[str], records: Sequence[dict[str, Any]]) -> str:
    """RFC 4180; what is unknown is an empty field."""
    out = io.StringIO()
    writer = csv.DictWriter(out, keys)
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()
