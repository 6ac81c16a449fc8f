"""An upload as something that is done once: its run is started, joined, or started again after a fault.

How it is asked for and answered is the matter of ``upload_routes``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import Request

from data_api_app.guard import Caller
from data_api_app.refusals import Refused, unavailable
from data_api_app.rights import UPLOAD_DAG
from data_api_app.waiting import End
from datamart.ledger import Ledger
from datamart.loads import LARGEST_ID
from datamart.upload_answer import from_object
from datamart.uploads import Upload, dry_run_key
from datamart.warehouse.values import Ended

T = TypeVar("T")

_RUN = "upload__"
OVER = ("success", "failed")
"""States of runs that have ended."""


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


async def done_before(request: Request, order: Order) -> End | None:
    """The end of this order, when the ledger knows it.

    Raises:
        Refused: 409, when its key was used for another order.
    """
    found = await ended(request, order.upload.load_id(bucket(request)))
    if found is None:
        return None
    known = found.outcome
    same = known.sha256 == order.upload.sha256 and known.key == order.upload.key and not order.dry_run
    if not same or (order.repairs and str(known.repairs) != order.repairs):
        raise _other_order()
    if known.undone_by is not None:
        raise Refused(
            409,
            f"The rows of this upload were taken back (by {known.undone_by}), so its answer is not true any more. Send "
            "the file again with another Idempotency-Key to load it anew.",
        )
    return End(found)


async def require_load(request: Request, load_id: str | None) -> None:
    """The load that is to be repaired is there.

    Raises:
        Refused: 400.
    """
    if load_id is None:
        return
    number = int(load_id)
    found = None
    if number <= LARGEST_ID:
        found = await request.app.state.sources.ask(lambda warehouse: warehouse.find_load(number))
    if found is None:
        raise Refused(400, f"repairs: there is no load {load_id}. See loads for those there are.")


async def begin(request: Request, caller: Caller, order: Order, body: bytes, *, keyed: bool) -> End | None:
    """See to it that a run loads the file; its end, if it is over.

    Raises:
        Refused: 409, when the key was used for another order; 503, when Airflow starts no run.
    """
    run = await run_of(request, caller, order.upload.upload_id) if keyed else None
    if run is None:
        run = await _start(request, caller, order, body)
    if run is None:
        return None
    conf: Mapping[str, Any] = run["conf"] or {}
    if any(conf.get(name) != value for name, value in order.identity.items()):
        raise _other_order()
    if run["state"] not in OVER:
        return None
    verdict = None if order.dry_run else await done_before(request, order)
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
    run = await run_of(request, caller, order.upload.upload_id) if started.status_code == 409 else None
    if run is None:
        raise unavailable("Airflow did not start the run that loads the file. Send it again, with the same key if any.")
    if (run["conf"] or {}).get("key") != order.upload.key:
        await thread(request, lambda: request.app.state.sources.store().remove([order.upload.key]))
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
    await thread(request, lambda: request.app.state.sources.store().write(order.upload.key, body))


async def run_of(request: Request, caller: Caller, one: str) -> Mapping[str, Any] | None:
    """The Dag run of an upload as Airflow describes it, or None."""
    path = f"/dags/{UPLOAD_DAG}/dagRuns/{quote(run_id_of(one))}"
    answer = await request.app.state.airflow.call("GET", path, caller.token)
    if answer.status_code not in (200, 404):
        raise unavailable("Airflow cannot be asked for the run now.")
    found: Mapping[str, Any] | None = answer.json() if answer.status_code == 200 else None
    return found


async def ended(request: Request, load_id: int) -> Ended | None:
    """The load, when it has come to a verdict."""
    found: dict[int, Ended] = await request.app.state.sources.ask(lambda opened: Ledger(opened).ended([load_id]))
    return found.get(load_id)


async def dry_answer(request: Request, one: str) -> dict[str, Any] | None:
    """The answer of a dry run, when it is kept."""
    store = request.app.state.sources.store
    kept = await thread(request, lambda: store().fetch(dry_run_key(one)))
    return from_object(kept) if kept else None


async def _dry_run_known(request: Request, order: Order) -> bool:
    return order.dry_run and await dry_answer(request, order.upload.upload_id) is not None


def _other_order() -> Refused:
    return Refused(
        409, "This Idempotency-Key was used for another file or other parameters. Use a new key for this one."
    )


def bucket(request: Request) -> str:
    """The data bucket's name."""
    return str(request.app.state.settings.data_bucket)


async def thread(request: Request, work: Callable[[], T]) -> T:
    """What takes a while, in a thread."""
    done: T = await request.app.state.sources.thread(work)
    return done
