"""What the servers must hold before Airflow starts: the warehouse's tables, metadata and connections."""

import hashlib
import json
import subprocess
import sys
from contextlib import closing

import psycopg2
from psycopg2 import sql

from embedded import postgres
from embedded.environment import OWN_WAREHOUSE, include_product, names_own_warehouse
from embedded.environment import airflow as airflow_environment
from embedded.errors import StackError
from embedded.settings import HOST, REGION, REPOSITORY, Settings
from embedded.stacksecrets import Secrets


def migrate_warehouse(settings: Settings, secrets: Secrets) -> None:
    """Make or update the warehouse's schemas and tables."""
    include_product()
    from datamart.migrations import migrate
    from datamart.warehouse.postgres import PostgresWarehouse

    uri = postgres.uri(settings, postgres.OWNER, secrets.postgres_warehouse, "warehouse")
    with closing(PostgresWarehouse(uri)) as warehouse:
        migrate(warehouse, reader_role=postgres.READER, analyst_role=postgres.ANALYST)


def has_rows(settings: Settings, secrets: Secrets) -> bool:
    """Whether a table of the stack's own warehouse has a row; a warehouse elsewhere is not asked."""
    if names_own_warehouse(settings):
        return False
    include_product()
    from datamart.tables import TABLES

    uri = postgres.uri(settings, postgres.OWNER, secrets.postgres_warehouse, "warehouse")
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM public.{})").format(sql.Identifier(table.name)))
            if cursor.fetchone() == (True,):
                return True
    return False


def migrate_own_warehouse(settings: Settings, secrets: Secrets) -> bool:
    """The same for a warehouse that a variable names; False when none does.

    Raises:
        StackError: it names one for writing without one for reading, or it could not be brought up to date.
    """
    env = airflow_environment(settings, secrets)
    named = [name for name in OWN_WAREHOUSE if name in env]
    if not named:
        return False
    if len(named) < len(OWN_WAREHOUSE):
        raise StackError(f"Set both {' and '.join(OWN_WAREHOUSE)}, or none: all that only reads has its own login.")
    done = subprocess.run(  # nosec B603  # a fixed command
        [sys.executable, "-m", "datamart_airflow.migrate"], env=env, cwd=settings.work_dir, check=False
    )
    if done.returncode:
        raise StackError(f"The warehouse that {named[0]} names could not be brought up to date.")
    return True


def connections(settings: Settings, secrets: Secrets) -> dict[str, dict[str, object]]:
    """Airflow's connections, by id."""

    def database(login: str, password: str, name: str = "warehouse") -> dict[str, object]:
        return {
            "conn_type": "postgres",
            "host": HOST,
            "port": settings.postgres_port,
            "schema": name,
            "login": login,
            "password": password,
        }

    return {
        "warehouse": database(postgres.OWNER, secrets.postgres_warehouse),
        "warehouse_read": database(postgres.READER, secrets.postgres_reader),
        # For the one task that removes old runs.
        "airflow_metadata": database("airflow", secrets.postgres_airflow, "airflow"),
        "object_store": {
            "conn_type": "aws",
            "login": secrets.s3_access_key,
            "password": secrets.s3_secret_key,
            "extra": json.dumps({"endpoint_url": settings.s3_url, "region_name": REGION}),
        },
    }


def migrate_airflow(settings: Settings, secrets: Secrets) -> bool:
    """Bring Airflow's database up to date; False when nothing has changed since the last time."""
    wanted = json.dumps(connections(settings, secrets), sort_keys=True)
    versions = (REPOSITORY / "constraints.txt").read_text() if (REPOSITORY / "constraints.txt").exists() else ""
    fingerprint = hashlib.sha256(f"{wanted}{versions}{secrets.fernet_key}".encode()).hexdigest()
    done = settings.airflow_setup
    if done.exists() and done.read_text() == fingerprint:
        return False
    log = settings.logs / "airflow-setup.log"
    with log.open("w") as stream:
        result = subprocess.run(  # nosec B603  # a fixed command
            [sys.executable, "-P", str(REPOSITORY / "embedded" / "airflow_setup.py")],
            input=wanted,
            text=True,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=airflow_environment(settings, secrets),
            cwd=settings.work_dir,
            check=False,
        )
    if result.returncode:
        raise StackError(f"Airflow's database could not be brought up to date: see {log}")
    done.write_text(fingerprint)
    return True
