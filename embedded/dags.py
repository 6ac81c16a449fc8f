"""Whether Airflow has read the product's Dags: each is there, or its file cannot be imported."""

import time
from collections.abc import Callable
from pathlib import PurePath

from embedded import faults
from embedded.airflow_api import AirflowApi, ApiError
from embedded.console import Console
from embedded.settings import REPOSITORY

PARSE_TIMEOUT_SECONDS = 60.0


def unparsed(api: AirflowApi) -> set[str]:
    """Dags whose files Airflow has not read yet; a Dag's file has its name."""
    wanted = {file.stem for file in (REPOSITORY / "dags").glob("*.py")}
    known = {dag["dag_id"] for dag in api.get("/dags", limit=100)["dags"]}
    failed = {PurePath(one["filename"]).stem for one in api.get("/importErrors", limit=100)["import_errors"]}
    return wanted - known - failed


def wait_until_parsed(
    api: AirflowApi, console: Console, check: Callable[[], None], seconds: float = PARSE_TIMEOUT_SECONDS
) -> None:
    """Wait until Airflow has read all Dags; after the timeout say what is missing, and go on.

    ``check`` raises when a process of the stack has died.
    """
    deadline = time.monotonic() + seconds
    while missing := _missing(api):
        check()
        if time.monotonic() > deadline:
            console.say(f"{missing} See make health and the log of dag-processor")
            return
        time.sleep(0.5)


def _missing(api: AirflowApi) -> str:
    """A sentence that says which Dags Airflow has not read, or why that is not known; empty when it has read all."""
    try:
        left = unparsed(api)
    except (ApiError, OSError) as error:
        return faults.sentence(error)
    return f"Airflow has not read these Dags yet: {', '.join(sorted(left))}." if left else ""
