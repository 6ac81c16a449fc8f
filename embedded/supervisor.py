"""Start the Procfile's processes, notice when one dies, end them in order."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from honcho.environ import parse_procfile

from embedded.errors import StackError
from embedded.postgres import primary_group

SIGNALS = {"postgres": signal.SIGINT}  # fast shutdown: closes its clients, writes its data
PR_SET_PDEATHSIG = 1


class StopRequested(Exception):
    """Someone pressed Ctrl-C or sent SIGTERM."""


@dataclass
class Child:
    """A running process of the stack."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


class Supervisor:
    """Owns the processes; each leads a group of its own and writes to its own log file."""

    def __init__(self, procfile: Path, logs: Path, work_dir: Path) -> None:
        self.commands: dict[str, str] = dict(parse_procfile(procfile.read_text()).processes)
        self.logs = logs
        self.work_dir = work_dir
        self.children: dict[str, Child] = {}
        self.signals = 0
        self.stopping = False

    def listen(self) -> None:
        """Turn SIGINT, SIGTERM and SIGHUP into StopRequested, once; a second one makes the end quicker."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self.signals += 1
        if self.signals == 1 and not self.stopping:
            raise StopRequested

    def start(self, name: str, env: dict[str, str], user: str | None = None) -> None:
        """Start one line of the Procfile."""
        log = self.logs / f"{name}.log"
        if log.exists():
            log.replace(log.with_suffix(".previous.log"))
        with log.open("wb") as stream:
            process = subprocess.Popen(  # nosec B603  # a line of the Procfile
                ["/bin/sh", "-c", self.commands[name]],
                env=env,
                cwd=self.work_dir,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=primary_group(user),
                extra_groups=[] if user else None,
                preexec_fn=die_with_parent(SIGNALS.get(name, signal.SIGTERM)),
            )
        self.children[name] = Child(name, process, log)

    def check(self) -> None:
        """Raise when one of the processes has ended."""
        for child in self.children.values():
            code = child.process.poll()
            if code is not None:
                how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
                raise StackError(f"{child.name} ended {how}: see {child.log}\n{_tail(child.log)}")

    def wait(self, what: str, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until something is ready, a process dies, or it takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise StackError(f"{what} was not ready after {seconds:.0f} s: see the logs in {self.logs}")
            time.sleep(0.1)

    def watch(self) -> None:
        """Stay until a process dies."""
        while True:
            self.check()
            time.sleep(0.5)

    def stop(self, names: Iterable[str], grace: float) -> None:
        """End some processes with their groups; those that take too long are killed."""
        chosen = [self.children[name] for name in names if name in self.children]
        for child in chosen:
            number = SIGNALS.get(child.name)
            if number is not None:
                _signal(child.process.pid, number)
            else:
                _signal_group(child.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while any(c.process.poll() is None for c in chosen) and time.monotonic() < deadline:
            if self.signals > 1 and not any(c.name in SIGNALS for c in chosen):
                break
            time.sleep(0.05)
        for child in chosen:
            _signal_group(child.process.pid, signal.SIGKILL)
            child.process.wait()
            del self.children[child.name]


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _tail(log: Path, lines: int = 8) -> str:
    try:
        text = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError as error:
        return f"  | {error}"
    return "\n".join(f"  | {line[:200]}" for line in text)


def die_with_parent(number: int) -> Callable[[], None] | None:
    """For ``preexec_fn``: on Linux the kernel signals the process when its parent dies, were it by SIGKILL.

    To the kernel the parent is the thread that starts the process, which therefore must live as long.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def request() -> None:
        prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel was asked
            os.kill(os.getpid(), number)

    return request
