"""Files that landed, one after another: each by the one path in its own transaction, then moved out of the way.

A loaded file goes to the archive, a refused one to the quarantine with a note beside it. What a fault keeps from
being loaded or moved is put on hold, and the files after it are loaded all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace

from datamart.errors import DatamartError, SourceChanged, TransientFault, sentence
from datamart.fetching import AHEAD, FetchingStore
from datamart.holds import Hold, Holds
from datamart.load import Loader
from datamart.loads import Arrival, Mode, Outcome, Verdict
from datamart.objects import ObjectStore, VersionLocked, archive_key, quarantine_key
from datamart.quarantine import note

log = logging.getLogger(__name__)

_MOVERS = 4
_FETCHERS = 2
GONE = "gone"
"""The code of a file that was replaced or removed before it was read: a new one is another arrival."""
ON_HOLD = "on_hold"
"""The code of a file that is left alone because it is on hold."""


class Sessions:
    """One session with the warehouse at a time: a new one when a fault may have ended the last."""

    def __init__(self, connect: Callable[[], AbstractContextManager[Loader]]) -> None:
        self._connect = connect
        self._open = ExitStack()
        self._loader: Loader | None = None

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        self.renew()

    @property
    def loader(self) -> Loader:
        """The open session."""
        if self._loader is None:
            self._loader = self._open.enter_context(self._connect())
        return self._loader

    def renew(self) -> None:
        """End the session; the next use opens another."""
        self._loader = None
        self._open.close()


@dataclass
class Ingest:
    """Loads the files of a batch in their order.

    ``careful`` is for a batch that ended a process before: each file is put on hold while it is loaded, so that one
    that does it again does not come first a third time.
    """

    sessions: Sessions
    careful: bool = False
    _moves: list[tuple[Arrival, Outcome, Future[Sequence[Arrival]]]] = field(default_factory=list)
    _done: set[int] = field(default_factory=set)

    def files(self, arrivals: Sequence[Arrival]) -> Iterator[Outcome]:
        """An outcome for each file, in order; all moves have ended with the last.

        Raises:
            DatamartError: the ledger cannot be reached, so nothing more can be done.
        """
        waiting = self._held_since(arrivals) if self.careful else set()
        with ThreadPoolExecutor(_MOVERS, "move") as movers, ThreadPoolExecutor(_FETCHERS, "fetch") as fetchers:
            for place, arrival in enumerate(arrivals):
                store = self.sessions.loader.store
                if isinstance(store, FetchingStore):
                    store.next_are(arrivals[place : place + AHEAD], fetchers)
                if arrival.arrival_id in waiting:
                    yield self.sessions.loader.answer(arrival) or _held(arrival)
                    continue
                outcome = self._file(arrival)
                if outcome.verdict is not Verdict.FAILED:
                    moving = movers.submit(move_away, store, arrival, outcome)
                    self._moves.append((arrival, outcome, moving))
                if outcome.verdict is not Verdict.FAILED or outcome.code == GONE:
                    self._done.add(arrival.arrival_id)
                if self.careful:
                    self._settle()
                yield outcome
        self._settle()

    def _held_since(self, arrivals: Sequence[Arrival]) -> set[int]:
        """What has been put on hold since the batch was planned, due again or not: no other was left out of it."""
        return self._holds.waiting(arrivals[0].listed_at if arrivals else None)

    def _settle(self) -> None:
        """Wait for all moves; what is done and moved is on hold no more."""
        stuck = {arrival.arrival_id for arrival in self._hold_unmoved()}
        self._holds.release(self._done - stuck)
        self._moves.clear()
        self._done.clear()

    @property
    def _holds(self) -> Holds:
        loader = self.sessions.loader
        return Holds(loader.warehouse, loader.settings)

    def _file(self, arrival: Arrival) -> Outcome:
        """One file; a fault that may have been the session's is given a second try with another at once."""
        if self.careful:
            self._brace(arrival)
        for last in (False, True):
            try:
                loader = self.sessions.loader
                # A file that is still there after it was loaded could not be moved away; it was not sent again.
                if loader.is_superseded(arrival):
                    return loader.supersede(arrival)
                return loader.load(arrival, recheck=False)
            except Exception as error:  # noqa: BLE001 - told in the ledger; the other files are still to be loaded
                self.sessions.renew()
                if last or not isinstance(error, TransientFault):
                    return self._fault(arrival, error)
        raise AssertionError

    def _brace(self, arrival: Arrival) -> None:
        """Tell before it is loaded what there is to tell when that ends the process."""
        reason = "The task that loaded it was ended from outside, perhaps for want of memory."
        self.sessions.loader.fail(arrival, Mode.UPSERT, reason)
        self._holds.put(arrival, reason)

    def _hold(self, arrival: Arrival, reason: str) -> Hold:
        """What is loaded with care is on hold, and counted, already."""
        return self._holds.put(arrival, reason, counted=self.careful)

    def _fault(self, arrival: Arrival, error: Exception) -> Outcome:
        """Tell log and ledger; the file waits unless it is not there any more."""
        outcome = self.sessions.loader.fail(arrival, Mode.UPSERT, sentence(error))
        if isinstance(error, SourceChanged):
            log.warning("%s", error)
            return replace(outcome, code=GONE)
        hold = self._hold(arrival, sentence(error))
        log.error("%s: %s On hold until %s.", arrival.key, hold.reason, f"{hold.next_try_at:%Y-%m-%d %H:%M:%S}")
        return outcome

    def _uncover(self, arrival: Arrival, outcome: Outcome, older: Sequence[Arrival]) -> DatamartError | None:
        """Move older versions of a file away, then the file itself; what kept it from that."""
        if not older:
            return None
        try:
            move_with_older(self.sessions.loader, arrival, outcome, older)
        except DatamartError as error:
            self.sessions.renew()
            return error
        return None

    def _hold_unmoved(self) -> Iterator[Arrival]:
        """Hold what is loaded but could not be moved away."""
        for arrival, outcome, moving in self._moves:
            error = moving.exception() or self._uncover(arrival, outcome, moving.result())
            if isinstance(error, SourceChanged):
                log.info("%s: a new file has its place; it is loaded next.", arrival.key)
            elif isinstance(error, DatamartError):
                hold = self._hold(arrival, f"It is in the ledger, but could not be moved away. {error}")
                log.error("%s: %s Next try at %s.", arrival.key, hold.reason, f"{hold.next_try_at:%Y-%m-%d %H:%M:%S}")
                yield arrival
            elif error is not None:
                raise error


def put_away(loader: Loader, arrival: Arrival, outcome: Outcome) -> None:
    """Move a file that came to a verdict away, and before it older versions of its key, which it would uncover."""
    older = move_away(loader.store, arrival, outcome)
    if older:
        move_with_older(loader, arrival, outcome, older)


def move_with_older(loader: Loader, arrival: Arrival, outcome: Outcome, older: Sequence[Arrival]) -> None:
    """Record older versions of a copied file and move each away, the oldest first, then delete the file itself.

    Where an older version cannot be deleted (it may be locked), a delete marker covers it and the file.
    """
    try:
        for one in older:
            found = loader.supersede(one)
            log.warning("%s, version of %s: %s. %s", one.key, one.last_modified, found.verdict, found.message)
            move_away(loader.store, one, found, covered=True)
    except VersionLocked as fault:
        log.warning("%s A delete marker covers the file and its older versions.", fault)
        loader.store.cover(arrival)
        return
    if move_away(loader.store, arrival, outcome):
        raise TransientFault(f"{arrival.key} has more older versions than were moved away; it is tried again.")


def move_away(store: ObjectStore, arrival: Arrival, outcome: Outcome, *, covered: bool = False) -> Sequence[Arrival]:
    """Move a file that came to a verdict: to the archive, or to the quarantine with a note beside it.

    Returns:
        Older versions of its key, which must be moved away first (see ``ObjectStore.move``).
    """
    if outcome.verdict is Verdict.REJECTED or outcome.table is None:
        return _quarantine(store, arrival, outcome, covered=covered)
    return store.move(arrival, archive_key(outcome.table, arrival, outcome.load_id), covered=covered)


def _quarantine(store: ObjectStore, arrival: Arrival, outcome: Outcome, *, covered: bool) -> Sequence[Arrival]:
    """The note first: who finds the file is to find its reason too."""
    target = quarantine_key(arrival, outcome.load_id)
    store.write(f"{target}.json", note(arrival, outcome))
    try:
        return store.move(arrival, target, covered=covered)
    except SourceChanged:
        if not store.list(target, exact=True):
            store.remove([f"{target}.json"])
        raise


def _held(arrival: Arrival) -> Outcome:
    return Outcome(arrival.arrival_id, None, arrival.key, Verdict.FAILED, code=ON_HOLD, message="It is on hold.")
