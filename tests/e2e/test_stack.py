"""The embedded stack starts, answers, and ends without a trace, however it is ended."""

import os
import signal
import socket
import stat
import urllib.error
import urllib.request
from typing import Any

import psutil
import psycopg2
import pytest

from embedded.airflow_api import AirflowApi
from tests import alive


def test_airflow_answers_and_every_part_is_healthy(stack: Any) -> None:
    env = stack.env
    with urllib.request.urlopen(f"{env['AIRFLOW_URL']}/api/v2/monitor/health") as answer:
        assert answer.status == 200
    api = AirflowApi(env["AIRFLOW_URL"], env["AIRFLOW_USER"], env["AIRFLOW_PASSWORD"])
    ids = {c["connection_id"] for c in api.get("/connections")["connections"]}
    assert ids >= {"warehouse", "warehouse_read", "object_store"}


def test_no_dag_has_an_import_error(stack: Any) -> None:
    env = stack.env
    api = AirflowApi(env["AIRFLOW_URL"], env["AIRFLOW_USER"], env["AIRFLOW_PASSWORD"])
    assert api.get("/importErrors")["import_errors"] == []


def test_warehouse_has_its_tables_and_a_reader_that_only_reads(stack: Any) -> None:
    with psycopg2.connect(stack.env["WAREHOUSE_URI"]) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM ops.loads")
    with psycopg2.connect(stack.env["WAREHOUSE_READ_URI"]) as connection, connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        connection.commit()
        cursor.execute("SELECT count(*) FROM public.departments")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("DELETE FROM public.departments")


def test_buckets_are_there_and_strangers_are_refused(stack: Any) -> None:
    env = stack.env
    s3 = stack.s3
    names = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    assert names >= {env["DATA_BUCKET"], env["BACKUP_BUCKET"]}
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{env['S3_ENDPOINT_URL']}/{env['DATA_BUCKET']}")


def test_every_process_listens_on_loopback_only(stack: Any) -> None:
    below = psutil.Process(stack.process.pid).children(recursive=True)
    places = [place for _, places in alive.ask(below, alive.listening) for place in places]
    assert {str(port) for _, port in places} >= {
        stack.variables[name] for name in ("AIRFLOW_PORT", "S3_PORT", "POSTGRES_PORT")
    }
    assert {host for host, _ in places} == {"127.0.0.1"}


def test_secret_files_are_private(stack: Any) -> None:
    folder = stack.directory / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(stack.directory.stat().st_mode) & 0o066 == 0
    files = list(folder.iterdir())
    assert len(files) >= 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_second_start_of_the_same_stack_is_refused(stack: Any) -> None:
    second = stack.command("up")
    assert second.returncode == 1
    assert "runs already" in second.stderr


def test_a_busy_port_is_one_line_that_names_port_and_variable(servers: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(servers.variables["S3_PORT"])))
        other.listen()
        refused = servers.command("up")
    assert refused.returncode == 1
    lines = refused.stderr.strip().splitlines()
    assert len(lines) == 1
    assert servers.variables["S3_PORT"] in lines[0]
    assert "S3_PORT=" in lines[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_process(servers: Any, number: int) -> None:
    servers.start()
    assert servers.leftovers() != []
    servers.stop(number)
    assert servers.left_after() == []


def test_after_a_kill_the_next_start_reuses_everything(servers: Any) -> None:
    servers.variables["DATAMART_ALERT_WEBHOOK"] = "hook_of_the_first_start"
    servers.start()
    assert "Variables of the last start" not in servers.output
    before = servers.env
    with psycopg2.connect(before["WAREHOUSE_URI"]) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO public.departments (id, department, _load_id) VALUES (1, 'kept', 1)")
    servers.stop(signal.SIGKILL)
    del servers.variables["DATAMART_ALERT_WEBHOOK"]
    servers.start()
    assert servers.env == before
    assert "Variables of the last start are used again: DATAMART_ALERT_WEBHOOK." in servers.output
    assert "hook_of_the_first_start" not in servers.output
    with psycopg2.connect(before["WAREHOUSE_URI"]) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT department FROM public.departments")
        assert cursor.fetchall() == [("kept",)]
    assert servers.stop() == 0
    assert servers.left_after() == []


def test_down_ends_a_stack_and_what_a_killed_one_left(servers: Any) -> None:
    servers.start()
    assert servers.command("down").returncode == 0
    assert servers.process.wait(10) == 0
    assert servers.left_after() == []
    servers.start()
    servers.stop(signal.SIGKILL)
    assert servers.command("down").returncode == 0
    assert servers.left_after() == []


def test_a_server_that_dies_ends_the_stack(servers: Any) -> None:
    servers.start()
    postmaster = int((servers.directory / "postgres/data/postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGKILL)
    assert servers.process.wait(30) == 1
    assert "postgres ended" in servers.output
    assert servers.left_after() == []
