"""Bodies of the historic load's tasks that need Airflow's context: plan, load a batch, judge the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException

from datamart.batches import Batch, arrivals_of, batch_label
from datamart.errors import DatamartError, TransientFault, sentence
from datamart.file_names import LeftOut
from datamart.history import judged_files, not_loaded, plan_history, summary, without_verdict
from datamart.ingest import Sessions
from datamart.loads import Arrival, Mode, Outcome, Verdict
from datamart.ranges.joining import SplitFiles
from datamart.ranges.splitting import prefixes_of
from datamart.settings import load_settings
from datamart.tables import table_named
from datamart_airflow import observed
from datamart_airflow.assets import announce
from datamart_airflow.clients import loader, object_store, warehouse
from datamart_airflow.file_alerts import tell_of_files
from datamart_airflow.insight_tasks import catch_up
from datamart_airflow.left_out import record_left_out, with_left_out
from datamart_airflow.upstream import record_failure, required

log = logging.getLogger(__name__)

_TRIES_FROM_RANGES = 2
"""A later try reads files whole: perhaps it was what lies there of their ranges that kept them from being loaded."""


def plan_batches(prefix: str, tables: list[str], mode: str) -> list[list[Batch]]:
    """Batches by wave; a prefix or parameter that cannot work fails at once, without retries."""
    try:
        with warehouse() as opened:
            listed_at = opened.now()
        left_out = LeftOut()
        planned = plan_history(object_store(), prefix, tables, mode, listed_at, left_out=left_out)
        record_left_out(get_current_context(), left_out)
        return planned
    except Exception as error:
        # The task gate repeats it: without a plan it knows nothing else.
        record_failure(sentence(error))
        if isinstance(error, DatamartError) and not isinstance(error, TransientFault):
            raise AirflowFailException(str(error)) from None
        raise


def load_batch(batch: Batch, mode: str, dry_run: bool, ranges_of: str | None) -> list[dict[str, Any]]:
    """Load every file of a batch; a fault of one does not stop the others, but fails the task for its retry.

    Files that were cleaned in ranges, which the task ``ranges_of`` has listed, are loaded from there.
    """
    context = get_current_context()
    context["label"] = batch_label(batch)  # type: ignore[typeddict-unknown-key]
    arrivals = arrivals_of(batch)
    groups = [arrivals] if Mode(mode) is Mode.REPLACE else [[arrival] for arrival in arrivals]
    outcomes: list[Outcome] = []
    faults: list[Exception] = []
    early = context["ti"].try_number <= _TRIES_FROM_RANGES
    ranges = context["ti"].xcom_pull(task_ids=ranges_of) if ranges_of and early else None
    split = SplitFiles(object_store(), load_settings(), prefixes_of(ranges or ()))
    with observed.loads("history") as told, Sessions(partial(loader, split)) as sessions:
        for group in groups:
            try:
                found = _load_group(sessions, group, batch["table"], Mode(mode), dry_run)
                for arrival in group:
                    split.remove(arrival)
            except Exception as error:  # noqa: BLE001 - told at the end; the other files are still to be loaded
                sessions.renew()
                faults.append(error)
                found = _record_fault(sessions, group, Mode(mode), error, dry_run)
            told.add(found)
            outcomes += found
    for outcome in outcomes:
        log.info("%s: %s %s", outcome.key, outcome.verdict, outcome.counts)
    announce(outcome.table for outcome in outcomes if outcome.changed)
    verdicts = [summary(outcome) for outcome in outcomes]
    if faults:
        # The gate judges all files, those of a failed task too.
        context["ti"].xcom_push("return_value", verdicts)
        _fail(faults)
    return verdicts


def report_run(planned: list[list[Batch]] | None, verdicts: list[Mapping[str, Any]]) -> dict[str, Any]:
    """What ``judge_run`` returns, with the files that the plan left out."""
    return with_left_out(judge_run(planned, verdicts), "plan")


def judge_run(planned: list[list[Batch]] | None, verdicts: list[Mapping[str, Any]]) -> dict[str, int]:
    """Files by verdict; of a dry run, by the verdict that it predicts too.

    A dry run that predicts a rejected file has done what it was started for: it succeeds unless the settings say that
    rejected files fail runs.

    Raises:
        AirflowFailException: a file was not loaded, or has no verdict; the message lists each such file. Without a
            plan, the message is why the task plan failed.
    """
    planned = required(planned, "plan")
    wrong, unanswered = not_loaded(planned, verdicts), without_verdict(planned, verdicts)
    dry_run = bool(get_current_context()["params"].get("dry_run"))
    if not dry_run:
        tell_of_files([*verdicts, *unanswered])
        if unanswered or any(verdict["verdict"] == Verdict.FAILED for verdict in verdicts):
            catch_up()
    if wrong:
        count = "1 file" if len(wrong) == 1 else f"{len(wrong)} files"
        was = "would not be" if dry_run else "was not" if len(wrong) == 1 else "were not"
        message = f"{count} {was} loaded:\n" + "\n".join(wrong)
        if unanswered or not dry_run or load_settings().fail_runs_on_rejected_files:
            raise AirflowFailException(message)
        log.warning("%s", message)
    return judged_files(verdicts)


def _load_group(sessions: Sessions, group: list[Arrival], table: str, mode: Mode, dry_run: bool) -> list[Outcome]:
    """Load what belongs together."""
    if mode is Mode.REPLACE:
        return sessions.loader.replace(group, table_named(table), dry_run=dry_run)
    return [sessions.loader.load(arrival, dry_run=dry_run) for arrival in group]


def _record_fault(
    sessions: Sessions, group: list[Arrival], mode: Mode, error: Exception, dry_run: bool
) -> list[Outcome]:
    """Tell the log and, when it can be reached, the ledger what kept the files from being loaded."""
    names = ", ".join(arrival.key for arrival in group)
    log.error("%s: %s", names, sentence(error))
    if dry_run:
        return []
    try:
        return [sessions.loader.fail(arrival, mode, sentence(error), recheck=True) for arrival in group]
    except DatamartError as second:
        sessions.renew()
        log.error("%s: the ledger could not be told either: %s", names, second)
        return []


def _fail(faults: list[Exception]) -> None:
    """End the task; it is tried again only when that can help."""
    message = "Not loaded: " + " | ".join(map(sentence, faults))
    useless = (fault for fault in faults if isinstance(fault, DatamartError) and not isinstance(fault, TransientFault))
    if len(list(useless)) == len(faults):
        raise AirflowFailException(message)
    raise RuntimeError(message)
