"""Watches whether all is well, when Airflow's scheduler is dead too: ``python -m datamart_airflow.watch [--once]``.

Without ``--once`` it checks every ``DATAMART_WATCH_SECONDS``, writes a line for each finding that appears, is still
there after a day, or is over, sends alerts of those that appear or are over, and what it saw as metrics. With it, it
prints what is not well and ends with 0 (all is well), 1 (something is not) or 2 (it could not begin). ``--beat FILE``
names a file whose time tells others when it last looked.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from datamart.asked import answer_of, asked
from datamart.errors import ConfigurationError, TransientFault
from datamart.health import AirflowState, Finding, Seen, look, utc
from datamart.measures import of_look
from datamart.objects import ObjectStore
from datamart.settings import Settings, load_settings
from datamart.told import News, Told
from datamart.warehouse.base import Warehouse
from datamart_airflow import clients, metrics
from datamart_airflow.airflow_state import PATIENCE_SECONDS, airflow_state, become_server_process
from datamart_airflow.alerts import Alert, airflow_link, send
from datamart_airflow.connections import Remembered

log = logging.getLogger("watch")

WAREHOUSE = "warehouse_read"
OBJECT_STORE = "object_store"
_SHORTEST_PAUSE = 1.0


class Watch:
    """One process's look at the whole, again and again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._alerting = [
            *([settings.alert_email_connection] if settings.alert_email else []),
            *([settings.alert_webhook] if settings.alert_webhook else []),
        ]
        self._connections = Remembered([WAREHOUSE, OBJECT_STORE, *self._alerting])
        self._absent: set[str] = set()
        self._told = Told()

    def look(self) -> Seen:
        """What is not well now, and what else was seen."""
        state = airflow_state()
        self._absent = self._refresh(state)
        return look(self._warehouse, self._store, self._settings, state, datetime.now(UTC))

    def tell(self, findings: Sequence[Finding]) -> None:
        """Log and send what is news."""
        news = self._told.news(findings, datetime.now(UTC))
        for word, group in (("FOUND", news.appeared), ("STILL", news.reminded), ("OVER", news.resolved)):
            for finding in group:
                log.log(logging.INFO if word == "OVER" else logging.WARNING, "%s %s", word, _line(finding))
        for alert in alerts_of(news, airflow_link()):
            send(alert)

    def forever(self, beat: Path | None = None) -> NoReturn:
        """Look and tell; nothing that goes wrong meanwhile ends it. ``beat`` is touched after each look."""
        log.info("Watching every %g s; alerts go to %s", self._settings.watch_seconds, self._whom())
        while True:
            started = time.monotonic()
            try:
                seen = self.look()
                self.tell(seen.findings)
                _measure(seen)
            except Exception as error:  # noqa: BLE001 - who watches must outlive what he watches
                log.error("The check itself failed (%s); the next one comes", type(error).__name__)
            if beat is not None:
                with suppress(OSError):
                    beat.touch()
            time.sleep(max(_SHORTEST_PAUSE, self._settings.watch_seconds - (time.monotonic() - started)))

    def _whom(self) -> str:
        return ", ".join(f"the connection {one}" for one in self._alerting) or "nobody"

    def _refresh(self, state: AirflowState) -> set[str]:
        """Connections that there are none of, after a look into Airflow's database if it answers."""
        if not state.fault:
            with suppress(TransientFault):
                answer_of(asked(self._connections.read), time.monotonic() + PATIENCE_SECONDS)
        absent = self._connections.lend()
        for one in sorted(absent & set(self._alerting) - self._absent):
            log.warning("No alert can be sent through the connection %s: it is not there or cannot be read", one)
        return absent

    def _require(self, connection: str) -> None:
        if connection in self._absent:
            raise TransientFault(f"Its connection {connection} is not there or cannot be read.")

    @contextmanager
    def _warehouse(self) -> Iterator[Warehouse]:
        self._require(WAREHOUSE)
        with clients.warehouse(WAREHOUSE) as opened:
            yield opened

    def _store(self) -> ObjectStore:
        self._require(OBJECT_STORE)
        return clients.object_store()


def _measure(seen: Seen) -> None:
    """Send what a look has found as metrics; whatever keeps them from being sent keeps nothing else."""
    try:
        metrics.keep_prepared()
        metrics.send(of_look(seen, datetime.now(UTC)))
    except Exception as error:  # noqa: BLE001 - who watches must outlive what he watches
        log.error("What was seen could not be told as metrics. %s", metrics.words(error))


def alerts_of(news: News, link: str | None) -> list[Alert]:
    """One alert for all that appeared, one for all that is over."""
    groups = (("findings", "Not well", news.appeared), ("findings_over", "Over", news.resolved))
    return [
        Alert(
            f"{word}: {_number(found)}",
            tuple(_line(finding) for finding in found),
            link,
            {"kind": kind, "findings": [finding.as_json() for finding in found]},
        )
        for kind, word, found in groups
        if found
    ]


def _number(found: Sequence[Finding]) -> str:
    first = f"{found[0].code} {found[0].subject}".strip()
    return first if len(found) == 1 else f"{first} and {len(found) - 1} more"


def _line(finding: Finding) -> str:
    return f"{finding.code}: {finding.message}"


def table(findings: Sequence[Finding]) -> str:
    """Findings for people, aligned."""
    rows = [("", "SINCE", "WHAT", "")]
    for one in findings:
        since = utc(one.since) if one.since else "-"
        rows.append((one.severity, since, one.code.value, one.message))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
        for row in rows
    )


def main(arguments: Sequence[str]) -> int:
    """Run as a process; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m datamart_airflow.watch", description="Is all well?")
    parser.add_argument("--once", action="store_true", help="print what is not well, and end with 0 or 1")
    parser.add_argument("--beat", type=Path, metavar="FILE", help="a file to touch after each look")
    given = parser.parse_args(arguments)
    become_server_process()
    try:
        watch = Watch(load_settings())
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    if not given.once:
        watch.forever(given.beat)
    findings = watch.look().findings
    print(table(findings) if findings else "All is well.")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
