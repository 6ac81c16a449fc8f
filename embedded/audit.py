"""Ask a service of known vulnerabilities about every package that constraints.txt pins; ``make check`` does so.

    python -m embedded.audit

A vulnerability fails it, unless ignored-vulnerabilities.txt names it with a reason. A service is believed that knows
a vulnerability of long ago: what stands in for PyPI often has its packages only, and of those pip-audit then finds
nothing. Without such a service nothing is known of the packages, which is said and is no failure.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedded.settings import REPOSITORY

Service = tuple[str, ...]
"""Options of pip-audit that choose who is asked."""
SERVICES: tuple[Service, ...] = (("--vulnerability-service", "pypi"), ("--vulnerability-service", "osv"))
PINS = REPOSITORY / "constraints.txt"
IGNORED = REPOSITORY / "ignored-vulnerabilities.txt"
_KNOWN_SINCE_LONG = "jinja2==2.4.1"
_LINE = re.compile(r"(?P<id>[A-Z]+-[\w-]+) +(?P<reason>\S+(?: +\S+){3,})")


class AuditError(Exception):
    """The audit cannot say whether all is well, and somebody must mend that."""


@dataclass(frozen=True)
class Vulnerability:
    """One that is known of a pinned package."""

    package: str
    names: frozenset[str]
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        mended = f"mended in {', '.join(self.fixed_in)}" if self.fixed_in else "not mended yet"
        return f"{self.package}: {' = '.join(sorted(self.names))}, {mended}"


@dataclass(frozen=True)
class Report:
    """What a service knows of some packages."""

    packages: int
    found: tuple[Vulnerability, ...]
    unknown: tuple[str, ...]


def main(services: Iterable[Service] = SERVICES, pins: Path = PINS, ignored: Path = IGNORED) -> int:
    """Print what is known; 1 when a vulnerability is, and is not ignored."""
    try:
        reasons = reasons_to_ignore(ignored.read_text(encoding="utf-8"))
        service, refusals = _believed(services)
        if service is None:
            print(f"NOT AUDITED: no service of known vulnerabilities can be asked from here. {' '.join(refusals)}")
            return 0
        report = _asked(service, pins)
    except AuditError as error:
        print(error, file=sys.stderr)
        return 1
    return _told(report, reasons, service[1])


def reasons_to_ignore(text: str) -> dict[str, str]:
    """The reason for each vulnerability that is ignored, by its id.

    Raises:
        AuditError: a line names no id, or gives no reason.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise AuditError(f"Line {number} of {IGNORED.name} is no id with a reason in words: {line}")
        found[match["id"]] = match["reason"]
    return found


def _believed(services: Iterable[Service]) -> tuple[Service | None, list[str]]:
    """The first service that knows what is known since long; why the others are not believed."""
    refusals = []
    for service in services:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(f"{_KNOWN_SINCE_LONG}\n")
            file.flush()
            try:
                if _asked(service, Path(file.name)).found:
                    return service, refusals
                refusals.append(f"{service[1]}: it knows nothing of {_KNOWN_SINCE_LONG}.")
            except AuditError as error:
                refusals.append(f"{service[1]}: {error}")
    return None, refusals


def _asked(service: Service, pins: Path) -> Report:
    """What the service knows of each pinned package.

    Raises:
        AuditError: pip-audit gave no report.
    """
    done = subprocess.run(  # nosec B603  # words of this file and a path
        [
            *(sys.executable, "-m", "pip_audit", *service, "--requirement", str(pins), "--no-deps", "--disable-pip"),
            *("--format", "json", "--desc", "off", "--aliases", "on", "--progress-spinner", "off", "--timeout", "10"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return _report(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        last = (done.stderr.strip() or "no word").splitlines()[-1]
        raise AuditError(f"pip-audit gave no report ({last[:120]}).") from None


def _report(dependencies: list[dict[str, Any]]) -> Report:
    found = tuple(
        Vulnerability(
            f"{one['name']} {one['version']}", frozenset((known["id"], *known["aliases"])), tuple(known["fix_versions"])
        )
        for one in dependencies
        for known in one.get("vulns", ())
    )
    return Report(len(dependencies), found, tuple(one["name"] for one in dependencies if "skip_reason" in one))


def _told(report: Report, reasons: Mapping[str, str], service: str) -> int:
    open_ones = [one for one in report.found if not one.names & reasons.keys()]
    for one in open_ones:
        print(f"VULNERABLE {one}", file=sys.stderr)
    for one in report.found:
        for name in sorted(one.names & reasons.keys()):
            print(f"ignored: {one}. {reasons[name]}")
    if report.unknown:
        print(f"NOT AUDITED: {service} does not know {', '.join(report.unknown)}.")
    known = frozenset[str]().union(*(one.names for one in report.found))
    if outlived := sorted(reasons.keys() - known):
        print(f"No longer found, to be taken out of {IGNORED.name}: {', '.join(outlived)}.")
    print(f"{report.packages} pinned packages, {len(open_ones)} known vulnerabilities ({service})")
    return 1 if open_ones else 0


if __name__ == "__main__":
    sys.exit(main())
