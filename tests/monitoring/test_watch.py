"""The process that watches: nothing about metrics keeps people from being told, and StatsD is found again."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from datamart.health import Seen
from datamart.measures import HOLDS
from datamart.settings import load_settings
from datamart_airflow import metrics, watch
from tests.monitoring.receivers import statsd

SEEN = Seen([], [], None)


class EndOfTest(BaseException):
    """Ends what never ends."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was told to people in three looks."""
    found: list[str] = []
    monkeypatch.setattr(watch.Watch, "look", lambda _: SEEN)
    monkeypatch.setattr(watch.Watch, "tell", lambda *_: found.append("told"))

    looks: list[float] = []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise EndOfTest

    monkeypatch.setattr(watch.time, "sleep", pause)
    return found


@pytest.mark.parametrize("step", ["keep_prepared", "send"])
def test_people_are_told_when_metrics_cannot_be_sent(
    told: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("statsd")

    monkeypatch.setattr(metrics, step, fail)
    with pytest.raises(EndOfTest):
        watch.Watch(load_settings({})).forever()
    assert told == ["told"] * 3
    assert caplog.text.count("What was seen could not be told as metrics.") == 3


def test_a_switch_that_is_neither_on_nor_off_does_not_end_the_process(
    told: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "maybe")
    metrics._route.cache_clear()
    with pytest.raises(EndOfTest):
        watch.Watch(load_settings({})).forever()
    assert told == ["told"] * 3
    assert '"statsd_on"' in caplog.text
    metrics._route.cache_clear()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Ports by the names of servers, which can be changed."""
    found: dict[str, int] = {}
    ask = socket.getaddrinfo

    def resolve(host: str, _: int, *more: Any) -> Any:
        if host not in found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ask("127.0.0.1", found[host], *more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_HOST", "exporter")
    metrics._route.cache_clear()
    yield found
    monkeypatch.undo()
    metrics.prepare()


def told_to_statsd(number: int) -> None:
    metrics.keep_prepared()
    metrics.send([HOLDS.of(number)])


def test_statsd_is_found_when_it_comes_and_when_it_moves(names: dict[str, int]) -> None:
    with statsd() as first, statsd() as second:
        told_to_statsd(1)
        names["exporter"] = first.port
        told_to_statsd(2)
        names["exporter"] = second.port
        told_to_statsd(3)
    assert (first.lines, second.lines) == (["airflow.datamart.holds:2|g"], ["airflow.datamart.holds:3|g"])


def test_no_socket_is_kept_of_a_look_that_is_over(names: dict[str, int]) -> None:
    with statsd() as server:
        names["exporter"] = server.port
        told_to_statsd(0)
        before = len(os.listdir("/proc/self/fd"))
        for number in range(20):
            told_to_statsd(number)
        assert len(os.listdir("/proc/self/fd")) == before


def test_others_than_statsd_are_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenTelemetry's client would leave a thread behind each time."""
    prepared: list[int] = []
    monkeypatch.setattr(metrics, "prepare", lambda: prepared.append(1))
    monkeypatch.setenv("AIRFLOW__METRICS__OTEL_ON", "True")
    metrics._route.cache_clear()
    metrics._prepare_once.cache_clear()
    metrics.keep_prepared()
    metrics.keep_prepared()
    assert prepared == [1]
    metrics._route.cache_clear()
    metrics._prepare_once.cache_clear()
