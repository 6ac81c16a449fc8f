"""What runs ahead arrives in order, fails where it is taken, and ends when nobody takes it any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from datamart.ahead import ahead


def numbers(made: list[int], until: int, failure: Exception | None = None) -> Iterator[int]:
    for number in range(1, until + 1):
        made.append(number)
        yield number
    if failure is not None:
        raise failure


def test_items_come_in_order_and_then_none() -> None:
    with ahead(numbers([], 5), 2) as running:
        assert [running.take() for _ in range(7)] == [1, 2, 3, 4, 5, None, None]


def test_a_failure_is_raised_after_what_was_made_before_it() -> None:
    with ahead(numbers([], 2, KeyError("gone")), 4) as running:
        assert [running.take(), running.take()] == [1, 2]
        with pytest.raises(KeyError, match="gone"):
            running.take()
        with pytest.raises(KeyError, match="gone"):
            running.raise_failure()


def test_no_more_is_made_than_the_depth_allows() -> None:
    made: list[int] = []
    with ahead(numbers(made, 100), 3) as running:
        assert running.take() == 1
        assert running.take() == 2
    assert len(made) <= 2 + 3 + 1


def test_the_thread_ends_with_the_block() -> None:
    before = threading.active_count()
    with ahead(iter(int, 1), 1) as running:
        assert running.take() == 0
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_what_is_over_says_so_at_once() -> None:
    """An empty file asks again and again."""
    with ahead(numbers([], 0), 1) as running:
        assert running.take() is None
        began = time.monotonic()
        assert [running.take() for _ in range(100)] == [None] * 100
        assert time.monotonic() - began < 0.1


def test_a_thread_that_waits_for_room_is_ended_at_once() -> None:
    began = time.monotonic()
    for _ in range(20):
        with ahead(numbers([], 100), 1) as running:
            assert running.take() == 1
            while not running._made.full():
                pass
    assert time.monotonic() - began < 1
