"""Questions asked in threads of their own: a server that stays silent holds nobody up for longer than he will wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

from datamart.errors import TransientFault

T = TypeVar("T")


def asked(question: Callable[[], T]) -> Future[T]:
    """Ask now, take the answer later; the thread of a question without an answer does not keep the process alive."""
    answer: Future[T] = Future()
    Thread(target=_ask, args=(question, answer), daemon=True).start()
    return answer


def answer_of(answer: Future[T], until: float) -> T:
    """The answer, or the error that came in its place; waits until the monotonic clock shows ``until``.

    Raises:
        TransientFault: there is none yet.
    """
    try:
        return answer.result(timeout=max(0.0, until - time.monotonic()))
    except TimeoutError:
        if answer.done():
            raise
        raise TransientFault("It has not answered in time.") from None


def _ask(question: Callable[[], T], answer: Future[T]) -> None:
    try:
        answer.set_result(question())
    except BaseException as error:  # noqa: BLE001 - raised where the answer is taken
        answer.set_exception(error)
