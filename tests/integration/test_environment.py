"""Nothing in a process's environment changes what is judged, loaded or told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import boto3
import pytest

from datamart.load import Loader
from datamart.objects import ObjectStore
from datamart.settings import load_settings
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.world import World
from tests.oracle import rules
from tests.stack import REPOSITORY, Stack

ENVIRONMENTS = {
    "nothing": {},
    "pandera off": {"PANDERA_VALIDATION_ENABLED": "False"},
    "pandera in capitals": {"PANDERA_VALIDATION_ENABLED": "TRUE", "PANDERA_CACHE_DATAFRAME": "True"},
    "pandera schema only": {"PANDERA_VALIDATION_DEPTH": "SCHEMA_ONLY"},
    "pandera unknown": {"PANDERA_VALIDATION_DEPTH": "none at all", "PANDERA_USE_NARWHALS_BACKEND": "True"},
    "python": {
        "PYTHONOPTIMIZE": "2", "PYTHONHASHSEED": "7", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
        "TZ": "Asia/Kathmandu", "LC_ALL": "C", "LANG": "de_DE",
        "PANDAS_FUTURE_INFER_STRING": "1", "PANDAS_COPY_ON_WRITE": "0",
    },
    "libpq": {
        "PGTZ": "Asia/Kathmandu", "PGDATESTYLE": "German, DMY", "PGCLIENTENCODING": "LATIN1", "PGAPPNAME": "other",
        "PGOPTIONS": "-c default_transaction_read_only=on -c standard_conforming_strings=off -c TimeZone=Asia/Tokyo",
        "TZ": "America/St_Johns",
    },
    "aws": {
        "AWS_CONFIG_FILE": "/nowhere", "AWS_MAX_ATTEMPTS": "1", "AWS_DEFAULT_OUTPUT": "text",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    },
}  # fmt: skip


def body(number: int) -> bytes:
    """Good and bad rows of every kind, with keys that no other environment's file has."""
    start = 1000 * number
    lines = (
        b"%d,Jos\xc3\xa9 \xe6\x95\xb0,2021-03-28T01:30:00Z,1,2" % (start + 1),
        b"%d,Bo,0001-01-01T00:00:00Z,1,2" % (start + 2),
        b"%d,,2021-02-30T00:00:00Z,x,2147483648" % (start + 3),
        b"%d,\xff,2021-01-01T00:00:00Z,1,2" % (start + 4),
        b"%d,%s,2021-01-01T00:00:00Z,1,2" % (start + 5, b"a" * 257),
        b"%d,doubled,2021-01-01T00:00:00Z,1,2" % (start + 1),
        b"%d,ragged" % (start + 6),
    )
    return b"\n".join(lines) + b"\n"


def main() -> None:
    """Load the object whose key is the argument, and tell the outcome."""
    client = boto3.client("s3", endpoint_url=os.environ["S3_URL"])
    store = ObjectStore(client, os.environ["BUCKET"])
    (arrival,) = store.list(sys.argv[1])
    outcome = Loader(PostgresWarehouse(os.environ["URI"]), store, load_settings({}), {"run_id": "one"}).load(arrival)
    print(json.dumps([outcome.verdict, asdict(outcome.counts), outcome.warnings]))


@pytest.mark.usefixtures("world")
def test_every_environment_gives_the_same_verdict(world: World, warehouse_and_s3: Stack) -> None:
    env = warehouse_and_s3.env
    own = {
        "PYTHONPATH": f"{REPOSITORY / 'include'}:{REPOSITORY}", "URI": world.database.dsn,
        "S3_URL": env["S3_ENDPOINT_URL"], "BUCKET": world.store.bucket, "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": env["AWS_ACCESS_KEY_ID"], "AWS_SECRET_ACCESS_KEY": env["AWS_SECRET_ACCESS_KEY"],
    }  # fmt: skip
    arrivals = [world.put(f"hired_employees_{number}.csv", body(number)) for number in range(len(ENVIRONMENTS))]

    def told(number: int, variables: dict[str, str]) -> str:
        command = [sys.executable, "-c", "from tests.integration.test_environment import main; main()"]
        done = subprocess.run(
            [*command, arrivals[number].key], cwd=REPOSITORY, env=own | variables, capture_output=True, check=False
        )
        return done.stdout.decode() or done.stderr.decode()

    with ThreadPoolExecutor(2) as pool:
        answers = dict(zip(ENVIRONMENTS, pool.map(told, range(len(arrivals)), ENVIRONMENTS.values()), strict=True))
    judged = rules.judge("hired_employees", body(0))
    counts = {
        "read": judged.rows_read, "inserted": len(judged.accepted), "rejected": len(judged.rejected),
        "updated": 0, "unchanged": 0, "removed": 0,
    }  # fmt: skip
    assert (len(judged.accepted), len(judged.rejected)) == (2, 5)
    for name, answer in answers.items():
        verdict, told_counts, _ = json.loads(answer) if answer.startswith("[") else (answer, {}, {})
        assert (name, verdict, told_counts) == (name, "loaded", counts)
    wanted = [row for number in range(len(arrivals)) for row in rules.judge("hired_employees", body(number)).accepted]
    assert world.rows("hired_employees") == sorted(wanted)
    for number, (load_id,) in enumerate(world.sql("SELECT load_id FROM ops.loads ORDER BY source_key")):
        wanted_rejects = rules.judge("hired_employees", body(number)).rejected
        assert world.rejected(load_id) == [(one.line, one.raw, one.reasons) for one in wanted_rejects]
