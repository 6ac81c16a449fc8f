"""Alerts: who is told of what, by e-mail and by a webhook, both off until a setting names where they go.

    send(Alert("2 files were not loaded", ("jobs.csv: rejected. ...",), run_link(dag_id, run_id), {"kind": "files"}))

Works in a task and in a server process. It never raises: a notifier that fails is one line in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseNotifier, Context
from airflow.sdk.exceptions import AirflowFailException

from datamart.errors import ConfigurationError, DatamartError

log = logging.getLogger(__name__)

_LONGEST_REASON = 2000


@dataclass(frozen=True)
class Alert:
    """What is told: one line, more lines, where to look, and the same for programs (no secrets, no rows)."""

    title: str
    lines: tuple[str, ...] = ()
    link: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The whole for people."""
        return "\n".join(filter(None, (self.title, *self.lines, self.link)))


def send(alert: Alert) -> None:
    """Tell those whom the settings name, each independently of the other; never raises."""
    from datamart.settings import load_settings

    try:
        settings = load_settings()
    except ConfigurationError as error:
        log.error("The alert '%s' was sent to nobody. %s", alert.title, error)
        return
    if settings.alert_email:
        from datamart_airflow.notifiers import send_email

        addresses, connection = settings.alert_email, settings.alert_email_connection
        _attempt(alert, "e-mail", lambda: send_email(alert, addresses, connection))
    if settings.alert_webhook:
        from datamart_airflow.notifiers import call_webhook

        webhook = settings.alert_webhook
        _attempt(alert, "the webhook", lambda: call_webhook(alert, webhook))


def _attempt(alert: Alert, means: str, notify: Callable[[], None]) -> None:
    try:
        notify()
    except DatamartError as error:
        log.error("The alert '%s' could not be sent by %s. %s", alert.title, means, error)
    except Exception as error:  # noqa: BLE001 - one that fails must break neither the caller nor the other
        log.error("The alert '%s' could not be sent by %s (%s).", alert.title, means, type(error).__name__)


def airflow_link() -> str | None:
    """Airflow's address, if its configuration names one."""
    from airflow.sdk.configuration import conf

    address: str | None = conf.get("api", "base_url", fallback=None)
    return address.rstrip("/") if address else None


def run_link(dag_id: str, run_id: str) -> str | None:
    """The page of a run, if the configuration names Airflow's address."""
    address = airflow_link()
    return f"{address}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}" if address else None


class TaskFailed(BaseNotifier):
    """``on_failure_callback=TaskFailed()`` tells of a task that failed for good."""

    def notify(self, context: Context) -> None:
        """Dag, task, run and reason; never raises."""
        task, error = context["ti"], context.get("exception")
        place = f"{task.task_id} [{task.map_index}]" if (task.map_index or 0) >= 0 else task.task_id
        reason = _reason(error)[:_LONGEST_REASON]
        send(
            Alert(
                f"{task.dag_id}: task {place} failed",
                (f"Run: {task.run_id}", reason),
                run_link(task.dag_id, task.run_id),
                {
                    "kind": "task_failed",
                    "dag_id": task.dag_id,
                    "task_id": task.task_id,
                    "run_id": task.run_id,
                    "map_index": task.map_index,
                    "reason": reason,
                },
            )
        )


def _reason(error: object) -> str:
    """The message of an error of ours; of others only the kind, as their messages may quote a row."""
    # Tasks end with AirflowFailException when they have said themselves what is wrong.
    if isinstance(error, (DatamartError, AirflowFailException)):
        return str(error)
    if isinstance(error, BaseException):
        return f"An unexpected {type(error).__name__}. See the log of the task."
    return "Its process ended without saying why. See the log of the task."
