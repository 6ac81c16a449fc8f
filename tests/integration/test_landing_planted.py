"""The checks of the landing folder are checked: a product that does the wrong thing turns each of them red."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from datamart import ingest, landing
from datamart.holds import Holds
from datamart.late import LateFiles
from datamart.load import Loader
from datamart.loads import Arrival, Counts, Outcome, Verdict
from datamart.objects import ObjectStore
from tests.integration.landing_sound import (
    assert_each_file_once,
    assert_holds,
    assert_landed,
    assert_order,
    assert_refusals_explained,
)
from tests.integration.landing_zone import ALWAYS, FORBIDDEN, Zone, on_requests
from tests.integration.sound import assert_sound
from tests.integration.test_late import File, Look, Play

Check = Callable[[Zone], None]
Plant = Callable[[pytest.MonkeyPatch], None]


def eventful(zone: Zone) -> None:
    """Files that are loaded, late, refused, of no table, and copies."""
    late = zone.drop("jobs_1.csv", b"1,late\n2,late\n", at=1)
    zone.drop("jobs_0.csv", b"1,old\n", at=0)
    zone.drop("jobs_2.csv", b"1,new\n3,new\nx,bad\n", at=2)
    zone.drop("jobs_3.csv", b"3,newest\n", at=3)
    zone.drop("jobs_4.csv", b"x\n", at=4)
    zone.drop("notes.txt", b"", at=5)
    with on_requests(zone.store, "GetObject", {late.key}, FORBIDDEN, ALWAYS):
        zone.look()
    zone.make_due()
    zone.look()


def patched(target: Any, name: str, wrong: Callable[..., Any]) -> Plant:
    """Put ``wrong`` in the place of a function; its first argument is the right one."""
    right = getattr(target, name)

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(target, name, lambda *args, **names: wrong(right, *args, **names))

    return plant


def without_loading(right: Any, self: Loader, arrival: Arrival, **how: Any) -> Outcome:
    if not arrival.name.startswith("jobs_3"):
        return right(self, arrival, **how)  # type: ignore[no-any-return]
    return Outcome(arrival.arrival_id, "jobs", arrival.key, Verdict.LOADED, Counts(read=1, inserted=1))


def last_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong order alone does no harm: what comes after newer files of its listing gives way to them."""

    def backwards(right: Any, listed: Any, *tables: Any) -> Any:
        return [batch | {"files": batch["files"][::-1]} for batch in right(listed, *tables)]

    patched(landing, "batches_of", backwards)(monkeypatch)
    patched(LateFiles, "give_way", always_zero)(monkeypatch)


def delete_only(_: Any, self: ObjectStore, arrival: Arrival, _target: str, **__: Any) -> None:
    self.remove([arrival.key])


def copy_only(_: Any, self: ObjectStore, arrival: Arrival, target: str, **__: Any) -> None:
    self._copy(arrival, target)


def wrong_bytes(right: Any, self: ObjectStore, arrival: Arrival, target: str, **options: Any) -> None:
    right(self, arrival, target, **options)
    self.write(target, b"other")


def note_of_another(right: Any, arrival: Arrival, outcome: Outcome) -> Any:
    return right(arrival, replace(outcome, code="empty"))


def nothing(*_: Any, **__: Any) -> None:
    """What was to be done is not done."""


def always_zero(*_: Any) -> int:
    return 0


PLANTED: dict[str, tuple[Plant, Check, str]] = {
    "a file is archived without being loaded": (
        patched(Loader, "load", without_loading), assert_each_file_once, "jobs_3.csv is archived, but was never loaded"
    ),
    "a file is deleted, not moved": (patched(ObjectStore, "move", delete_only), assert_each_file_once, "in 0 places"),
    "a file is copied, not moved": (patched(ObjectStore, "move", copy_only), assert_each_file_once, "in 2 places"),
    "another file is archived": (patched(ObjectStore, "move", wrong_bytes), assert_each_file_once, "has other bytes"),
    "a loaded file is left lying": (patched(ingest, "move_away", nothing), assert_holds, "still lying there .*jobs_0"),
    "a hold is not released": (patched(Holds, "release", nothing), assert_holds, "on hold are .*jobs_1"),
    "the last comes first": (last_first, assert_order, "jobs holds"),
    "a late file does not give way": (patched(LateFiles, "give_way", always_zero), assert_order, "jobs holds"),
    "a refused file has no note": (
        patched(ObjectStore, "write", lambda right, self, key, body: None if key.endswith(".json") else
                right(self, key, body)),
        assert_refusals_explained, "refused files",
    ),
    "a note says something else": (patched(ingest, "note", note_of_another), assert_refusals_explained, "empty"),
}  # fmt: skip


def test_nothing_is_wrong_before_something_is_planted(zone: Zone) -> None:
    eventful(zone)


@pytest.mark.parametrize("defect", PLANTED)
def test_a_planted_defect_is_seen(spoiled_zone: Zone, monkeypatch: pytest.MonkeyPatch, defect: str) -> None:
    plant, check, words = PLANTED[defect]
    plant(monkeypatch)
    eventful(spoiled_zone)
    with pytest.raises(AssertionError, match=f"(?s){words}"):
        check(spoiled_zone)


def at_once_again(right: Any, self: Holds, *args: Any, **also: Any) -> Any:
    hold = right(self, *args, **also)
    self.release([hold.arrival_id])
    return hold


def test_a_file_that_failed_and_does_not_wait_is_seen(spoiled_zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    patched(Holds, "put", at_once_again)(monkeypatch)
    late = spoiled_zone.drop("jobs.csv", b"1,a\n")
    with on_requests(spoiled_zone.store, "GetObject", {late.key}, FORBIDDEN, ALWAYS):
        spoiled_zone.look()
    with pytest.raises(AssertionError, match="still lying there"):
        assert_holds(spoiled_zone)


LEDGER = {
    "what gave way is not counted": "UPDATE ops.loads SET rows_unchanged = 0 WHERE warnings LIKE '%superseded%'",
    "a late file is in the ledger twice": "INSERT INTO ops.loads SELECT (jsonb_populate_record(one, jsonb_build_object("
    "'load_id', load_id + 1, 'commit_seq', NULL))).* FROM ops.loads AS one WHERE warnings LIKE '%superseded%'",
    "a fault is told without a word": "UPDATE ops.loads SET message = '' WHERE verdict = 'rejected'",
}


@pytest.mark.parametrize("defect", LEDGER)
def test_a_defect_in_the_ledger_is_seen(spoiled_zone: Zone, defect: str) -> None:
    eventful(spoiled_zone)
    spoiled_zone.world.sql(LEDGER[defect])
    with pytest.raises(AssertionError):
        assert_sound(spoiled_zone.world)


def test_rows_that_gave_way_uncounted_are_not_committed(spoiled_zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    """The product's own balance: what disappears from the staging without being told of rolls back."""
    with monkeypatch.context() as planted:
        patched(LateFiles, "give_way", lambda right, *args: right(*args) and 0)(planted)
        eventful(spoiled_zone)
        assert spoiled_zone.held() == {"jobs_1.csv": 2}
        assert "Nothing was committed" in spoiled_zone.world.sql("SELECT reason FROM ops.holds")[0][0]
    spoiled_zone.make_due()
    spoiled_zone.look()
    assert_landed(spoiled_zone)


HISTORY = [
    Look((File(((1, "a"), (2, "a")), at=0, fate=("refused",)), File(((1, "b"),), at=1))),
    Look((File(((3, "b"),), at=1, fate=("refused",)), File(((3, "c"),), at=2)), due=False),
]


def untold(right: Any, self: Loader, *args: Any) -> Outcome:
    outcome: Outcome = right(self, *args)
    return replace(outcome, warnings={}, message="")


def in_the_turn_of_its_retry(_: Any, _self: Loader, arrival: Arrival) -> Arrival:
    return arrival


def played(zone: Zone) -> None:
    zone.clear()
    Play(zone).play(HISTORY)
    assert_landed(zone)


def test_a_history_that_is_played_wrongly_is_seen(spoiled_zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    played(spoiled_zone)
    for name, wrong in {"_merge": untold, "_in_its_turn": in_the_turn_of_its_retry}.items():
        with monkeypatch.context() as planted:
            patched(Loader, name, wrong)(planted)
            with pytest.raises(AssertionError):
                played(spoiled_zone)
