"""A test run that is killed leaves no stack behind."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import psutil

from embedded.settings import REPOSITORY

TESTS = """
import sys
from pathlib import Path
from tests.stack import Stack

class Small(Stack):
    PROGRAM = ("-c", "import time; print('started', flush=True); time.sleep(600)")

own = Small(Path(sys.argv[1]), airflow=False)
own.launch()
while "started" not in own.output:
    pass
print(own.process.pid, flush=True)
input()
"""


def runs(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_the_stack_of_tests_that_are_killed_ends(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TESTS, str(tmp_path / "stack")],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as tests:  # fmt: skip
        assert tests.stdout is not None
        pid = int(tests.stdout.readline())
        try:
            assert runs(pid)
            tests.kill()
            tests.wait()
            deadline = time.monotonic() + 10
            while runs(pid) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not runs(pid), "it goes on for ever"
        finally:
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()
