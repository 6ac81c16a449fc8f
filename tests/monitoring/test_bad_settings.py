"""A setting of metrics or lineage that cannot be read costs these alone: tasks start, and what they do goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datamart.measures import HOLDS
from datamart_airflow import metrics
from embedded.environment import PRELOAD

REPOSITORY = Path(__file__).resolve().parents[2]
FORK = """
import multiprocessing, sys
def task():
    import datamart_airflow
    plugin = sys.modules.get("airflow.providers.openlineage.plugins.openlineage")
    sys.exit(40 + len(plugin.OpenLineageProviderPlugin.listeners) if plugin else 30)
if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(sys.argv[1].split(","))
    process = context.Process(target=task)
    process.start()
    process.join()
    print("TASK", process.exitcode)
"""


def forked(folder: Path, transport: str) -> str:
    """What a process that forks tasks tells when it was given this transport."""
    ahead = ",".join(name for name in PRELOAD.split(",") if "lineage" in name)
    (folder / "fork.py").write_text(FORK)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "OPENLINEAGE"))}
    env |= {"AIRFLOW_HOME": str(folder), "PYTHONPATH": str(REPOSITORY / "include")}
    env |= {"AIRFLOW__OPENLINEAGE__TRANSPORT": transport}
    command = [sys.executable, str(folder / "fork.py"), ahead]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=90, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("transport", ['{"type": "http", "api_key": "S3CRET"', '["S3CRET"]'])
def test_tasks_start_with_a_transport_that_is_mistyped(tmp_path: Path, transport: str) -> None:
    told = forked(tmp_path, transport)
    assert "TASK 30" in told, told
    assert "Nobody is told of lineage" in told
    assert "AIRFLOW__OPENLINEAGE__TRANSPORT is to be a JSON object" in told
    assert "S3CRET" not in told


def test_tasks_have_the_plugin_when_somebody_listens(tmp_path: Path) -> None:
    assert "TASK 41" in forked(tmp_path, '{"type": "console"}')


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings that are read anew, as in a process of their own."""
    metrics._route.cache_clear()
    metrics._say_once.cache_clear()
    yield
    monkeypatch.undo()
    metrics.prepare()


@pytest.mark.usefixtures("unread")
def test_a_switch_that_is_neither_on_nor_off(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "maybe")
    for _ in range(2):
        with metrics.delivery():
            metrics.send([HOLDS.of(1)])
    told = [one for one in caplog.messages if one.startswith("Metrics are not sent.")]
    assert len(told) == 1
    assert '"statsd_on"' in told[0]


@pytest.mark.usefixtures("unread")
def test_a_port_that_is_none(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_PORT", "S")
    metrics.prepare()
    metrics.send([HOLDS.of(1)])
    assert '"statsd_port"' in caplog.text
