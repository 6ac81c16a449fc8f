"""What is measured: each module is a program that a benchmark starts in a fresh process.

A program reads its job from the variable ``BENCH_JOB`` (JSON) and writes what it has to say - the seconds of its
work, imports left out, and what the verification needs - to the file that the job names ``result``. The benchmark
measures the whole process from outside. Only the standard library is imported here: some programs run in the
peers' own environment.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

COLUMNS = ("id", "name", "datetime", "department_id", "job_id")


def job() -> dict[str, Any]:
    """What the benchmark wants done."""
    wanted: dict[str, Any] = json.loads(os.environ["BENCH_JOB"])
    return wanted


class Clock:
    """Seconds of work, from its making."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Until now."""
        return time.perf_counter() - self._started

    def finish(self, **values: Any) -> None:
        """Report the seconds, with what else there is to say."""
        Path(job()["result"]).write_text(json.dumps({"work_seconds": self.seconds, **values}))
