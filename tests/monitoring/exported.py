"""What the product's metrics are called in Prometheus: read from the mapping of statsd_exporter, by its rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from datamart.measures import METRICS, Kind, Measure, Metric
from datamart_airflow.metrics import plain_name

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
MAPPING = yaml.safe_load((FOLDER / "statsd_mapping.yaml").read_text(encoding="utf-8"))["mappings"]
DATAGRAM = re.compile(r"(?P<name>[^:,]+)(?P<tags>(?:,[^:,]+)*):(?P<value>-?[\d.e-]+)\|(?P<kind>c|g|ms)\Z")


@dataclass(frozen=True)
class Sample:
    """One line of StatsD as the exporter understands it."""

    name: str
    labels: dict[str, str]
    value: float
    kind: str


def read(line: str) -> Sample | None:
    """A line of StatsD by the mapping: ``*`` stands for one part of a name, and the first that fits counts."""
    found = DATAGRAM.match(line)
    assert found is not None, line
    tags = dict(tag.split("=", 1) for tag in found["tags"].split(",") if tag)
    for rule in MAPPING:
        fits = re.fullmatch(re.escape(rule["match"]).replace(r"\*", r"([^.]*)"), found["name"])
        if fits is not None:
            labels = {name: fits[int(value.removeprefix("$"))] for name, value in rule.get("labels", {}).items()}
            return Sample(rule["name"], tags | labels, float(found["value"]), found["kind"])
    return None


def prometheus_name(metric: Metric) -> str:
    """As Prometheus is to call it; a timer has three series, of which this is the beginning."""
    ending = {Kind.COUNTER: "_total", Kind.GAUGE: "", Kind.TIMER: "_seconds"}[metric.kind]
    return f"airflow_{metric.name.replace('.', '_')}{ending}"


def _series(metric: Metric) -> dict[str, set[str]]:
    name, tags = prometheus_name(metric), {*metric.tags}
    if metric.kind is not Kind.TIMER:
        return {name: tags}
    return {f"{name}_bucket": {*tags, "le"}, f"{name}_sum": tags, f"{name}_count": tags}


SERIES = {name: labels for metric in METRICS for name, labels in _series(metric).items()}
"""Every series that there can be, and its labels."""


def asked_for(expression: str) -> list[tuple[str, set[str]]]:
    """Series that an expression names, each with the labels that are compared."""
    found: list[tuple[str, set[str]]] = []
    for name, matchers in re.findall(r"\b(airflow_\w+)(\{[^}]*\})?", expression):
        found.append((name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))))
    return found


def grouped_by(expression: str) -> set[str]:
    """Labels that an expression keeps."""
    return {label for inner in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.split(r",\s*", inner)}


def plain_line(measure: Measure) -> str:
    """As Airflow writes it for a StatsD server without tags."""
    kind = {Kind.COUNTER: "c", Kind.GAUGE: "g", Kind.TIMER: "ms"}[measure.metric.kind]
    return f"airflow.{plain_name(measure)}:{measure.value}|{kind}"


def any_of(metric: Metric) -> Measure:
    """Some value of a metric."""
    return metric.of(1, **{tag: f"some_{tag}" for tag in metric.tags})


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    text = (FOLDER / "alerts.yaml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
