"""Body of the task that loads one file, most often an upload: by the one path, then moved out of the way."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException

from datamart.errors import ConfigurationError, DatamartError, SourceChanged, TransientFault, sentence
from datamart.history import prefix_within, summary
from datamart.ingest import Sessions, put_away
from datamart.load import Loader
from datamart.loads import Arrival, Mode, Outcome, Verdict
from datamart.routing import table_for
from datamart.settings import load_settings
from datamart.staging import Staged
from datamart.tables import table_named
from datamart.upload_answer import Judged, as_object
from datamart.uploads import PREFIX, dry_run_key
from datamart_airflow import observed
from datamart_airflow.assets import announce
from datamart_airflow.clients import loader
from datamart_airflow.file_alerts import tell_of_files
from datamart_airflow.insight_tasks import catch_up
from datamart_airflow.tries import no_try_is_left

log = logging.getLogger(__name__)

_MOVES = 3
_NEVER = datetime.fromtimestamp(0, UTC)


def load_file(params: Mapping[str, Any]) -> dict[str, Any]:
    """Load the object ``key``; the verdict. Fails with a sentence when a fault kept the file from being judged."""
    opens = _uploader if params["upload_id"] else loader
    with observed.loads("upload") as told, Sessions(opens) as sessions:
        with _counted(told, params):
            arrival = _arrival(sessions.loader, params)
            outcome = _tried(sessions, arrival, params, told)
        told.add([outcome])
        if arrival.key.startswith(PREFIX) and not params["dry_run"]:
            with _caught_up(outcome):
                _move(sessions.loader, arrival, outcome)
    return _told(outcome)


def _tried(sessions: Sessions, arrival: Arrival, params: Mapping[str, Any], told: observed.Loads) -> Outcome:
    try:
        return _loaded(sessions.loader, arrival, params)
    except Exception as error:  # noqa: BLE001 - told, then raised for a retry
        sessions.renew()
        raise _fault(sessions, arrival, error, told, dry_run=params["dry_run"]) from None


@contextmanager
def _caught_up(outcome: Outcome) -> Iterator[None]:
    """A task that fails after its file was loaded, without a retry, emits no event: refresh the insights here."""
    try:
        yield
    except Exception as error:
        if outcome.changed and no_try_is_left(error):
            catch_up()
        raise


class _Absent(AirflowFailException):
    """The object that is to be loaded is not there."""


@contextmanager
def _counted(told: observed.Loads, params: Mapping[str, Any]) -> Iterator[None]:
    """A file that a fault keeps from being loaded is counted when the task is not tried again."""
    try:
        yield
    except _Absent:
        raise
    except Exception as error:
        if not params["dry_run"] and no_try_is_left(error):
            table = table_for(params["key"])
            told.given_up(table.name if table else None)
        raise


@contextmanager
def _uploader() -> Iterator[Loader]:
    """A loader that takes files whatever the share of their bad rows: who uploads sees each of them in the answer."""
    with loader() as opened:
        yield replace(opened, settings=opened.settings.model_copy(update={"reject_threshold": None}))


def _arrival(opened: Loader, params: Mapping[str, Any]) -> Arrival:
    """The object as it lies there; of an upload that a try before this one has moved away, what identifies it."""
    key, upload = params["key"], params["upload_id"]
    found = opened.store.pinned(opened.store.list(key, exact=True))
    if not found and not upload:
        try:
            key = prefix_within(key, opened.store.bucket)
        except ConfigurationError as error:
            raise _Absent(str(error)) from None
        found = opened.store.pinned(opened.store.list(key, exact=True))
    if not found and not upload:
        raise _Absent(f"There is no object {key} in the bucket {opened.store.bucket}.")
    arrival = found[0] if found else Arrival(opened.store.bucket, key, "", _NEVER, 0)
    received = params["received_at"]
    # Uploads may be started in another order than they came: each gives way to those that came after it.
    return replace(
        arrival,
        upload_id=upload,
        listed_at=datetime.fromisoformat(received) if received else opened.warehouse.now(),
        late=bool(received),
    )


def _loaded(opened: Loader, arrival: Arrival, params: Mapping[str, Any]) -> Outcome:
    repairs = int(params["repairs"]) if params["repairs"] else None
    if not params["dry_run"]:
        return opened.load(arrival, repairs=repairs)
    seen: list[Judged] = []

    def show(staged: Staged) -> None:
        blank = Outcome(0, staged.table.name, arrival.key, Verdict.DRY_RUN)
        seen.append(Judged(arrival.name, staged.table, blank, list(staged.rejects), staged.names, 0.0))

    outcome = opened.load(arrival, dry_run=True, repairs=repairs, show=show if params["upload_id"] else None)
    if params["upload_id"] and outcome.table:
        judged = seen[0] if seen else Judged(arrival.name, table_named(outcome.table), outcome, (), (), 0.0)
        seconds = (opened.warehouse.now() - arrival.listed_at).total_seconds() if arrival.listed_at else 0.0
        answer = replace(judged, outcome=outcome, seconds=seconds).answer()
        opened.store.write(dry_run_key(params["upload_id"]), as_object(answer))
    return outcome


def _move(opened: Loader, arrival: Arrival, outcome: Outcome) -> None:
    """The object may have been written again, with the same bytes: its key tells them. It is moved all the same."""
    lying = arrival
    for _ in range(_MOVES):
        try:
            return put_away(opened, lying, outcome)
        except SourceChanged:
            found = opened.store.pinned(opened.store.list(arrival.key, exact=True))
            if not found:
                return log.info("%s is not there any more: a try before this one has moved it.", arrival.key)
            lying = replace(found[0], upload_id=arrival.upload_id)
    raise TransientFault(f"{arrival.key} is written again and again, so it cannot be moved away.")


def _fault(sessions: Sessions, arrival: Arrival, error: Exception, told: observed.Loads, *, dry_run: bool) -> Exception:
    """Tell log and ledger what kept the file from being loaded; what to raise, as a retry can help or not."""
    message = f"{arrival.key}: {sentence(error)}"
    log.error("%s", message)
    if not dry_run:
        try:
            recheck = arrival.upload_id is None
            told.add([sessions.loader.fail(arrival, Mode.UPSERT, sentence(error), recheck=recheck)])
        except DatamartError as second:
            log.error("%s: the ledger could not be told either: %s", arrival.key, second)
    changed = isinstance(error, SourceChanged) and arrival.upload_id  # the same bytes were sent again meanwhile
    if isinstance(error, DatamartError) and not isinstance(error, TransientFault) and not changed:
        return AirflowFailException(message)
    return RuntimeError(message)


def _told(outcome: Outcome) -> dict[str, Any]:
    """Announce, alert and hand on what became of the file."""
    verdict = summary(outcome)
    log.info("%s: %s %s", outcome.key, outcome.verdict, outcome.counts)
    if outcome.changed:
        announce([outcome.table])
    if Verdict.REJECTED in (outcome.verdict, outcome.forecast):
        message = f"{outcome.key} was not loaded: {outcome.message}"
        if load_settings().fail_runs_on_rejected_files:
            # The alert of the failed task reports the file.
            get_current_context()["ti"].xcom_push("return_value", verdict)
            raise AirflowFailException(message)
        log.warning("%s", message)
    if outcome.verdict is not Verdict.DRY_RUN:
        tell_of_files([verdict])
    return verdict
