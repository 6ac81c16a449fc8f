"""Whether a load left everything as it must be: the four statements at the head of the catalogue of faults.

``assert_kept`` holds a loaded file against the judge (balance, once), ``assert_converged`` loads it once more, and
``assert_told`` wants words. ``assert_sound`` is all of it but the last.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

from pyarrow import parquet

from datamart.loads import Arrival, Outcome, Verdict
from datamart.objects import clean_key, rejected_key
from tests.faults.files import TABLE, Sent
from tests.faults.mart import Mart
from tests.faults.runs import until

Sql = Callable[..., list[tuple[Any, ...]]]
Again = Callable[[Arrival], Outcome]


def assert_sound(mart: Mart, sent: Sent) -> None:
    """Loaded once, balanced, nothing left lying about, and a second time changes nothing and says so."""
    assert_kept(mart.sql, sent)
    assert_clean_copies(mart, sent)
    assert_nothing_left(mart.sql)
    assert_converged(mart.sql, sent, mart.load)


def assert_kept(sql: Sql, sent: Sent) -> None:
    """The table, the rejected rows and the ledger are exactly what the judge says of the file."""
    load_id = the_load(sql, sent)
    _assert_rows(sql, sent, load_id)
    _assert_rejected(sql, sent, load_id)
    _assert_balance(sql, sent, load_id)
    _assert_lines(sql, sent, load_id)
    _assert_numbers(sql)


def the_load(sql: Sql, sent: Sent) -> int:
    """The arrival's load; there is one, and no other attempt that counts."""
    found = sql(
        "SELECT load_id, verdict FROM ops.loads WHERE source_bucket = %s AND source_key = %s AND source_version = %s",
        sent.arrival.bucket, sent.arrival.key, sent.arrival.version,
    )  # fmt: skip
    assert [verdict for _, verdict in found] == ["loaded"], f"{sent.arrival.key}: the ledger has {found}"
    return int(found[0][0])


def _assert_rows(sql: Sql, sent: Sent, load_id: int) -> None:
    rows = sql(
        "SELECT id, name, datetime AT TIME ZONE 'UTC', department_id, job_id FROM public.hired_employees"
        " WHERE _load_id = %s ORDER BY id",
        load_id,
    )
    expected = sorted(sent.expected.accepted)
    wrong = [pair for pair in zip(rows, expected, strict=False) if pair[0] != pair[1]]
    assert len(rows) == len(expected), f"{len(rows)} rows in the table, {len(expected)} were to be loaded"
    assert not wrong, f"{len(wrong)} rows are not what the file says, the first is {wrong[0]}"


def _assert_rejected(sql: Sql, sent: Sent, load_id: int) -> None:
    found = sql("SELECT line, raw, reasons FROM ops.rejected_rows WHERE load_id = %s ORDER BY line", load_id)
    kept = [(line, bytes(raw), frozenset(reasons.split(";"))) for line, raw, reasons in found]
    expected = [
        (one.line, one.raw, frozenset(":".join(filter(None, reason)) for reason in one.reasons))
        for one in sorted(sent.expected.rejected, key=lambda one: one.line)
    ]
    assert kept == expected, f"{len(kept)} rejected rows kept, {len(expected)} expected, or they differ"


def _assert_balance(sql: Sql, sent: Sent, load_id: int) -> None:
    ((read, inserted, updated, unchanged, rejected, replaced),) = sql(
        "SELECT rows_read, rows_inserted, rows_updated, rows_unchanged, rows_rejected,"
        " (SELECT count(*) FROM ops.hired_employees_history WHERE _replaced_by = load_id)"
        " FROM ops.loads WHERE load_id = %s",
        load_id,
    )
    assert read == inserted + updated + unchanged + rejected, "the ledger's row does not balance"
    assert updated == replaced, f"{updated} rows updated, {replaced} in the history"
    # Nobody else has a row of these files, so whatever is not inserted was inserted by an attempt that is not told of.
    judged = sent.expected.rows_read, len(sent.expected.accepted), len(sent.expected.rejected)
    assert (read, inserted, rejected) == judged, f"the ledger counts {read, inserted, rejected}, the judge {judged}"


def _assert_lines(sql: Sql, sent: Sent, load_id: int) -> None:
    """Every physical line of the file is where the judge has it."""
    ((text,),) = sql("SELECT line_counts FROM ops.loads WHERE load_id = %s", load_id)
    lines, judged = json.loads(text), sent.expected.lines
    assert lines == judged | {"file": sum(judged.values())}, f"the ledger has the lines {lines}, the judge {judged}"


def _assert_numbers(sql: Sql) -> None:
    """Every commit of the table has its number, and every number its commit."""
    numbers = [
        number
        for (number,) in sql(
            "SELECT commit_seq FROM ops.loads WHERE table_name = %s AND commit_seq IS NOT NULL ORDER BY 1", TABLE
        )
    ]
    ((newest,),) = sql("SELECT commit_seq FROM ops.tables WHERE table_name = %s", TABLE)
    assert numbers == list(range(1, newest + 1)), f"commit numbers up to {newest} have gaps or are doubled"


def assert_clean_copies(mart: Mart, sent: Sent) -> None:
    """S3 holds the accepted rows as parquet and the rejected ones as CSV, each once."""
    load_id = the_load(mart.sql, sent)
    parts = mart.store.list(clean_key(TABLE, load_id, 0).rsplit("/", 1)[0] + "/")
    rows = sum(parquet.read_metadata(io.BytesIO(mart.read(part.key))).num_rows for part in parts)
    assert rows == len(sent.expected.accepted), f"{rows} clean rows in S3"
    rejects = mart.read(rejected_key(TABLE, load_id))
    assert rejects.startswith(b"_line,_reasons,_load_id,"), "the rejects file has no header"


def assert_nothing_left(sql: Sql, seconds: float = 30) -> None:
    """No staging, no session that still holds a lock, once the server has noticed who is gone."""
    until("staging is gone", lambda: not sql("SELECT relname FROM pg_class WHERE relname LIKE 'staging%%'"), seconds)
    held = "SELECT pid FROM pg_locks WHERE relation = 'ops.tables'::regclass AND pid <> pg_backend_pid()"
    until("locks are free", lambda: not sql(held), seconds)


def assert_converged(sql: Sql, sent: Sent, again: Again) -> None:
    """Once more: the answer is that it was loaded before, and nothing moves."""
    before = state(sql)
    outcome = again(sent.arrival)
    assert outcome.verdict is Verdict.DUPLICATE, f"a second run answered {outcome.verdict}: {outcome.message}"
    assert "loaded before" in outcome.message
    assert state(sql) == before, "a second run has changed something"


def state(sql: Sql) -> list[tuple[Any, ...]]:
    """A digest of everything that a load may write."""
    tables = ("public.hired_employees", "ops.hired_employees_history", "ops.loads", "ops.rejected_rows", "ops.tables")
    return [
        sql(f"SELECT count(*), coalesce(sum(hashtextextended(one::text, 0)), 0) FROM {table} AS one")[0]
        for table in tables
    ]


def assert_told(text: str, *words: str) -> None:
    """A person reads what happened."""
    missing = [word for word in words if word not in text]
    assert not missing, f"nobody says {missing} in: {text[-3000:]}"
