"""``POST /upload``: a small file, loaded by a run of the Dag ``ingest_upload`` and answered when that has a verdict.

The route checks the envelope, keeps the file in S3 and starts the run; whatever happens to this process afterwards,
the run does the work and the ledger has the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse

from data_api_app import openapi, rights
from data_api_app.forms import MULTIPART, URLENCODED, file_content, media_type
from data_api_app.refusals import Refused, of_file
from data_api_app.rights import UPLOAD_DAG
from data_api_app.upload_orders import (
    OVER,
    Order,
    begin,
    bucket,
    done_before,
    dry_answer,
    ended,
    require_load,
    run_id_of,
    run_of,
    thread,
)
from data_api_app.waiting import End
from datamart.errors import FileRejected
from datamart.ledger import Ledger
from datamart.loads import Outcome, upload_load_id
from datamart.objects import rejected_key
from datamart.parameter_names import shown_name
from datamart.rejects import kept_reject, names_in
from datamart.routing import table_for
from datamart.tables import TABLES, Table
from datamart.upload_answer import Judged, is_judged, own_names
from datamart.uploads import envelope, upload_id
from datamart.warehouse.values import Ended

router = APIRouter(tags=["upload"])

_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")

DryRun = Annotated[bool, Query(description="Judge the file and say what would be loaded; write nothing.")]
Repairs = Annotated[
    str | None,
    Query(pattern=r"^[0-9]{1,19}$", description="Id of the load whose rejected rows these are, repaired."),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="1 to 255 visible ASCII characters. The same key with the same file gets the first answer again "
        "and nothing is done twice; with another file it is refused.",
    ),
]


@router.post(
    "/upload", summary="Load a file of 1 to 1000 rows", responses=openapi.UPLOAD, openapi_extra=openapi.UPLOAD_BODY
)
async def upload(
    request: Request,
    wait: openapi.WaitSeconds = 30.0,
    dry_run: DryRun = False,
    repairs: Repairs = None,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Judge every row, load the good ones in one transaction, and say for each bad one why.

    The file's name tells its table: `hired_employees.csv`, `jobs_prod.csv`, `departments copy.csv`. Send a file of
    rejected rows, repaired, in the same way.
    """
    caller = await rights.trigger(request, UPLOAD_DAG)
    if idempotency_key is not None and not _KEY.match(idempotency_key):
        raise Refused(400, "Idempotency-Key must be 1 to 255 visible ASCII characters.")
    name, body = await _file_in(request)
    one = upload_id(caller.name, idempotency_key)
    try:
        order = Order(await thread(request, lambda: envelope(one, name, body)), dry_run, repairs)
    except FileRejected as refusal:
        raise of_file(refusal) from None
    keyed = idempotency_key is not None
    end = await done_before(request, order) if keyed else None
    if end is None:
        await request.app.state.airflow.require_ready(UPLOAD_DAG, caller.token)
        await require_load(request, repairs)
        end = await begin(request, caller, order, body, keyed=keyed)
    if end is None:
        load_id = None if dry_run else order.upload.load_id(bucket(request))
        end = await request.app.state.waiting.end_of(UPLOAD_DAG, order.run_id, load_id, caller.token, wait)
    return await _answer(request, one, end)


@router.get("/upload/{upload_id}", summary="What became of an upload", responses=openapi.UPLOAD_STATUS)
async def status(
    request: Request,
    upload_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="As `POST /upload` has given it.")],
) -> JSONResponse:
    """The answer that `POST /upload` would have given, once there is one; until then 202."""
    caller = await rights.read(request, UPLOAD_DAG)
    load_id = upload_load_id(bucket(request), upload_id)
    run = None
    found = await ended(request, load_id)
    if found is None:
        run = await run_of(request, caller, upload_id)
        if run is None:
            raise Refused(404, "There is no such upload.")
        found = await ended(request, load_id)  # it may have ended between the two questions
    over = run is not None and run["state"] in OVER
    return await _answer(request, upload_id, End(found, run["state"] if run else None) if found or over else None)


async def _file_in(request: Request) -> tuple[str, bytes]:
    """Name and bytes of the one file in the request's form.

    Raises:
        Refused: 415 when there is no form, 400 when it does not hold one file in the field ``file``.
    """
    example = f'curl -H "Authorization: Bearer $token" -F file=@jobs.csv "$AIRFLOW_URL{request.scope["path"]}"'
    kind = media_type(request)
    if kind != MULTIPART:
        raise Refused(415, f"{_no_form(kind)} Send a form (multipart/form-data) with the CSV file in 'file': {example}")
    sent = request.state.form.multi_items()
    files = [(name, part) for name, part in sent if isinstance(part, UploadFile)]
    texts = [name for name, part in sent if name == "file" and not isinstance(part, UploadFile)]
    if len(files) + len(texts) > 1:
        fields = ", ".join(shown_name(name) for name in dict.fromkeys([name for name, _ in files] + texts))
        wording = f"The form holds {len(files) + len(texts)} files, in {fields}. Send one file, in the field 'file'."
        raise Refused(400, f"{wording} {example}")
    if texts:
        raise Refused(400, f"The field 'file' of the form is text; it must be a file with a name: {example}")
    if not files:
        raise Refused(400, f"The form holds no file. Send it in the field 'file': {example}")
    field, part = files[0]
    if field != "file":
        wording = f"The file was sent in the field {shown_name(field)}; the field must be named 'file'"
        raise Refused(400, f"{wording}: {example}")
    return part.filename or "", await file_content(part)


def _no_form(kind: str) -> str:
    """What a body is instead of a form with files."""
    if not kind:
        return "The request has no Content-Type."
    if kind == "application/json" or kind.endswith("+json"):
        return "The body is JSON."
    if kind == URLENCODED:
        return f"The body is a form that holds no files ({URLENCODED}), which curl -d and --data-binary send."
    return f"The body is {shown_name(kind)}, not a form. curl --data-binary sends the file without one."


async def _answer(request: Request, one: str, end: End | None) -> JSONResponse:
    root = request.scope.get("root_path", "")
    links = {"status": f"{root}/upload/{one}", "run": f"{_outer(request)}/dags/{UPLOAD_DAG}/runs/{run_id_of(one)}"}
    if end is None:
        wording = "The file is being loaded. Ask again at the address under links.status."
        content = {"result": wording, "verdict": None, "upload_id": one, "links": links}
        return JSONResponse(content, 202, {"Location": links["status"], "Retry-After": "1"})
    content = await _verdict(request, end.verdict) if end.verdict else await dry_answer(request, one)
    if content is None and end.state == "success":
        raise Refused(410, "The answer of this dry run was not kept any longer. Send the file again, with another key.")
    if content is None:
        raise await _fault(request, one, links)
    if content["load_id"]:
        links["load"] = f"{root}/loads/{content['load_id']}"
        if content["nrows_failed"]:
            links["rejected"] = f"{root}/loads/{content['load_id']}/rejected.csv"
    content |= {"upload_id": one, "links": links}
    if not is_judged(content["verdict"], content["code"]):
        return JSONResponse({"error": content["result"], **content}, 422)
    return JSONResponse(content)


async def _verdict(request: Request, ended: Ended) -> dict[str, Any]:
    """The answer for a load that the ledger knows."""
    outcome, sources = ended.outcome, request.app.state.sources
    table = _table_of(outcome)
    rejects = []
    names: tuple[str, ...] | None = None
    if outcome.counts.rejected:
        found = await sources.ask(lambda warehouse: list(warehouse.rejects_of(outcome.load_id)))
        rejects = [kept_reject(*row) for row in found]
        header = await thread(request, lambda: sources.store().first_line(rejected_key(table.name, outcome.load_id)))
        names = names_in(header) if header else None
    name = outcome.key.rsplit("/", 1)[-1]
    return Judged(name, table, outcome, rejects, own_names(table, names), ended.seconds).answer()


def _table_of(outcome: Outcome) -> Table:
    """An upload's name fits a table: others are refused before."""
    table = table_for(outcome.key, TABLES)
    if table is None:
        raise Refused(404, "The table of this upload is not there any more.")
    return table


async def _fault(request: Request, one: str, links: Mapping[str, str]) -> Refused:
    """What kept the file from being loaded, as the ledger or else the run's log has it."""
    load_id = upload_load_id(bucket(request), one)
    known = await request.app.state.sources.ask(lambda warehouse: Ledger(warehouse).one(load_id))
    why = known["message"] if known else "The log of its run says why."
    message = (
        f"A fault kept the file from being loaded; nothing of it was. {why} Send it again, with the same key if any."
    )
    return Refused(503, message, headers={"Retry-After": "10"}, verdict="failed", upload_id=one, links=dict(links))


def _outer(request: Request) -> str:
    """The path under which Airflow's own pages are."""
    root = str(request.scope.get("root_path", ""))
    return root.rpartition("/")[0]
