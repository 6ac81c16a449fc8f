"""What is sent to Redshift is Redshift's own SQL, and what a DBA is shown is what is sent."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from sqlfluff.core import FluffConfig, Linter

from datamart import insights
from datamart.charts import all_charts
from datamart.holds import Holds
from datamart.ledger import Ledger, Wanted
from datamart.loads import Mode
from datamart.migrations import migrate
from datamart.rejected_page import rejected_page
from datamart.retention import Retention
from datamart.settings import load_settings
from datamart.tables import table_named
from datamart.warehouse.exchange import Exchange
from datamart.warehouse.redshift import RedshiftWarehouse
from embedded.settings import REPOSITORY
from embedded.sqlcheck import rendered
from embedded.sqlscript import FIRST, OTHER, PROCEDURES, SCHEMA, VIEWS, script
from tests.contract.served import ROLE, Served
from tests.integration.vault import Vault
from tests.integration.world import World

GOLDEN = Path(__file__).parent / "golden"

_TEXT = re.compile(r"'(?:[^'\\]|''|\\.)*'", re.DOTALL)
_COMMENT = re.compile(r"--[^\n]*")
DENIED = (
    r"ON\s+CONFLICT", r"RETURNING", r"DISTINCT\s+ON", r"FILTER\s*\(", r"LATERAL", r"CREATE\s+(UNIQUE\s+)?INDEX",
    r"GENERATE_SERIES", r"COLLATE\s+\"", r"FOR\s+(UPDATE|SHARE)", r"SAVEPOINT", r"IS\s+(NOT\s+)?DISTINCT\s+FROM",
    r"ARRAY\s*\[", r"\bANY\s*\(\s*(ARRAY|'\{)", r"\bJSONB?\b", r"\bBYTEA\b", r"\bSERIAL\b", r"REGCLASS", r"TO_REGCLASS",
    r"PG_ADVISORY", r"\bNOW\s*\(", r"CURRENT_TIMESTAMP", r"STRING_AGG", r"TABLESAMPLE", r"WITHIN\s+GROUP",
    r"GROUPING\s+SETS", r"FROM\s+STDIN", r"TO\s+STDOUT", r"FORMAT\s+(AS\s+)?AVRO", r"CREDENTIALS", r"ACCESS_KEY",
    r"PRIMARY\s+KEY", r"\bUNIQUE\b", r"\bREFERENCES\b", r"\bCTID\b", r"SET\s+TRANSACTION", r"ISOLATION\s+LEVEL",
    r"ADD\s+COLUMN[^;]*,\s*ADD\s+COLUMN", r"\bTEXT\b", r"ON\s+DELETE", r"\bDO\s+\$\$", r"\bE'", r"TRUNCATE",
    r"UNLOAD\b(?![^;]*FORMAT AS PARQUET)", r"\bMERGE\b", r"AVG\s*\((?!CAST)",
)  # fmt: skip
"""What Redshift does not know, or would do otherwise than it reads; and TRUNCATE, which commits."""


def denied(text: str) -> list[str]:
    """What a statement has of the list; texts and comments do not count, but the query in an UNLOAD does."""
    inner = re.search(r"UNLOAD\s*\('((?:[^']|'')*)'\)", text)
    bare = _COMMENT.sub("", _TEXT.sub("''", text))
    found = [pattern for pattern in DENIED if re.search(pattern, bare, re.IGNORECASE)]
    return found + (denied(inner[1].replace("''", "'")) if inner else [])


@lru_cache
def linter() -> Linter:
    """Of Redshift's grammar."""
    return Linter(config=FluffConfig(overrides={"dialect": "redshift"}))


def unparsable(text: str) -> list[str]:
    """What the grammar does not know in a statement, and in the query of an UNLOAD."""
    found = [str(one) for one in linter().parse_string(text).violations]
    inner = re.search(r"UNLOAD\s*\('((?:[^']|'')*)'\)", text)
    return found + (unparsable(inner[1].replace("''", "'")) if inner else [])


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO t VALUES (1) ON CONFLICT (id) DO NOTHING", "DELETE FROM t RETURNING id",
        "SELECT DISTINCT ON (a) a FROM t", "SELECT COUNT(*) FILTER (WHERE a > 1) FROM t", "CREATE INDEX i ON t (a)",
        "CREATE UNIQUE INDEX i ON t (a)", "SELECT generate_series(1, 2)", 'SELECT a FROM t ORDER BY a COLLATE "C"',
        "UNLOAD ('SELECT 1') TO 's3://b/p' IAM_ROLE DEFAULT FORMAT AS AVRO", "SELECT AVG(a) FROM t",
        "UNLOAD ('SELECT DISTINCT ON (a) a FROM t') TO 's3://b/p' IAM_ROLE DEFAULT FORMAT AS PARQUET",
        "SELECT 1 FROM t FOR UPDATE", "SELECT CAST(a AS JSONB) FROM t", "SELECT now()", "TRUNCATE t",
        "COPY t FROM 's3://b' ACCESS_KEY_ID 'x'", "CREATE TABLE t (a INTEGER PRIMARY KEY)",
    ],
)  # fmt: skip
def test_the_list_finds_what_redshift_does_not_know(text: str) -> None:
    assert denied(text)


def test_the_grammar_finds_what_is_no_sql() -> None:
    assert unparsable("SELECT FROM WHERE")
    assert unparsable("UNLOAD ('SELECT FROM WHERE') TO 's3://b/p' IAM_ROLE DEFAULT FORMAT AS PARQUET")
    assert not unparsable("SELECT 1 AS one FROM t WHERE a = 'ON CONFLICT'")
    assert not denied("SELECT 'ON CONFLICT' AS one -- RETURNING")


@pytest.mark.parametrize("folder", ["common", "redshift"])
def test_no_statement_of_redshift_has_what_it_does_not_know(folder: str) -> None:
    found = {
        path.stem: denied(rendered(path.read_text(encoding="utf-8"), "redshift"))
        for path in sorted((REPOSITORY / "sql" / folder).glob("*.sql"))
        # A dialect's own statement comes before the common one.
        if folder == "redshift" or not (REPOSITORY / "sql" / "redshift" / path.name).exists()
    }
    assert len(found) > 10
    assert {name: words for name, words in found.items() if words} == {}


class Recording(RedshiftWarehouse):
    """Keeps each kind of statement that is sent, as it is sent."""

    def __init__(self, served: Served) -> None:
        self.kinds: dict[str, str] = {}
        super().__init__(served.dsn, lambda: Exchange(served.data, ROLE))

    def _keep(self, text: str, values: Mapping[str, object] | None) -> None:
        with self._connection.cursor() as cursor:
            sent = cursor.mogrify(text, values).decode()
        kind = re.sub(r"\d+", "0", _TEXT.sub("''", sent))
        self.kinds.setdefault(re.sub(r"\(0(, 0)*\)", "(0)", kind), sent)

    def execute(self, text: str, values: Mapping[str, object] | None = None) -> int:
        self._keep(text, values)
        return super().execute(text, values)

    def query(self, text: str, values: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        self._keep(text, values)
        return super().query(text, values)


def everything(vault: Vault, world: World, warehouse: RedshiftWarehouse) -> None:
    """All that the product does with a warehouse."""
    migrate(warehouse)
    world.load("departments.csv", b"1,a\n2,b\n")
    world.load("jobs.csv", b"1,a\n2,b\nx,c\n")
    world.load("hired_employees.csv", b"1,n,2021-02-03T04:05:06Z,1,1\n2,o,2021-12-03T04:05:06Z,1,9\n")
    first = world.load("jobs_2.csv", b"2,B\n3,c\n")
    world.load("jobs_copy.csv", b"2,B\n3,c\n")
    world.judge(world.put("jobs_bad.csv", b"x,y\n"))
    world.loader(None).load(world.put("nothing.csv", b"1,a\n"))
    world.loader(None).load(world.put("jobs_dry.csv", b"1,a\n9,d\n"), dry_run=True)
    world.loader(None).replace([world.put("jobs_dry2.csv", b"1,a\n")], table_named("jobs"), dry_run=True)
    manifest = vault.backup()
    world.replace("jobs", world.put("jobs_3.csv", b"3,c\n4,d\n"), world.put("jobs_4.csv", b"5,e\n"))
    middle = vault.now()
    later = world.load("jobs_5.csv", b"3,C\n")
    world.loader(None).load(_late(world, "jobs_6.csv", b"3,old\n"))
    vault.undo(later.load_id, dry_run=True)
    vault.undo(later.load_id, keep_later=True)
    vault.restore("jobs", at=middle)
    vault.restore("jobs", backup_id=manifest.backup_id, dry_run=True)
    vault.restore("jobs", backup_id=manifest.backup_id)
    vault.restore("jobs", backup_id=manifest.backup_id, into="jobs_then")
    warehouse.execute("DROP TABLE public.jobs_then")
    vault.drill()
    insights.refresh(warehouse)
    all_charts(warehouse, 2021)
    for insight in insights.INSIGHTS:
        insights.read(warehouse, insight, fresh=True)
        insights.read(warehouse, insight)
        insights.freshness(warehouse, insight)
    insights.now_fresh(warehouse)
    rejected_page(warehouse, first.load_id, ("id", "job"), 10)
    now = datetime.now(UTC)
    Ledger(warehouse).page(10, (now, 1), Wanted("jobs", "loaded", now - timedelta(1), now, 5))
    Ledger(warehouse).days(10)
    Ledger(warehouse).ended([first.load_id, 2])
    arrival = world.put("jobs_7.csv", b"1,a\n")
    world.loader(None).fail(arrival, Mode.UPSERT, "away")
    holds = Holds(warehouse, load_settings({}))
    holds.put(arrival, "away")
    holds.release([arrival.arrival_id])
    retention = Retention(warehouse, world.store, load_settings({}), now + timedelta(days=400))
    retention.rejects()
    retention.clean()


def _late(world: World, name: str, body: bytes) -> Any:
    return replace(world.put(name, body), listed_at=datetime(2026, 1, 1, tzinfo=UTC), late=True)


@pytest.mark.served("redshift")
def test_every_statement_that_is_sent_is_redshifts(vault: Vault, served: Served) -> None:
    with closing(Recording(served)) as warehouse:
        own = World(served, served.data, vault.world.prefix, warehouse)
        everything(Vault(own, vault.store), own, warehouse)
    wrong = {kind: denied(sent) + unparsable(sent) for kind, sent in warehouse.kinds.items()}
    assert {kind: words for kind, words in wrong.items() if words} == {}
    assert len(wrong) > 100


@pytest.mark.parametrize("dialect", ["postgres", "redshift"])
def test_the_script_for_who_looks_after_the_database_is_as_it_was_last_agreed(dialect: str) -> None:
    """After a change that is meant: UPDATE_GOLDEN=1 make test."""
    path, shown = GOLDEN / f"{dialect}.sql", script(dialect)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(shown, encoding="utf-8")
    assert shown == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("dialect", ["postgres", "redshift"])
def test_the_script_leaves_no_statement_out(dialect: str) -> None:
    shown = {*FIRST, *SCHEMA, *VIEWS, *OTHER, *(name for names in PROCEDURES.values() for name in names)}
    there = {path.stem for folder in (dialect, "common") for path in (REPOSITORY / "sql" / folder).glob("*.sql")}
    assert {name for name in there - shown if not name.startswith("migrate_")} == set()
