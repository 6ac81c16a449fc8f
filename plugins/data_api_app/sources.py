"""Warehouse and bucket for the routes: sessions that are kept open, and threads of their own for what takes a while.

Routes ask the warehouse by the connection ``warehouse_read``, which may only read.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

from datamart.errors import DatamartError, TransientFault
from datamart.objects import ObjectStore
from datamart.settings import load_settings
from datamart.warehouse.base import Warehouse
from datamart_airflow import clients

T = TypeVar("T")

CONNECTION = "warehouse_read"
COSTLY = 2
THREADS = 8
"""Questions at a time; Airflow's own threads are not used, so that its pages are not held up."""
STATEMENT_SECONDS = 30
_IDLE_SECONDS = 300.0
_STORE_SECONDS = 300.0


class Session:
    """One session with the warehouse, and when it was used last."""

    def __init__(self, opened: AbstractContextManager[Warehouse]) -> None:
        self._resources = ExitStack()
        self.warehouse = self._resources.enter_context(opened)
        self.warehouse.execute(f"SET statement_timeout = {STATEMENT_SECONDS * 1000}")
        self.used = time.monotonic()

    def close(self) -> None:
        """End it."""
        self._resources.close()


class Sources:
    """What routes ask; each question runs in a thread."""

    def __init__(self, connect: Callable[[], AbstractContextManager[Warehouse]] | None = None) -> None:
        self._connect = connect or (lambda: clients.warehouse(CONNECTION))
        self._threads = ThreadPoolExecutor(THREADS, "data-api")
        self._idle: list[Session] = []
        self._lock = threading.Lock()
        self._store: tuple[ObjectStore, float] | None = None
        self._costly = asyncio.Semaphore(COSTLY)

    async def ask(self, question: Callable[[Warehouse], T]) -> T:
        """The answer of a question that only reads; asked again with a new session when an old one has ended."""
        return await self.thread(lambda: self._ask(question))

    async def ask_costly(self, question: Callable[[Warehouse], T]) -> T:
        """The same for what may take seconds: few of them at a time, so that the others' threads stay free."""
        async with self._costly:
            return await self.ask(question)

    async def thread(self, work: Callable[[], T]) -> T:
        """Do something that takes a while, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def store(self) -> ObjectStore:
        """The data bucket, by a client that is made anew now and then, as credentials may change. Not for the loop."""
        with self._lock:
            if self._store is None or self._store[1] < time.monotonic() - _STORE_SECONDS:
                self._store = clients.object_store(), time.monotonic()
            return self._store[0]

    def backups(self) -> ObjectStore:
        """The bucket of backups. Not for the loop."""
        return ObjectStore(self.store().client, load_settings().backup_bucket)

    def close(self) -> None:
        """End all sessions."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _ask(self, question: Callable[[Warehouse], T]) -> T:
        kept = self._kept()
        if kept is not None:
            try:
                return self._with(kept, question)
            except TransientFault:
                pass  # the server may have ended it while it was idle
        return self._with(Session(self._connect()), question)

    def _with(self, session: Session, question: Callable[[Warehouse], T]) -> T:
        try:
            answer = question(session.warehouse)
        except BaseException as error:
            if isinstance(error, DatamartError) and not isinstance(error, TransientFault):
                self._keep(session)
            else:
                session.close()
            raise
        self._keep(session)
        return answer

    def _kept(self) -> Session | None:
        with self._lock:
            while self._idle:
                session = self._idle.pop()
                if session.used > time.monotonic() - _IDLE_SECONDS:
                    return session
                session.close()
        return None

    def _keep(self, session: Session) -> None:
        session.used = time.monotonic()
        with self._lock:
            if len(self._idle) < THREADS:
                self._idle.append(session)
                return
        session.close()
