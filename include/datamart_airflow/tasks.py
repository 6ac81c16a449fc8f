"""Bodies of tasks that need Airflow's context: load a batch, emit asset events, judge a run."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from typing import Any

from airflow.sdk import AssetAlias, get_current_context
from airflow.sdk.exceptions import AirflowFailException

from datamart.errors import ConfigurationError, DatamartError, TransientFault
from datamart.history import Batch, arrivals_of, batch_label, not_loaded, plan_history, summary
from datamart.loads import Arrival, Mode, Outcome
from datamart.tables import table_named
from datamart_airflow.assets import CHANGED, TABLE_ASSETS
from datamart_airflow.clients import loader, object_store

log = logging.getLogger(__name__)


def plan_batches(prefix: str, tables: list[str], mode: str) -> list[list[Batch]]:
    """Batches by wave; a prefix or parameter that cannot work fails at once, without retries."""
    try:
        return plan_history(object_store(), prefix, tables, mode)
    except ConfigurationError as error:
        raise AirflowFailException(str(error)) from None


def load_batch(batch: Batch, mode: str, dry_run: bool) -> list[dict[str, Any]]:
    """Load every file of a batch; a fault of one does not stop the others, but fails the task for its retry."""
    context = get_current_context()
    context["label"] = batch_label(batch)  # type: ignore[typeddict-unknown-key]
    arrivals = arrivals_of(batch)
    groups = [arrivals] if Mode(mode) is Mode.REPLACE else [[arrival] for arrival in arrivals]
    outcomes: list[Outcome] = []
    faults: list[Exception] = []
    for group in groups:
        try:
            outcomes += _load_group(group, batch["table"], Mode(mode), dry_run)
        except Exception as error:  # noqa: BLE001 - told at the end; the other files are still to be loaded
            faults.append(error)
            outcomes += _record_fault(group, Mode(mode), error, dry_run)
    for outcome in outcomes:
        log.info("%s: %s %s", outcome.key, outcome.verdict, outcome.counts)
        if outcome.changed and outcome.table:
            context["outlet_events"][AssetAlias(CHANGED)].add(TABLE_ASSETS[outcome.table])
    verdicts = [summary(outcome) for outcome in outcomes]
    if faults:
        # The gate judges all files, those of a failed task too.
        context["ti"].xcom_push("return_value", verdicts)
        _fail(faults)
    return verdicts


def judge_run(planned: list[list[Batch]], verdicts: list[Mapping[str, Any]]) -> dict[str, int]:
    """Files by verdict; fails with a sentence for each file that was not loaded."""
    wrong = not_loaded(planned, verdicts)
    if wrong:
        files = "1 file was" if len(wrong) == 1 else f"{len(wrong)} files were"
        raise AirflowFailException(f"{files} not loaded:\n" + "\n".join(wrong))
    found = [verdict["verdict"] for verdict in verdicts]
    return {verdict: found.count(verdict) for verdict in sorted(set(found))}


def _load_group(group: list[Arrival], table: str, mode: Mode, dry_run: bool) -> list[Outcome]:
    """Load what belongs together, in a session of its own: one that has ended is no matter of other files."""
    with loader() as load:
        if mode is Mode.REPLACE:
            return load.replace(group, table_named(table), dry_run=dry_run)
        return [load.load(arrival, dry_run=dry_run) for arrival in group]


def _record_fault(group: list[Arrival], mode: Mode, error: Exception, dry_run: bool) -> list[Outcome]:
    """Tell the log and, when it can be reached, the ledger what kept the files from being loaded."""
    names = ", ".join(arrival.key for arrival in group)
    log.error("%s: %s", names, _sentence(error))
    if dry_run:
        return []
    try:
        with loader() as load:
            return [load.fail(arrival, mode, _sentence(error)) for arrival in group]
    except DatamartError as second:
        log.error("%s: the ledger could not be told either: %s", names, second)
        return []


def _sentence(error: Exception) -> str:
    """The message of our own errors; of others only the kind and place, as their messages may quote a row."""
    if isinstance(error, DatamartError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"The machine of this task refused: {error.strerror} ({type(error).__name__})."
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"An unexpected {type(error).__name__} in {where.name} (line {where.lineno}): please report it."


def _fail(faults: list[Exception]) -> None:
    """End the task; it is tried again only when that can help."""
    message = "Not loaded: " + " | ".join(map(_sentence, faults))
    useless = (fault for fault in faults if isinstance(fault, DatamartError) and not isinstance(fault, TransientFault))
    if len(list(useless)) == len(faults):
        raise AirflowFailException(message)
    raise RuntimeError(message)
