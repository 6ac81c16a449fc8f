"""Bodies of tasks that need Airflow's context: load a batch, emit asset events, judge a run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow.sdk import AssetAlias, get_current_context
from airflow.sdk.exceptions import AirflowFailException

from datamart.errors import ConfigurationError, DatamartError
from datamart.history import Batch, arrivals_of, batch_label, not_loaded, plan_history, summary
from datamart.loads import Mode, Outcome
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
    faults: list[str] = []
    outcomes: list[Outcome] = []
    with loader() as load:
        if Mode(mode) is Mode.REPLACE:
            outcomes = load.replace(arrivals_of(batch), table_named(batch["table"]), dry_run=dry_run)
        else:
            for arrival in arrivals_of(batch):
                try:
                    outcomes.append(load.load(arrival, dry_run=dry_run))
                except DatamartError as error:
                    faults.append(f"{arrival.key}: {error}")
    for outcome in outcomes:
        log.info("%s: %s %s", outcome.key, outcome.verdict, outcome.counts)
        if outcome.changed and outcome.table:
            context["outlet_events"][AssetAlias(CHANGED)].add(TABLE_ASSETS[outcome.table])
    if faults:
        raise RuntimeError("Not loaded: " + " | ".join(faults))
    return [summary(outcome) for outcome in outcomes]


def judge_run(planned: list[list[Batch]], verdicts: list[Mapping[str, Any]]) -> dict[str, int]:
    """Files by verdict; fails with a sentence for each file that was not loaded."""
    wrong = not_loaded(planned, verdicts)
    if wrong:
        raise AirflowFailException(f"{len(wrong)} files were not loaded:\n" + "\n".join(wrong))
    found = [verdict["verdict"] for verdict in verdicts]
    return {verdict: found.count(verdict) for verdict in sorted(set(found))}
