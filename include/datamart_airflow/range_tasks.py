"""Bodies of the tasks that clean very large files in ranges: split the files of a wave, clean one range."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException

from datamart.batches import Batch
from datamart.errors import ConfigurationError, DatamartError, TransientFault, sentence
from datamart.loads import Mode
from datamart.settings import load_settings
from datamart_airflow.clients import loader, object_store
from datamart_airflow.upstream import required

log = logging.getLogger(__name__)


def split_files(planned: list[list[Batch]] | None, wave: int, mode: str) -> list[dict[str, Any]]:
    """The ranges of all files of a wave that are large; none, without a look at any file, when no file is."""
    batches = required(planned, "plan")[wave]
    if not load_settings().range_bytes:
        return []
    # Not above: most loads have no such file, and need not import what judges them once more.
    from datamart.ranges.splitting import Splitter, listed_ranges

    with _told(), loader() as opened:
        return [one for plan in Splitter(opened).plans(batches, Mode(mode)) for one in listed_ranges(plan)]


def clean_one(listed: dict[str, Any]) -> dict[str, int]:
    """Rows read and rejected in one range."""
    from datamart.ranges.cleaning import clean_range
    from datamart.ranges.plan import AGAIN, read_plan

    get_current_context()["label"] = listed["label"]  # type: ignore[typeddict-unknown-key]
    store = object_store()
    with _told():
        plan = read_plan(store, listed["prefix"])
        if plan is None:
            raise ConfigurationError(f"The plan of {listed['label']} is not there (any more). {AGAIN}")
        cleaned = clean_range(store, load_settings(), plan, listed["number"])
    log.info("%s: %d rows, %d rejected", listed["label"], cleaned.rows, cleaned.rejected)
    return {"rows": cleaned.rows, "rejected": cleaned.rejected}


@contextmanager
def _told() -> Iterator[None]:
    """A fault is told by its sentence alone, and tried again only where that can help."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - raised again, without what it may quote of a row
        message = sentence(error)
        if isinstance(error, DatamartError) and not isinstance(error, TransientFault):
            raise AirflowFailException(message) from None
        raise RuntimeError(message) from None
