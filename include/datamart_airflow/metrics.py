"""Measures to whom Airflow's own metrics settings name: StatsD, DogStatsD, OpenTelemetry; by default nobody.

The one place that knows how Airflow sends metrics. In a task Airflow has prepared that; a process of our own does it by
``prepare``. Nothing here waits for a server longer than ``PATIENCE_SECONDS``, once for each task.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from functools import cache

from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowConfigException
from airflow.sdk.observability import stats

from datamart.asked import answer_of, asked
from datamart.errors import sentence
from datamart.measures import Kind, Measure

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 2.0


def prepare() -> None:
    """Let this process send metrics, as Airflow does it in each process that it starts."""
    from airflow.sdk.observability.metrics.stats_utils import get_stats_factory

    _route.cache_clear()
    stats.initialize(
        factory=get_stats_factory(), export_legacy_names=conf.getboolean("metrics", "legacy_names_on", fallback=True)
    )


def keep_prepared() -> None:
    """The same for a process that lives long, each time before it sends.

    Of StatsD Airflow's client asks for the server's address once, and without an answer it is silent for good.
    """
    if _route() in (_Route.STATSD, _Route.STATSD_WITH_TAGS):
        prepare()
    else:
        _prepare_once()


@cache
def _prepare_once() -> None:
    prepare()


def send(measures: Iterable[Measure]) -> None:
    """Send them, if metrics are on; Airflow's client neither waits for a server nor fails for want of one.

    Never raises: what is measured is done, and stays so. A setting that cannot be read is told in the log, once.
    """
    try:
        _send(measures)
    except Exception as error:  # noqa: BLE001 - told in the log
        _say_once(words(error))


def words(error: Exception) -> str:
    """What keeps metrics from being sent, for people."""
    reason = str(error) if isinstance(error, AirflowConfigException) else sentence(error)
    return f"Metrics are not sent. {reason} Look at the variables AIRFLOW__METRICS__*."


@cache
def _say_once(sentences: str) -> None:
    log.error("%s", sentences)


def _send(measures: Iterable[Measure]) -> None:
    route = _route()
    if route is _Route.NOBODY:
        return
    with_tags = route is not _Route.STATSD
    for one in measures:
        name = one.metric.name if with_tags else plain_name(one)
        tags = dict(one.tags) if with_tags else None
        if one.metric.kind is Kind.COUNTER:
            stats.incr(name, int(one.value), tags=tags)
        elif one.metric.kind is Kind.GAUGE:
            stats.gauge(name, one.value, tags=tags)
        else:
            stats.timing(name, one.value, tags=tags)


def plain_name(measure: Measure) -> str:
    """The name for a StatsD server that knows no tags: their values follow it, as in ``datamart.files.landing.jobs``.

    Airflow drops tags there, so that tables would overwrite each other.
    """
    return ".".join((measure.metric.name, *(value.replace(".", "__") for value in measure.tags.values())))


@contextmanager
def delivery() -> Iterator[None]:
    """What is sent within has left the process at the end; to be put around what a task does.

    Airflow ends the process of a task without telling OpenTelemetry, which sends once a minute by itself.
    """
    try:
        yield
    finally:
        _flush()


def _flush() -> None:
    try:
        if _route() is not _Route.OPENTELEMETRY:
            return
        from opentelemetry import metrics

        flush = getattr(metrics.get_meter_provider(), "force_flush", None)
        if flush is None:  # nothing was sent
            return
        # By a deadline of our own: the exporter tries again for ten seconds whatever it is told.
        answer_of(asked(flush), time.monotonic() + PATIENCE_SECONDS)
    except Exception as error:  # noqa: BLE001 - told in the log: what was measured is done, and stays so
        log.warning("Metrics may be lost: the OpenTelemetry collector did not take them. %s", sentence(error))


class _Route(Enum):
    """Whom Airflow tells."""

    NOBODY = auto()
    STATSD = auto()
    STATSD_WITH_TAGS = auto()
    DOGSTATSD = auto()
    OPENTELEMETRY = auto()


@cache
def _route() -> _Route:
    """As Airflow chooses: the first of those that are switched on."""
    if _switched("statsd_datadog_enabled"):
        return _Route.DOGSTATSD
    if _switched("statsd_on"):
        return _Route.STATSD_WITH_TAGS if _switched("statsd_influxdb_enabled") else _Route.STATSD
    return _Route.OPENTELEMETRY if _switched("otel_on") else _Route.NOBODY


def _switched(option: str) -> bool:
    return bool(conf.getboolean("metrics", option, fallback=False))
