"""The stand-in does what is known of Redshift, and refuses what it does not know."""

from __future__ import annotations

import io
import json
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redshift_connector
import redshift_connector.error

from tests.redshift.conftest import ROLE, Cluster
from tests.redshift.standin import Standin

REFUSED = [
    "SELECT a FROM t FOR UPDATE",
    "SELECT DISTINCT ON (a) a FROM t",
    "SELECT COUNT(*) FILTER (WHERE a = 1) FROM t",
    "SELECT a FROM t, LATERAL (SELECT 1) AS x",
    'SELECT a FROM t ORDER BY a COLLATE "C"',
    "SELECT a FROM t WHERE a IS DISTINCT FROM 1",
    "SELECT a FROM t WHERE a IS NOT DISTINCT FROM 1",
    "SELECT ARRAY[1, 2]",
    "SELECT a FROM t WHERE a = ANY('{1}')",
    "SELECT a FROM t WHERE a > ALL (SELECT 1)",
    "SELECT a FROM generate_series(1, 3) AS x",
    "SELECT a FROM t AS x (b)",
    "SELECT '{}' -> 'a'",
    "SELECT '{}' ->> 'a'",
    "SELECT '{}' #>> 'a'",
    "SELECT a FROM t WHERE b ~ 'x'",
    "SELECT a FROM t GROUP BY GROUPING SETS ((a), ())",
    "SELECT a FROM t GROUP BY ROLLUP (a)",
    "SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY a) FROM t",
    "SELECT a FROM t TABLESAMPLE SYSTEM (10)",
    "SELECT ROW_NUMBER() OVER w FROM t WINDOW w AS (ORDER BY a)",
    "SELECT SUM(a) OVER (ORDER BY a) FROM t",
    "SELECT ROW_NUMBER() OVER (ORDER BY a ROWS UNBOUNDED PRECEDING) FROM t",
    "SELECT AVG(a) FROM t",
    "SELECT AVG(CAST(a AS DOUBLE PRECISION) + a) FROM t",
    "SELECT MAX(a ORDER BY a) FROM t",
    "SELECT 't'::regclass",
    "SELECT CAST(a AS TEXT) FROM t",
    "SELECT a::bytea FROM t",
    "SELECT regclass 't'",
    "SELECT E'a'",
    "SELECT $$a$$",
    "SELECT $1",
    "SELECT 0x10",
    "SELECT '\\x41'",
    "SELECT pg_sleep(1)",
    "SELECT pg_catalog.lower('A')",
    "SELECT STRING_AGG(b, ',') FROM t",
    "SELECT EXTRACT(EPOCH FROM a) FROM t",
    "SELECT a AT TIME ZONE 'Europe/Berlin' FROM t",
    "SELECT (a, b) OVERLAPS (a, b) FROM t",
    "SELECT NOW()",
    "SELECT GETDATE()",
    "SELECT CURRENT_TIMESTAMP",
    "SELECT SYSDATE, 1",
    "INSERT INTO t (a) SELECT SYSDATE",
    "SELECT raw FROM t",
    "SELECT datetime FROM t",
    'SELECT "A" FROM t',
    "SELECT a INTO u FROM t",
    "SELECT a FROM t FETCH FIRST 1 ROWS ONLY",
    "SELECT a FROM (VALUES (1)) AS x",
    "SELECT a FROM ONLY t",
    "SELECT ctid FROM t",
    "SELECT a FROM t ORDER BY a USING <",
    "SELECT a FROM db.s.t",
    "SELECT 1_000",
    "SELECT t.a[1] FROM t",
    "SELECT a FROM pg_class",
    "SELECT a FROM pg_catalog.pg_class",
    "SELECT a FROM information_schema.views",
    "SELECT a FROM information_schema.tables, t",
    "SELECT a FROM svv_table_info",
    "SELECT PG_LAST_COPY_COUNT() FROM t",
    "VALUES (1)",
    "TABLE t",
    "WITH x AS (DELETE FROM t) SELECT 1",
    "WITH x AS MATERIALIZED (SELECT 1) SELECT 1",
    "WITH RECURSIVE x AS (SELECT 1) SELECT 1",
    "WITH x AS (SELECT 1) DELETE FROM t",
    "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
    "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 1",
    "INSERT INTO t (a) VALUES (1) RETURNING a",
    "INSERT INTO t DEFAULT VALUES",
    "UPDATE t AS x SET a = 1",
    "UPDATE t SET (a, b) = (1, 2)",
    "UPDATE t SET a = 1 RETURNING a",
    "DELETE FROM t AS x WHERE a = 1",
    "DELETE FROM t RETURNING a",
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
    "BEGIN READ ONLY",
    "START TRANSACTION",
    "SET TRANSACTION READ ONLY",
    "SAVEPOINT a",
    "ROLLBACK TO a",
    "SET search_path = x",
    "SET statement_timeout = DEFAULT",
    "SET timezone TO 'Europe/Berlin'",
    "SET LOCAL timezone TO 'UTC'",
    "SHOW search_path",
    "RESET ALL",
    "CREATE INDEX i ON t (a)",
    "CREATE UNIQUE INDEX i ON t (a)",
    "CREATE FUNCTION f() RETURNS int AS 'x'",
    "CREATE MATERIALIZED VIEW v AS SELECT 1",
    "CREATE VIEW v AS VALUES (1)",
    "CREATE VIEW v AS SELECT 1 WITH NO SCHEMA BINDING",
    "CREATE UNLOGGED TABLE u (a INTEGER)",
    "CREATE TABLE u (a TEXT)",
    "CREATE TABLE u (a SERIAL)",
    "CREATE TABLE u (a BYTEA)",
    "CREATE TABLE u (a VARCHAR)",
    "CREATE TABLE u (a VARCHAR(65536))",
    "CREATE TABLE u (a CHAR(4097))",
    "CREATE TABLE u (a INTEGER IDENTITY(1, 1))",
    "CREATE TABLE u (a INTEGER ENCODE zstd)",
    "CREATE TABLE u (a INTEGER REFERENCES t)",
    "CREATE TABLE u (a INTEGER CHECK (a > 0))",
    "CREATE TABLE u (a TIMESTAMP DEFAULT SYSDATE)",
    "CREATE TABLE u (a INTEGER, FOREIGN KEY (a) REFERENCES t)",
    "CREATE TABLE u (a INTEGER, b INTEGER[])",
    "CREATE TABLE u (datetime TIMESTAMP)",
    "CREATE TABLE u (a INTEGER) ON COMMIT DROP",
    "CREATE TABLE u (a INTEGER) PARTITION BY RANGE (a)",
    "CREATE TABLE u (a INTEGER) INTERLEAVED SORTKEY (a)",
    "CREATE TABLE u (LIKE t)",
    "CREATE TABLE IF NOT EXISTS u AS SELECT 1 AS a",
    "CREATE TABLE u AS SELECT NOW() AS a",
    "CREATE TABLE u AS SELECT 1 AS a WITH NO DATA",
    "CREATE TABLE u (a INTEGER) DISTSTYLE EVEN DISTSTYLE ALL",
    "DROP INDEX i",
    "DROP TABLE t, u",
    "DROP TABLE t RESTRICT",
    "ALTER TABLE t ADD COLUMN c INTEGER, ADD COLUMN d INTEGER",
    "ALTER TABLE t ADD COLUMN c INTEGER NOT NULL",
    "ALTER TABLE t ADD COLUMN IF NOT EXISTS c INTEGER",
    "ALTER TABLE t ADD COLUMN c INTEGER PRIMARY KEY",
    "ALTER TABLE t DROP COLUMN a",
    "ALTER TABLE t ADD PRIMARY KEY (a)",
    "LOCK TABLE t IN SHARE MODE",
    "GRANT INSERT ON t TO someone",
    "GRANT ALL ON t TO someone",
    "TRUNCATE t, u",
    "TRUNCATE t CASCADE",
    "ANALYZE",
    "ANALYZE t (a)",
    "VACUUM t",
    "DO 'x'",
    "MERGE INTO t USING u ON a = b WHEN MATCHED THEN DELETE",
    "EXPLAIN SELECT 1",
    "DECLARE c CURSOR FOR SELECT 1",
    "PREPARE p AS SELECT 1",
    "COMMENT ON TABLE t IS 'x'",
    "COPY t FROM STDIN",
    "COPY t TO STDOUT",
    f"COPY t FROM 's3://b/m' IAM_ROLE '{ROLE}' FORMAT AS PARQUET",
    f"COPY t FROM 's3://b/m' IAM_ROLE '{ROLE}' FORMAT AS CSV MANIFEST",
    f"COPY t FROM 's3://b/m' IAM_ROLE '{ROLE}' FORMAT PARQUET MANIFEST",
    f"COPY t FROM 's3://b/m' IAM_ROLE '{ROLE}' FORMAT AS PARQUET MANIFEST MANIFEST",
    f"COPY t FROM 's3://b/m' IAM_ROLE '{ROLE}' FORMAT AS PARQUET MANIFEST MAXERROR 1",
    f"COPY t FROM 's3://b/m' IAM_ROLE '{ROLE}' FORMAT AS PARQUET MANIFEST REGION 'x'",
    f"COPY t (a) FROM 's3://b/m' IAM_ROLE '{ROLE}' FORMAT AS PARQUET MANIFEST",
    "COPY t FROM 's3://b/m' IAM_ROLE 'arn:aws:iam::1:role/other' FORMAT AS PARQUET MANIFEST",
    "COPY t FROM 's3://b/m' CREDENTIALS 'x' FORMAT AS PARQUET MANIFEST",
    "COPY t FROM 's3://b/m' ACCESS_KEY_ID 'x' FORMAT AS PARQUET MANIFEST",
    f"COPY t FROM '/etc/passwd' IAM_ROLE '{ROLE}' FORMAT AS PARQUET MANIFEST",
    f"UNLOAD ('SELECT 1') TO 's3://b/p' IAM_ROLE '{ROLE}' FORMAT AS PARQUET MANIFEST",
    f"UNLOAD ('SELECT 1') TO 's3://b/p' IAM_ROLE '{ROLE}' FORMAT AS PARQUET",
    f"UNLOAD ('SELECT 1') TO 's3://b/p' IAM_ROLE '{ROLE}' FORMAT AS PARQUET MANIFEST VERBOSE ALLOWOVERWRITE",
    f"UNLOAD ('SELECT 1') TO 's3://b/p' IAM_ROLE '{ROLE}' FORMAT AS PARQUET MANIFEST VERBOSE CLEANPATH",
    f"UNLOAD ('SELECT 1') TO 's3://b/p' IAM_ROLE '{ROLE}' FORMAT AS PARQUET MANIFEST VERBOSE MAXFILESIZE 1 MB",
    f"UNLOAD ('DELETE FROM t') TO 's3://b/p' IAM_ROLE '{ROLE}' FORMAT AS PARQUET MANIFEST VERBOSE",
    f"UNLOAD ('SELECT NOW()') TO 's3://b/p' IAM_ROLE '{ROLE}' FORMAT AS PARQUET MANIFEST VERBOSE",
    f"UNLOAD ('SELECT 1 LIMIT 1') TO 's3://b/p' IAM_ROLE '{ROLE}' FORMAT AS PARQUET MANIFEST VERBOSE",
]
COPY = f"COPY {{table}} FROM '{{manifest}}' IAM_ROLE '{ROLE}' FORMAT AS PARQUET MANIFEST"
UNLOAD = f"UNLOAD ('{{query}}') TO '{{prefix}}' IAM_ROLE '{ROLE}' FORMAT AS PARQUET MANIFEST VERBOSE"


class Client:
    """A session at the stand-in."""

    def __init__(self, cluster: Cluster, connection: Any) -> None:
        self.cluster, self.connection = cluster, connection

    def run(self, sql: str, *values: Any) -> Any:
        """The rows of a statement, if it has any."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else cursor.rowcount

    def error(self, sql: str) -> psycopg2.Error:
        with pytest.raises(psycopg2.Error) as caught:
            self.run(sql)
        return caught.value

    def put(self, key: str, table: pa.Table, **options: Any) -> str:
        """Store rows as parquet; where."""
        sink = io.BytesIO()
        pq.write_table(table, sink, **options)
        return self.put_bytes(key, sink.getvalue())

    def put_bytes(self, key: str, data: bytes) -> str:
        self.cluster.s3.put_object(Bucket=self.cluster.bucket, Key=key, Body=data)
        return f"s3://{self.cluster.bucket}/{key}"

    def size(self, url: str) -> int:
        key = url.removeprefix(f"s3://{self.cluster.bucket}/")
        return int(self.cluster.s3.head_object(Bucket=self.cluster.bucket, Key=key)["ContentLength"])

    def manifest(self, *urls: str, **meta: Any) -> str:
        """Store a manifest of these files; where."""
        entries = [{"url": url, "mandatory": True, "meta": {"content_length": self.size(url)} | meta} for url in urls]
        return self.put_bytes(f"{uuid4().hex}/manifest", json.dumps({"entries": entries}).encode())

    def copy(self, table: str, manifest: str) -> None:
        self.run(COPY.format(table=table, manifest=manifest))

    def copy_error(self, table: str, manifest: str) -> psycopg2.Error:
        """A COPY's failure; nothing may have been loaded by it."""
        before = self.run(f"SELECT COUNT(*) FROM {table}")
        error = self.error(COPY.format(table=table, manifest=manifest))
        assert self.run(f"SELECT COUNT(*) FROM {table}") == before
        return error

    def unload(self, query: str, options: str = "") -> str:
        """Unload rows below a new prefix; which."""
        prefix = f"s3://{self.cluster.bucket}/{uuid4().hex}/"
        self.run(f"{UNLOAD.format(query=query.replace(chr(39), chr(39) * 2), prefix=prefix)} {options}")
        return prefix

    def files(self, prefix: str) -> dict[str, bytes]:
        """What lies under a prefix, by the rest of its name."""
        s3, bucket = self.cluster.s3, self.cluster.bucket
        below = prefix.removeprefix(f"s3://{bucket}/")
        keys = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix=below).get("Contents", [])]
        return {key.removeprefix(below): s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Client]:
    """A session with a table ``t`` of an integer and a text, and a table ``u`` of one integer."""
    with closing(cluster.connect()) as connection:
        own = Client(cluster, connection)
        own.run("CREATE TABLE t (a INTEGER NOT NULL, b VARCHAR(5), PRIMARY KEY (a))")
        own.run("CREATE TABLE u (c INTEGER)")
        yield own
        if not connection.closed:
            connection.rollback()
            own.run("ROLLBACK")
    with closing(cluster.connect()) as connection:
        Client(cluster, connection).run("DROP TABLE t CASCADE; DROP TABLE u CASCADE")


def rows(*pairs: tuple[int | None, str | None]) -> pa.Table:
    return pa.table({"a": pa.array([a for a, _ in pairs], pa.int32()), "b": pa.array([b for _, b in pairs])})


@pytest.mark.parametrize("sql", REFUSED)
def test_refuses(client: Client, sql: str) -> None:
    error = client.error(sql)
    assert error.pgcode == "0A000", error
    if "NOT NULL" not in sql:
        assert "The stand-in does not emulate: " in str(error)


def test_a_refusal_costs_the_transaction(client: Client) -> None:
    client.run("BEGIN")
    client.run("INSERT INTO t VALUES (1, 'x')")
    client.error("SELECT NOW()")
    assert client.error("SELECT 1").pgcode == "25P02"
    client.run("COMMIT")
    assert client.run("SELECT COUNT(*) FROM t") == [(0,)]


def test_names_itself_as_redshift(client: Client) -> None:
    assert client.connection.server_version == 80002
    assert client.connection.get_parameter_status("standard_conforming_strings") is None
    assert "Redshift" in client.run("SELECT VERSION()")[0][0]


def test_refuses_startup_options(cluster: Cluster) -> None:
    with pytest.raises(psycopg2.OperationalError, match="startup parameter options"):
        cluster.connect(options="-c statement_timeout=1")


def test_refuses_a_wrong_password(cluster: Cluster) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        cluster.connect(password="wrong")


@pytest.mark.parametrize("value", ["it's", "back\\slash", "\\'", "two\nlines", "é\u2028", "--", "/*", ";", "%", ""])
def test_values_survive(client: Client, value: str) -> None:
    assert client.run("SELECT CAST(%s AS VARCHAR(20)) AS v", value) == [(value,)]


def test_times_survive(client: Client) -> None:
    moment = datetime(2021, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    assert client.run("SELECT %s AS m, %s AS d", moment, moment.date()) == [(moment, date(2021, 5, 6))]


def test_several_statements_in_one_message(client: Client) -> None:
    client.cluster.redshift.statements.clear()
    client.error("INSERT INTO t VALUES (1, ';'); /* ; */ SELECT NOW(); INSERT INTO t VALUES (2, 'y')")
    assert client.cluster.redshift.statements == ["INSERT INTO t VALUES (1, ';')", "SELECT NOW()"]
    assert client.run("SELECT a FROM t") == [(1,)]


def test_sysdate_is_when_the_transaction_began(client: Client) -> None:
    client.run("BEGIN")
    first = client.run("SELECT SYSDATE")
    time.sleep(0.01)
    assert client.run("select sysdate") == first
    assert abs((datetime.now(UTC).replace(tzinfo=None) - first[0][0]).total_seconds()) < 60


def test_queries(client: Client) -> None:
    client.run("INSERT INTO t (a, b) VALUES (1, 'x'), (2, NULL), (3, 'z')")
    client.run("INSERT INTO u SELECT a FROM t WHERE a > 1")
    assert client.run("UPDATE t SET b = 'u' FROM u WHERE t.a = u.c AND t.a < 3") == 1
    assert client.run("DELETE FROM t USING u WHERE t.a = u.c AND t.a = 3") == 1
    assert client.run(
        "WITH n AS (SELECT a, ROW_NUMBER() OVER (PARTITION BY b ORDER BY a DESC) AS r FROM t) "
        "SELECT n.a, COALESCE(t.b, '-'), AVG(CAST(n.r AS DOUBLE PRECISION)) FROM n JOIN t ON n.a = t.a "
        "WHERE t.b ILIKE '%' AND n.a IN (1, 2) AND NOT EXISTS (SELECT 1 FROM u WHERE u.c = 7) "
        "GROUP BY n.a, t.b ORDER BY n.a NULLS LAST LIMIT 5"
    ) == [(1, "x", 1.0), (2, "u", 1.0)]


def test_functions(client: Client) -> None:
    asked = """SELECT LEN('é'), OCTET_LENGTH('é'), JSON_EXTRACT_PATH_TEXT('{"k": "v"}', 'k'),
        JSON_EXTRACT_PATH_TEXT('{"k": "v"}', 'n'), CAST(EXTRACT(QUARTER FROM TIMESTAMP '2021-05-06') AS INTEGER)"""
    assert client.run(asked) == [(1, 2, "v", None, 2)]


def test_the_catalogue_by_itself(client: Client) -> None:
    asked = "SELECT column_name FROM information_schema.columns WHERE table_name = 't' ORDER BY ordinal_position"
    assert client.run(asked) == [("a",), ("b",)]


def test_keys_are_not_enforced_but_required(client: Client) -> None:
    client.run("INSERT INTO t VALUES (1, 'x'), (1, 'y')")
    assert client.run("SELECT COUNT(*) FROM t WHERE a = 1") == [(2,)]
    assert client.error("INSERT INTO t VALUES (NULL, 'x')").pgcode == "23502"


def test_varchar_counts_bytes(client: Client) -> None:
    client.run("INSERT INTO t VALUES (1, 'éé1')")
    error = client.error("INSERT INTO t VALUES (2, 'ééé')")
    assert (error.pgcode, error.diag.message_primary) == ("22001", "Value too long for character type")
    client.run("ALTER TABLE t ADD COLUMN d VARCHAR(2) NOT NULL DEFAULT 'x'")
    assert client.error("UPDATE t SET d = 'é1'").pgcode == "22001"
    client.run("CREATE TEMP TABLE made DISTSTYLE KEY DISTKEY(a) SORTKEY(a) AS SELECT a, b FROM t")
    assert client.error("UPDATE made SET b = 'ééé'").pgcode == "22001"
    client.run("DROP TABLE made")


@pytest.mark.parametrize(
    ("attributes", "fine"),
    [
        ("DISTSTYLE KEY DISTKEY(c) COMPOUND SORTKEY(c, d) BACKUP NO", True),
        ("DISTKEY(c) SORTKEY AUTO", True),
        ("DISTSTYLE ALL", True),
        ("DISTSTYLE KEY", False),
        ("DISTSTYLE EVEN DISTKEY(c)", False),
        ("DISTKEY(nowhere)", False),
        ("SORTKEY(nowhere)", False),
    ],
)
@pytest.mark.parametrize(
    "made", ["CREATE TABLE laid (c INTEGER, d INTEGER) {}", "CREATE TABLE laid {} AS SELECT 1 AS c, 2 AS d"]
)
def test_distribution_is_checked(client: Client, made: str, attributes: str, fine: bool) -> None:
    if fine:
        client.run(made.format(attributes))
        client.run("DROP TABLE laid")
    else:
        assert client.error(made.format(attributes)).pgcode in ("42P16", "42703")
        client.run("DROP TABLE IF EXISTS laid")


def test_schemas_views_and_rights(client: Client) -> None:
    reader = client.cluster.login["user"]
    client.run("CREATE SCHEMA IF NOT EXISTS other")
    client.run("CREATE OR REPLACE VIEW other.v AS SELECT a FROM t")
    client.run(f"GRANT USAGE ON SCHEMA other TO {reader}")
    client.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA other TO {reader}")
    client.run(f"GRANT SELECT ON other.v TO {reader}")
    assert client.run("SELECT COUNT(*) FROM other.v") == [(0,)]
    client.run("DROP SCHEMA other CASCADE")


def test_truncate_commits(client: Client) -> None:
    client.run("BEGIN")
    client.run("INSERT INTO u VALUES (1)")
    client.run("TRUNCATE TABLE t")
    client.run("ROLLBACK")
    assert client.run("SELECT COUNT(*) FROM u") == [(1,)]
    client.run("COMMIT")


def test_lock_only_inside_and_analyze_only_outside(client: Client) -> None:
    assert client.error("LOCK TABLE t").pgcode == "25P01"
    client.run("BEGIN")
    client.run("LOCK TABLE t, u")
    assert client.error("ANALYZE t").pgcode == "25001"
    client.run("ROLLBACK")
    client.run("ANALYZE t")
    client.run("SET statement_timeout TO 60000; SET timezone TO 'UTC'")


def assert_conflict(error: psycopg2.Error) -> None:
    assert error.pgcode == "XX000"
    assert error.diag.message_primary == "1023"
    assert "Serializable isolation violation" in error.diag.message_detail


def test_writers_of_the_same_row_conflict(client: Client) -> None:
    client.run("INSERT INTO t VALUES (1, 'x')")
    client.run("BEGIN")
    client.run("SELECT * FROM t")
    with closing(client.cluster.connect()) as other:
        Client(client.cluster, other).run("UPDATE t SET b = 'y'")
    assert_conflict(client.error("UPDATE t SET b = 'z'"))
    client.run("ROLLBACK")


@pytest.mark.parametrize("at", ["INSERT INTO T", "COMMIT"])
def test_a_planned_conflict_rolls_back(client: Client, at: str) -> None:
    client.cluster.redshift.fail_next(at)
    client.run("BEGIN")
    if at == "COMMIT":
        client.run("INSERT INTO t VALUES (1, 'x')")
        assert_conflict(client.error("COMMIT"))
    else:
        assert_conflict(client.error("INSERT INTO t VALUES (1, 'x')"))
        client.run("ROLLBACK")
    assert client.run("SELECT COUNT(*) FROM t") == [(0,)]
    client.run("INSERT INTO t VALUES (1, 'x')")


def test_a_planned_loss_of_the_connection(client: Client) -> None:
    client.cluster.redshift.fail_next("insert into t .*2", kind="drop")
    client.run("BEGIN")
    client.run("INSERT INTO t VALUES (1, 'x')")
    with pytest.raises(psycopg2.OperationalError, match="closed"):
        client.run("INSERT INTO t VALUES (2, 'x')")
    with closing(client.cluster.connect()) as other:
        assert Client(client.cluster, other).run("SELECT COUNT(*) FROM t") == [(0,)]


def test_a_client_that_goes_while_it_waits_leaves_no_lock(client: Client) -> None:
    client.run("BEGIN")
    client.run("LOCK t")
    with closing(client.cluster.connect()) as other, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Client(client.cluster, other).error, "BEGIN; LOCK t; SELECT 1")
        time.sleep(0.3)
        socket.socket(fileno=os.dup(other.fileno())).shutdown(socket.SHUT_RDWR)
        assert isinstance(waiting.result(10), psycopg2.OperationalError)
    client.run("ROLLBACK")
    client.run("SET statement_timeout TO 10000")
    client.run("BEGIN")
    client.run("LOCK t")
    client.run("ROLLBACK")


def test_copy_loads_what_the_manifest_lists(client: Client) -> None:
    folder = uuid4().hex
    first = client.put(f"{folder}/1.parquet", rows((1, "a"), (2, None)), compression="zstd")
    second = client.put(f"{folder}/2.parquet", rows((3, ""), (4, 'q"\\')), compression="gzip")
    client.put(f"{folder}/1.parquet.decoy", rows((9, "decoy")))
    client.run("BEGIN")
    client.copy("t", client.manifest(first, second))
    assert client.run("SELECT PG_LAST_COPY_COUNT()") == [(4,)]
    assert client.run("SELECT a, b FROM t ORDER BY a") == [(1, "a"), (2, None), (3, ""), (4, 'q"\\')]
    client.run("ROLLBACK")
    assert client.run("SELECT COUNT(*) FROM t") == [(0,)]
    assert client.run("SELECT PG_LAST_COPY_COUNT()") == [(4,)]


def test_copy_every_type(client: Client) -> None:
    moments = [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), None]
    table = pa.table(
        {
            "i": pa.array([1, -2, None], pa.int64()),
            "m": pa.array(moments, pa.timestamp("us")),
            "f": pa.array([0.1, -1e300, None]),
            "o": pa.array([True, False, None]),
            "x": pa.array([b"\x00\xff", b"", None], pa.binary()),
            "d": pa.array([date(1, 1, 1), date(2021, 5, 6), None]),
        }
    )
    client.run("CREATE TEMP TABLE e (i BIGINT, m TIMESTAMP, f DOUBLE PRECISION, o BOOLEAN, x VARBYTE(2), d DATE)")
    for int96 in (False, True):
        url = client.put(f"{uuid4().hex}", table, use_deprecated_int96_timestamps=int96)
        client.copy("e", client.manifest(url))
        found = client.run("SELECT i, m, f, o, x, d FROM e ORDER BY i NULLS LAST")
        assert found == [
            (-2, moments[1], -1e300, False, "", date(2021, 5, 6)),
            (1, moments[0], 0.1, True, "00ff", date(1, 1, 1)),
            (None,) * 6,
        ]
        client.run("DELETE FROM e")
    long = client.put(f"{uuid4().hex}", table.set_column(4, "x", pa.array([b"123", b"", b""])))
    assert "Load into table 'e' failed" in str(client.copy_error("e", client.manifest(long)))
    client.run("DROP TABLE e")


@pytest.mark.parametrize(
    "table",
    [
        rows((1, "x"), (None, "null in a required column")),
        rows((1, "x"), (2, "ééé")),
        pa.table({"a": pa.array([1], pa.int64()), "b": ["x"]}),
        pa.table({"a": pa.array([1], pa.int32()), "b": pa.array([b"x"])}),
        pa.table({"a": pa.array([1], pa.uint32()), "b": ["x"]}),
        pa.table({"a": pa.array([1], pa.int32())}),
        pa.table({"a": pa.array([1], pa.int32()), "b": ["x"], "c": ["y"]}),
        pa.table({"a": pa.array([1], pa.int32()), "b": [["x"]]}),
    ],
)
def test_copy_fails_for_a_row_or_a_column(client: Client, table: pa.Table) -> None:
    good = client.put(f"{uuid4().hex}", rows((7, "fine")))
    error = client.copy_error("t", client.manifest(good, client.put(f"{uuid4().hex}", table)))
    assert error.pgcode == "XX000"


def test_copy_fails_for_a_file(client: Client) -> None:
    good = client.put(f"{uuid4().hex}", rows((1, "x")))
    no_parquet = client.put_bytes(f"{uuid4().hex}", b"a,b\n1,x\n")
    brotli = client.put(f"{uuid4().hex}", rows((1, "x")), compression="brotli")
    zoned = client.put(f"{uuid4().hex}", pa.table({"m": pa.array([datetime(2021, 1, 1)], pa.timestamp("us", "UTC"))}))
    assert "no parquet" in str(client.copy_error("t", client.manifest(good, no_parquet)))
    assert "BROTLI" in str(client.copy_error("t", client.manifest(good, brotli)))
    assert "bytes" in str(client.copy_error("t", client.manifest(good, content_length=5)))
    client.run("CREATE TEMP TABLE z (m TIMESTAMP)")
    assert "incompatible" in str(client.copy_error("z", client.manifest(zoned)))


def test_copy_fails_for_a_manifest(client: Client) -> None:
    good = client.put(f"{uuid4().hex}", rows((1, "x")))
    meta = {"content_length": client.size(good)}
    wrong: list[dict[str, Any]] = [
        {"entries": []},
        {},
        {"entries": [{"url": good, "mandatory": True}]},
        {"entries": [{"url": good + "gone", "mandatory": True, "meta": meta}]},
        {"entries": [{"url": good + "gone", "mandatory": False, "meta": meta}]},
        {"entries": [{"url": good, "endpoint": "x", "meta": meta}]},
    ]
    for listed in wrong:
        client.copy_error("t", client.put_bytes("m", json.dumps(listed).encode()))
    client.copy_error("t", client.put_bytes("m", b"no json"))
    client.copy_error("t", good + "gone")
    skipped = [{"url": good + "gone", "meta": meta}, {"url": good, "meta": meta}]
    client.copy("t", client.put_bytes("m", json.dumps({"entries": skipped}).encode()))
    assert client.run("SELECT COUNT(*) FROM t") == [(1,)]


def test_a_failed_copy_costs_the_transaction(client: Client) -> None:
    client.run("BEGIN")
    client.error(COPY.format(table="t", manifest=f"s3://{client.cluster.bucket}/gone"))
    assert client.error("SELECT 1").pgcode == "25P02"
    client.run("ROLLBACK")


def test_many_rows_take_little_time(client: Client) -> None:
    count = 100_000
    table = pa.table({"a": pa.array(range(count), pa.int32()), "b": ["x"] * count})
    manifest = client.manifest(client.put(f"{uuid4().hex}", table))
    began = time.monotonic()
    client.copy("t", manifest)
    prefix = client.unload("SELECT a, b FROM t")
    assert time.monotonic() - began < 10
    assert (
        sum(pq.read_table(io.BytesIO(client.files(prefix)[f"000{n}_part_00.parquet"])).num_rows for n in (0, 1))
        == count
    )


def test_unload_deals_rows_to_slices(client: Client) -> None:
    client.run("BEGIN")
    client.run("CREATE TEMP TABLE e (a INTEGER, b VARCHAR(9), m TIMESTAMP)")
    client.run(
        "INSERT INTO e VALUES (1, 'it''s', '0001-01-01'), (2, '', '9999-12-31 23:59:59.999999'), (3, NULL, NULL)"
    )
    prefix = client.unload("SELECT a, b, m FROM e WHERE b <> 'no' OR b IS NULL ORDER BY a")
    files = client.files(prefix)
    assert sorted(files) == ["0000_part_00.parquet", "0001_part_00.parquet", "manifest"]
    first, second = (
        pq.ParquetFile(io.BytesIO(files[f"000{n}_part_00.parquet"]), coerce_int96_timestamp_unit="us") for n in (0, 1)
    )
    assert first.read().to_pylist() == [{"a": 1, "b": "it's", "m": datetime(1, 1, 1)}, {"a": 3, "b": None, "m": None}]
    assert second.read().to_pylist() == [{"a": 2, "b": "", "m": datetime(9999, 12, 31, 23, 59, 59, 999999)}]
    assert first.schema.column(2).physical_type == "INT96"
    manifest = json.loads(files["manifest"])
    assert [entry["meta"]["record_count"] for entry in manifest["entries"]] == [2, 1]
    for entry in manifest["entries"]:
        assert entry["meta"]["content_length"] == len(files[entry["url"].removeprefix(prefix)])
    assert manifest["meta"]["record_count"] == 3
    assert manifest["schema"]["elements"][0] == {"name": "a", "type": {"base": "integer"}}
    assert client.run("SELECT PG_LAST_UNLOAD_COUNT()") == [(3,)]
    client.run("ROLLBACK")


def test_what_was_unloaded_can_be_copied(client: Client) -> None:
    client.run("INSERT INTO t VALUES (1, 'a'), (2, NULL), (3, '')")
    prefix = client.unload("SELECT a, b FROM t", "PARALLEL OFF MAXFILESIZE 5 MB")
    assert sorted(client.files(prefix)) == ["000.parquet", "manifest"]
    client.run("TRUNCATE t")
    client.copy("t", f"{prefix}manifest")
    assert client.run("SELECT a, b FROM t ORDER BY a") == [(1, "a"), (2, None), (3, "")]


def test_unload_of_nothing_and_onto_something(client: Client) -> None:
    assert client.files(client.unload("SELECT a FROM t")) == {}
    client.run("INSERT INTO t VALUES (1, 'a')")
    prefix = client.unload("SELECT a FROM t")
    assert sorted(client.files(prefix)) == ["0000_part_00.parquet", "manifest"]
    assert "not empty" in str(client.error(UNLOAD.format(query="SELECT a FROM t", prefix=prefix)))
    assert "type (1184)" in str(
        client.error(UNLOAD.format(query="SELECT ''2021-01-01''::timestamptz AS z", prefix=prefix + "z"))
    )


@pytest.fixture
def connector(client: Client) -> Iterator[Any]:
    login = client.cluster.login
    with closing(
        redshift_connector.connect(
            host=login["host"],
            port=login["port"],
            database=login["dbname"],
            user=login["user"],
            password=login["password"],
            ssl=False,
        )
    ) as connection:
        yield connection


def test_redshift_connector(client: Client, connector: Any) -> None:
    cursor = connector.cursor()
    cursor.execute("INSERT INTO t (a, b) VALUES (%s, %s)", (1, "it's\\"))
    cursor.execute("INSERT INTO t (a, b) VALUES (%s, %s)", (2, None))
    connector.commit()
    cursor.execute("SELECT a, b FROM t WHERE a < %s ORDER BY a", (5,))
    assert [list(row) for row in cursor.fetchall()] == [[1, "it's\\"], [2, None]]
    for _ in range(2):
        manifest = client.manifest(client.put(f"{uuid4().hex}", rows((3, "c"))))
        cursor.execute(COPY.format(table="t", manifest=manifest))
        cursor.execute("SELECT PG_LAST_COPY_COUNT()")
        assert [list(row) for row in cursor.fetchall()] == [[1]]
    connector.rollback()
    cursor.execute("SELECT COUNT(*), MAX(CAST('2021-05-06' AS DATE)), a FROM t GROUP BY a ORDER BY a")
    assert [list(row) for row in cursor.fetchall()] == [[1, date(2021, 5, 6), 1], [1, date(2021, 5, 6), 2]]
    connector.commit()


def test_redshift_connector_after_errors(client: Client, connector: Any) -> None:
    cursor = connector.cursor()
    cursor.execute("INSERT INTO t (a, b) VALUES (%s, %s)", (1, "x"))
    for wrong in ("SELECT NOW()", "SELECT * FROM nowhere", COPY.format(table="t", manifest="s3://gone/gone")):
        with pytest.raises(redshift_connector.error.ProgrammingError):
            cursor.execute(wrong)
        with pytest.raises(redshift_connector.error.ProgrammingError, match="aborted"):
            cursor.execute("SELECT 1")
        connector.rollback()
        cursor.execute("SELECT COUNT(*) FROM t")
        assert list(cursor.fetchone()) == [0]
    cursor.execute("CREATE TEMP TABLE e (x VARBYTE(4))")
    url = client.put(f"{uuid4().hex}", pa.table({"x": pa.array([b"\x01ab"])}))
    cursor.execute(COPY.format(table="e", manifest=client.manifest(url)))
    cursor.execute("SELECT x FROM e")
    assert cursor.fetchone()[0] == "\x01ab"  # it makes text of the digits
    cursor.execute("TRUNCATE e")
    connector.rollback()
    cursor.execute("SELECT SYSDATE")
    assert isinstance(cursor.fetchone()[0], datetime)
    connector.rollback()


def test_everything_ends_with_it(cluster: Cluster) -> None:
    own = cluster.redshift._warehouse
    with Standin(host=own.host, port=own.port, s3=own.s3, role=ROLE) as standin:
        connection = cluster.connect(port=standin.port)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    assert not [thread for thread in standin._threads if thread.is_alive()]
    with closing(connection), pytest.raises(psycopg2.OperationalError), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
