"""Refuses a Dag run whose conf has keys that its Dag does not know, before any task of it does anything.

Airflow itself lets any key through, so ``{"dryrun": true}`` would be ignored and the run would change tables.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow.sdk import Context
from airflow.sdk.configuration import conf as configuration
from airflow.sdk.exceptions import AirflowFailException

from datamart.parameter_names import shown_name, unknown_name

if TYPE_CHECKING:
    from airflow.sdk.types import DagRunProtocol

log = logging.getLogger(__name__)

MIGRATION = "known_parameters"
"""The change of the schema since which conf is checked: runs that were triggered before it are exempt."""

MAX_EXEMPT = timedelta(days=7)
"""How long after that change runs are still exempt."""

AIRFLOW_KEYS = frozenset({"openlineage"})
"""Keys that Airflow itself adds: TriggerDagRunOperator, where the OpenLineage provider is active."""


def refuse_unknown_conf(context: Context) -> None:
    """Let the current task run when its Dag has a parameter for every key of the run's conf.

    It is the ``pre_execute`` hook of every task, so it is the first thing that happens in a run.

    Raises:
        AirflowFailException: there is an unknown key, or Airflow is set to ignore all of them.
    """
    run, known = context["dag_run"], list(context["dag"].params)
    own = [name for name in run.conf or {} if name not in AIRFLOW_KEYS]
    if own and not configuration.getboolean("core", "dag_run_conf_overrides_params"):
        raise AirflowFailException(
            "Airflow ignores the conf of this run, as [core] dag_run_conf_overrides_params is False. Nothing was done. "
            "Set it to True and trigger the Dag again."
        )
    unknown = unknown_keys(run.conf, [*known, *AIRFLOW_KEYS])
    if not unknown:
        return
    if _triggered_before_the_check(run):
        log.warning("Keys of the conf are ignored: %s", ", ".join(map(shown_name, unknown)))
        return
    sentences = " ".join(unknown_name(name, known, "conf key") for name in unknown)
    raise AirflowFailException(f"{sentences} Nothing was done. Trigger the Dag again with known keys only.")


def unknown_keys(conf: Mapping[str, object] | None, known: Iterable[str]) -> list[str]:
    """Keys of a run's conf that are no parameters of its Dag."""
    names = set(known)
    return [name for name in conf or {} if name not in names]


def is_exempt(run: DagRunProtocol, since: datetime | None, now: datetime) -> bool:
    """Whether a run seems to have been triggered before this check was there.

    Nothing that a task can read of its run proves it: callers choose ``run_after`` and ``logical_date``, and
    ``start_date`` is when a run has left the queue, which may be long after it was triggered. So the latest of all
    that is known counts, the exemption ends after ``MAX_EXEMPT``, and a backfill is never exempt, as its dates are in
    the past by nature. Until then, a caller who sets ``run_after`` into the past is not checked.

    Args:
        run: The run, as its tasks have it.
        since: When the check was added to this warehouse; None when it was not.
        now: The time by the warehouse's clock.
    """
    if since is None or now >= since + MAX_EXEMPT or run.run_type == "backfill":
        return False
    events = [event.timestamp for event in run.consumed_asset_events]
    return all(moment < since for moment in (run.run_after, run.logical_date, *events) if moment is not None)


def _triggered_before_the_check(run: DagRunProtocol) -> bool:
    """Whether a run is older than this check at this place; asked of the warehouse for runs with unknown keys only."""
    from datamart.migrations import applied_at
    from datamart_airflow.clients import warehouse

    with warehouse() as opened:
        return is_exempt(run, applied_at(opened, MIGRATION), opened.now())
