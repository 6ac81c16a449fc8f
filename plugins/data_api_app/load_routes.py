"""``GET /loads``: the ledger, newest first, one load of it, and its rejected rows as they can be repaired."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from data_api_app import openapi, rights
from data_api_app.refusals import Refused, parameter
from data_api_app.rights import UPLOAD_DAG
from data_api_app.sources import Sources
from datamart.ledger import MOST_LISTED, Ledger, place_of
from datamart.loads import LARGEST_ID, Verdict
from datamart.objects import rejected_key
from datamart.rejects import kept_reject, rejects_csv
from datamart.tables import table_named
from datamart.warehouse.base import Warehouse

router = APIRouter(tags=["loads"])

LoadId = Annotated[str, Path(pattern=r"^[0-9]{1,19}$", description="The load's id.")]
_PIECE = 256 * 1024
_MOST_REMADE = 100_000


@router.get("/loads", summary="The ledger of loads, newest first", responses=openapi.LOADS)
async def page(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED, description="At most so many loads.")] = 50,
    after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
    table: Annotated[str | None, Query(max_length=63, description="Only loads of this table.")] = None,
    verdict: Annotated[Verdict | None, Query(description="Only loads of this verdict.")] = None,
) -> JSONResponse:
    """Every file that was ever judged, whoever brought it. Ids are text: they are larger than JSON's numbers."""
    await rights.read(request, UPLOAD_DAG)
    with parameter():
        if table is not None:
            table_named(table)
        place = place_of(after) if after is not None else None
    wanted = verdict.value if verdict else None
    found = await request.app.state.sources.ask(lambda opened: Ledger(opened).page(limit, place, table, wanted))
    return JSONResponse({"loads": found.loads, "next": found.after})


@router.get("/loads/{load_id}", summary="One load", responses=openapi.LOAD)
async def one(request: Request, load_id: LoadId) -> JSONResponse:
    """What the ledger knows of a load."""
    await rights.read(request, UPLOAD_DAG)
    return JSONResponse(await _load(request, load_id))


@router.get("/loads/{load_id}/rejected.csv", summary="Its rejected rows, to be repaired", responses=openapi.REJECTED)
async def rejected(request: Request, load_id: LoadId) -> Response:
    """The rejected rows verbatim, behind `_line`, `_reasons` and `_load_id`. Repair them and send the file again as it
    is; the columns in front are ignored, but for the link to this load. Rows that fit no columns are not in it."""
    await rights.read(request, UPLOAD_DAG)
    load = await _load(request, load_id)
    if not load["rows_rejected"]:
        raise Refused(404, f"Load {load_id} has no rejected rows.")
    if load["rejects_expired_at"]:
        raise Refused(410, f"The rejected rows of load {load_id} were kept until {load['rejects_expired_at']}.")
    name = f"{load['table']}_rejected_{load_id}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    sources = request.app.state.sources
    key = rejected_key(load["table"], int(load_id))
    body = await sources.thread(lambda: sources.store().opened(key))
    if body is not None:
        return StreamingResponse(_pieces(sources, body), media_type="text/csv", headers=headers)
    if load["rows_rejected"] > _MOST_REMADE:
        raise Refused(410, f"The rejected rows of load {load_id} were removed from S3; they are in ops.rejected_rows.")
    remade = await sources.ask_costly(lambda opened: _from_warehouse(opened, load))
    return Response(remade, media_type="text/csv", headers=headers)


async def _pieces(sources: Sources, body: BinaryIO) -> AsyncIterator[bytes]:
    """A file of any size, a piece at a time."""
    try:
        while piece := await sources.thread(lambda: body.read(_PIECE)):
            yield piece
    finally:
        body.close()


async def _load(request: Request, load_id: str) -> dict[str, Any]:
    number = int(load_id)
    found = None
    if number <= LARGEST_ID:
        found = await request.app.state.sources.ask(lambda opened: Ledger(opened).one(number))
    if found is None:
        raise Refused(404, f"There is no load {load_id}. See loads for those there are.")
    return found


def _from_warehouse(opened: Warehouse, load: dict[str, Any]) -> bytes:
    """The file anew, in the table's own order of columns: somebody has removed it from S3."""
    rejects = (kept_reject(*row) for row in opened.rejects_of(int(load["load_id"])))
    with rejects_csv(rejects, int(load["load_id"]), table_named(load["table"]).names) as file:
        return file.read()
