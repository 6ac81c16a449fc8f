"""``GET /loads``: the ledger, newest first or by day, one load of it, and its rejected rows as they can be repaired."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from data_api_app import openapi, rights
from data_api_app.refusals import Refused, parameter
from data_api_app.rights import UPLOAD_DAG
from data_api_app.sources import Sources
from datamart.ledger import MOST_LISTED, Ledger, Wanted, place_of
from datamart.loads import LARGEST_ID, Verdict
from datamart.moments import moment_of
from datamart.objects import rejected_key
from datamart.reasons import EXPECTED
from datamart.rejected_page import MOST_LISTED as MOST_REJECTED
from datamart.rejected_page import rejected_page
from datamart.rejects import names_in
from datamart.tables import table_named
from datamart.upload_answer import own_names

router = APIRouter(tags=["loads"])

LoadId = Annotated[str, Path(pattern=r"^[0-9]{1,19}$", description="The load's id.")]
OfTable = Annotated[str | None, Query(max_length=63, description="Only loads of this table.")]
OfVerdict = Annotated[Verdict | None, Query(description="Only loads of this verdict.")]
Since = Annotated[str | None, Query(max_length=40, description="Only loads that ended from this moment on, UTC.")]
Until = Annotated[str | None, Query(max_length=40, description="Only loads that ended before this moment, UTC.")]
_MOST_DAYS = 1000
_PIECE = 256 * 1024


@router.get("/loads", summary="The ledger of loads, newest first", responses=openapi.LOADS)
async def page(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED, description="At most so many loads.")] = 50,
    after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
    table: OfTable = None,
    verdict: OfVerdict = None,
    since: Since = None,
    until: Until = None,
    repairs: Annotated[
        str | None, Query(pattern=r"^[0-9]{1,19}$", description="Only loads of this load's rejected rows.")
    ] = None,
) -> JSONResponse:
    """Every file that was ever judged, whoever brought it. Ids are text: they are larger than JSON's numbers."""
    await rights.read(request, UPLOAD_DAG)
    wanted = replace(_wanted(table, verdict, since, until), repairs=min(int(repairs), LARGEST_ID) if repairs else None)
    with parameter():
        place = place_of(after) if after is not None else None
    found = await request.app.state.sources.ask(lambda opened: Ledger(opened).page(limit, place, wanted))
    return JSONResponse({"loads": found.loads, "next": found.after})


@router.get("/loads/days", summary="Loads and rejected rows by day", responses=openapi.LOAD_DAYS)
async def days(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=_MOST_DAYS, description="At most so many days.")] = 90,
    table: OfTable = None,
    verdict: OfVerdict = None,
    since: Since = None,
    until: Until = None,
) -> JSONResponse:
    """How many files ended on each day, UTC, the rows that were in them and those that were rejected; newest first."""
    await rights.read(request, UPLOAD_DAG)
    wanted = _wanted(table, verdict, since, until)
    found = await request.app.state.sources.ask(lambda opened: Ledger(opened).days(limit, wanted))
    return JSONResponse({"days": found})


def _wanted(table: str | None, verdict: Verdict | None, since: str | None, until: str | None) -> Wanted:
    with parameter():
        if table is not None:
            table_named(table)
        moments = [moment_of(text) if text else None for text in (since, until)]
    return Wanted(table, verdict.value if verdict else None, *moments)


@router.get("/loads/{load_id}", summary="One load", responses=openapi.LOAD)
async def one(request: Request, load_id: LoadId) -> JSONResponse:
    """What the ledger knows of a load."""
    await rights.read(request, UPLOAD_DAG)
    return JSONResponse(await _load(request, load_id))


@router.get("/loads/{load_id}/rejected.csv", summary="Its rejected rows, to be repaired", responses=openapi.REJECTED)
async def rejected(request: Request, load_id: LoadId) -> Response:
    """The rejected rows verbatim, behind `_line`, `_reasons` and `_load_id`. Repair them and send the file again as it
    is; the columns in front are ignored, but for the link to this load. Rows that fit no columns are not in it."""
    load = await _load_with_rejects(request, load_id)
    name = f"{load['table']}_rejected_{load_id}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    sources = request.app.state.sources
    key = rejected_key(load["table"], int(load_id))
    body = await sources.thread(lambda: sources.store().opened(key))
    if body is not None:
        return StreamingResponse(_pieces(sources, body), media_type="text/csv", headers=headers)
    # They could be written anew, but not in the order of columns that the file had.
    raise Refused(410, f"The rejected rows of load {load_id} were removed from S3; they are in ops.rejected_rows.")


@router.get("/loads/{load_id}/rejected", summary="Its rejected rows, a page of them", responses=openapi.REJECTED_PAGE)
async def rejected_rows(
    request: Request,
    load_id: LoadId,
    limit: Annotated[int, Query(ge=1, le=MOST_REJECTED, description="At most so many rows.")] = 100,
    after: Annotated[int, Query(ge=0, le=LARGEST_ID, description="`next` of the page before.")] = 0,
) -> JSONResponse:
    """Rejected rows in the file's order: their values as they were sent, and all reasons. A row that does not fit the
    file's columns has its text in place of values."""
    load = await _load_with_rejects(request, load_id)
    table, sources, number = table_named(load["table"]), request.app.state.sources, int(load_id)
    header = await sources.thread(lambda: sources.store().first_line(rejected_key(table.name, number)))
    # Where the file's own order is not known, values under names could be under the wrong ones.
    known = names_in(header) if header else None
    names = own_names(table, known) if known else ()
    found = await sources.ask(lambda opened: rejected_page(opened, number, names, limit, after))
    content = {"load_id": load_id, "table": table.name, **found, "expected": EXPECTED}
    return JSONResponse(content, headers={"Cache-Control": "no-store"})


async def _load_with_rejects(request: Request, load_id: str) -> dict[str, Any]:
    await rights.read(request, UPLOAD_DAG)
    load = await _load(request, load_id)
    if not load["rows_rejected"] or load["table"] is None:
        raise Refused(404, f"Load {load_id} has no rejected rows.")
    if load["rejects_expired_at"]:
        raise Refused(410, f"The rejected rows of load {load_id} were kept until {load['rejects_expired_at']}.")
    return load


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
