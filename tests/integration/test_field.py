"""Files as people send them: stray quotes, odd line ends, marks and blanks come to the same by every way in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from datamart.loads import Outcome, Verdict
from tests.integration.landing_zone import Zone
from tests.integration.test_content import assert_judged
from tests.integration.test_ranges import Corner, set_for
from tests.integration.world import World
from tests.oracle import rules

FIELD = Path(__file__).resolve().parents[1] / "field"
BAD_QUOTE = frozenset({("", "bad_quote")})
NO_NAME = frozenset({("name", "missing")})


@dataclass(frozen=True)
class Case:
    """What a file must come to, written by hand: texts of rows by id, reasons by line, other physical lines."""

    rows: dict[int, str]
    rejected: dict[int, frozenset[rules.Reason]] = field(default_factory=dict)
    blank: int = 0
    ignored: int = 0
    header: int = 0
    marks: int = 0


CASES = {
    "hired_employees_L23.csv": Case({42302: "Bo Lee", 42303: "Cy Lee", 42304: "Di Lee"}, {1: BAD_QUOTE}),
    "departments_L23b.csv": Case({42306: "Tax", 42307: "Sales", 42308: "Audit"}, {1: BAD_QUOTE}),
    "jobs_L23h.csv": Case(
        {399000 + n: "Baker" if n == 13 else f"Clerk {n - 1}" for n in range(1, 61) if n != 5}, {5: BAD_QUOTE}
    ),
    "hired_employees_L23c.csv": Case({42311: 'Jo "JJ" Lee'}, {1: BAD_QUOTE, 2: BAD_QUOTE}),
    "jobs_L06b.csv": Case({40603: "Clerk", 40604: "Cook"}),
    "hired_employees_L06c.csv": Case({40605: "Ann Lee", 40606: "Bo Lee"}),
    "departments_L14.csv": Case({41401: "Legal", 41402: "Tax"}, ignored=1),
    "departments_L13.csv": Case({41301: "Legal"}, blank=5, header=1),
    "departments_L10b.csv": Case({41003: "Legal", 41004: "Tax"}, marks=1),
    "hired_employees_V04.csv": Case({}, dict.fromkeys(range(1, 7), NO_NAME)),
}


def body_of(name: str) -> bytes:
    return (FIELD / name).read_bytes()


def table_of(name: str) -> str:
    return name.rpartition("_")[0]


def assert_as_written(world: World, name: str, outcome: Outcome) -> None:
    """The outcome, the live rows and the ledger are what is written above, and what the judge says."""
    case, table, body = CASES[name], table_of(name), body_of(name)
    assert {row[0]: row[1] for row in world.rows(table)} == case.rows
    assert {line: reasons for line, _, reasons in world.rejected(outcome.load_id)} == case.rejected
    lines = body.splitlines(keepends=True)
    for line, raw, _ in world.rejected(outcome.load_id):
        assert raw == lines[line - 1].rstrip(b"\r\n")
    (counts,) = world.ledger(outcome.load_id, "line_counts")
    assert json.loads(counts) == {
        "file": len(body.split(b"\n")) - body.endswith(b"\n"), "accepted": len(case.rows),
        "rejected": len(case.rejected), "header": case.header, "blank": case.blank, "ignored": case.ignored,
    }  # fmt: skip
    assert outcome.warnings.get("byte_order_marks", 0) == case.marks
    assert outcome.counts.read == outcome.counts.inserted + outcome.counts.rejected


def upserted(world: World, name: str) -> Outcome:
    outcome = world.load(name, body_of(name))
    assert_judged(world, outcome, table_of(name), body_of(name))
    return outcome


def merged(world: World, name: str) -> Outcome:
    world.fill_from_bytes = 8 << 30
    return upserted(world, name)


def replaced(world: World, name: str) -> Outcome:
    (outcome,) = world.replace(table_of(name), world.put(name, body_of(name)))
    return outcome


@pytest.mark.parametrize("way", [upserted, merged, replaced], ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", CASES)
def test_a_file_comes_to_what_is_written(world: World, name: str, way: Callable[[World, str], Outcome]) -> None:
    outcome = way(world, name)
    assert outcome.verdict is (Verdict.LOADED if CASES[name].rows else Verdict.REJECTED)
    assert_as_written(world, name, outcome)


@pytest.mark.parametrize("name", CASES)
def test_a_dry_run_foretells_it(world: World, name: str) -> None:
    arrival = world.put(name, body_of(name))
    dry, real = world.loader().load(arrival, dry_run=True), world.judge(arrival)
    assert (dry.forecast, dry.counts, dry.lines, dry.warnings) == (real.verdict, real.counts, real.lines, real.warnings)


def test_landed_files_come_to_it(zone: Zone) -> None:
    for name in CASES:
        zone.drop(name, body_of(name))
    outcomes = zone.look() | zone.look()
    for table in rules.COLUMNS:
        wanted = {
            key: text for name, case in CASES.items() if table_of(name) == table for key, text in case.rows.items()
        }
        assert {row[0]: row[1] for row in zone.world.rows(table)} == wanted
    for name, case in CASES.items():
        found = zone.world.rejected(outcomes[name].load_id)
        assert {line: reasons for line, _, reasons in found} == case.rejected


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("hired_employees")])
def test_ranges_of_a_large_file_come_to_it(object_store: object, name: str) -> None:
    corner, wanted = Corner(object_store), set_for(16, part_rows=20)  # type: ignore[arg-type]
    body = body_of(name) + b"".join(b"%d,Ann,2021-01-07T10:00:00Z,1,2\r\r\n,,,,\n" % n for n in range(1, 30)) + b"\x1a"
    arrival = corner.put(body)
    whole = corner.whole(arrival, set_for(1 << 20, part_rows=20))
    plan = corner.cleaned(arrival, wanted, 100)
    assert len(plan.cuts.ranges) > 3
    assert corner.joined(arrival, wanted, plan) == whole
    assert (whole["lines"].balanced, whole["lines"].blank, whole["lines"].ignored) == (True, 29, 1)


RIGHT = {
    b"1,Clerk;senior\n": "Clerk;senior",
    b"1, Clerk\n": " Clerk",
    b'1,Clerk "senior"\n': 'Clerk "senior"',
    b'1,"Clerk\nsenior"\n': "Clerk\nsenior",
    b'1,"Clerk\r\n\r\nsenior, first"\r\n': "Clerk\r\n\r\nsenior, first",
    b'1,"Clerk, senior\nof ""x"""\n': 'Clerk, senior\nof "x"',
}


@pytest.mark.parametrize("body", RIGHT, ids=repr)
def test_what_is_right_csv_is_loaded_as_ever(world: World, body: bytes) -> None:
    assert world.load("jobs.csv", body).verdict is Verdict.LOADED
    assert world.rows("jobs") == [(1, RIGHT[body])]
