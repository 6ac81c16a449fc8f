"""The mapping, the alert rules and the dashboard of deploy/monitoring name what is sent, and Prometheus reads them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from datamart.health import Code
from datamart.measures import METRICS, Metric
from tests import needs
from tests.monitoring.exported import (
    FOLDER,
    MAPPING,
    SERIES,
    any_of,
    asked_for,
    grouped_by,
    plain_line,
    prometheus_name,
    read,
    rules,
)

PANELS = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))["panels"]
QUERIES = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
CASES = yaml.safe_load((Path(__file__).parent / "alerts_test.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def promtool() -> str:
    return needs.program("promtool")


def told_by(promtool: str, *arguments: str | Path) -> str:
    done = subprocess.run([promtool, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_each_metric_becomes_its_series_with_its_labels(metric: Metric) -> None:
    measure = any_of(metric)
    line = plain_line(measure)
    tagged = re.sub(r"^[^:]+", "", line)
    tagged = f"airflow.{metric.name}" + "".join(f",{tag}={value}" for tag, value in measure.tags.items()) + tagged
    for one in (line, tagged):
        found = read(one)
        assert found is not None, one
        assert (found.name, found.labels) == (prometheus_name(metric), dict(measure.tags))


def test_the_mapping_has_no_more_than_that() -> None:
    assert len(MAPPING) == sum(1 + bool(metric.tags) for metric in METRICS)
    assert read("airflow.ti.start:1|c") is None


def unknown(expression: str) -> list[str]:
    """What an expression asks for that is never there."""
    wrong, known = [], set()
    for name, labels in asked_for(expression):
        if name not in SERIES:
            wrong.append(name)
        else:
            known |= SERIES[name]
            wrong += [f"{name}{{{label}}}" for label in labels - SERIES[name]]
    return wrong + [f"by ({label})" for label in grouped_by(expression) - known]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_what_is_sent(rule: dict[str, Any]) -> None:
    assert asked_for(rule["expr"])
    assert unknown(rule["expr"]) == []
    told = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    there = {label for name, _ in asked_for(rule["expr"]) for label in SERIES[name]}
    assert told <= (grouped_by(rule["expr"]) or there)


@pytest.mark.parametrize(("title", "target"), QUERIES, ids=[f"{t} {q['refId']}" for t, q in QUERIES])
def test_a_panel_asks_for_what_is_sent(title: str, target: dict[str, Any]) -> None:
    expression = target["expr"]
    assert asked_for(expression), title
    assert unknown(expression) == []
    legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    there = {label for name, _ in asked_for(expression) for label in SERIES[name]}
    assert legend <= (grouped_by(expression) or there)


@pytest.mark.parametrize(
    "expression",
    [
        "airflow_datamart_rows_reject_total > 0",
        'airflow_datamart_holds{table="jobs"} > 0',
        "sum by (dag) (airflow_datamart_rows_read_total)",
        "airflow_datamart_load_duration_seconds > 1",
    ],
)
def test_what_is_never_sent_is_noticed(expression: str) -> None:
    assert unknown(expression) != []


def test_every_code_of_a_finding_has_its_alert() -> None:
    patterns = [pattern for rule in rules() for pattern in re.findall(r'code=~?"([^"]+)"', rule["expr"])]
    assert sorted("|".join(patterns).split("|")) == sorted(code.value for code in Code)


def test_prometheus_reads_the_rules_and_the_panels(promtool: str, tmp_path: Path) -> None:
    assert "9 rules found" in told_by(promtool, "check", "rules", FOLDER / "alerts.yaml")
    record = [
        {"record": f"panel:{n}", "expr": target["expr"].replace("$__rate_interval", "5m")}
        for n, (_, target) in enumerate(QUERIES)
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": record}]}))
    assert f"{len(QUERIES)} rules found" in told_by(promtool, "check", "rules", file)
    file.write_text(file.read_text().replace("sum by", "sum bye", 1))
    with pytest.raises(AssertionError, match="could not parse"):
        told_by(promtool, "check", "rules", file)


def test_each_alert_comes_when_it_should_and_only_then(promtool: str, tmp_path: Path) -> None:
    told_by(promtool, "test", "rules", Path(__file__).parent / "alerts_test.yaml")
    # Alerts that never come must turn these tests red, each of them.
    (tmp_path / "broken.yaml").write_text(yaml.safe_dump(never()))
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(CASES | {"rule_files": ["broken.yaml"]}))
    with pytest.raises(AssertionError) as failed:
        told_by(promtool, "test", "rules", tmp_path / "test.yaml")
    for rule in rules():
        assert f"alertname: {rule['alert']}" in str(failed.value)


def never() -> dict[str, Any]:
    """The rules with nothing to find."""
    return {"groups": [{"name": "datamart", "rules": [rule | {"expr": "vector(0) > 1"} for rule in rules()]}]}


def test_each_alert_has_a_case_in_which_it_comes_and_one_in_which_it_does_not() -> None:
    cases = [case for one in CASES["tests"] for case in one["alert_rule_test"]]
    comes = {case["alertname"] for case in cases if case.get("exp_alerts")}
    silent = {case["alertname"] for case in cases if not case.get("exp_alerts")}
    assert comes == silent == {rule["alert"] for rule in rules()}
    series = " ".join(one["series"] for test in CASES["tests"] for one in test["input_series"])
    assert unknown(series) == []
