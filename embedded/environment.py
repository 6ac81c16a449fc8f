"""The environment of the stack's processes, and of its clients."""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import get_args

from embedded import postgres, stacksecrets
from embedded.errors import SettingError, StackError
from embedded.settings import BACKUP_BUCKET, DATA_BUCKET, HOST, REGION, REPOSITORY, Settings
from embedded.stacksecrets import USERS, Secrets

MARK = "EMBEDDED_STACK"
MAX_SOCKET_FOLDER_BYTES = 60
"""The path of a Unix socket takes at most 107 bytes, its name below the temporary folder up to 40."""
SHORT_TEMPORARY_FOLDER = "/tmp"  # nosec B108  # the files there have unpredictable names
FOREIGN = (
    "AIRFLOW", "AWS_", "PG", "DATAMART_", "OPENLINEAGE", "PYTHON", "VIRTUAL_ENV", "MAKE", "MFLAGS", "_AIRFLOW",
)  # fmt: skip
OWN_WAREHOUSE = ("AIRFLOW_CONN_WAREHOUSE", "AIRFLOW_CONN_WAREHOUSE_READ")
"""Airflow's variables for another warehouse than the stack's own, whose connections they come before."""
OWN = (*OWN_WAREHOUSE, "AIRFLOW_CONN_LANDING_QUEUE")
"""All connections that the caller's environment may bring."""
OBSERVED_BY = ("AIRFLOW__METRICS__", "AIRFLOW__OPENLINEAGE__")
"""Sections of Airflow's settings that the caller's environment may set: where metrics and lineage go."""
PRODUCT = ("DATAMART_", "OTEL_", *OBSERVED_BY)
"""How the names of the variables begin that are for the product, beside its connections."""
OBSERVED_AS = {
    "AIRFLOW__OPENLINEAGE__NAMESPACE": "datamart",
    "AIRFLOW__OPENLINEAGE__DISABLE_SOURCE_CODE": "True",
    # Each task is a process of its own, whose counters begin at 0.
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
}
"""How they are told, where the caller's environment does not say it otherwise."""
PRELOAD = ",".join(
    (
        "airflow.executors.local_executor", "airflow.sdk.execution_time.supervisor",
        "airflow.sdk.execution_time.task_runner", "airflow.dag_processing.bundles.manager",
        "pandas", "pyarrow.csv", "pyarrow.compute", "pyarrow.parquet", "pyarrow.pandas_compat", "psycopg2", "requests",
        "pydantic_settings", "boto3.s3.transfer", "airflow.providers.amazon.aws.hooks.s3",
        "datamart_airflow.lineage_ahead", "datamart_airflow.s3_model", "datamart_airflow.first_judgement",
    )
)  # fmt: skip
"""Code of others, and three modules that only use it: any more of our own would be that of the last start."""


def base(settings: Settings) -> dict[str, str]:
    """The caller's environment without what would leak into the stack, and with its mark."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    local = f"{HOST},localhost"
    env |= {
        "TMPDIR": temporary_folder(),
        MARK: str(settings.stack_dir),
        "PATH": f"{settings.venv_bin}{os.pathsep}{env.get('PATH', '')}",
        "NO_PROXY": ",".join(filter(None, [env.get("NO_PROXY"), local])),
        "no_proxy": ",".join(filter(None, [env.get("no_proxy"), local])),
    }
    return env


def temporary_folder() -> str:
    """Where temporary files and sockets go: the caller's folder unless a socket's path there would be too long."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= MAX_SOCKET_FOLDER_BYTES else SHORT_TEMPORARY_FOLDER


def servers(settings: Settings, inner: dict[str, int], s3_config: str, sockets: Path) -> dict[str, str]:
    """What the Procfile's lines for PostgreSQL and S3 name; no secrets."""
    return base(settings) | {
        "PG_BIN": str(postgres.binaries()),
        "PG_DATA": str(settings.pg_data),
        "POSTGRES_PORT": str(settings.postgres_port),
        "S3_PORT": str(settings.s3_port),
        "S3_DIR": str(settings.s3_dir),
        "S3_CONFIG": s3_config,
        "SOCKET_DIR": str(sockets),
        # A bucket takes so many volumes of 1 GiB at its first object: with 7, the first takes all of a small disk.
        "WEED_MASTER_VOLUME_GROWTH_COPY_1": "3",
        **{name: str(port) for name, port in inner.items()},
    }


def given_variables() -> dict[str, str]:
    """What the caller's environment brings for the product: settings, connections, and where metrics go."""
    return {name: value for name, value in os.environ.items() if name.startswith(PRODUCT) or name in OWN}


def product_variables(settings: Settings) -> dict[str, str]:
    """The variables of the caller's environment, and those of the stack's last start that it does not name.

    An empty variable is dropped, except a setting that an empty value switches off.

    Raises:
        StackError: the file of remembered variables is damaged.
    """
    found = _remembered_variables(settings) | given_variables()
    return {name: value for name, value in found.items() if value or _is_switched_off_by_empty(name)}


def reused_variables(settings: Settings) -> list[str]:
    """The names of the variables that come from the stack's last start alone."""
    return sorted(set(product_variables(settings)) - set(given_variables()))


def names_own_warehouse(settings: Settings) -> bool:
    """Whether a variable names another warehouse than the stack's own."""
    return not product_variables(settings).keys().isdisjoint(OWN_WAREHOUSE)


def require_valid(settings: Settings) -> None:
    """Refuse settings that cannot work before anything starts with them, or remembers them.

    Raises:
        SettingError: a setting is unknown or has a value that does not fit.
    """
    include_product()
    from datamart.errors import ConfigurationError
    from datamart.settings import load_settings

    try:
        load_settings(product_variables(settings))
    except ConfigurationError as error:
        reused = [name for name in reused_variables(settings) if name.startswith("DATAMART_")]
        advice = f" {_how_to_drop(reused)}" if reused else ""
        raise SettingError(f"{error}{advice}") from None


def reuse_notice(settings: Settings) -> str:
    """The line that names the variables of the last start, never their values; empty when there are none."""
    reused = reused_variables(settings)
    return _how_to_drop(reused) if reused else ""


def _how_to_drop(names: list[str]) -> str:
    return f"Variables of the last start are used again: {', '.join(names)}. To drop one: {names[0]}= make run"


def remember(settings: Settings) -> None:
    """Keep the product's variables with the stack, for its next start and for `health`."""
    stacksecrets.write_private(_variables_file(settings), json.dumps(product_variables(settings)))


def _remembered_variables(settings: Settings) -> dict[str, str]:
    """The variables of the last start; a stack of the version before has none."""
    file = _variables_file(settings)
    try:
        known = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        known = None
    if not isinstance(known, dict) or not all(isinstance(value, str) for value in known.values()):
        raise StackError(
            f"The variables of the stack's last start cannot be read, {file} is damaged. "
            "Delete that file, end the stack, and give make run all variables that the stack needs."
        )
    return known


def _variables_file(settings: Settings) -> Path:
    return settings.secrets_dir / "variables.json"


def _is_switched_off_by_empty(name: str) -> bool:
    """Whether an empty value of a setting means something else than no value: no limit, or no watching."""
    include_product()
    from datamart.settings import Settings as ProductSettings

    if not name.startswith("DATAMART_"):
        return False
    field = ProductSettings.model_fields.get(name.removeprefix("DATAMART_").lower())
    return field is not None and field.default is not None and type(None) in get_args(field.annotation)


def include_product() -> None:
    """Make the product's modules importable in this process."""
    include = str(REPOSITORY / "include")
    if include not in sys.path:
        sys.path.insert(0, include)


def airflow(settings: Settings, secrets: Secrets) -> dict[str, str]:
    """Airflow's settings, with the product's variables.

    Raises:
        StackError: the file of remembered variables is damaged.
    """
    metadata = postgres.uri(settings, "airflow", secrets.postgres_airflow, "airflow")
    options = {
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": str(max(2, min(8, 4 * (os.cpu_count() or 2)))),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__FERNET_KEY": secrets.fernet_key,
        "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(settings.passwords_file),
        "CORE__EXECUTION_API_SERVER_URL": f"{settings.airflow_url}/execution/",
        # The scheduler forks tasks from a process that has the slow third-party imports already.
        "SCHEDULER__MP_START_METHOD": "forkserver",
        "SCHEDULER__MP_FORKSERVER_PRELOAD": PRELOAD,
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "DATABASE__SQL_ALCHEMY_CONN": metadata.replace("postgresql://", "postgresql+psycopg2://"),
        "DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        # More than the API server has threads (40): with fewer, threads that wait for a session hold up those with one.
        "DATABASE__SQL_ALCHEMY_POOL_SIZE": "10",
        "DATABASE__SQL_ALCHEMY_MAX_OVERFLOW": "35",
        "API__HOST": HOST,
        "API__PORT": str(settings.airflow_port),
        "API__BASE_URL": settings.airflow_url,
        "API__WORKERS": "1",
        "API__SECRET_KEY": secrets.api_secret_key,
        "API_AUTH__JWT_SECRET": secrets.jwt_secret,
        "DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "2",
        "DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(settings.airflow_home / "bundles"),
        # At each use of S3 it says where it has found the credentials.
        "LOGGING__NAMESPACE_LEVELS": "airflow.providers.amazon=WARNING",
        "LOGGING__BASE_LOG_FOLDER": str(settings.logs / "tasks"),
        "LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(settings.logs / "dags"),
    }
    return (
        OBSERVED_AS
        | base(settings)
        | product_variables(settings)
        | {
            "AIRFLOW_HOME": str(settings.airflow_home),
            "PYTHONPATH": str(REPOSITORY / "include"),
            "PYTHONUNBUFFERED": "1",
            "DATAMART_DATA_BUCKET": DATA_BUCKET,
            "DATAMART_BACKUP_BUCKET": BACKUP_BUCKET,
            **{f"AIRFLOW__{name}": value for name, value in options.items()},
        }
    )


def client(settings: Settings, secrets: Secrets, passwords: dict[str, str]) -> dict[str, str]:
    """What psql, the aws client and curl need."""
    return {
        "AIRFLOW_URL": settings.airflow_url,
        "AIRFLOW_USER": "admin",
        "AIRFLOW_PASSWORD": passwords["admin"],
        "WAREHOUSE_URI": postgres.uri(settings, postgres.OWNER, secrets.postgres_warehouse, "warehouse"),
        "WAREHOUSE_READ_URI": postgres.uri(settings, postgres.READER, secrets.postgres_reader, "warehouse"),
        "WAREHOUSE_ANALYST_URI": postgres.uri(settings, postgres.ANALYST, secrets.postgres_analyst, "warehouse"),
        "S3_ENDPOINT_URL": settings.s3_url,
        "AWS_ENDPOINT_URL_S3": settings.s3_url,
        "AWS_ACCESS_KEY_ID": secrets.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": secrets.s3_secret_key,
        "AWS_DEFAULT_REGION": REGION,
        "DATA_BUCKET": DATA_BUCKET,
        "BACKUP_BUCKET": BACKUP_BUCKET,
    }
