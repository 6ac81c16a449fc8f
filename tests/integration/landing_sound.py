"""What must hold of a landing folder after every scenario, from the bucket, the ledger and the judge alone."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.integration.landing_zone import Drop, Zone
from tests.integration.sound import assert_converged, assert_sound
from tests.integration.world import upserted
from tests.oracle import rules

_ARCHIVED = re.compile(r"archive/([a-z_]+)/(\d{4}/\d\d/\d\d)/(\d+)-(.+)", re.S)
_QUARANTINED = re.compile(r"quarantine/()(\d{4}/\d\d/\d\d)/(\d+)-(.+)", re.S)
_NOTE = ".json"


@dataclass(frozen=True)
class Moved:
    """An object in the archive or the quarantine, as its key describes it."""

    key: str
    table: str
    day: str
    load_id: int
    name: str


def assert_landed(zone: Zone) -> None:
    """All of it; nothing is wrong with the warehouse either."""
    assert_sound(zone.world)
    assert_each_file_once(zone)
    assert_order(zone)
    assert_superseded_told(zone)
    assert_refusals_explained(zone)
    assert_holds(zone)
    assert_converged(zone.world)


def assert_each_file_once(zone: Zone) -> None:
    """Each file is in one place: unread in the folder, archived after it was loaded, or set aside after it was refused.

    Only one that somebody replaced or removed may be nowhere.
    """
    lying = {one.arrival_id for one in zone.store.list("landing/")}
    archived, refused = moved(zone, _ARCHIVED), moved(zone, _QUARANTINED)
    settled = {load_id: row for load_id, *row in _ledger(zone)}
    wrong = [f"{one.key} is archived, but was never loaded" for one in archived if not _is(settled, one, "loaded")]
    wrong += [f"{one.key} is set aside, but was not refused" for one in refused if not _is(settled, one, "rejected")]
    arrivals = [settled[one.load_id][0] for one in archived + refused if one.load_id in settled]
    for drop in zone.drops:
        places = arrivals.count(drop.arrival.arrival_id) + (drop.arrival.arrival_id in lying)
        if places != 1 and not (places == 0 and _was_taken(zone, drop)):
            wrong.append(f"{drop.arrival.key} is in {places} places")
    bodies = {drop.arrival.arrival_id: drop.body for drop in zone.drops}
    for one in archived + refused:
        if one.load_id in settled and zone.world.read(one.key) != bodies[settled[one.load_id][0]]:
            wrong.append(f"{one.key} has other bytes than the file")
    assert not wrong, "\n".join(wrong)


def assert_order(zone: Zone) -> None:
    """Each table is what its loaded files make it, one after another in the order of their turns."""
    applied = {arrival_id for _, arrival_id, _, verdict in _ledger(zone) if verdict != "rejected"}
    for table in rules.COLUMNS:
        drops = [drop for drop in zone.drops if table_of(drop) == table and drop.arrival.arrival_id in applied]
        in_turn = sorted(drops, key=lambda drop: zone.turns[drop.arrival.arrival_id])
        expected = upserted(table, *(drop.body for drop in in_turn))
        found = zone.world.rows(table)
        assert found == expected, (
            f"{table} holds {found}, but in their turns {[(d.arrival.key, d.body) for d in in_turn]} make {expected}"
        )


def assert_superseded_told(zone: Zone) -> None:
    """The ledger says how many rows of a late file gave way to files whose turn came after it."""
    drops = {drop.arrival.arrival_id: drop for drop in zone.drops}
    earlier: list[Drop] = []
    for load_id, arrival_id, verdict, warnings, message in zone.world.sql(
        "SELECT load_id, arrival_id, verdict, warnings, message FROM ops.loads WHERE verdict IN ('loaded', 'duplicate')"
        " AND mode = 'upsert' ORDER BY commit_seq"
    ):
        drop, turn = drops[arrival_id], zone.turns[arrival_id]
        of_table = [one for one in earlier if table_of(one) == table_of(drop)]
        newer = [_keys(one) for one in of_table if zone.turns[one.arrival.arrival_id] > turn]
        left = len(_keys(drop) & set().union(*newer))
        told = json.loads(warnings).get("superseded", 0), message.startswith(f"{left} rows were left")
        if verdict == "loaded":
            assert told == (left, bool(left)), f"load {load_id}: {left} rows gave way, told is {warnings} {message}"
        earlier.append(drop)


def assert_refusals_explained(zone: Zone) -> None:
    """Beside each refused file lies a note with the ledger's word on it, and no note lies alone."""
    refused = {one.key for one in moved(zone, _QUARANTINED)}
    notes = {key.removesuffix(_NOTE) for key in zone.world.keys("quarantine/") if key.endswith(_NOTE)}
    assert refused == notes, f"refused files {sorted(refused)}, notes of {sorted(notes)}"
    for one in moved(zone, _QUARANTINED):
        said = note_of(zone, one.key)
        code, message, read, rejected = zone.world.ledger(one.load_id, "code", "message", "rows_read", "rows_rejected")
        told = said["verdict"], said["code"], said["why"], said["rows_read"], said["rows_rejected"], said["load_id"]
        assert told == ("rejected", code, message, read, rejected, str(one.load_id)), said
        assert said["what_to_do"], f"{one.key}: nobody says what to do"
        assert said["file"].endswith(f"/{one.name}"), said["file"]
        assert bool(said["rejected_rows"]) == bool(rejected), said
        if rejected:
            assert zone.world.read(said["rejected_rows"])


def assert_holds(zone: Zone) -> None:
    """On hold is what lies there although its turn has come; what is done and gone is not, whoever lets it go."""
    lying = {one.arrival_id: one.key for one in zone.store.list("landing/")}
    due = {key for arrival_id, key in lying.items() if arrival_id in zone.turns}
    done = {arrival_id for _, arrival_id, _, _ in _ledger(zone)}
    held = {
        key
        for arrival_id, key in zone.world.sql("SELECT arrival_id, source_key FROM ops.holds")
        if arrival_id in lying or arrival_id in done
    }
    assert held == due, f"on hold are {sorted(held)}, still lying there {sorted(due)}"


def moved(zone: Zone, pattern: re.Pattern[str] = _ARCHIVED) -> list[Moved]:
    """Objects that were moved away, notes aside; a key that describes nothing is an error of its own."""
    found = []
    for key in zone.world.keys(pattern.pattern.split("/")[0] + "/"):
        match = pattern.fullmatch(key)
        assert match, f"{key} says nothing"
        if pattern is _ARCHIVED or not key.endswith(_NOTE):
            found.append(Moved(key, match[1], match[2], int(match[3]), match[4]))
    return found


def archived(zone: Zone) -> dict[str, bytes]:
    """Bytes by name of what was archived."""
    return {one.name: zone.world.read(one.key) for one in moved(zone)}


def set_aside(zone: Zone) -> dict[str, str]:
    """Keys by name of what was refused."""
    return {one.name: one.key for one in moved(zone, _QUARANTINED)}


def note_of(zone: Zone, key: str) -> dict[str, Any]:
    """What lies beside a refused file."""
    found: dict[str, Any] = json.loads(zone.world.read(f"{key}{_NOTE}"))
    return found


def table_of(drop: Drop) -> str | None:
    """The table that a test's file name stands for."""
    name = drop.arrival.name.lower()
    return next((table for table in rules.COLUMNS if name.startswith(table) and name.endswith(".csv")), None)


def _keys(drop: Drop) -> set[Any]:
    return {row[0] for row in rules.judge(str(table_of(drop)), drop.body).accepted}


def _ledger(zone: Zone) -> list[tuple[Any, ...]]:
    """Load, arrival, table and verdict of what came to one."""
    return zone.world.sql(
        "SELECT load_id, arrival_id, table_name, verdict FROM ops.loads WHERE verdict <> 'failed' AND mode = 'upsert'"
    )


def _is(ledger: dict[int, list[Any]], one: Moved, verdict: str) -> bool:
    _, table, found = ledger.get(one.load_id, (None, None, None))
    same = "loaded" if found == "duplicate" else found
    return same == verdict and one.table in (table, "")


def _was_taken(zone: Zone, drop: Drop) -> bool:
    """Somebody replaced or removed it."""
    later = zone.drops[zone.drops.index(drop) + 1 :]
    return drop.arrival in zone.taken or any(other.arrival.key == drop.arrival.key for other in later)
