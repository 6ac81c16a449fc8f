"""No log holds a secret or what is in a row: all is done that has to do with rows, then all logs are searched."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import httpx
import psycopg2
import pytest
from botocore.exceptions import ClientError

from tests.product import Product
from tests.rest import Rest, unique_key
from tests.stack import Stack

PATIENCE = 120
TOKEN = re.compile(rb"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}")
"""A bearer token of anybody: header and claims are JSON."""
FIRST_ID = 7_770_000
LOGS = ("api-server.log", "scheduler.log", "dag-processor.log", "triggerer.log", "postgres.log", "s3.log", "watch.log")


@dataclass
class Canaries:
    """Words that are in rows, files and wrong passwords of this test and nowhere else."""

    mark: str = field(default_factory=lambda: uuid4().hex)
    known: list[str] = field(default_factory=list)

    def __call__(self, where: str) -> str:
        self.known.append(f"Zq7-canary-{where}-{self.mark}")
        return self.known[-1]


@dataclass
class Done:
    """What was done, and what must be in no log."""

    canaries: Canaries
    tokens: list[str]


def until(happens: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE
    while not (found := happens()):
        assert time.monotonic() < end, f"{what} has not happened"
        time.sleep(0.3)
    return found


@pytest.fixture(scope="module")
def done(stack: Stack, product: Product) -> Done:
    for dag_id in ("ingest_upload", "ingest_landing", "backup", "restore"):
        product.known(dag_id)
    canary, rest = Canaries(), Rest.of(stack).as_("admin")
    _load_history(product, canary)
    _upload(rest, canary)
    backup = _back_up(rest)
    _land(product, canary)
    _restore(rest, backup)
    _refuse_logins(stack, rest, canary)
    _refuse_uploads(rest, canary)
    _fail_in_the_warehouse(rest, product, canary)
    _fail_by_hand(stack, canary)
    tokens = [*rest._tokens.values(), product.api._token]
    assert len(canary.known) == len(set(canary.known)) > 20
    return Done(canary, tokens)


def _employees(canary: Canaries, where: str, first: int) -> bytes:
    """One good row, and one for each kind of wrong one."""
    rows = (
        f"{first},{canary(f'{where}-name')},2019-05-06T07:08:09Z,1,1",
        f"{canary(f'{where}-integer')},n,2019-05-06T07:08:09Z,1,1",
        f"{first + 1},n,{canary(f'{where}-moment')},1,1",
        f"{first + 2},{canary(f'{where}-long')}{'x' * 300},2019-05-06T07:08:09Z,1,1",
        f"{first + 3},{canary(f'{where}-ragged')},2019-05-06T07:08:09Z",
        f"{first + 4},{canary(f'{where}-encoding')}\udcff,2019-05-06T07:08:09Z,1,1",
        f"{first},{canary(f'{where}-twice')},2019-05-06T07:08:09Z,1,1",
    )
    return "\n".join(rows).encode(errors="surrogateescape") + b"\n"


def _load_history(product: Product, canary: Canaries) -> None:
    product.put("canaries/", "hired_employees.csv", _employees(canary, "historic", FIRST_ID))
    product.put("canaries/", "jobs.csv", f"id,{canary('header')}\n1,a\n".encode())
    state, verdicts, _ = product.run("canaries/")
    assert (state, sorted(one["verdict"] for one in verdicts)) == ("failed", ["loaded", "rejected"])


def _upload(rest: Rest, canary: Canaries) -> None:
    body = _employees(canary, "upload", FIRST_ID + 10)
    answer = rest.upload("hired_employees_canaries.csv", body, key=unique_key())
    assert (answer.status_code, answer.json()["nrows_failed"]) == (200, 6), answer.text
    dry = rest.upload("hired_employees_canaries.csv", body, key=unique_key(), dry_run=True)
    assert dry.status_code == 200, dry.text


def _back_up(rest: Rest) -> str:
    before = {one["backup_id"] for one in rest.get("/backups", limit=200).json()["backups"]}
    rest.plain("POST", "/backup", params={"table": "hired_employees"}, headers=rest.bearer).raise_for_status()

    def new() -> set[str]:
        return {one["backup_id"] for one in rest.get("/backups", limit=200).json()["backups"]} - before

    return str(until(new, "the backup").pop())


def _land(product: Product, canary: Canaries) -> None:
    good, bad = (f"landing/hired_employees_{canary.mark[:9]}{letter}.csv" for letter in "ab")
    product.put("", good, _employees(canary, "landed", FIRST_ID + 20))
    product.put("", bad, f"x,{canary('landed-bad')}\n".encode())

    def verdicts() -> bool:
        found = product.sql("SELECT verdict FROM ops.loads WHERE source_key IN (%s, %s)", good, bad)
        return sorted(verdict for (verdict,) in found) == ["loaded", "rejected"]

    until(verdicts, "the verdict on both files")
    until(lambda: not product.busy(), "the end of the runs")


def _restore(rest: Rest, backup_id: str) -> None:
    query = {"table": "hired_employees", "backup_id": backup_id, "wait": 120}
    answer = rest.plain("POST", "/restore", params=query, headers=rest.bearer)
    assert answer.json()["result"] == "Table hired_employees restored from backup.", answer.text
    assert answer.json()["removed"] == 1


def _refuse_logins(stack: Stack, rest: Rest, canary: Canaries) -> None:
    login = {"username": "admin", "password": canary("password-token")}
    assert httpx.post(f"{rest.url}/auth/token", json=login, trust_env=False).status_code == 401
    basic = base64.b64encode(f"admin:{canary('password-basic')}".encode()).decode()
    canary.known.append(basic)
    assert rest.plain("GET", "/loads", headers={"Authorization": f"Basic {basic}"}).status_code == 401
    fields = {"username": "admin", "password": canary("password-form")}
    assert rest.plain("POST", "/upload", data=fields, files={"file": ("jobs.csv", b"1,a\n")}).status_code == 401
    forged = f"{rest.token[:-6]}AAAAAA"
    canary.known.append(forged)
    assert rest.plain("GET", "/loads", headers={"Authorization": f"Bearer {forged}"}).status_code == 401
    env = stack.env
    wrong = canary("password-s3")
    s3 = boto3.client(
        "s3", endpoint_url=env["S3_ENDPOINT_URL"], region_name="us-east-1",
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"], aws_secret_access_key=wrong,
    )  # fmt: skip
    with pytest.raises(ClientError):
        s3.list_buckets()
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(env["WAREHOUSE_URI"], password=canary("password-warehouse"))
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(env["WAREHOUSE_URI"].replace("datamart:", "nobody:"))


def _refuse_uploads(rest: Rest, canary: Canaries) -> None:
    many = "".join(f"{n},{canary(f'many-{n}') if n == 1 else 'x'}\n" for n in range(1, 1002)).encode()
    refused = {
        "many": rest.upload("jobs.csv", many),
        "header": rest.upload("jobs.csv", f"id,{canary('upload-header')}\n1,a\n".encode()),
        "all bad": rest.upload("jobs.csv", f"x,{canary('upload-all-bad')}\n".encode()),
        "picture": rest.upload("jobs.csv", b"\x89PNG\r\n\x1a\n" + canary("picture").encode()),
        "no table": rest.upload("nothing.csv", canary("no-table").encode()),
    }
    assert all(answer.status_code >= 400 or answer.json()["verdict"] == "rejected" for answer in refused.values())
    broken = f'--x\r\nContent-Disposition: form-data; name="file\r\n\r\n{canary("broken-form")}\r\n'.encode()
    headers = rest.bearer | {"Content-Type": "multipart/form-data; boundary=x"}
    assert rest.plain("POST", "/upload", content=broken, headers=headers).status_code == 400


def _fail_in_the_warehouse(rest: Rest, product: Product, canary: Canaries) -> None:
    """PostgreSQL itself tells the whole row that a check refuses."""
    product.do("ALTER TABLE public.jobs ADD CONSTRAINT no_canary CHECK (job NOT LIKE 'Zq7-canary%') NOT VALID")
    try:
        body = f"{FIRST_ID},{canary('fault-upload')}\n".encode()
        answer = rest.upload("jobs.csv", body, key=unique_key())
        assert (answer.status_code, answer.json()["verdict"]) == (503, "failed"), answer.text
        product.put("canaries-fault/", "jobs.csv", f"{FIRST_ID},{canary('fault-historic')}\n".encode())
        state, _, _ = product.run("canaries-fault/")
        assert state == "failed"
    finally:
        product.do("ALTER TABLE public.jobs DROP CONSTRAINT no_canary")


def _fail_by_hand(stack: Stack, canary: Canaries) -> None:
    """A person's statement fails that names somebody."""
    with closing(psycopg2.connect(stack.env["WAREHOUSE_ANALYST_URI"])) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.errors.DivisionByZero):
            cursor.execute("SELECT 1 / 0 FROM hired_employees WHERE name <> %s", (canary("by-hand"),))
        connection.rollback()
        cursor.execute("SET statement_timeout = '50ms'")
        with pytest.raises(psycopg2.errors.QueryCanceled):
            cursor.execute("SELECT pg_sleep(30), %s", (canary("by-hand-slow"),))


# The search


def secrets_of(stack: Stack) -> dict[str, str]:
    """Every password and key that the stack has made, and as HTTP Basic sends it."""
    found: dict[str, str] = json.loads((stack.directory / "secrets" / "secrets.json").read_text())
    users = json.loads((stack.directory / "secrets" / "airflow_passwords.json").read_text())
    for user, password in users.items():
        found[f"password of {user}"] = password
        found[f"basic of {user}"] = base64.b64encode(f"{user}:{password}".encode()).decode()
    assert all(len(one) >= 15 for one in found.values())
    return found


def logs_of(stack: Stack) -> list[Path]:
    """All that the stack's processes have written for people to read."""
    folders = (stack.directory / "logs", stack.directory / "airflow" / "logs", stack.directory / "work")
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return [*files, stack.directory.parent / f"{stack.directory.name}.out"]


def leaks(stack: Stack, done: Done) -> list[str]:
    """Which secret or row is in which log."""
    needles = secrets_of(stack) | {f"token {n}": one for n, one in enumerate(done.tokens)}
    needles |= {one: one for one in done.canaries.known}
    found = []
    for file in logs_of(stack):
        data = file.read_bytes()
        name = file.relative_to(stack.directory.parent)
        found += [f"{name}: {what}" for what, text in needles.items() if text.encode() in data]
        # A canary by its mark too, whatever has been cut off or put around it.
        found += [f"{name}: a canary"] * (done.canaries.mark.encode() in data)
        found += [f"{name}: some token"] * bool(TOKEN.search(data))
    return found


def test_nothing_that_must_not_be_is_in_a_log(stack: Stack, done: Done) -> None:
    assert leaks(stack, done) == []


def test_the_logs_are_those_of_all_that_was_done(stack: Stack, product: Product, done: Done) -> None:
    files = {str(file.relative_to(stack.directory.parent)) for file in logs_of(stack)}
    for name in LOGS:
        assert (stack.directory / "logs" / name).stat().st_size > 0, name
    for dag_id in ("historic_load", "ingest_upload", "ingest_landing", "backup", "restore"):
        assert any(f"/dag_id={dag_id}/" in file for file in files), dag_id
    tasks = b"".join(file.read_bytes() for file in logs_of(stack) if "dag_id=" in str(file))
    assert b"hired_employees_canaries" in tasks
    assert b"no_canary" in (stack.directory / "logs" / "postgres.log").read_bytes()
    # What was looked for is where it belongs.
    kept = product.sql("SELECT raw FROM ops.rejected_rows")
    assert sum(done.canaries.mark.encode() in bytes(raw) for (raw,) in kept) >= 15
    names = [name for (name,) in product.sql("SELECT name FROM hired_employees WHERE id >= %s", FIRST_ID)]
    assert sum(done.canaries.mark in name for name in names) == 2


@pytest.mark.parametrize("what", ["password", "basic", "key", "issued token", "any token", "row", "half a row"])
def test_one_that_is_planted_is_found(stack: Stack, done: Done, what: str) -> None:
    secrets = secrets_of(stack)
    planted = {
        "password": secrets["postgres_analyst"],
        "basic": secrets["basic of viewer"],
        "key": secrets["fernet_key"],
        "issued token": done.tokens[0],
        "any token": ".".join(f"eyJ{part * 12}" for part in "ab") + f".{'c' * 12}",
        "row": done.canaries.known[0],
        "half a row": done.canaries.known[0][4:],
    }[what]
    file = stack.directory / "logs" / "tasks" / "dag_id=planted" / "attempt=1.log"
    file.parent.mkdir()
    try:
        file.write_text(json.dumps({"event": f"before {planted} after"}))
        assert any("dag_id=planted" in leak for leak in leaks(stack, done))
    finally:
        file.unlink()
        with suppress(OSError):
            file.parent.rmdir()
