"""``GET /insights/charts``: what the charts of a year show, all of them or one as CSV."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse, Response

from data_api_app import openapi, rights
from data_api_app.insight_routes import Year, at_one_moment, csv_of
from data_api_app.refusals import parameter
from data_api_app.rights import INSIGHTS_DAG
from datamart.charts import CHARTS, all_charts, chart_named, records

router = APIRouter(tags=["insights"])

NewestYear = Annotated[
    int | None, Query(ge=1, le=9999, description="The year of the hires, UTC; by default the newest.")
]


@router.get("/insights/charts", summary="What the charts of a year show", responses=openapi.CHARTS)
async def read_charts(request: Request, year: NewestYear = None) -> JSONResponse:
    """Records of all charts at one moment, of the newest year by default; years there are; the mean of each quarter and
    of the year, of the departments that hired in it (null where none hired more); and the newest load of
    each table that is in the numbers."""
    await rights.read(request, INSIGHTS_DAG)
    found = await request.app.state.sources.ask(lambda opened: at_one_moment(opened, lambda: all_charts(opened, year)))
    return JSONResponse(found, headers={"Cache-Control": "no-store"})


@router.get("/insights/charts/{chart}.csv", summary="One of the charts as CSV", responses=openapi.CHART)
async def read_chart(
    request: Request,
    chart: Annotated[str, Path(description=f"One of {', '.join(one.name for one in CHARTS)}.", max_length=63)],
    year: Year = 2021,
) -> Response:
    """The records of one chart, with a header."""
    await rights.read(request, INSIGHTS_DAG)
    with parameter():
        wanted = chart_named(chart)
    found = await request.app.state.sources.ask(lambda opened: records(opened, wanted, year))
    name = f"{wanted.name}_{year}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(csv_of(wanted.keys, found), media_type="text/csv; charset=utf-8", headers=headers)
