"""docs/monitoring.md lists the metrics that there are; variables, tests, files and tasks that it names are there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from datamart.measures import BY_TASKS, BY_THE_WATCH, Metric
from tests.deploy.composefile import raw, references
from tests.oracle import rules

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "docs" / "monitoring.md").read_text(encoding="utf-8")


def listed(metric: Metric) -> str:
    tags = ", ".join(f"`{tag}`" for tag in metric.tags) or "-"
    return f"| `{metric.name}` | {metric.kind.value} | {tags} | {metric.unit} | {metric.meaning} |"


def test_the_tables_are_all_metrics_and_who_tells_them() -> None:
    tables = [[row for row in part.splitlines() if row.startswith("| `datamart.")] for part in TEXT.split("**Told by ")]
    assert [rows for rows in tables if rows] == [[listed(one) for one in group] for group in (BY_TASKS, BY_THE_WATCH)]


def test_commands_switch_on_what_they_say() -> None:
    """The block's variables, as a process of the stack would be given them."""
    (block,) = re.findall(r"```sh\n(.*?)```", TEXT, re.S)
    exports = block.replace("make run\n", "")
    assert exports != block
    ask = (
        "from airflow.providers.openlineage import conf; from airflow.sdk.configuration import conf as a;"
        "print(conf.is_disabled(), conf.transport()['type'], a.getboolean('metrics', 'statsd_on'))"
    )
    done = subprocess.run(
        ["bash", "-ec", f'{exports}\nexec "$0" -c "$1"', sys.executable, ask],
        env=os.environ, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "False file True"


def test_variables_of_containers_are_handed_on() -> None:
    known = {name for name, _ in references(raw())}
    told = TEXT[TEXT.index("In containers") :].split("\n\n")[0]
    named = set(re.findall(r"`([A-Z][A-Z_]+)`", told))
    assert len(named) == 6
    assert named <= known


def test_the_example_is_an_event_of_the_samples() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", TEXT, re.S)
    event = json.loads(block)
    sample = (REPOSITORY / "data" / Path(event["inputs"][0]["name"]).name).read_bytes()
    judged = rules.judge(event["outputs"][0]["name"].rsplit(".", 1)[1], sample)
    assert event["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == len(judged.accepted) + len(
        judged.rejected
    )
    assert event["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == len(judged.accepted)
    assert set(event) == {"eventType", "job", "inputs", "outputs"}


def test_tasks_that_are_named_are_there() -> None:
    rows = TEXT[TEXT.index("| Dag, task |") :].split("\n\n")[0].splitlines()[2:]
    assert len(rows) > 5
    for row in rows:
        for dag in row.split("|")[1].split(";"):
            name, *tasks = re.findall(r"`(\w+)`", dag)
            source = (REPOSITORY / "dags" / f"{name}.py").read_text(encoding="utf-8")
            assert all(re.sub(r"_\d$", "", task) in source for task in tasks), dag


def test_files_and_tests_that_are_named_are_there() -> None:
    named = re.findall(r"`((?:\w+/)?test_\w+\.py)`", TEXT)
    assert len(named) == 3
    assert [name for name in named if not (REPOSITORY / "tests" / name).is_file()] == []
    examples = set(re.findall(r"`(\w+\.(?:yaml|json))`", TEXT))
    assert examples == {file.name for file in (REPOSITORY / "deploy" / "monitoring").iterdir()}
    assert yaml.safe_load((REPOSITORY / "deploy" / "monitoring" / "alerts.yaml").read_text())["groups"]
