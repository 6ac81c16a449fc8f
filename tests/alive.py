"""Questions to processes that may end meanwhile: one that has ended gives no answer, which is no failure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import psutil

Answer = TypeVar("Answer")


def ask(
    processes: Iterable[psutil.Process], question: Callable[[psutil.Process], Answer]
) -> Iterator[tuple[psutil.Process, Answer]]:
    """Each process that still runs, with its answer."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            answer = question(process)
            yield process, answer


def listening(process: psutil.Process) -> list[tuple[str, int]]:
    """The addresses and ports on which a process listens."""
    links = process.net_connections("inet")
    return [(link.laddr.ip, link.laddr.port) for link in links if link.status == psutil.CONN_LISTEN]


def title(process: psutil.Process) -> str:
    """The command line of a process as one text."""
    return " ".join(process.cmdline())
