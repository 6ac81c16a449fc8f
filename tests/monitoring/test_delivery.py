"""Metrics reach whom Airflow's settings name, from a process that ends at once; a server that is away costs little."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.free_ports import free_ports
from tests.monitoring.receivers import Collected, Lines, collector, statsd

REPOSITORY = Path(__file__).resolve().parents[2]
ROWS = {"read": 7, "inserted": 4, "updated": 1, "unchanged": 0, "rejected": 2, "removed": 0}


@dataclass
class Told:
    """What came from which process, and how long each took to send it."""

    plain: Lines
    tagged: Lines
    nobody: Lines
    otel: Collected
    seconds: dict[str, float]
    log: str


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    with ExitStack() as servers:
        plain, tagged, nobody = (servers.enter_context(statsd()) for _ in range(3))
        otel = servers.enter_context(collector())
        silent = servers.enter_context(socket.socket())
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        settings = {
            "plain": statsd_at(plain.port),
            "tagged": statsd_at(tagged.port) | {"AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True"},
            "nobody": {"AIRFLOW__METRICS__STATSD_PORT": str(nobody.port)},
            "otel": otel_at(otel.port) | {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"},
            "away": otel_at(free_ports(1)[0]),
            "silent": otel_at(silent.getsockname()[1]),
        }
        seconds, log = sent(tmp_path_factory.mktemp("airflow"), settings)
    return Told(plain, tagged, nobody, otel, seconds, log)


def statsd_at(port: int) -> dict[str, str]:
    return {"AIRFLOW__METRICS__STATSD_ON": "True", "AIRFLOW__METRICS__STATSD_PORT": str(port)}


def otel_at(port: int) -> dict[str, str]:
    return {"AIRFLOW__METRICS__OTEL_ON": "True", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}


def sent(folder: Path, settings: dict[str, dict[str, str]]) -> tuple[dict[str, float], str]:
    """Let processes send their measures; the seconds of each, and what they logged."""
    foreign = ("AIRFLOW", "OTEL_", "DATAMART_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    env |= {"AIRFLOW_HOME": str(folder), "PYTHONPATH": str(REPOSITORY / "include")}
    command = [sys.executable, "-m", "tests.monitoring.as_a_task", json.dumps(settings)]
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return dict(
        json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")
    ), done.stdout + done.stderr


def test_statsd_without_tags_has_their_values_in_the_names(told: Told) -> None:
    expected = [f"airflow.datamart.rows.{what}.landing.jobs:{number}|c" for what, number in ROWS.items()]
    expected += ["airflow.datamart.files.landing.jobs.loaded:1|c", "airflow.datamart.holds:3|g"]
    expected += ["airflow.datamart.load.duration.landing.jobs:250.000000|ms"]
    assert sorted(told.plain.lines) == sorted(expected)


def test_statsd_with_tags_has_them_beside_the_names(told: Told) -> None:
    assert len(told.tagged.lines) == 9
    assert "airflow.datamart.files,way=landing,table=jobs,verdict=loaded:1|c" in told.tagged.lines
    assert "airflow.datamart.rows.rejected,way=landing,table=jobs:2|c" in told.tagged.lines
    assert "airflow.datamart.holds:3|g" in told.tagged.lines


def test_opentelemetry_gets_them_before_the_process_ends(told: Told) -> None:
    tags, found = {"way": "landing", "table": "jobs"}, told.otel.metrics
    for what, number in ROWS.items():
        assert (f"airflow.datamart.rows.{what}", tags, number) in found
    assert ("airflow.datamart.files", tags | {"verdict": "loaded"}, 1) in found
    assert ("airflow.datamart.load.duration", tags, 250) in found
    assert ("airflow.datamart.holds", {}, 3) in found
    assert told.otel.deltas
    assert all(told.otel.deltas), "a counter of a task that begins at 0 is not to be taken for the whole"


@pytest.mark.parametrize("server", ["away", "silent"])
def test_a_collector_that_does_not_answer_is_not_waited_for(told: Told, server: str) -> None:
    assert told.seconds[server] < 3
    assert told.log.count("Metrics may be lost") == 2


def test_where_nobody_is_named_nothing_is_sent_and_it_costs_nothing(told: Told) -> None:
    assert told.nobody.lines == []
    assert told.seconds["nobody"] < 0.02
