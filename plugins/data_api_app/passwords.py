"""Names and passwords, as clients of the older API send them: checked by Airflow's auth manager, kept for a minute.

What is kept is a keyed hash of what was right and the token it gave; guesses are counted and slowed down.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import math
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol, TypeVar

from data_api_app.refusals import Refused

T = TypeVar("T")
Counted = list[tuple[deque[float], float]]
"""Where a guess was counted, and as what."""

REMEMBERED_SECONDS = 60.0
GUESS_SECONDS = 60.0
MOST_GUESSES = 10
"""Wrong passwords for one name from one address within that time."""
MOST_GUESSES_OF_ALL = 100
"""Wrong passwords for any name from one address."""
MOST_KEPT = 10_000
LONGEST = 256

WRONG = "Name and password do not belong together. Send those of an Airflow user, or a token of his."


class Checker(Protocol):
    """Who knows the users."""

    async def token_for(self, name: str, password: str) -> str | None:
        """A token, or None when the credentials are wrong."""


class Passwords:
    """Tokens for names and passwords; the same ones sent many times at once are checked once."""

    def __init__(self, checker: Checker, now: Callable[[], float] = time.monotonic) -> None:
        self._checker, self._now = checker, now
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._checks: dict[bytes, asyncio.Future[str | None]] = {}
        self._guesses: OrderedDict[bytes, deque[float]] = OrderedDict()

    async def token(self, name: str, password: str, address: str) -> str:
        """The token of this user.

        Raises:
            Refused: 401 when it is wrong, 429 after too many guesses from one address.
        """
        if not 0 < len(name) <= LONGEST or len(password) > LONGEST or not _text(name + password):
            raise Refused(401, WRONG)
        digest = self._digest(name, password)
        known = self._right.get(digest)
        if known and self._now() < known[1]:
            return known[0]
        check = self._checks.get(digest)
        if check is None:
            counted = self._count(name, address)
            check = self._checks[digest] = asyncio.ensure_future(self._check(name, password, digest, counted))
            check.add_done_callback(lambda _: self._checks.pop(digest, None))
        token = await asyncio.shield(check)
        if token is None:
            raise Refused(401, WRONG)
        return token

    async def _check(self, name: str, password: str, digest: bytes, counted: Counted) -> str | None:
        try:
            token = await self._checker.token_for(name, password)
        except BaseException:
            self._forget(counted)
            raise
        if token is not None:
            self._forget(counted)
            self._keep(self._right, digest, (token, self._now() + REMEMBERED_SECONDS))
        return token

    def _places(self, name: str, address: str) -> tuple[tuple[bytes, int], ...]:
        """Where a guess is counted, and how many are allowed there; users are known by their name in any case."""
        return (
            (self._digest(address, name.casefold()), MOST_GUESSES),
            (self._digest(address), MOST_GUESSES_OF_ALL),
        )

    def _count(self, name: str, address: str) -> Counted:
        """Count a guess before it is made, so that many at once are counted too.

        Raises:
            Refused: 429, when there were too many.
        """
        now = self._now()
        places = [(place, self._guesses.get(place, deque()), most) for place, most in self._places(name, address)]
        for _, guesses, most in places:
            while guesses and guesses[0] <= now - GUESS_SECONDS:
                guesses.popleft()
            if len(guesses) >= most:
                wait = max(1, math.ceil(guesses[0] + GUESS_SECONDS - now))
                message = f"Too many wrong passwords. Try again in {wait} s."
                raise Refused(429, message, headers={"Retry-After": str(wait)})
        for place, guesses, _ in places:
            guesses.append(now)
            self._keep(self._guesses, place, guesses)
        return [(guesses, now) for _, guesses, _ in places]

    @staticmethod
    def _forget(counted: Counted) -> None:
        for guesses, time_of_guess in counted:
            if time_of_guess in guesses:
                guesses.remove(time_of_guess)

    @staticmethod
    def _keep(kept: OrderedDict[bytes, T], key: bytes, value: T) -> None:
        """The newest are kept."""
        kept[key] = value
        kept.move_to_end(key)
        if len(kept) > MOST_KEPT:
            kept.popitem(last=False)

    def _digest(self, *parts: str) -> bytes:
        return hmac.digest(self._key, json.dumps(parts).encode(), hashlib.sha256)


def _text(value: str) -> bool:
    """It can be sent on: half of a pair of surrogates is no character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
