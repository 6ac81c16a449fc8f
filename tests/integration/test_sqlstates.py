"""30, 52, 56, 57: errors of the warehouse, by SQLSTATE: what is done about each, with cause and remedy named."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import pytest

from datamart.errors import Conflict, DatamartError, TerminalFault, TransientFault
from datamart.ingest import Ingest, Sessions
from datamart.load import Loader
from datamart.loads import Verdict
from datamart.migrations import migrate
from datamart.objects import ObjectStore
from datamart.settings import load_settings
from datamart.tables import table_named
from datamart.warehouse.base import Warehouse
from datamart.warehouse.postgres import PostgresWarehouse
from datamart.warehouse.redshift import RedshiftWarehouse
from datamart.warehouse.sqlstates import REDSHIFT_RULES, RULES, Action, Rule
from datamart_airflow import clients
from tests.bucket import own_bucket
from tests.databases import OwnDatabase, own_database
from tests.stack import Stack

LOGIN = "sqlstates_login"
KINDS: dict[Action, type[DatamartError]] = {
    Action.RETRY_TRANSACTION: Conflict, Action.WAIT: TransientFault, Action.GIVE_UP: TerminalFault
}  # fmt: skip
SECRET = "Jane Doe"


def redshift(dsn: str) -> Warehouse:
    """Its session, with PostgreSQL at the other end: what is tried here is how it takes errors."""
    return RedshiftWarehouse(dsn, lambda: pytest.fail("no file is exchanged"))


@dataclass
class Server:
    """A migrated database, a login whose limits and password can change, and a superuser."""

    own: OwnDatabase
    store: ObjectStore
    admin: Any
    password: str = "first"
    """The password in the connection, which the login may have no longer."""
    opened: list[Warehouse] = field(default_factory=list)

    def do(self, text: str) -> None:
        """Run a statement as a superuser."""
        with self.admin.cursor() as cursor:
            cursor.execute(text)

    def ask(self, text: str) -> list[tuple[Any, ...]]:
        """The rows of a query as a superuser."""
        with self.admin.cursor() as cursor:
            cursor.execute(text)
            return list(cursor.fetchall())

    @property
    def dsn(self) -> str:
        """As the connection has it now."""
        at = self.own.owner
        return f"postgresql://{LOGIN}:{self.password}@{at.hostname}:{at.port}{at.path}"

    @contextmanager
    def session(self, opens: Callable[[str], Warehouse] = PostgresWarehouse) -> Iterator[Warehouse]:
        """A new session, by the connection of now."""
        with closing(opens(self.dsn)) as warehouse:
            yield warehouse

    @contextmanager
    def loader(self) -> Iterator[Loader]:
        """A loader on a new session."""
        with self.session() as warehouse:
            self.opened.append(warehouse)
            yield Loader(warehouse, self.store, load_settings({}), {"dag_id": "d", "run_id": "r"})

    def end_sessions(self) -> None:
        """What a failover does to the sessions that are there."""
        self.do(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{LOGIN}'")

    def ingest(self, name: str) -> list[Verdict]:
        """Load one landed file and move it away."""
        arrivals = self.store.list(f"landing/{name}")
        with Sessions(self.loader) as sessions:
            return [outcome.verdict for outcome in Ingest(sessions).files(arrivals)]

    def rows_of(self, name: str) -> int:
        """Loads of a file that are in the ledger."""
        found = self.ask(f"SELECT count(*) FROM ops.loads WHERE verdict = 'loaded' AND source_key = 'landing/{name}'")
        return int(found[0][0])


@pytest.fixture(scope="module")
def built(warehouse_and_s3: Stack) -> Iterator[Server]:
    with (
        own_database(warehouse_and_s3, "sqlstates") as own,
        own_bucket(warehouse_and_s3.s3, "sqlstates") as bucket,
        closing(psycopg2.connect(**own.superuser)) as admin,
    ):
        admin.autocommit = True
        with closing(PostgresWarehouse(own.dsn)) as warehouse:
            migrate(warehouse)
        server = Server(own, ObjectStore(warehouse_and_s3.s3, bucket), admin)
        server.do(f"CREATE ROLE {LOGIN} LOGIN PASSWORD 'first' IN ROLE {own.owner.username}")
        try:
            yield server
        finally:
            server.end_sessions()
            server.do(f"DROP OWNED BY {LOGIN}")
            server.do(f"DROP ROLE {LOGIN}")


@pytest.fixture
def server(built: Server) -> Iterator[Server]:
    yield built
    built.do(f"ALTER ROLE {LOGIN} RESET ALL")
    built.do(f"ALTER ROLE {LOGIN} PASSWORD 'first' LOGIN CONNECTION LIMIT -1")
    built.do(f"ALTER DATABASE {built.own.owner.path[1:]} RESET ALL")
    built.password = "first"


def raising(code: str, message: str = "as the server says", detail: str = "") -> str:
    """A statement that fails so."""
    more = f", DETAIL = '{detail}'" if detail else ""
    return f"DO $$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = '{code}'{more}; END $$"


MESSAGES = {
    "due to user request": "canceling statement due to user request",
    "load_error": "Load into table jobs failed",
    "Spectrum": "Spectrum Scan Error",
    "1023": "1023",
}


def said_by(rule: Rule) -> tuple[str, str]:
    """A message, and a detail, for which the row is."""
    if rule.text is None:
        return "as the server says", ""
    found = next(message for part, message in MESSAGES.items() if part in rule.text.pattern)
    return found, "code: 15007 context: file x" if "Spectrum" in found else ""


def cases(kind: Callable[[str], Warehouse], rules: tuple[Rule, ...]) -> Iterator[Any]:
    """Each row that is in force in a dialect."""
    for place, rule in enumerate(rules):
        later = {one.code for one in rules[place + 1 :] if one.text is None}
        if rule.code not in later and not (rule.code in later and rule.text):
            name = f"{kind.__name__}-{rule.code or 'any'}{'-text' if rule.text else ''}"
            yield pytest.param(kind, rule, id=name)


@pytest.mark.parametrize(("opens", "rule"), [*cases(PostgresWarehouse, RULES), *cases(redshift, REDSHIFT_RULES)])
def test_each_row_of_the_table(server: Server, opens: Callable[[str], Warehouse], rule: Rule) -> None:
    code = {0: "XX000", 2: f"{rule.code}999"}.get(len(rule.code), rule.code)
    message, detail = said_by(rule)
    with server.session(opens) as warehouse, pytest.raises(DatamartError) as found:  # noqa: SIM117
        with warehouse.transaction():  # within one Redshift's sessions try nothing again by themselves
            warehouse.execute(raising(code, message, detail))
    assert type(found.value) is KINDS[rule.action]
    text = str(found.value)
    assert f"({code})" in text
    assert text.endswith(rule.remedy)
    assert (message in text) != rule.quotes_values
    assert "15007" not in text, "a detail may quote a row"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("08006", TransientFault), ("0A000", TerminalFault), ("22P02", TerminalFault), ("23505", TerminalFault),
        ("25001", TerminalFault), ("25006", TransientFault), ("25P03", TransientFault), ("25P04", TransientFault),
        ("28000", TransientFault), ("28P01", TransientFault), ("3D000", TerminalFault), ("40001", Conflict),
        ("40P01", Conflict), ("42501", TerminalFault), ("42P01", TerminalFault), ("42601", TerminalFault),
        ("53100", TransientFault), ("53200", TransientFault), ("53300", TransientFault), ("53400", TerminalFault),
        ("54000", TerminalFault), ("55P03", TransientFault), ("57014", TransientFault), ("57P01", TransientFault),
        ("57P03", TransientFault), ("57P04", TerminalFault), ("58030", TransientFault), ("P0001", TerminalFault),
        ("XX000", TerminalFault), ("XX001", TerminalFault), ("ZZ999", TerminalFault),
    ],
)  # fmt: skip
@pytest.mark.parametrize("opens", [PostgresWarehouse, redshift])
def test_what_is_decided_of_each_code(
    server: Server, opens: Callable[[str], Warehouse], code: str, kind: type[DatamartError]
) -> None:
    if opens is redshift and code == "XX000":
        kind = TransientFault
    with server.session(opens) as warehouse, pytest.raises(DatamartError) as found:  # noqa: SIM117
        with warehouse.transaction():
            warehouse.execute(raising(code))
    assert type(found.value) is kind


def test_no_message_quotes_a_value(server: Server) -> None:
    with server.session() as warehouse, pytest.raises(TerminalFault) as found:
        warehouse.query("SELECT CAST(%(value)s AS INTEGER)", {"value": SECRET})
    assert SECRET not in str(found.value)
    assert "(22P02). A value does not fit its column." in str(found.value)


@contextmanager
def jobs_with(server: Server, add: str, remove: str) -> Iterator[None]:
    """The table of jobs with what a DBA has added by hand."""
    server.do(add)
    try:
        yield
    finally:
        server.do(remove)


@pytest.mark.parametrize("code", ["P0001", "23514", "22023", "42501", "ZZ999"])
@pytest.mark.parametrize("constraint", ["", ", CONSTRAINT = 'positive'"])
def test_no_message_of_a_trigger_is_quoted_and_its_function_is_named(
    server: Server, code: str, constraint: str
) -> None:
    function = f"""CREATE FUNCTION public.check_salary() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'salary of % (id %) is too high', NEW.job, NEW.id USING ERRCODE = '{code}'{constraint};
    END $$;
    CREATE TRIGGER salary BEFORE INSERT ON public.jobs FOR EACH ROW EXECUTE FUNCTION public.check_salary()"""
    with (
        jobs_with(server, function, "DROP FUNCTION public.check_salary() CASCADE"),
        server.session() as warehouse,
        pytest.raises(TerminalFault, match=rf"\({code}\): the function (public\.)?check_salary raised it\.") as found,
    ):
        warehouse.execute("INSERT INTO public.jobs (id, job) VALUES (17, %(job)s)", {"job": SECRET})
    assert SECRET not in str(found.value)
    assert "17" not in str(found.value)


def test_a_constraint_or_column_that_the_server_names_is_repeated_without_values(server: Server) -> None:
    add = f"ALTER TABLE public.jobs ADD CONSTRAINT no_jane CHECK (job <> '{SECRET}')"
    insert = "INSERT INTO public.jobs (id, job, _load_id) VALUES (%(id)s, %(job)s, 1)"
    with jobs_with(server, add, "ALTER TABLE public.jobs DROP CONSTRAINT no_jane"), server.session() as warehouse:
        with pytest.raises(TerminalFault, match=r'violates check constraint "no_jane"\. A rule') as found:
            warehouse.execute(insert, {"id": 17, "job": SECRET})
        assert SECRET not in str(found.value)
        with pytest.raises(TerminalFault, match='null value in column "id"') as found:
            warehouse.execute(insert, {"id": None, "job": SECRET})
        assert SECRET not in str(found.value)


def test_52_a_server_that_only_reads_is_waited_for_and_the_file_is_loaded_once(server: Server) -> None:
    name, database = "jobs_failover.csv", server.own.owner.path[1:]
    server.store.write(f"landing/{name}", b"1,a\n2,b\n")
    server.do(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    with pytest.raises(TransientFault, match=r"25006.*failover"):
        server.ingest(name)
    assert server.rows_of(name) == 0
    assert server.store.list(f"landing/{name}"), "it is not moved away"
    server.do(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    server.end_sessions()
    assert server.ingest(name) == [Verdict.LOADED]
    assert server.rows_of(name) == 1


@pytest.mark.parametrize("code", ["25006", "28", "53400"])
def test_a_row_that_is_taken_out_is_missed(server: Server, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Planted: what is asserted of these codes is the table's doing."""
    raised = f"{code}000"[:5]
    with server.session() as warehouse:
        monkeypatch.setattr(PostgresWarehouse, "rules", RULES)
        kind = type(failure(warehouse, raised))
        monkeypatch.setattr(PostgresWarehouse, "rules", tuple(rule for rule in RULES if rule.code != code))
        assert type(failure(warehouse, raised)) is not kind


def failure(warehouse: Warehouse, code: str) -> DatamartError:
    """What is raised for an error with this code."""
    with pytest.raises(DatamartError) as found:
        warehouse.execute(raising(code))
    return found.value


def test_52_a_failover_in_the_middle_of_a_load_is_mended_by_its_second_try(server: Server) -> None:
    """The session that the load began with meets the read-only server; the next one is the new primary's."""
    name = "jobs_in_the_middle.csv"
    server.store.write(f"landing/{name}", b"3,a\n4,b\n")
    server.do(f"ALTER ROLE {LOGIN} SET default_transaction_read_only = on")

    class Healing(Sessions):
        def renew(self) -> None:
            server.do(f"ALTER ROLE {LOGIN} RESET default_transaction_read_only")
            super().renew()

    with Healing(server.loader) as sessions:
        outcomes = list(Ingest(sessions).files(server.store.list(f"landing/{name}")))
    assert [one.verdict for one in outcomes] == [Verdict.LOADED]
    assert server.rows_of(name) == 1


def test_56_a_password_that_is_rotated_is_taken_from_the_connection_by_the_next_session(server: Server) -> None:
    name = "jobs_rotated.csv"
    server.store.write(f"landing/{name}", b"5,a\n")
    with Sessions(server.loader) as sessions:
        assert sessions.loader.warehouse.query("SELECT 1") == [(1,)]
        server.do(f"ALTER ROLE {LOGIN} PASSWORD 'second'")
        server.end_sessions()
        arrivals, before = server.store.list(f"landing/{name}"), len(server.opened)
        with pytest.raises(TransientFault, match=r"28P01.*each new session reads them from there"):
            list(Ingest(sessions).files(arrivals))
        assert server.rows_of(name) == 0
        assert len(server.opened) == before, "no session was opened with the old password"
        server.password = "second"
        sessions.renew()
        assert [one.verdict for one in Ingest(sessions).files(arrivals)] == [Verdict.LOADED]
    assert server.rows_of(name) == 1


def test_56_airflows_connection_is_read_for_each_session(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", server.dsn)
    with clients.warehouse() as warehouse:
        assert warehouse.query("SELECT 1") == [(1,)]
    server.do(f"ALTER ROLE {LOGIN} PASSWORD 'second'")
    with pytest.raises(TransientFault, match="28P01"), clients.warehouse():
        pytest.fail("the old password is refused")
    server.password = "second"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", server.dsn)
    with clients.warehouse() as warehouse:
        assert warehouse.query("SELECT 1") == [(1,)]


REFUSALS = {
    "28P01": (f"ALTER ROLE {LOGIN} PASSWORD 'other'", TransientFault),
    "28000": (f"ALTER ROLE {LOGIN} NOLOGIN", TransientFault),
    "53300": (f"ALTER ROLE {LOGIN} CONNECTION LIMIT 0", TransientFault),
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refused_connection_is_told_by_its_code(server: Server, code: str) -> None:
    statement, kind = REFUSALS[code]
    server.do(statement)
    with pytest.raises(kind, match=code) as found:
        PostgresWarehouse(server.dsn)
    assert type(found.value) is kind
    assert server.password not in re.sub(r"first, ", "", str(found.value)).split()


def test_a_database_that_is_not_there_is_given_up(server: Server) -> None:
    with pytest.raises(TerminalFault, match=r"3D000.*Correct the database's name"):
        PostgresWarehouse(f"{server.dsn}_absent")


def test_57_a_session_that_was_idle_in_its_transaction_for_too_long(server: Server) -> None:
    with server.session() as warehouse:
        warehouse.execute("SET idle_in_transaction_session_timeout = '100ms'")
        with pytest.raises(TransientFault, match=r"25P03.*idle_in_transaction_session_timeout"):  # noqa: PT012, SIM117
            with warehouse.transaction():
                time.sleep(0.5)
                warehouse.query("SELECT 1")
        assert not warehouse.alive()


def test_57_a_transaction_that_takes_too_long(server: Server) -> None:
    server.do(f"ALTER ROLE {LOGIN} SET transaction_timeout = '200ms'")
    with server.session() as warehouse, pytest.raises(TransientFault, match=r"25P04.*transaction_timeout"):  # noqa: SIM117
        with warehouse.transaction():
            warehouse.query("SELECT pg_sleep(5)")


def test_57_a_statement_timeout_is_named_and_waited_for(server: Server) -> None:
    server.do(f"ALTER ROLE {LOGIN} SET statement_timeout = '100ms'")
    with server.session() as warehouse, pytest.raises(TransientFault, match=r"57014.*raise statement_timeout") as found:
        warehouse.query("SELECT pg_sleep(5)")
    assert not isinstance(found.value, Conflict), "it is not tried again at once"


def test_57_a_statement_that_a_person_cancels_is_not_retried(server: Server) -> None:
    with server.session() as warehouse:
        ((pid,),) = warehouse.query("SELECT pg_backend_pid()")
        cancel = threading.Timer(0.3, server.do, [f"SELECT pg_cancel_backend({pid})"])
        cancel.start()
        with pytest.raises(TerminalFault, match=r"57014.*A person or a program canceled the statement"):
            warehouse.query("SELECT pg_sleep(5)")
        cancel.join()


def test_57_a_limit_on_temporary_files_is_given_up(server: Server) -> None:
    server.do(f"ALTER ROLE {LOGIN} SET temp_file_limit = '64kB'")
    server.do(f"ALTER ROLE {LOGIN} SET work_mem = '64kB'")
    with server.session() as warehouse, pytest.raises(TerminalFault, match=r"53400.*temp_file_limit"):
        warehouse.query("SELECT n FROM generate_series(1, 200000) AS n ORDER BY n DESC LIMIT 1 OFFSET 199999")


def test_57_a_lock_that_is_not_had_in_time_is_waited_for(server: Server) -> None:
    with server.session() as holder, holder.transaction():
        holder.lock(table_named("jobs"))
        with server.session() as warehouse:
            warehouse.execute("SET lock_timeout = '100ms'")
            with pytest.raises(TransientFault, match=r"55P03.*Another session holds a lock"), warehouse.transaction():
                warehouse.lock(table_named("jobs"))


def test_57_a_right_that_was_taken_away_is_given_up(server: Server) -> None:
    told, database = r"42501.*Grant the right to the product's login", server.own.owner.path[1:]
    server.do(f"REVOKE {server.own.owner.username} FROM {LOGIN}")
    try:
        with pytest.raises(TerminalFault, match=told):
            PostgresWarehouse(server.dsn)
        server.do(f"GRANT CONNECT ON DATABASE {database} TO {LOGIN}")
        with (
            server.session() as warehouse,
            pytest.raises(TerminalFault, match=told),
        ):
            warehouse.execute("DELETE FROM public.jobs")
    finally:
        server.do(f"GRANT {server.own.owner.username} TO {LOGIN}")
