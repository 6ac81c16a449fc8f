"""The ledger, the rejected rows of a load and the backups as they are read a page at a time: all of them, each once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from psycopg2.extras import execute_values

from datamart.errors import ConfigurationError
from datamart.ledger import ALL, Ledger, Wanted, place_of
from datamart.loads import Verdict
from datamart.moments import utc
from datamart.objects import rejected_key
from datamart.recovery.backup_list import backup_list, proven
from datamart.recovery.catalogue import Catalogue
from datamart.recovery.manifest import manifest_key, require_id
from datamart.rejected_page import rejected_page
from datamart.rejects import names_in
from datamart.tables import table_named
from datamart.upload_answer import own_names
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.vault import Vault
from tests.integration.world import World
from tests.oracle import rules

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)


@pytest.fixture
def reader(spoiled: World) -> Iterator[PostgresWarehouse]:
    """A connection that may only read, in a session whose day is not that of UTC."""
    with closing(PostgresWarehouse(spoiled.database.reader_dsn)) as warehouse:
        warehouse.execute("SET timezone = 'Pacific/Kiritimati'")
        yield warehouse


# The ledger


@dataclass(frozen=True)
class Line:
    """What the ledger has of a load, as far as pages ask for it."""

    load_id: int
    finished_at: datetime
    table: str | None = "jobs"
    verdict: str = "loaded"
    repairs: int | None = None
    read: int = 0
    rejected: int = 0

    def is_(self, wanted: Wanted) -> bool:
        return (
            wanted.table in (None, self.table)
            and wanted.verdict in (None, self.verdict)
            and wanted.repairs in (None, self.repairs)
            and (wanted.since is None or self.finished_at >= wanted.since)
            and (wanted.until is None or self.finished_at < wanted.until)
        )


def written(world: World, *lines: Line) -> None:
    """The ledger has these loads too."""
    rows = [
        (one.load_id, one.load_id, one.table, "b", f"landing/{one.load_id}.csv", "v", "upsert", one.verdict, one.read,
         one.rejected, "{}", one.finished_at, one.finished_at, one.repairs)
        for one in lines
    ]  # fmt: skip
    columns = (
        "load_id, arrival_id, table_name, source_bucket, source_key, source_version, mode, verdict, rows_read,"
        " rows_rejected, warnings, started_at, finished_at, repairs"
    )
    with world.database.observer.cursor() as cursor:
        execute_values(cursor, f"INSERT INTO ops.loads ({columns}) VALUES %s", rows)


def paged(warehouse: PostgresWarehouse, limit: int, wanted: Wanted = ALL) -> list[int]:
    """All loads of all pages, each page asked for by what the one before has given."""
    seen: list[int] = []
    after = None
    while True:
        page = Ledger(warehouse).page(limit, after, wanted)
        assert len(page.loads) == limit or page.after is None, "a page that is not the last is full"
        assert page.loads or after is None, "behind the last load there is no page"
        seen += [int(load["load_id"]) for load in page.loads]
        if page.after is None:
            return seen
        before, after = after, place_of(page.after)
        assert before is None or after < before, "the next page is of older loads"


def in_order(lines: list[Line], wanted: Wanted = ALL) -> list[int]:
    found = [one for one in lines if one.is_(wanted)]
    return [one.load_id for one in sorted(found, key=lambda one: (one.finished_at, one.load_id), reverse=True)]


def by_day(lines: list[Line], wanted: Wanted = ALL) -> list[dict[str, Any]]:
    days: dict[date, list[Line]] = {}
    for one in lines:
        if one.is_(wanted):
            days.setdefault(one.finished_at.astimezone(UTC).date(), []).append(one)
    return [
        {
            "day": day.isoformat(),
            "loads": len(found),
            "rows_read": sum(one.read for one in found),
            "rows_rejected": sum(one.rejected for one in found),
        }
        for day, found in sorted(days.items(), reverse=True)
    ]


def scattered(chance: random.Random, number: int) -> list[Line]:
    """Loads whose ends are the same now and then, and often next to midnight."""
    moments = [NOON.replace(hour=0) + chance.randint(-3, 3) * DAY + chance.randint(-2, 2) * TICK for _ in range(9)]
    ids = chance.sample(range(1, 2**63), number)
    return [
        Line(
            load_id, chance.choice(moments), chance.choice(["jobs", "departments", None]), chance.choice([*Verdict]),
            chance.choice([None, None, *ids[:2]]), read := chance.randint(0, 9), chance.randint(0, read),
        )
        for load_id in ids
    ]  # fmt: skip


def question(chance: random.Random, lines: list[Line]) -> Wanted:
    """Filters, each asked for now and then, with values that some load has."""
    one, other = chance.choice(lines), chance.choice(lines)
    whole = Wanted(one.table, one.verdict, one.finished_at, other.finished_at, one.repairs)
    return replace(whole, **{field.name: None for field in fields(Wanted) if chance.random() < 0.6})


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_asked_for_pages_lose_and_repeat_no_load_and_days_add_them_up(
    spoiled: World, reader: PostgresWarehouse, seed: int
) -> None:
    chance = random.Random(seed)
    lines = scattered(chance, 40)
    written(spoiled, *lines)
    asked = [ALL, *(question(chance, lines) for _ in range(30))]
    for wanted in asked:
        assert paged(reader, chance.randint(1, 12), wanted) == in_order(lines, wanted), wanted
        limit = chance.randint(1, 9)
        assert Ledger(reader).days(limit, wanted) == by_day(lines, wanted)[:limit], wanted
    assert len({tuple(in_order(lines, wanted)) for wanted in asked}) > 10


FOUR = [
    Line(1, NOON - TICK, "jobs", "loaded"),
    Line(2, NOON, "departments", "rejected", repairs=1),
    Line(3, NOON + TICK, "jobs", "rejected", repairs=1),
    Line(4, NOON + 2 * TICK, None, "failed", repairs=2),
]


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Wanted(), [4, 3, 2, 1]),
        (Wanted(table="jobs"), [3, 1]),
        (Wanted(table="hired_employees"), []),
        (Wanted(verdict="rejected"), [3, 2]),
        (Wanted(since=NOON), [4, 3, 2]),
        (Wanted(until=NOON), [1]),
        (Wanted(since=NOON, until=NOON), []),
        (Wanted(since=NOON, until=NOON + TICK), [2]),
        (Wanted(since=NOON.astimezone(), until=NOON + 2 * TICK), [3, 2]),
        (Wanted(repairs=1), [3, 2]),
        (Wanted(repairs=0), []),
        (Wanted("jobs", "rejected", NOON, NOON + DAY, 1), [3]),
        (Wanted("jobs", "rejected", NOON, NOON + DAY, 2), []),
    ],
    ids=str,
)
def test_what_is_wanted_is_what_comes(
    spoiled: World, reader: PostgresWarehouse, wanted: Wanted, ids: list[int]
) -> None:
    written(spoiled, *FOUR)
    for limit in (1, 2, 4, 5):
        assert paged(reader, limit, wanted) == ids
    assert sum(day["loads"] for day in Ledger(reader).days(9, wanted)) == len(ids)


def test_loads_that_ended_at_the_same_moment_are_each_on_one_page(spoiled: World, reader: PostgresWarehouse) -> None:
    lines = [Line(load_id, NOON) for load_id in (7, 2**63 - 1, 1, 3, 2**62)]
    written(spoiled, *lines)
    for limit in range(1, 7):
        assert paged(reader, limit) == [2**63 - 1, 2**62, 7, 3, 1]


def test_what_is_loaded_meanwhile_moves_no_page(spoiled: World, reader: PostgresWarehouse) -> None:
    written(spoiled, *FOUR)
    first = Ledger(reader).page(2)
    assert first.after is not None
    written(spoiled, Line(9, NOON + DAY), Line(8, NOON + 2 * TICK))
    second = Ledger(reader).page(2, place_of(first.after))
    assert [load["load_id"] for load in (*first.loads, *second.loads)] == ["4", "3", "2", "1"]
    assert second.after is None


def test_the_place_of_a_page_can_be_put_into_an_address(spoiled: World, reader: PostgresWarehouse) -> None:
    written(spoiled, Line(1, NOON.replace(microsecond=0)), Line(2**63 - 1, NOON + 123 * TICK))
    after = Ledger(reader).page(1).after
    assert after == "2026-05-01T12:00:00.000123Z~9223372036854775807"
    assert place_of(after) == (NOON + 123 * TICK, 2**63 - 1)


@pytest.mark.parametrize(
    "after",
    [
        "", "~", "1", "x~1", "2026-05-01T12:00:00Z", "2026-05-01T12:00:00Z~", "2026-05-01T12:00:00Z~x",
        "2026-05-01T12:00:00Z~-1", "2026-05-01T12:00:00Z~1~2", "2026-05-01T12:00:00~1", "2026-05-01T12:00:00Z~１",
        "2026-05-01T12:00:00Z~" + "1" * 20, "1' OR '1'='1~1",
    ],
)  # fmt: skip
def test_a_place_that_no_page_has_given_is_refused(after: str) -> None:
    with pytest.raises(ConfigurationError, match="what the page before has given as next"):
        place_of(after)


def test_a_page_has_of_a_load_what_the_ledger_has(world: World) -> None:
    first = world.load("jobs.csv", b"1,a\nx,b\n\n")
    repair = world.load("jobs_2.csv", b"_load_id,id,job\n%d,2,b\n" % first.load_id)
    copy = world.load("jobs_3.csv", b"1,a\nx,b\n\n")
    ledger = Ledger(world.warehouse)
    loads = {load["load_id"]: load for load in ledger.page(10).loads}
    assert [*loads] == [str(one.load_id) for one in (copy, repair, first)]
    for outcome in (first, repair, copy):
        load = loads[str(outcome.load_id)]
        assert load == ledger.one(outcome.load_id)
        names = ("sha256", "rows_read", "rows_inserted", "rows_rejected", "blank_lines", "verdict", "commit_seq")
        assert tuple(load[name] for name in names) == world.ledger(outcome.load_id, *names)
        moments = world.ledger(outcome.load_id, "started_at", "finished_at")
        assert (load["started_at"], load["finished_at"]) == tuple(map(utc, moments))
        assert (load["file"], load["key"]) == (outcome.key.rsplit("/", 1)[-1], outcome.key)
    assert [loads[str(one.load_id)]["repairs"] for one in (first, repair)] == [None, str(first.load_id)]
    assert loads[str(copy.load_id)]["duplicate_of"] == str(first.load_id)
    assert [load["load_id"] for load in ledger.page(9, wanted=Wanted(repairs=first.load_id)).loads] == [
        str(repair.load_id)
    ]
    assert ledger.one(1) is None


def test_an_empty_ledger_has_one_empty_page_and_no_days(reader: PostgresWarehouse) -> None:
    page = Ledger(reader).page(5)
    assert (page.loads, page.after, Ledger(reader).days(5)) == ([], None, [])


# Days


def test_a_day_begins_and_ends_at_midnight_utc(spoiled: World, reader: PostgresWarehouse) -> None:
    midnight = NOON.replace(hour=0)
    written(
        spoiled, Line(1, midnight - TICK, read=5, rejected=1), Line(2, midnight, read=7),
        Line(3, midnight + DAY - TICK), Line(4, midnight + 9 * DAY, read=2**40, rejected=2**40),
    )  # fmt: skip
    days = Ledger(reader).days(9)
    assert days == [
        {"day": "2026-05-10", "loads": 1, "rows_read": 2**40, "rows_rejected": 2**40},
        {"day": "2026-05-01", "loads": 2, "rows_read": 7, "rows_rejected": 0},
        {"day": "2026-04-30", "loads": 1, "rows_read": 5, "rows_rejected": 1},
    ]
    assert Ledger(reader).days(2) == days[:2]
    assert Ledger(reader).days(9, Wanted(since=midnight, until=midnight + DAY)) == days[1:2]


# Rejected rows


def columns_of(world: World, table: str, load_id: int) -> tuple[str, ...]:
    """The columns of a load's file, as its rejects remember them; none where they do not."""
    header = world.store.first_line(rejected_key(table, load_id))
    known = names_in(header) if header else None
    return own_names(table_named(table), known) if known else ()


def rejects(world: World, table: str, load_id: int, limit: int) -> list[dict[str, Any]]:
    """All rejected rows of all pages."""
    names, rows, after = columns_of(world, table, load_id), [], 0
    while True:
        page = rejected_page(world.warehouse, load_id, names, limit, after)
        assert page["columns"] == list(names)
        assert page["rows"], "behind the last row there is no page"
        assert len(page["rows"]) == limit or page["next"] is None
        rows += page["rows"]
        if page["next"] is None:
            return rows
        assert page["next"] > after, "the next page is further on"
        after = page["next"]


def judged(table: str, body: bytes) -> list[dict[str, Any]]:
    """The same by the judge: each record's own fields, or its text where they do not fit."""
    records = {record.line: record for record in rules.split_records(body)[0]}
    found = []
    for row in rules.judge(table, body).rejected:
        odd = {code for _, code in row.reasons} & {"column_count", "unclosed_quote", "bad_quote"}
        values = None if odd else [value.decode("utf-8", "replace") for value in records[row.line].fields or ()]
        found.append({
            "line": row.line,
            "values": values,
            "text": row.raw.decode("utf-8", "replace") if odd else None,
            "reasons": {(column or None, code) for column, code in row.reasons},
        })  # fmt: skip
    return found


def unordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose reasons have no order."""
    told = [row | {"reasons": {(one["column"], one["reason"]) for one in row["reasons"]}} for row in rows]
    assert [len(row["reasons"]) for row in told] == [len(row["reasons"]) for row in rows]
    return told


SENT = {
    "quotes, commas, line ends": b'x,"a,b"\ny,"say ""hi"""\nz,"two\r\nlines\n"\n"","" \n1,ok\nw,""""""\n',
    "bytes that are no text": b"1,\xff\n2,a\x00b\n3,\xed\xa0\x80\n\xe9,x\n4,ok\n",
    "odd quotes": b'x,a"b"\ny,"ab"c"d\nz, "q"\n1,ok\n2,"open\n3,"c"\n',
    "quotes that swallow lines": b'1,"a\n2,b\n3,c"\n4,ok\nx,"d\n5,e"\n',
    "text as another one may read it": b"x,<b>&amp;\n=1+1,%s {y}\n' OR 1=1,\\x41\n1,ok\n",
    "columns in another order": b"JOB,Id\na,x\n,1\nok,2\nb,\n",
    "ignored columns": b'_note,id,_Note,job\n"a,""b""",x,,c\n,1,,ok\n"two\nlines",,,\n',
    "only bad rows": b"x,a\n,\n",
    "all that a row can lack": b"99999999999,\n0x1,\xff\n1,ok\n1,again\n2," + b"y" * 257 + b"\n",
    "rows that do not fit": b'1,a\n2\nx,y,z\n""\n3,"b\n4,c\n',
    "rows that fit and others": b'\xef\xbb\xbfid,job\r\nx,a\r\n\r\n2\r\n,b,\r\n\r\n"",\xff\r\n3,c\r\n4,"d\r\n',
    "a file that is one open quote": b'1,ok\n"\xff,',
}


@pytest.mark.parametrize("what", SENT)
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_rejected_rows_come_as_they_were_sent_with_all_reasons(world: World, what: str, limit: int) -> None:
    load = world.load("jobs.csv", SENT[what])
    wanted = judged("jobs", SENT[what])
    assert len(wanted) == load.counts.rejected > 0
    assert unordered(rejects(world, "jobs", load.load_id, limit)) == wanted


def test_values_are_in_the_file_s_own_order(world: World) -> None:
    body = b"_note,JOB_ID,datetime,Name,department_id,id\n" + b"n,7,never,Ann,8,1\nm,1,2021-01-01T00:00:00Z,Bo,1,2\n"
    load = world.load("hired_employees.csv", body)
    (row,) = rejects(world, "hired_employees", load.load_id, 5)
    named = dict(zip(columns_of(world, "hired_employees", load.load_id), row["values"], strict=True))
    assert named == {
        "_note": "n", "job_id": "7", "datetime": "never", "name": "Ann", "department_id": "8", "id": "1",
    }  # fmt: skip
    assert row["reasons"] == [{"column": "datetime", "reason": "not_a_datetime"}]


def test_where_a_column_s_name_has_a_line_end_rows_come_as_text(world: World) -> None:
    """Then the file's columns are not known any more, and values could be shown as another column's."""
    load = world.load("jobs.csv", b'"_two\nlines",job,id\n,a,x\n,b,1\n')
    (row,) = rejects(world, "jobs", load.load_id, 5)
    assert (row["line"], row["values"], row["text"]) == (3, None, ",a,x")
    assert row["reasons"] == [{"column": "id", "reason": "not_an_integer"}]


def test_many_rejected_rows_are_each_on_one_page_whatever_its_size(world: World) -> None:
    body = b"".join(b'x%d,"a\nb"\n' % n if n % 3 else b"%d,ok\n\n" % n for n in range(1, 121))
    load, other = world.load("jobs.csv", body), world.load("jobs_2.csv", b"y,other\n1000,ok\n")
    wanted = judged("jobs", body)
    for limit in (1, 7, 79, 80, 81, 1000):
        assert unordered(rejects(world, "jobs", load.load_id, limit)) == wanted
    assert [row["values"] for row in rejects(world, "jobs", other.load_id, 9)] == [["y", "other"]]


def test_behind_the_last_row_there_is_an_empty_page(world: World) -> None:
    load = world.load("jobs.csv", b"1,a\nx,b\n")
    empty = {"columns": ["id", "job"], "rows": [], "next": None}
    assert rejected_page(world.warehouse, load.load_id, ("id", "job"), 5, 2) == empty
    assert rejected_page(world.warehouse, load.load_id, ("id", "job"), 5, 2**63 - 1) == empty
    assert rejected_page(world.warehouse, 1, ("id", "job"), 5) == empty


def test_a_reference_that_is_not_there_is_a_reason_with_its_column(world: World) -> None:
    world.load("departments.csv", b"1,a\n")
    world.load("jobs.csv", b"1,a\n")
    body = b"1,Ann,2021-01-01T00:00:00Z,1,1\n2,Bo,2021-01-01T00:00:00Z,9,8\n"
    load = world.load("hired_employees.csv", body, unknown_reference="reject")
    (row,) = rejects(world, "hired_employees", load.load_id, 5)
    assert unordered([row])[0]["reasons"] == {(name, "unknown_reference") for name in ("department_id", "job_id")}


# Backups


Listed = Callable[..., dict[str, Any]]


@pytest.fixture
def listed(vault: Vault) -> Listed:
    def ask(limit: int = 200, after: str | None = None, catalogue: Catalogue | None = None) -> dict[str, Any]:
        return backup_list(catalogue or vault.catalogue, proven(vault.world.warehouse), limit, after)

    return ask


def pages(listed: Listed, limit: int) -> list[list[str]]:
    """The ids on each page."""
    found, after = [], None
    while True:
        page = listed(limit, after)
        found.append([one["backup_id"] for one in page["backups"]])
        if page["next"] is None:
            return found
        assert after is None or page["next"] < after, "the next page is of older backups"
        after = require_id(page["next"])


@pytest.fixture
def newest_first(vault: Vault) -> list[str]:
    """Ids of five backups."""
    vault.world.load("jobs.csv", b"1,a\n")
    return [vault.backup("jobs").backup_id for _ in range(5)][::-1]


def test_backups_are_each_on_one_page(listed: Listed, newest_first: list[str]) -> None:
    for limit in range(1, 7):
        found = pages(listed, limit)
        assert [one for page in found for one in page] == newest_first
        assert len(found) == -(-5 // limit)
    assert listed(5, newest_first[-1]) == {"backups": [], "next": None, "last_proven": None}
    assert listed(5, "0" * 8)["backups"] == []
    assert [one["backup_id"] for one in listed(5, "z" * 8)["backups"]] == newest_first


def test_a_damaged_backup_is_among_them_with_what_is_wrong(
    vault: Vault, listed: Listed, newest_first: list[str]
) -> None:
    vault.corrupt(manifest_key(newest_first[2]), b"{}")
    for limit in (1, 2, 3, 5):
        assert [one for page in pages(listed, limit) for one in page] == newest_first
    damaged = listed()["backups"][2]
    assert [*damaged] == ["backup_id", "damaged"]
    assert newest_first[2] in damaged["damaged"]
    assert [one["damaged"] for one in listed()["backups"] if one != damaged] == [None] * 4


@pytest.mark.parametrize("gone", range(5))
def test_a_backup_that_vanishes_meanwhile_takes_no_other_along(
    vault: Vault, listed: Listed, newest_first: list[str], gone: int
) -> None:
    catalogue = vault.catalogue
    assert catalogue.ids == tuple(newest_first)
    vault.store.remove([manifest_key(newest_first[gone])])
    left = [one for one in newest_first if one != newest_first[gone]]
    first = listed(2, catalogue=catalogue)
    assert [one["backup_id"] for one in first["backups"]] == [one for one in newest_first[:2] if one in left]
    rest = listed(5, first["next"])
    assert [one["backup_id"] for one in (*first["backups"], *rest["backups"])] == left


def test_what_is_no_backup_is_in_nobody_s_way(vault: Vault, listed: Listed, newest_first: list[str]) -> None:
    for folder in ("zz.not an id", "00.nor this", f"{newest_first[2]}.copy"):
        vault.store.write(f"{folder}/manifest.json", b"{}")
    for limit in (1, 2, 3, 5):
        assert [one for page in pages(listed, limit) for one in page] == newest_first


def test_each_backup_says_what_it_holds_and_when_it_was_proven(vault: Vault, listed: Listed) -> None:
    assert listed() == {"backups": [], "next": None, "last_proven": None}
    vault.world.load("jobs.csv", b"1,a\n2,b\n")
    first, second = vault.backup(), vault.backup("jobs")
    vault.drill(first.backup_id)
    newest, older = listed()["backups"]
    assert newest == {
        "backup_id": second.backup_id, "kind": "taken", "taken_at": utc(second.taken_at),
        "finished_at": utc(second.finished_at), "rows": 2, "bytes": second.size, "proven_at": None, "damaged": None,
        "tables": {"jobs": {"rows": 2, "bytes": second.size, "parts": 1, "commit_seq": 1}},
    }  # fmt: skip
    assert {name: table["rows"] for name, table in older["tables"].items()} == {
        "departments": 0, "jobs": 2, "hired_employees": 0,
    }  # fmt: skip
    ((proven_at,),) = vault.world.sql("SELECT proven_at FROM ops.backups WHERE backup_id = %s", first.backup_id)
    assert older["proven_at"] == utc(proven_at)
    last = {"backup_id": first.backup_id, "proven_at": utc(proven_at)}
    assert listed()["last_proven"] == listed(1)["last_proven"] == last
    vault.drill(second.backup_id)
    assert listed()["last_proven"]["backup_id"] == second.backup_id
