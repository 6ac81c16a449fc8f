"""docker-compose.yaml as Compose reads it: values filled in, merged, and each service as what it starts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
FILE = REPOSITORY / "docker-compose.yaml"
_REFERENCE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<rest>[^}]*))?\}")


class Missing(LookupError):
    """A variable that the file asks for is not set."""


def raw() -> dict[str, Any]:
    """The file with its references as they are written."""
    found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


def filled(value: Any, values: Mapping[str, str]) -> Any:
    """The same with ``${NAME}``, ``${NAME:-default}`` and ``${NAME:?message}`` filled in, as Compose does."""
    if isinstance(value, dict):
        return {key: filled(one, values) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, values) for one in value]
    return _REFERENCE.sub(lambda found: _one(found, values), value) if isinstance(value, str) else value


def _one(found: re.Match[str], values: Mapping[str, str]) -> str:
    if found["name"] is None:
        return "$"
    value = values.get(found["name"], "")
    if not value and found["kind"] == ":?":
        raise Missing(f"{found['name']}: {found['rest']}")
    return value or (found["rest"] if found["kind"] == ":-" else "") or ""


def references(value: Any) -> list[tuple[str, str]]:
    """Every reference in it: the name, and what follows it."""
    if isinstance(value, dict):
        return [one for part in value.values() for one in references(part)]
    if isinstance(value, list):
        return [one for part in value for one in references(part)]
    if not isinstance(value, str):
        return []
    return [(m["name"], m["kind"] or "") for m in _REFERENCE.finditer(value) if m["name"]]


@dataclass(frozen=True)
class Service:
    """What one service starts, and what its container gives it."""

    name: str
    image: str
    user: str
    restart: str
    entrypoint: list[str]
    command: list[str]
    environment: dict[str, str]
    volumes: dict[str, str]
    """Folders in the container, and the named volumes that are there."""
    tmpfs: list[str]
    ports: list[str]
    healthcheck: list[str]
    needs: dict[str, str]
    fields: dict[str, Any] = field(repr=False)


def services(values: Mapping[str, str]) -> dict[str, Service]:
    """All services by name, with these values of variables."""
    return {name: _service(name, found) for name, found in filled(raw(), values)["services"].items()}


def _service(name: str, found: dict[str, Any]) -> Service:
    mounts = dict(reversed(one.split(":")[:2]) for one in found.get("volumes", []))
    return Service(
        name=name,
        image=found["image"],
        user=str(found.get("user", "")),
        restart=str(found.get("restart", "")),
        entrypoint=_words(found.get("entrypoint", [])),
        command=_words(found.get("command", [])),
        environment=dict(found.get("environment", {})),
        volumes=mounts,
        tmpfs=list(found.get("tmpfs", [])),
        ports=list(found.get("ports", [])),
        healthcheck=_check(found.get("healthcheck", {}).get("test", [])),
        needs={other: one["condition"] for other, one in found.get("depends_on", {}).items()},
        fields=found,
    )


def _words(given: str | list[str]) -> list[str]:
    return shlex.split(given) if isinstance(given, str) else list(given)


def _check(test: list[str]) -> list[str]:
    """The words that Docker runs for a health check."""
    if not test:
        return []
    return ["/bin/sh", "-c", *test[1:]] if test[0] == "CMD-SHELL" else test[1:]
