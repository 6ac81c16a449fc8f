"""Faults 5, 6, 10, 11, 13 and 36 at the object store: what is listed, read and moved is the object that was listed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from datamart.errors import ConfigurationError, DatamartError, SourceChanged
from datamart.loads import Arrival, Verdict
from datamart.objects import ObjectStore, archive_key
from tests.integration.world import World

BODY, NEW = b"1,a\n", b"1,new\n"


@contextmanager
def before_call(store: ObjectStore, operation: str, act: Callable[[], object]) -> Iterator[None]:
    """Do something once, when the client is about to send its next ``operation``."""
    done: list[object] = []

    def once(**_: object) -> None:
        if not done:
            done.append(True)
            act()

    event = f"before-call.s3.{operation}"
    store.client.meta.events.register(event, once)
    try:
        yield
    finally:
        store.client.meta.events.unregister(event, once)
    assert done, f"{operation} was never called"


def exists(world: World, key: str) -> bool:
    return key in world.keys(key)


def test_a_listing_is_in_order_of_time_then_key(world: World) -> None:
    early = world.put("z.csv", BODY)
    late = world.put_later("m.csv", BODY, early)
    while (tied := world.put("b.csv", BODY)).last_modified != late.last_modified:
        late = world.put("m.csv", BODY)
    assert world.store.list(world.prefix) == [early, tied, late]


def test_11_a_listing_of_more_than_a_thousand_keys_is_whole(world: World) -> None:
    names = [f"jobs_{number:04}.csv" for number in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: world.store.write(f"{world.prefix}{name}", BODY), names))
    listed = world.store.list(world.prefix)
    assert {arrival.key for arrival in listed} == {f"{world.prefix}{name}" for name in names}
    assert listed == sorted(listed, key=lambda arrival: (arrival.last_modified, arrival.key))
    assert {(arrival.size, arrival.bucket) for arrival in listed} == {(len(BODY), world.store.bucket)}


def test_a_listing_leaves_out_folder_markers_and_keeps_empty_files(world: World) -> None:
    for marker in ("", "sub/", "sub/deeper/"):
        world.store.client.put_object(Bucket=world.store.bucket, Key=f"{world.prefix}{marker}", Body=b"")
    kept = [world.put("jobs.csv", BODY), world.put("jobs_empty.csv", b""), world.put("jobs.csv", BODY, "sub/deeper/")]
    assert world.keys(world.prefix) == sorted(arrival.key for arrival in kept)


def test_a_listing_of_nothing_is_empty(world: World) -> None:
    assert world.store.list(world.prefix) == []


def test_a_listing_of_a_bucket_that_does_not_exist_says_so(world: World) -> None:
    with pytest.raises(ConfigurationError, match="no-such-bucket"):
        replace(world.store, bucket="no-such-bucket").list("")


def archive(world: World, arrival: Arrival) -> str:
    """Move a file as one that was loaded; where it is now."""
    target = archive_key("jobs", arrival, arrival.arrival_id)
    world.store.move(arrival, target)
    return target


NAMES = [
    "jobs.csv", "jobs of 2021.csv", "jobs_ñandú_数据.csv", "jobs+1%20&b=c.csv", "jobs_('x')~!*.csv", "jobs_#1;@.csv",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_13_a_loaded_file_moves_to_the_archive_whatever_its_name(world: World, name: str) -> None:
    arrival = world.put(name, BODY)
    outcome = world.judge(arrival)
    assert (outcome.verdict, outcome.key) == (Verdict.LOADED, arrival.key)
    target = archive(world, arrival)
    assert target == f"archive/jobs/{arrival.last_modified:%Y/%m/%d}/{outcome.load_id}-{name}"
    assert (world.read(target), exists(world, arrival.key)) == (BODY, False)


def test_a_file_that_was_sent_in_parts_is_read_and_moved(world: World) -> None:
    body = b"1,a\n" + b"\n" * (9 << 20)
    world.store.write(f"{world.prefix}jobs.csv", io.BytesIO(body))
    arrival = world.listed(f"{world.prefix}jobs.csv")
    assert "-" in arrival.etag
    assert world.judge(arrival).verdict is Verdict.LOADED
    assert world.read(archive(world, arrival)) == body
    assert not exists(world, arrival.key)


def test_two_arrivals_of_one_name_lie_side_by_side_in_the_archive(world: World) -> None:
    targets = [archive(world, world.put("jobs.csv", body)) for body in (BODY, NEW)]
    assert [world.read(target) for target in targets] == [BODY, NEW]


def archived(world: World, arrival: Arrival) -> list[bytes]:
    """The archived bytes of an object whose name no other test uses."""
    name = arrival.key.rsplit("/", 1)[-1]
    return [world.read(key) for key in world.keys("archive/jobs/") if key.endswith(name)]


def test_6_an_object_overwritten_before_the_move_stays(world: World) -> None:
    arrival = world.put(world.unique("jobs"), BODY)
    world.store.write(arrival.key, NEW)
    with pytest.raises(SourceChanged, match=r"jobs_\w+\.csv"):
        archive(world, arrival)
    assert (world.read(arrival.key), archived(world, arrival)) == (NEW, [])


def test_6_an_object_overwritten_between_copy_and_delete_stays(world: World) -> None:
    arrival = world.put(world.unique("jobs"), BODY)
    overwrite = partial(world.store.write, arrival.key, NEW)
    with before_call(world.store, "DeleteObject", overwrite), pytest.raises(SourceChanged):
        archive(world, arrival)
    assert (world.read(arrival.key), archived(world, arrival)) == (NEW, [BODY])


def test_36_a_half_done_move_is_finished_by_calling_again(world: World) -> None:
    arrival = world.put("jobs.csv", BODY)

    def break_off() -> None:
        raise ConnectionResetError

    with before_call(world.store, "DeleteObject", break_off), suppress(ConnectionResetError, DatamartError):
        archive(world, arrival)
    assert exists(world, arrival.key)
    target = archive(world, arrival)
    assert (world.read(target), exists(world, arrival.key)) == (BODY, False)


def test_36_a_finished_move_is_told_again_to_who_missed_the_answer(world: World) -> None:
    arrival = world.put("jobs.csv", BODY)
    target = archive(world, arrival)
    assert archive(world, arrival) == target
    assert world.read(target) == BODY


def test_a_move_of_what_was_deleted_says_so(world: World) -> None:
    arrival = world.put("jobs.csv", BODY)
    world.store.client.delete_object(Bucket=arrival.bucket, Key=arrival.key)
    with pytest.raises(SourceChanged, match=r"jobs\.csv"):
        archive(world, arrival)


@pytest.mark.parametrize(
    "wrong", [{"etag": '"0123456789abcdef0123456789abcdef"'}, {"key": "landing/never.csv"}], ids=["etag", "key"]
)
def test_reading_asks_for_the_listed_object_only(world: World, wrong: dict[str, Any]) -> None:
    arrival: Arrival = replace(world.put("jobs.csv", BODY), **wrong)
    with pytest.raises(SourceChanged), world.store.read(arrival):
        pass
