"""What one process, and the servers behind it, cost: wall clock, CPU seconds, peak memory, WAL.

Everything is taken from outside, from ``/proc`` and the server's own counters, so that a contender cannot
tell that it is measured. CPU of the measured process comes from ``wait4`` and includes the children it waited for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.servers import ServerCpu, Servers

SAMPLE_SECONDS = 0.05
SHARE_EVERY = 20
_PAGE = os.sysconf("SC_PAGE_SIZE")


class ContenderFailed(Exception):
    """A measured program ended with an error; the message holds the end of what it said."""


@dataclass(frozen=True)
class Cost:
    """One window, from the start of a process to its end.

    ``cpu_postgres`` is what the server's backends used (parallel workers and autovacuum among them),
    ``cpu_postgres_background`` the checkpointer, the writers and the workers for input and output;
    ``cpu_elsewhere`` is what all other programs and the kernel's own threads used, so that a busy machine shows.
    ``peak_memory`` is the largest sum of the resident sets of the process and its descendants, sampled every 50 ms;
    what they share counts several times. ``peak_proportional`` is the same of their proportional sets, which counts
    shared pages once, but is too dear to ask for more than once a second: it would slow down what it measures.
    ``peak_process`` is the largest resident set of any single one, by the kernel's own high-water mark.
    ``checkpoint_seconds`` is how long a CHECKPOINT took right afterwards: writing that was put off.
    """

    seconds: float
    cpu: float
    cpu_postgres: float
    cpu_postgres_background: float
    cpu_s3: float
    cpu_elsewhere: float
    cpu_sampling: float
    peak_memory: int
    peak_proportional: int
    peak_process: int
    samples: int
    wal_bytes: int
    checkpoints: int
    checkpoint_seconds: float


def run(servers: Servers, command: Sequence[str], env: Mapping[str, str], log: Path) -> Cost:
    """Run a command to its end and say what it cost.

    Raises:
        ContenderFailed: it did not end with 0.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    before, wal, machine, self_cpu = servers.cpu(), servers.wal(), _busy(), _own_cpu()
    with log.open("wb") as out:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, env=dict(env), stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        watch = MemoryWatch(process.pid)
        watch.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            _kill(process)
            raise
        finally:
            watch.stop()
        seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    after, wal_after, machine_after = servers.cpu(), servers.wal(), _busy()
    own = usage.ru_utime + usage.ru_stime
    measured = own + (after.total - before.total) + (after.s3 - before.s3) + (_own_cpu() - self_cpu)
    if process.returncode:
        raise ContenderFailed(f"{' '.join(command)} ended with {process.returncode}:\n{_tail(log)}")
    return Cost(
        seconds=seconds,
        cpu=own,
        cpu_postgres=after.backends - before.backends,
        cpu_postgres_background=after.background - before.background,
        cpu_s3=after.s3 - before.s3,
        cpu_elsewhere=max(0.0, machine_after - machine - measured),
        cpu_sampling=watch.cpu,
        peak_memory=watch.peak,
        peak_proportional=watch.peak_proportional,
        peak_process=watch.peak_process,
        samples=watch.samples,
        wal_bytes=wal_after.bytes - wal.bytes,
        checkpoints=wal_after.checkpoints - wal.checkpoints,
        checkpoint_seconds=servers.checkpoint(),
    )


@dataclass(frozen=True)
class Spent:
    """CPU seconds so far of the stack's parts, of this process, and of the whole machine."""

    stack: ServerCpu
    own: float
    machine: float

    @classmethod
    def until_now(cls, servers: Servers) -> Spent:
        """Read the counters."""
        return cls(servers.cpu(), _own_cpu(), _busy())

    def since(self, before: Spent) -> CpuShares:
        """What was used since an earlier reading."""
        airflow = self.stack.airflow - before.stack.airflow
        postgres, s3 = self.stack.total - before.stack.total, self.stack.s3 - before.stack.s3
        known = airflow + postgres + s3 + self.own - before.own
        return CpuShares(airflow, postgres, s3, max(0.0, self.machine - before.machine - known))


@dataclass(frozen=True)
class CpuShares:
    """CPU seconds by who used them: those who do the work, the servers, and all other programs of the machine."""

    work: float
    postgres: float
    s3: float
    elsewhere: float

    def numbers(self, share: float = 1.0) -> dict[str, float]:
        """As columns of a report; a ``share`` stands for the whole. PostgreSQL's are for Airflow's database too."""
        names = ("CPU s: Airflow or process", "PostgreSQL", "S3", "all else")
        values = (self.work, self.postgres, self.s3, self.elsewhere)
        return {name: value / share for name, value in zip(names, values, strict=True)}


class MemoryWatch(threading.Thread):
    """Samples the memory of a process and all its descendants until told to stop."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._ended = threading.Event()
        self.peak = self.peak_proportional = self.peak_process = 0
        self.samples = 0
        self.cpu = 0.0

    def run(self) -> None:
        started = time.thread_time()
        while not self._ended.wait(SAMPLE_SECONDS):
            members = family(self._pid)
            self.peak = max(self.peak, sum(map(_resident, members)))
            if self.samples % SHARE_EVERY == 0:
                shares = (_kilobytes(pid, "smaps_rollup", "Pss:") for pid in members)
                self.peak_proportional = max(self.peak_proportional, sum(shares))
            marks = (_kilobytes(pid, "status", "VmHWM:") for pid in members)
            self.peak_process = max(self.peak_process, *marks)
            self.samples += 1
            self.cpu = time.thread_time() - started

    def stop(self) -> None:
        """End the sampling."""
        self._ended.set()
        self.join()


def family(pid: int) -> list[int]:
    """A process and its descendants that live now."""
    found = [pid]
    for child in _children(pid):
        found += family(child)
    return found


def _children(pid: int) -> list[int]:
    """None of a process that has ended, or ends meanwhile."""
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in task.read_text().split()]
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _kilobytes(pid: int, file: str, label: str) -> int:
    try:
        text = Path(f"/proc/{pid}/{file}").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(label)), 0)


def _kill(process: subprocess.Popen[bytes]) -> None:
    for pid in reversed(family(process.pid)):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _busy() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _own_cpu() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]
