"""``POST /upload``: a small file, loaded by a run of the Dag ``ingest_upload`` and answered when that has a verdict.

The route checks the envelope, keeps the file in S3 and starts the run; whatever happens to this process afterwards,
the run does the work and the ledger has the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Path, Query, Request
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse

from data_api_app import openapi, rights
from data_api_app.guard import Caller, readable_form
from data_api_app.refusals import Refused, of_file, unavailable
from data_api_app.rights import UPLOAD_DAG
from data_api_app.waiting import End
from datamart.errors import FileRejected
from datamart.ledger import Ledger
from datamart.loads import LARGEST_ID, Outcome, Verdict, upload_load_id
from datamart.objects import rejected_key
from datamart.rejects import kept_reject, names_in
from datamart.routing import table_for
from datamart.tables import TABLES, Table
from datamart.upload_answer import Judged, from_object, own_names
from datamart.uploads import Upload, dry_run_key, envelope, upload_id
from datamart.warehouse.base import Ended

router = APIRouter(tags=["upload"])

MOST_SECONDS = 300.0
_RUN = "upload__"
_OVER = ("success", "failed")
_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")

WaitSeconds = Annotated[
    float,
    Query(
        ge=0, le=MOST_SECONDS, allow_inf_nan=False, description="Seconds to wait for the end; then the answer is 202."
    ),
]
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


@dataclass(frozen=True)
class Order:
    """An upload, and what is to be done with it; the same id stands for the same order for ever."""

    upload: Upload
    dry_run: bool
    repairs: str | None

    @property
    def run_id(self) -> str:
        """Airflow lets a run of one id be started once."""
        return run_id_of(self.upload.upload_id)

    def conf(self, received_at: str) -> dict[str, Any]:
        """What the Dag run is told."""
        return self.identity | {"received_at": received_at}

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it this order and no other."""
        return {
            "key": self.upload.key,
            "upload_id": self.upload.upload_id,
            "sha256": self.upload.sha256,
            "dry_run": self.dry_run,
            "repairs": self.repairs,
        }


def run_id_of(one: str) -> str:
    """The Dag run of an upload."""
    return f"{_RUN}{one}"


@router.post(
    "/upload", summary="Load a file of 1 to 1000 rows", responses=openapi.UPLOAD, openapi_extra=openapi.UPLOAD_BODY
)
async def upload(
    request: Request,
    wait: WaitSeconds = 30.0,
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
        order = Order(await _thread(request, lambda: envelope(one, name, body)), dry_run, repairs)
    except FileRejected as refusal:
        raise of_file(refusal) from None
    keyed = idempotency_key is not None
    end = await _done_before(request, order) if keyed else None
    if end is None:
        await request.app.state.airflow.require_ready(UPLOAD_DAG, caller.token)
        await _require_load(request, repairs)
        end = await _begin(request, caller, order, body, keyed=keyed)
    if end is None:
        load_id = None if dry_run else order.upload.load_id(_bucket(request))
        end = await request.app.state.waiting.end_of(UPLOAD_DAG, order.run_id, load_id, caller.token, wait)
    return await _answer(request, one, end)


@router.get("/upload/{upload_id}", summary="What became of an upload", responses=openapi.UPLOAD_STATUS)
async def status(
    request: Request,
    upload_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="As `POST /upload` has given it.")],
) -> JSONResponse:
    """The answer that `POST /upload` would have given, once there is one; until then 202."""
    caller = await rights.read(request, UPLOAD_DAG)
    load_id = upload_load_id(_bucket(request), upload_id)
    run = None
    ended = await _ended(request, load_id)
    if ended is None:
        run = await _run(request, caller, upload_id)
        if run is None:
            raise Refused(404, "There is no such upload.")
        ended = await _ended(request, load_id)  # it may have ended between the two questions
    over = run is not None and run["state"] in _OVER
    return await _answer(request, upload_id, End(ended, run["state"] if run else None) if ended or over else None)


async def _file_in(request: Request) -> tuple[str, bytes]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data" or request.headers.get("content-encoding", "identity") != "identity":
        raise Refused(
            415, "Send a form (multipart/form-data) whose part 'file' is the CSV file: curl -F file=@jobs.csv ..."
        )
    with readable_form():
        async with request.form(max_files=10, max_fields=100) as form:
            parts = form.getlist("file")
            others = [part for name, part in form.multi_items() if name != "file" and isinstance(part, UploadFile)]
            if len(parts) != 1 or others:
                raise Refused(
                    400, f"The form must hold one file, in the part 'file'; it holds {len(parts) + len(others)}."
                )
            part = parts[0]
            if not isinstance(part, UploadFile):
                raise Refused(400, "The part 'file' of the form must be a file with a name: curl -F file=@jobs.csv ...")
            return part.filename or "", await part.read()


async def _done_before(request: Request, order: Order) -> End | None:
    """What the ledger says of this key."""
    ended = await _ended(request, order.upload.load_id(_bucket(request)))
    if ended is None:
        return None
    known = ended.outcome
    same = known.sha256 == order.upload.sha256 and known.key == order.upload.key and not order.dry_run
    if not same or (order.repairs and str(known.repairs) != order.repairs):
        raise _other_order()
    return End(ended)


async def _ended(request: Request, load_id: int) -> Ended | None:
    found: dict[int, Ended] = await request.app.state.sources.ask(lambda opened: Ledger(opened).ended([load_id]))
    return found.get(load_id)


def _other_order() -> Refused:
    return Refused(
        409, "This Idempotency-Key was used for another file or other parameters. Use a new key for this one."
    )


async def _require_load(request: Request, load_id: str | None) -> None:
    if load_id is None:
        return
    number = int(load_id)
    found = None
    if number <= LARGEST_ID:
        found = await request.app.state.sources.ask(lambda warehouse: warehouse.find_load(number))
    if found is None:
        raise Refused(400, f"repairs: there is no load {load_id}. See loads for those there are.")


async def _begin(request: Request, caller: Caller, order: Order, body: bytes, *, keyed: bool) -> End | None:
    """See to it that a run loads the file; its end, if it is over."""
    run = await _run(request, caller, order.upload.upload_id) if keyed else None
    if run is None:
        run = await _start(request, caller, order, body)
    if run is None:
        return None
    conf: Mapping[str, Any] = run["conf"] or {}
    if any(conf.get(name) != value for name, value in order.identity.items()):
        raise _other_order()
    if run["state"] not in _OVER:
        return None
    verdict = None if order.dry_run else await _done_before(request, order)
    if run["state"] == "failed" and verdict is None and not await _dry_run_known(request, order):
        await _start_again(request, caller, order, body)
        return None
    return verdict or End(None, run["state"])


async def _start(request: Request, caller: Caller, order: Order, body: bytes) -> Mapping[str, Any] | None:
    """Keep the file and start the run; the run of another request with the same key, if that came first."""
    received_at = await request.app.state.sources.ask(lambda warehouse: warehouse.now().isoformat())
    await _keep(request, order, body)
    started = await request.app.state.airflow.call(
        "POST",
        f"/dags/{UPLOAD_DAG}/dagRuns",
        caller.token,
        json={"dag_run_id": order.run_id, "logical_date": None, "conf": order.conf(received_at)},
    )
    if started.status_code == 200:
        return None
    run = await _run(request, caller, order.upload.upload_id) if started.status_code == 409 else None
    if run is None:
        raise unavailable("Airflow did not start the run that loads the file. Send it again, with the same key if any.")
    if (run["conf"] or {}).get("key") != order.upload.key:
        await _thread(request, lambda: request.app.state.sources.store().remove([order.upload.key]))
    return run


async def _start_again(request: Request, caller: Caller, order: Order, body: bytes) -> None:
    """A fault has ended the run without a verdict: its task is cleared, as a person would do."""
    await _keep(request, order, body)
    order_to_clear = {"dry_run": False, "dag_run_id": order.run_id, "only_failed": True}
    path = f"/dags/{UPLOAD_DAG}/clearTaskInstances"
    cleared = await request.app.state.airflow.call("POST", path, caller.token, json=order_to_clear)
    if cleared.status_code != 200:
        raise unavailable("The run that failed could not be started again. Send the file again, with another key.")


async def _keep(request: Request, order: Order, body: bytes) -> None:
    await _thread(request, lambda: request.app.state.sources.store().write(order.upload.key, body))


async def _dry_run_known(request: Request, order: Order) -> bool:
    return order.dry_run and await _dry_answer(request, order.upload.upload_id) is not None


async def _run(request: Request, caller: Caller, one: str) -> Mapping[str, Any] | None:
    path = f"/dags/{UPLOAD_DAG}/dagRuns/{quote(run_id_of(one))}"
    answer = await request.app.state.airflow.call("GET", path, caller.token)
    if answer.status_code not in (200, 404):
        raise unavailable("Airflow cannot be asked for the run now.")
    found: Mapping[str, Any] | None = answer.json() if answer.status_code == 200 else None
    return found


async def _answer(request: Request, one: str, end: End | None) -> JSONResponse:
    root = request.scope.get("root_path", "")
    links = {"status": f"{root}/upload/{one}", "run": f"{_outer(request)}/dags/{UPLOAD_DAG}/runs/{run_id_of(one)}"}
    if end is None:
        wording = "The file is being loaded. Ask again at the address under links.status."
        content = {"result": wording, "verdict": None, "upload_id": one, "links": links}
        return JSONResponse(content, 202, {"Location": links["status"], "Retry-After": "1"})
    content = await _verdict(request, end.verdict) if end.verdict else await _dry_answer(request, one)
    if content is None and end.state == "success":
        raise Refused(410, "The answer of this dry run was not kept any longer. Send the file again, with another key.")
    if content is None:
        raise await _fault(request, one, links)
    if content["load_id"]:
        links["load"] = f"{root}/loads/{content['load_id']}"
        if content["nrows_failed"]:
            links["rejected"] = f"{root}/loads/{content['load_id']}/rejected.csv"
    content |= {"upload_id": one, "links": links}
    if content["verdict"] == Verdict.REJECTED and content["code"] != "all_rows_bad":
        return JSONResponse({"error": content["result"], **content}, 422)
    return JSONResponse(content)


async def _verdict(request: Request, ended: Ended) -> dict[str, Any]:
    """The answer for a load that the ledger knows."""
    outcome, sources = ended.outcome, request.app.state.sources
    table = _table_of(outcome)
    rejects = []
    names: tuple[str, ...] | None = None
    if outcome.counts.rejected:
        found = await sources.ask(lambda warehouse: warehouse.rejects_of(outcome.load_id))
        rejects = [kept_reject(*row) for row in found]
        header = await _thread(request, lambda: sources.store().first_line(rejected_key(table.name, outcome.load_id)))
        names = names_in(header) if header else None
    name = outcome.key.rsplit("/", 1)[-1]
    return Judged(name, table, outcome, rejects, own_names(table, names), ended.seconds).answer()


def _table_of(outcome: Outcome) -> Table:
    """An upload's name fits a table: others are refused before."""
    table = table_for(outcome.key, TABLES)
    if table is None:
        raise Refused(404, "The table of this upload is not there any more.")
    return table


async def _dry_answer(request: Request, one: str) -> dict[str, Any] | None:
    store = request.app.state.sources.store
    kept = await _thread(request, lambda: store().fetch(dry_run_key(one)))
    return from_object(kept) if kept else None


async def _fault(request: Request, one: str, links: Mapping[str, str]) -> Refused:
    """What kept the file from being loaded, as the ledger or else the run's log has it."""
    load_id = upload_load_id(_bucket(request), one)
    known = await request.app.state.sources.ask(lambda warehouse: Ledger(warehouse).one(load_id))
    why = known["message"] if known else "The log of its run says why."
    message = (
        f"A fault kept the file from being loaded; nothing of it was. {why} Send it again, with the same key if any."
    )
    return Refused(503, message, headers={"Retry-After": "10"}, verdict="failed", upload_id=one, links=dict(links))


def _bucket(request: Request) -> str:
    return str(request.app.state.settings.data_bucket)


def _outer(request: Request) -> str:
    """The path under which Airflow's own pages are."""
    root = str(request.scope.get("root_path", ""))
    return root.rpartition("/")[0]


async def _thread(request: Request, work: Any) -> Any:
    return await request.app.state.sources.thread(work)
