"""How an alert leaves: by the mail server or the HTTP address of an Airflow connection, each within seconds.

Addresses of webhooks often are secrets themselves. So the provider's hooks, which log addresses and answers when
something fails, give the client only, and errors name the connection.
"""

from __future__ import annotations

import html
import json
import smtplib
from typing import TYPE_CHECKING

import requests
from airflow.providers.http.hooks.http import HttpHook
from airflow.providers.smtp.hooks.smtp import SmtpHook
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException

from datamart.errors import ConfigurationError, TransientFault

if TYPE_CHECKING:
    from datamart_airflow.alerts import Alert

SECONDS = 10


class _Mail(SmtpHook):
    """The provider's hook, less patient than by default unless the connection says otherwise."""

    @property
    def timeout(self) -> int:
        return int(self.conn.extra_dejson.get("timeout", SECONDS))

    @property
    def smtp_retry_limit(self) -> int:
        return int(self.conn.extra_dejson.get("retry_limit", 0))


def send_email(alert: Alert, addresses: str, connection: str) -> None:
    """One message to all addresses.

    Raises:
        ConfigurationError: there is no such connection, or it names no sender.
        TransientFault: the server cannot be reached or refused.
    """
    _require(connection)
    to = [address for part in addresses.split(",") if (address := part.strip())]
    try:
        with _Mail(connection) as mail:
            if not mail.from_email:
                raise ConfigurationError(f'The connection {connection} names no sender: set "from_email" in its extra.')
            mail.send_email_smtp(to=to, subject=" ".join(alert.title.split()), html_content=_html(alert))
    except smtplib.SMTPResponseException as error:
        raise TransientFault(f"The mail server of {connection} answered {error.smtp_code}.") from None
    except (smtplib.SMTPException, OSError) as error:
        raise TransientFault(f"The mail server of {connection} did not take it ({type(error).__name__}).") from None
    except AirflowException:
        raise TransientFault(f"The mail server of {connection} said nothing, or broke off.") from None


def _html(alert: Alert) -> str:
    lines = "".join(f"<p>{html.escape(line)}</p>" for line in (alert.title, *alert.lines))
    link = html.escape(alert.link or "", quote=True)
    return lines + (f'<p><a href="{link}">{link}</a></p>' if link else "")


def call_webhook(alert: Alert, connection: str) -> None:
    """POST the alert as JSON; ``text`` has the whole of it for people.

    Raises:
        ConfigurationError: there is no such connection.
        TransientFault: the address cannot be reached or did not answer that it took it.
    """
    _require(connection)
    body = {**alert.details, "title": alert.title, "lines": alert.lines, "link": alert.link, "text": alert.text}
    hook = HttpHook(http_conn_id=connection)
    with hook.get_conn({"Content-Type": "application/json"}) as session:
        try:
            # A redirected POST would arrive as a GET without the alert; what else is answered is of no interest.
            answer = session.post(
                hook.url_from_endpoint(None),
                data=json.dumps(body, default=str),
                timeout=SECONDS,
                allow_redirects=False,
                stream=True,
            )
        except requests.RequestException as error:
            kind = type(error).__name__
            raise TransientFault(f"The address of {connection} cannot be reached ({kind}).") from None
        if answer.status_code // 100 != 2:
            raise TransientFault(f"The address of {connection} answered {answer.status_code}.")


def _require(connection: str) -> None:
    try:
        BaseHook.get_connection(connection)
    except AirflowNotFoundException:
        raise ConfigurationError(f"There is no Airflow connection {connection}: make it under Admin.") from None
