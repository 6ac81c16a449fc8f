"""Tells of a run's files that were not loaded, and of rows that were rejected: file, counts and a link.

It is told when the run is over, so that this is also where files are counted that nobody will try again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import get_current_context

from datamart.loads import Verdict
from datamart.measures import of_given_up
from datamart_airflow import metrics
from datamart_airflow.alerts import Alert, run_link, send

_MOST_LINES = 50
_FINE = (Verdict.LOADED, Verdict.DUPLICATE)
_GIVES_UP = {"historic_load": "history"}
"""The way of files whose run is their last try, by Dag; what landed is on hold instead, and an upload's task knows."""


def tell_of_files(files: Sequence[Mapping[str, Any]], others: Sequence[str] = ()) -> None:
    """Alert when a file has a verdict other than loaded or rows that were rejected, or when there are other lines.

    A file is a mapping with file, verdict, rows, rejected, load_id and message.
    """
    wanting = [file for file in files if file["verdict"] not in _FINE or file["rejected"]]
    lines = [*map(_line, wanting), *others]
    if not lines:
        return
    context = get_current_context()
    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    more = [f"and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
    details = {
        "kind": "files",
        "dag_id": dag_id,
        "run_id": run_id,
        "files": [{name: file[name] for name in _TOLD} for file in wanting],
        "others": list(others),
    }
    send(
        Alert(f"{dag_id}: {_title(wanting, others)}", (*lines[:_MOST_LINES], *more), run_link(dag_id, run_id), details)
    )
    if dag_id in _GIVES_UP:
        _count_given_up(wanting, _GIVES_UP[dag_id])


@metrics.delivery()
def _count_given_up(files: Sequence[Mapping[str, Any]], way: str) -> None:
    for file in files:
        if file["verdict"] == Verdict.FAILED:
            metrics.send(of_given_up(file["table"], way))


_TOLD = ("file", "verdict", "rows", "rejected", "load_id", "message")


def _title(files: Sequence[Mapping[str, Any]], others: Sequence[str]) -> str:
    not_loaded = sum(file["verdict"] not in _FINE for file in files)
    rejected = sum(file["rejected"] for file in files)
    parts = [_count(not_loaded, "file was not loaded", "files were not loaded")] if not_loaded else []
    parts += [_count(rejected, "row was rejected", "rows were rejected")] if rejected else []
    return ", ".join(parts) or others[0]


def _count(number: int, one: str, many: str) -> str:
    return f"1 {one}" if number == 1 else f"{number} {many}"


def _line(file: Mapping[str, Any]) -> str:
    message = f" {file['message']}" if file["message"] else ""
    return f"{file['file']}: {file['verdict']}, {file['rejected']} of {file['rows']} rows rejected.{message}"
