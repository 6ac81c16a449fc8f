"""Sends some measures as tasks do: each time from a forked process with Airflow's settings, which ends at once.

The argument is JSON: settings by the name of a process. For each a line of JSON is written: its name, and the seconds
that it took to send.
"""

from __future__ import annotations

import json
import os
import sys
import time

from datamart.loads import Counts, Outcome, Verdict
from datamart.measures import HOLDS, of_load
from datamart_airflow import metrics

OUTCOME = Outcome(1, "jobs", "landing/jobs.csv", Verdict.LOADED, Counts(7, 4, 1, 0, 2), seconds=0.25)


def be_a_task(name: str, settings: dict[str, str]) -> None:
    os.environ.update(settings)
    metrics.prepare()
    started = time.monotonic()
    with metrics.delivery():
        metrics.send([*of_load(OUTCOME, "landing"), HOLDS.of(3)])
    print(json.dumps([name, time.monotonic() - started]), flush=True)
    os._exit(0)


if __name__ == "__main__":
    for one, given in json.loads(sys.argv[1]).items():
        child = os.fork()
        if not child:
            be_a_task(one, given)
        if os.waitpid(child, 0)[1]:
            sys.exit(f"{one} has failed")
