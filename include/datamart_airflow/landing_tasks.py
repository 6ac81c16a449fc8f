"""Bodies of the ingestion's tasks that need Airflow's context: load a batch of landed files, judge the run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException

from datamart.batches import Batch, arrivals_of, batch_label
from datamart.ingest import Ingest, Sessions
from datamart.landing_report import Tally, count_faults, files_to_tell, not_loaded, totals, without_answer
from datamart.settings import load_settings
from datamart_airflow import observed
from datamart_airflow.assets import announce
from datamart_airflow.clients import loader
from datamart_airflow.file_alerts import tell_of_files
from datamart_airflow.insight_tasks import catch_up
from datamart_airflow.left_out import with_left_out

log = logging.getLogger(__name__)


def ingest_batch(batch: Batch) -> dict[str, Any]:
    """Load the files of a batch in their order and move them away; what became of them."""
    context = get_current_context()
    context["label"] = batch_label(batch)  # type: ignore[typeddict-unknown-key]
    arrivals = arrivals_of(batch)
    tally = Tally(batch["table"])
    with observed.loads("landing") as told, Sessions(loader) as sessions:
        ingest = Ingest(sessions, careful=context["ti"].try_number > 1)
        for place, outcome in enumerate(ingest.files(arrivals), 1):
            log.info("%d of %d  %s: %s %s", place, len(arrivals), outcome.key, outcome.verdict, outcome.counts)
            tally.add(outcome)
            told.add([outcome])
    announce(tally.changed)
    return tally.result()


def report_landing(planned: Sequence[Batch] | None, results: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    """What ``judge_landing`` returns, with the files that are in the folder and were left out."""
    return with_left_out(judge_landing(planned, results), "wait_for_files")


def judge_landing(planned: Sequence[Batch] | None, results: Sequence[dict[str, Any]] | None) -> dict[str, int]:
    """Files and rows by what became of them.

    Rejected files are reported by the log and by an alert; they fail the run only if the settings say so.

    Raises:
        AirflowFailException: a fault kept a file from being loaded, or a batch has no result; lists each file.
    """
    if planned is None:
        reason = "The landing folder could not be looked into; see the log of the task before."
        tell_of_files([], [reason])
        raise AirflowFailException(reason)
    # None when no batch has a result: all load tasks failed, or their results were removed.
    results = [] if results is None else list(results)
    wrong, unanswered = not_loaded(planned, results), without_answer(planned, results)
    tell_of_files(files_to_tell(results), unanswered)
    if unanswered:
        catch_up()
    if wrong:
        files = "1 file was" if len(wrong) == 1 else f"{len(wrong)} files were"
        message = f"{files} not loaded:\n" + "\n".join(wrong)
        if unanswered or count_faults(results) or load_settings().fail_runs_on_rejected_files:
            raise AirflowFailException(message)
        log.warning("%s", message)
    return totals(results)
