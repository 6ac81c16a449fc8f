"""Refuses a Dag run whose conf has keys that its Dag does not know, before any task of it does anything.

Airflow itself lets any key through, so ``{"dryrun": true}`` would be ignored and the run would change tables.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime

from airflow.sdk import Context
from airflow.sdk.configuration import conf as configuration
from airflow.sdk.exceptions import AirflowFailException

from datamart.parameter_names import shown_name, unknown_name

log = logging.getLogger(__name__)

MIGRATION = "known_parameters"
"""The change of the schema since which conf is checked: runs that were triggered before it are exempt."""


def refuse_unknown_conf(context: Context) -> None:
    """Let the current task run when its Dag has a parameter for every key of the run's conf.

    It is the ``pre_execute`` hook of every task, so it is the first thing that happens in a run.

    Raises:
        AirflowFailException: there is an unknown key, or Airflow is set to ignore all of them.
    """
    run, known = context["dag_run"], list(context["dag"].params)
    if run.conf and not configuration.getboolean("core", "dag_run_conf_overrides_params"):
        raise AirflowFailException(
            "Airflow ignores the conf of this run, as [core] dag_run_conf_overrides_params is False. Nothing was done. "
            "Set it to True and trigger the Dag again."
        )
    unknown = unknown_keys(run.conf, known)
    if not unknown:
        return
    if _triggered_before_the_check(run.run_after):
        log.warning("Keys of the conf are ignored: %s", ", ".join(map(shown_name, unknown)))
        return
    sentences = " ".join(unknown_name(name, known, "conf key") for name in unknown)
    raise AirflowFailException(f"{sentences} Nothing was done. Trigger the Dag again with known keys only.")


def unknown_keys(conf: Mapping[str, object] | None, known: Iterable[str]) -> list[str]:
    """Keys of a run's conf that are no parameters of its Dag."""
    names = set(known)
    return [name for name in conf or {} if name not in names]


def _triggered_before_the_check(moment: datetime) -> bool:
    """Whether a run is older than this check at this place; asked of the warehouse for runs with unknown keys only."""
    from datamart.migrations import applied_at
    from datamart_airflow.clients import warehouse

    with warehouse() as opened:
        since = applied_at(opened, MIGRATION)
    return since is not None and moment < since
