"""A file that is cleaned in ranges comes to what it comes to when it is read whole, wherever it is cut."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datamart.errors import BalanceError, ConfigurationError, SourceChanged, TransientFault
from datamart.fingerprint import rules_in_force
from datamart.loads import Arrival
from datamart.objects import EXCHANGE, ObjectStore, rejected_key
from datamart.ranges.cleaning import NOTE, REJECTS, clean_range, part_name
from datamart.ranges.joining import Record, SplitFiles, find_cleaned, together
from datamart.ranges.pieces import MOST_AT_ONCE
from datamart.ranges.plan import Plan, known_keys, make_plan
from datamart.settings import Settings, load_settings
from datamart.staging import Staged, Stager
from datamart.tables import table_named
from datamart.validation import Validator
from tests.unit.test_validation_agrees_with_oracle import files

TABLE = table_named("hired_employees")
KNOWN = {"department_id": np.arange(0, 30), "job_id": np.arange(0, 40, 2)}
HEADER = b"_x,job_id,department_id,datetime,name,id\r\n"
TWICE = b"".join(b"%d,Ann %d,2021-01-07T10:00:00Z,%d,%d\n" % (n % 20, n, n, n) for n in range(60))
QUOTED = b"".join(b'%d,"Ann\r\n""%d"",\n",2021-01-07T10:00:00Z,%d,1\r\n' % (n % 30, n, n) for n in range(40))
STRAY = b"".join(b'%d,A"nn %d,2021-01-07T10:00:00Z,1,1\n\n"x"y,%d\n' % (n % 9, n, n) for n in range(30)) + b'7,"open'
OPEN = b"".join(
    b'%d,"A,2021-01-07T10:00:00Z,1,1\n' % n + b"%d,B,2021-01-07T10:00:00Z,1,1\r\r\n" % n * 9 for n in range(9)
)
BLANKS = b"\xef\xbb\xbf\r\n\n" * 2 + b"\n" * 50 + b"1,a,2021-01-07T10:00:00Z,1,1\n" + b"\n" * 50 + b"1,b,x,1,1\r"


def set_for(chunk_bytes: int, **values: Any) -> Settings:
    """Settings with chunks smaller than anybody may set them."""
    given = {f"DATAMART_{name.upper()}": str(value) for name, value in values.items()}
    return load_settings(given).model_copy(update={"chunk_bytes": chunk_bytes})


@dataclass
class Corner:
    """Files of one test in the bucket, read whole or planned, cleaned and joined."""

    store: ObjectStore
    prefix: str = field(default_factory=lambda: f"ranges/{uuid4().hex}/")

    def put(self, body: bytes) -> Arrival:
        key = f"{self.prefix}hired_employees.csv"
        self.store.write(key, body)
        (arrival,) = self.store.list(key, exact=True)
        return arrival

    def plan(self, arrival: Arrival, settings: Settings, range_bytes: int) -> Plan | None:
        rules = rules_in_force(TABLE, settings)
        return make_plan(self.store, arrival, TABLE, rules, KNOWN, (settings.chunk_bytes, range_bytes))

    def cleaned(self, arrival: Arrival, settings: Settings, range_bytes: int) -> Plan:
        """A plan all of whose ranges were cleaned, the last one first."""
        plan = self.plan(arrival, settings, range_bytes)
        assert plan is not None
        for number in reversed(range(len(plan.cuts.ranges))):
            clean_range(self.store, settings, plan, number)
        return plan

    def whole(self, arrival: Arrival, settings: Settings) -> dict[str, Any]:
        return self.staged(Stager(self.store, settings), arrival, settings)

    def joined(self, arrival: Arrival, settings: Settings, plan: Plan, *, keep: bool = False) -> dict[str, Any]:
        split = SplitFiles(self.store, settings, {arrival.arrival_id: plan.prefix})
        assert split(arrival) is not None
        try:
            return self.staged(Stager(self.store, settings, prepared=split), arrival, settings)
        finally:
            if not keep:
                split.remove(arrival)
                assert not self.store.list(plan.prefix)

    def staged(self, stager: Stager, arrival: Arrival, settings: Settings) -> dict[str, Any]:
        """All that is known of the file when it is staged, and all that is kept of it."""
        rows: list[dict[str, Any]] = []
        judge = Validator(TABLE, KNOWN, reject_unknown=settings.unknown_reference == "reject")
        with ExitStack() as resources:
            staged = stager.stage(
                arrival,
                7,
                judge,
                lambda batches: rows.extend(row for one in batches for row in one.to_pylist()),
                resources,
            )
            return {"rows": rows, "rejects": list(staged.rejects)} | told(staged) | self.kept()

    def kept(self) -> dict[str, Any]:
        """The files of rejected rows, which are then removed."""
        keys = [rejected_key(TABLE.name, 7), rejected_key(TABLE.name, 7, "raw")]
        found = {key: self.store.fetch(key) for key in keys}
        self.store.remove(keys)
        return found


def told(staged: Staged) -> dict[str, Any]:
    """What is known of a file, but for when it was read and in how many parts its clean rows lie."""
    known = {name: value for name, value in vars(staged).items() if name not in ("rejects", "started", "clean_parts")}
    return known | {"refused": staged.refused and (staged.refused.code, str(staged.refused))}


@pytest.fixture
def corner(object_store: ObjectStore) -> Corner:
    return Corner(object_store)


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(
    st.lists(files, min_size=1, max_size=4).map(b"".join), st.sampled_from([30, 200]), st.integers(30, 400),
    st.sampled_from(["warn", "reject"]),
)  # fmt: skip
@example(TWICE, 300, 300, "warn")
@example(TWICE, 100, 700, "reject")
@example(QUOTED, 7, 500, "warn")
@example(STRAY, 100, 200, "warn")
@example(BLANKS, 5, 30, "reject")
@example(OPEN, 30, 100, "warn")
@example(b"\n" * 90 + HEADER + b"0,5,5,2021-01-07T10:00:00Z,A,1\n" * 9, 20, 30, "warn")
@example(
    HEADER + b"0," + b"\n0,".join(b"5,5,2021-01-07T10:00:00Z,A %d,%d" % (n, n % 7) for n in range(40)), 20, 60, "warn"
)
@example(b"_load_id," + HEADER[3:] + b"12,5,5,2021-01-07T10:00:00Z,A,1\n" * 9, 64, 70, "warn")
def test_ranges_come_to_what_the_whole_file_does(
    corner: Corner, body: bytes, chunk_bytes: int, range_bytes: int, unknown: str
) -> None:
    wanted = set_for(chunk_bytes, unknown_reference=unknown, part_rows=20)
    arrival = corner.put(body)
    whole = corner.whole(arrival, wanted.model_copy(update={"chunk_bytes": 1 << 20}))
    plan = corner.plan(arrival, wanted, range_bytes)
    if plan is None:
        return
    plan = corner.cleaned(arrival, wanted, range_bytes)
    assert corner.joined(arrival, wanted, plan) == whole


@pytest.fixture
def planned(corner: Corner) -> tuple[Corner, Plan, Settings]:
    """A file whose ranges are cleaned; each has keys that came before, rejects of its own, and one part."""
    wanted = set_for(100)
    bad = TWICE.replace(b"Ann 9", b"").replace(b"Ann 33", b"").replace(b"Ann 50", b"")
    return corner, corner.cleaned(corner.put(bad), wanted, 700), wanted


def test_what_is_left_out_of_a_range_is_missed(planned: tuple[Corner, Plan, Settings]) -> None:
    """Each file of a range is needed; without its note, the file is read whole."""
    corner, plan, wanted = planned
    whole = corner.whole(plan.arrival, wanted)
    for name in (part_name(0), REJECTS):
        key = plan.key(1, name)
        body = corner.store.fetch(key)
        assert body is not None
        corner.store.remove([key])
        with pytest.raises(TransientFault, match=key):
            corner.joined(plan.arrival, wanted, plan, keep=True)
        corner.store.write(key, body)
    assert corner.joined(plan.arrival, wanted, plan) == whole


def test_a_range_that_was_not_cleaned_is_named(
    planned: tuple[Corner, Plan, Settings], caplog: pytest.LogCaptureFixture
) -> None:
    corner, plan, wanted = planned
    corner.store.remove([plan.key(1, NOTE)])
    with caplog.at_level(logging.WARNING):
        assert find_cleaned(corner.store, wanted, plan.prefix) is None
    assert "is read whole, not from its 3 ranges: not cleaned: 2." in caplog.text


def test_ranges_by_other_rules_stand_for_nothing(planned: tuple[Corner, Plan, Settings]) -> None:
    corner, plan, wanted = planned
    assert find_cleaned(corner.store, wanted, plan.prefix) is not None
    stricter = wanted.model_copy(update={"unknown_reference": "reject"})
    assert find_cleaned(corner.store, stricter, plan.prefix) is None
    with pytest.raises(ConfigurationError, match="other rules are in force here"):
        clean_range(corner.store, stricter, plan, 0)


def test_plans_and_notes_of_another_version_stand_for_nothing(planned: tuple[Corner, Plan, Settings]) -> None:
    corner, plan, wanted = planned
    for key in (plan.key(0, NOTE), f"{plan.prefix}plan.json"):
        for other in (b"{}", b'{"unheard": 1}', b"no JSON"):
            kept = corner.store.fetch(key) or b""
            corner.store.write(key, other)
            assert find_cleaned(corner.store, wanted, plan.prefix) is None
            corner.store.write(key, kept)
    assert find_cleaned(corner.store, wanted, plan.prefix) is not None


@pytest.mark.parametrize("number", ["rows", "blank"])
def test_ranges_that_do_not_add_up_to_the_file_stand_for_nothing(
    planned: tuple[Corner, Plan, Settings], number: str
) -> None:
    corner, plan, wanted = planned
    key = plan.key(0, NOTE)
    note = json.loads(corner.store.fetch(key) or b"")
    corner.store.write(key, json.dumps(note | {number: note[number] + 1}).encode())
    assert find_cleaned(corner.store, wanted, plan.prefix) is None


def test_ranges_whose_lines_do_not_add_up_to_the_file_stop_the_load(planned: tuple[Corner, Plan, Settings]) -> None:
    corner, plan, wanted = planned
    key = plan.key(1, NOTE)
    note = json.loads(corner.store.fetch(key) or b"")
    corner.store.write(key, json.dumps(note | {"lines": note["lines"] - 1}).encode())
    with pytest.raises(BalanceError, match="60 lines in the file"):
        corner.joined(plan.arrival, wanted, plan)


def test_a_range_with_other_rows_than_were_found_is_not_committed(planned: tuple[Corner, Plan, Settings]) -> None:
    corner, plan, wanted = planned
    other = corner.store.fetch(plan.key(2, part_name(0)))
    assert other is not None
    corner.store.write(plan.key(1, part_name(0)), other)
    with pytest.raises(TransientFault, match="range 2"):
        corner.joined(plan.arrival, wanted, plan, keep=True)
    assert_more_is_missed(corner, plan, wanted)
    corner.store.write(plan.key(1, part_name(0)), other[:-9])
    with pytest.raises(TransientFault, match="cannot be read"):
        corner.joined(plan.arrival, wanted, plan, keep=True)


def assert_more_is_missed(corner: Corner, plan: Plan, wanted: Settings) -> None:
    """Rows behind those that were found, in the last range too."""
    clean_range(corner.store, wanted, plan, 1)
    for number in (1, 2):
        note = corner.store.fetch(plan.key(number, NOTE)) or b""
        corner.store.write(plan.key(number, part_name(1)), corner.store.fetch(plan.key(number, part_name(0))) or b"")
        corner.store.write(plan.key(number, NOTE), json.dumps(json.loads(note) | {"parts": 2}).encode())
        with pytest.raises(TransientFault, match="range 3"):
            corner.joined(plan.arrival, wanted, plan, keep=True)
        corner.store.write(plan.key(number, NOTE), note)


def test_a_file_that_was_replaced_is_not_cleaned(corner: Corner) -> None:
    """Neither planned, nor cleaned, nor are rows taken from it that were accepted in their range."""
    wanted = set_for(100)
    first = corner.put(TWICE)
    plan = corner.cleaned(first, wanted, 700)
    corner.put(TWICE + b"99,New,2021-01-07T10:00:00Z,1,1\n")
    with pytest.raises(SourceChanged):
        corner.plan(first, wanted, 700)
    with pytest.raises(SourceChanged):
        clean_range(corner.store, wanted, plan, 1)
    with pytest.raises(SourceChanged):
        corner.joined(first, wanted, plan, keep=True)


@pytest.mark.parametrize(
    "body", [b"", b"\n\n", b"id,name,datetime,department_id,job_id\n", b"id,name\n1,x\n" * 90, b"1," + b"x" * (1 << 21)]
)
def test_a_file_that_is_refused_whole_has_no_ranges(corner: Corner, body: bytes) -> None:
    """Whoever reads it whole says why, and the plan leaves nothing."""
    before = corner.store.list(EXCHANGE)
    assert corner.plan(corner.put(body), set_for(100_000), 100) is None
    assert corner.store.list(EXCHANGE) == before


def test_one_range_is_no_range(corner: Corner) -> None:
    assert corner.plan(corner.put(TWICE), set_for(100), len(TWICE)) is None
    plan = corner.plan(corner.put(TWICE), set_for(100), len(TWICE) // 2)
    assert plan is not None
    assert len(plan.cuts.ranges) == 2


def test_all_ranges_are_judged_by_the_keys_that_the_plan_notes(corner: Corner) -> None:
    wanted = set_for(100, unknown_reference="reject")
    plan = corner.cleaned(corner.put(TWICE), wanted, 700)
    assert {name: keys.tolist() for name, keys in known_keys(corner.store, plan).items()} == {
        name: keys.tolist() for name, keys in KNOWN.items()
    }
    corner.store.remove([f"{plan.prefix}known-job_id.parquet"])
    with pytest.raises(TransientFault, match="known-job_id"):
        clean_range(corner.store, wanted, plan, 0)


def test_records_are_fetched_together_where_they_are_near() -> None:
    near = [Record(n, n * 1000, n * 1000 + 50) for n in range(5)]
    far = [Record(9, 10_000_000, 10_000_050)]
    long = [Record(n, 20_000_000 + n * 100_000, 20_000_000 + n * 100_000 + 99_000) for n in range(800)]
    groups = list(together([*near, *far, *long]))
    assert groups[:2] == [near, far]
    assert [record for group in groups for record in group] == [*near, *far, *long]
    assert all(group[-1].end - group[0].start <= MOST_AT_ONCE for group in groups)
    assert len(groups) == 2 + 3
    assert list(together([])) == []
