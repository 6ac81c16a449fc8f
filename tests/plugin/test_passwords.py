"""Right passwords are remembered for a minute, wrong ones never; guesses are counted, and memory is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from data_api_app.passwords import (
    GUESS_SECONDS,
    LONGEST,
    MOST_GUESSES,
    MOST_GUESSES_OF_ALL,
    MOST_KEPT,
    REMEMBERED_SECONDS,
    WRONG,
    Passwords,
)
from data_api_app.refusals import Refused

HOME, AWAY = "192.0.2.1", "198.51.100.7"


@dataclass
class Clock:
    """Moves when a test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Users:
    """Stands in for the auth manager: knows passwords, and gives a new token each time."""

    right: dict[str, str] = field(default_factory=lambda: {"ann": "sesame", "bob": "mellon"})
    asked: int = 0
    busy: Callable[[], Awaitable[None]] = field(default=lambda: asyncio.sleep(0))

    async def token_for(self, name: str, password: str) -> str | None:
        self.asked += 1
        token = f"token {self.asked} of {name}"
        await self.busy()
        return token if self.right.get(name) == password else None


class Away:
    """An auth manager that does not answer."""

    async def token_for(self, _name: str, _password: str) -> str | None:
        raise Refused(503, "Passwords cannot be checked now.")


@dataclass
class World:
    """One memory of passwords, as the tests ask it."""

    users: Users = field(default_factory=Users)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.passwords = Passwords(self.users, self.clock)

    async def said(self, name: str, password: str, address: str = HOME) -> str | Refused:
        """The token, or the refusal."""
        try:
            return await self.passwords.token(name, password, address)
        except Refused as refusal:
            return refusal

    def token(self, name: str = "ann", password: str = "sesame", address: str = HOME) -> str:
        return asyncio.run(self.passwords.token(name, password, address))

    def status(self, name: str = "ann", password: str = "sesame", address: str = HOME) -> int:
        """200 for a token, otherwise the refusal's status."""
        return self.statuses([(name, password, address)])[0]

    def statuses(self, asked: Sequence[tuple[str, str, str]]) -> list[int]:
        """All of them asked at once."""

        async def ask() -> list[str | Refused]:
            return await asyncio.gather(*(self.said(*one) for one in asked))

        return [200 if isinstance(one, str) else one.status_code for one in asyncio.run(ask())]

    def guess(self, times: int, name: str = "ann", address: str = HOME) -> list[int]:
        """Wrong passwords, one after another."""
        return [self.status(name, f"wrong {number}", address) for number in range(times)]

    def guess_until_refused(self, name: str = "ann", address: str = HOME) -> None:
        assert self.guess(MOST_GUESSES + 1, name, address) == [401] * MOST_GUESSES + [429]

    @property
    def memories(self) -> list[dict[object, object]]:
        """All that is remembered."""
        return [kept for kept in vars(self.passwords).values() if isinstance(kept, dict)]

    @property
    def kept(self) -> int:
        """How many entries are remembered."""
        return sum(map(len, self.memories))


@pytest.fixture
def world() -> World:
    return World()


def refusal(world: World, name: str, password: str) -> Refused:
    found = asyncio.run(world.said(name, password))
    assert isinstance(found, Refused)
    return found


# What is remembered


def test_a_right_password_is_asked_for_once_a_minute(world: World) -> None:
    first = world.token()
    world.clock.now += REMEMBERED_SECONDS - 0.001
    assert (world.token(), world.users.asked) == (first, 1)
    world.clock.now += 0.001
    assert world.token() == "token 2 of ann"


def test_it_is_not_remembered_for_longer_by_being_used(world: World) -> None:
    world.token()
    for _ in range(6):
        world.clock.now += 10
        world.token()
    assert world.users.asked == 2


def test_the_minute_begins_when_the_answer_is_there(world: World) -> None:
    async def slow() -> None:
        world.clock.now += 30

    world.users.busy = slow
    world.token()
    world.clock.now += REMEMBERED_SECONDS - 1
    assert (world.token(), world.users.asked) == ("token 1 of ann", 1)


def test_the_limits_are_those_of_the_design() -> None:
    assert (REMEMBERED_SECONDS, MOST_GUESSES, GUESS_SECONDS) == (60.0, 10, 60.0)
    assert (MOST_GUESSES_OF_ALL, MOST_KEPT, LONGEST) == (100, 10_000, 256)


@pytest.mark.parametrize(
    ("name", "password"),
    [("ann", "sesame "), ("ann", "Sesame"), ("ann", ""), ("Ann", "sesame"), ("an", "nsesame"), ("bob", "sesame"),
     ("a", "nnsesame"), ("ann\0", "sesame"), ("ann", "\0sesame")],
)  # fmt: skip
def test_what_is_remembered_helps_nobody_else(world: World, name: str, password: str) -> None:
    world.token()
    assert world.status(name, password) == 401
    assert world.users.asked == 2


def test_users_have_tokens_of_their_own(world: World) -> None:
    assert (world.token(), world.token("bob", "mellon"), world.token()) == (
        "token 1 of ann",
        "token 2 of bob",
        "token 1 of ann",
    )


def test_it_is_remembered_for_every_address(world: World) -> None:
    assert world.token(address=HOME) == world.token(address=AWAY)


def test_a_wrong_password_is_never_remembered(world: World) -> None:
    assert world.guess(3) == [401] * 3
    assert world.users.asked == 3
    world.users.right["ann"] = "wrong 0"
    assert world.status("ann", "wrong 0") == 200


def test_a_changed_password_is_noticed_within_the_minute(world: World) -> None:
    world.token()
    world.users.right["ann"] = "other"
    assert world.status() == 200
    world.clock.now += REMEMBERED_SECONDS
    assert world.status() == 401


def test_a_wrong_password_is_told_without_a_challenge_and_without_itself(world: World) -> None:
    found = refusal(world, "ann", "0pen")
    assert (found.status_code, found.detail, found.headers) == (401, WRONG, {})
    assert "0pen" not in found.detail


def test_no_password_is_in_what_is_remembered(world: World) -> None:
    world.token()
    world.guess(1)
    remembered = repr(world.memories)
    assert "token 1 of ann" in remembered
    assert "sesame" not in remembered
    assert "wrong 0" not in remembered


@pytest.mark.parametrize("text", ["pässwörd 採用 \U0001f600", "a:b", "x" * LONGEST, " ", "\r\n", "\0"], ids=ascii)
def test_any_text_can_be_a_name_and_a_password(world: World, text: str) -> None:
    world.users.right = {"ann": text, text: "x", "nobody": ""}
    assert world.token("ann", text) == world.token("ann", text)
    assert world.status(text, "x") == 200
    assert world.status("nobody", "") == 200


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("", ""),
        ("", "sesame"),
        ("x" * (LONGEST + 1), "x"),
        ("ann", "x" * (LONGEST + 1)),
        ("x" * 1_000_000, "x" * 1_000_000),
    ],
    ids=["nothing", "no name", "long name", "long password", "megabytes"],
)
def test_what_can_be_nobody_s_is_neither_asked_for_nor_counted(world: World, name: str, password: str) -> None:
    world.users.right = {name: password}
    assert [world.status(name, password) for _ in range(MOST_GUESSES + 5)] == [401] * (MOST_GUESSES + 5)
    assert (world.users.asked, world.kept) == (0, 0)


def test_a_nul_does_not_move_from_the_password_into_the_name(world: World) -> None:
    world.users.right["ann"] = "open\0sesame"
    world.token("ann", "open\0sesame")
    assert world.status("ann\0open", "sesame") == 401


# Guesses


def test_the_eleventh_guess_within_a_minute_is_not_looked_at(world: World) -> None:
    world.guess_until_refused()
    assert world.users.asked == MOST_GUESSES
    assert world.status() == 429


def test_too_many_guesses_are_told_when_to_try_again(world: World) -> None:
    world.guess(MOST_GUESSES)
    world.clock.now += 25
    found = refusal(world, "ann", "guess")
    assert (found.status_code, found.headers) == (429, {"Retry-After": "35"})
    assert found.detail == "Too many wrong passwords. Try again in 35 s."


@pytest.mark.parametrize("after", [0.0, 30.0, 59.4, 59.9])
def test_retry_after_is_whole_seconds_and_never_none(world: World, after: float) -> None:
    world.guess(MOST_GUESSES)
    world.clock.now += after
    assert 1 <= int((refusal(world, "ann", "guess").headers or {})["Retry-After"]) <= GUESS_SECONDS


@pytest.mark.parametrize(
    "after",
    [
        0.0,
        9.25,
        9.75,
    ],
)
def test_who_waits_as_long_as_he_was_told_is_let_in(world: World, after: float) -> None:
    world.guess(MOST_GUESSES)
    world.clock.now += after
    world.clock.now += int((refusal(world, "ann", "guess").headers or {})["Retry-After"])
    assert world.status() == 200


def test_guesses_are_forgotten_one_by_one_as_their_minutes_end(world: World) -> None:
    for _ in range(MOST_GUESSES):
        world.guess(1)
        world.clock.now += 5
    assert world.guess(1) == [429]
    world.clock.now += GUESS_SECONDS - 50 + 0.001
    assert world.guess(2) == [401, 429]
    world.clock.now += GUESS_SECONDS + 0.001
    world.guess_until_refused()


def test_a_refused_guess_does_not_make_the_wait_longer(world: World) -> None:
    world.guess_until_refused()
    for _ in range(6):
        world.clock.now += 9
        assert world.status() == 429
    world.clock.now += 6.001
    assert world.status() == 200


@pytest.mark.parametrize(("name", "address"), [("ann", AWAY), ("bob", HOME), ("an", HOME), ("ann", "")])
def test_guesses_are_counted_by_address_and_name(world: World, name: str, address: str) -> None:
    world.guess_until_refused()
    world.guess_until_refused(name, address)


@pytest.mark.parametrize("name", ["ANN", "Ann", "aNN"])
def test_a_name_in_capitals_is_no_other_name_to_guess(world: World, name: str) -> None:
    world.guess_until_refused()
    assert world.status(name, "guess") == 429


def test_guesses_at_many_names_are_counted_by_address(world: World) -> None:
    names = [f"name {number}" for number in range(MOST_GUESSES_OF_ALL)]
    assert [world.status(name, "Summer2026") for name in names] == [401] * MOST_GUESSES_OF_ALL
    found = refusal(world, "ann", "sesame")
    assert (found.status_code, found.headers) == (429, {"Retry-After": "60"})
    assert world.status(address=AWAY) == 200
    world.clock.now += GUESS_SECONDS
    assert world.status("bob", "mellon") == 200


def test_right_passwords_are_not_counted_by_address(world: World) -> None:
    world.users.right = {f"name {number}": "right" for number in range(MOST_GUESSES_OF_ALL + 5)}
    assert {world.status(name, "right") for name in world.users.right} == {200}


def test_a_stranger_s_guesses_do_not_lock_a_user_out(world: World) -> None:
    world.guess_until_refused(address=AWAY)
    assert world.status(address=HOME) == 200


def test_who_is_remembered_is_let_in_whatever_others_guess(world: World) -> None:
    token = world.token()
    world.guess_until_refused()
    assert world.token() == token


def test_a_right_password_is_no_guess(world: World) -> None:
    for _ in range(3 * MOST_GUESSES):
        world.clock.now += REMEMBERED_SECONDS / 30
        world.users.right["ann"] = f"password {world.clock.now}"
        assert world.status("ann", world.users.right["ann"]) == 200
    assert world.users.asked == 3 * MOST_GUESSES
    world.guess_until_refused()


def test_a_right_password_does_not_wipe_out_wrong_ones(world: World) -> None:
    assert world.guess(MOST_GUESSES - 1) == [401] * (MOST_GUESSES - 1)
    assert world.status() == 200
    assert world.guess(2) == [401, 429]


@pytest.mark.parametrize("many", [MOST_GUESSES + 1, 200])
def test_many_guesses_at_once_are_limited_too(world: World, many: int) -> None:
    found = world.statuses([("ann", f"wrong {number}", HOME) for number in range(many)])
    assert (found.count(401), found.count(429)) == (MOST_GUESSES, many - MOST_GUESSES)
    assert world.users.asked == MOST_GUESSES


def test_the_right_one_among_many_guesses_at_once_is_not_found(world: World) -> None:
    guesses = [("ann", f"wrong {number}", HOME) for number in range(50)]
    assert world.statuses([*guesses, ("ann", "sesame", HOME)])[-1] == 429


def test_guesses_at_many_names_at_once_are_limited_too(world: World) -> None:
    found = world.statuses([(f"name {number}", "wrong", HOME) for number in range(2 * MOST_GUESSES_OF_ALL)])
    assert found.count(401) == MOST_GUESSES_OF_ALL


def test_guesses_that_come_while_others_are_looked_at_are_limited(world: World) -> None:
    async def slowly() -> list[str | Refused]:
        go_on = asyncio.Event()
        world.users.busy = go_on.wait  # type: ignore[assignment]
        tasks = []
        for number in range(50):
            tasks.append(asyncio.create_task(world.said("ann", f"wrong {number}")))
            await asyncio.sleep(0.001)
        go_on.set()
        return await asyncio.gather(*tasks)

    found = [one.status_code for one in asyncio.run(slowly()) if isinstance(one, Refused)]
    assert found == [401] * MOST_GUESSES + [429] * (50 - MOST_GUESSES)


def test_right_passwords_at_once_leave_nothing_counted(world: World) -> None:
    assert world.statuses([("ann", "sesame", HOME)] * MOST_GUESSES) == [200] * MOST_GUESSES
    world.guess_until_refused()


def test_a_right_password_in_many_requests_at_once_is_asked_for_once(world: World) -> None:
    assert world.statuses([("ann", "sesame", HOME)] * 200) == [200] * 200
    assert world.users.asked == 1


def test_a_wrong_password_in_many_requests_at_once_is_one_guess(world: World) -> None:
    assert world.statuses([("ann", "wrong", HOME)] * 200) == [401] * 200
    assert world.users.asked == 1
    assert world.guess(MOST_GUESSES) == [401] * (MOST_GUESSES - 1) + [429]


def test_who_goes_away_leaves_the_answer_to_the_others(world: World) -> None:
    async def both() -> str | Refused:
        first = asyncio.create_task(world.said("ann", "sesame"))
        await asyncio.sleep(0)
        second = asyncio.create_task(world.said("ann", "sesame"))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(both()) == "token 1 of ann"


def test_an_auth_manager_that_answers_after_more_than_a_minute_is_believed(world: World) -> None:
    async def both() -> list[str | Refused]:
        go_on = asyncio.Event()
        world.users.busy = go_on.wait  # type: ignore[assignment]
        first = asyncio.create_task(world.said("ann", "sesame"))
        await asyncio.sleep(0.01)
        world.clock.now += GUESS_SECONDS + 1
        second = asyncio.create_task(world.said("ann", "wrong"))
        await asyncio.sleep(0.01)
        go_on.set()
        return await asyncio.gather(first, second)

    token, refused = asyncio.run(both())
    assert token == "token 1 of ann"
    assert isinstance(refused, Refused)
    assert world.guess(MOST_GUESSES) == [401] * (MOST_GUESSES - 1) + [429]


def test_what_could_not_be_checked_is_no_wrong_password(world: World) -> None:
    well = world.users
    world.passwords._checker = Away()
    assert [world.status() for _ in range(2 * MOST_GUESSES)] == [503] * 2 * MOST_GUESSES
    world.passwords._checker = well
    assert world.status() == 200


def test_a_fault_of_the_auth_manager_is_not_remembered(world: World) -> None:
    well = world.users
    world.passwords._checker = Away()
    assert world.status() == 503
    world.passwords._checker = well
    assert world.status() == 200


# Memory


def address(number: int) -> str:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def test_no_more_guesses_are_kept_than_is_bounded(world: World) -> None:
    async def many() -> None:
        for number in range(MOST_KEPT + 500):
            await world.said(f"name {number}", "wrong", address(number))
            assert world.kept <= MOST_KEPT

    asyncio.run(many())
    assert world.users.asked == MOST_KEPT + 500


def test_no_more_right_passwords_are_kept_than_is_bounded(world: World) -> None:
    world.users.right = {f"name {number}": "right" for number in range(MOST_KEPT + 500)}

    async def many() -> None:
        for name in world.users.right:
            assert isinstance(await world.said(name, "right"), str)

    asyncio.run(many())
    assert max(map(len, world.memories)) <= MOST_KEPT
    assert world.token(f"name {MOST_KEPT + 499}", "right") == f"token {MOST_KEPT + 500} of name {MOST_KEPT + 499}"


def test_guesses_of_others_do_not_push_out_a_count_while_there_is_room(world: World) -> None:
    world.guess_until_refused()

    async def others() -> None:
        for number in range(MOST_KEPT // 2 - 1):
            await world.said("ann", "wrong", address(number))

    asyncio.run(others())
    assert world.kept == MOST_KEPT
    assert world.status() == 429
