"""A stack says that it is up when Airflow has read each Dag, or has said that it cannot."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import pytest

from datamart.dag_ids import EXPECTED_DAGS
from embedded.airflow_api import AirflowApi, ApiError
from embedded.console import Console
from embedded.dags import unparsed, wait_until_parsed
from embedded.errors import StackError


class Airflow(AirflowApi):
    """Knows more Dags at each question; an error among them is what it answers instead."""

    def __init__(self, *known: Iterable[str] | Exception, failing: Iterable[str] = ()) -> None:
        self._known = list(known)
        self._failing = failing

    def get(self, path: str, **_query: object) -> Any:
        if path == "/importErrors":
            return {"import_errors": [{"filename": name} for name in self._failing]}
        known = self._known.pop(0) if len(self._known) > 1 else self._known[0]
        if isinstance(known, Exception):
            raise known
        return {"dags": [{"dag_id": one} for one in known]}


def test_the_files_of_dags_have_their_names() -> None:
    assert unparsed(Airflow([])) == EXPECTED_DAGS


def test_a_dag_that_cannot_be_imported_is_not_waited_for() -> None:
    known = EXPECTED_DAGS - {"backup", "restore"}
    assert unparsed(Airflow(known, failing=["backup.py"])) == {"restore"}


def test_all_dags_are_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    airflow = Airflow([], ApiError(503, "not now"), TimeoutError("silent"), ["backup"], EXPECTED_DAGS)
    wait_until_parsed(airflow, Console(), lambda: None)
    assert airflow._known == [EXPECTED_DAGS]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("known", "told"),
    [
        (EXPECTED_DAGS - {"backup"}, "Airflow has not read these Dags yet: backup. See make health"),
        (ApiError(503, "not now"), "Airflow reports: HTTP 503: not now."),
    ],
)
def test_the_wait_ends_and_says_what_is_missing(
    known: frozenset[str] | Exception, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    wait_until_parsed(Airflow(known), Console(), lambda: None, seconds=0.1)
    assert time.monotonic() - started < 5
    assert told in capsys.readouterr().out


def test_a_process_that_dies_meanwhile_ends_the_wait() -> None:
    def dead() -> None:
        raise StackError("dag-processor ended with exit code 1")

    with pytest.raises(StackError, match="dag-processor ended"):
        wait_until_parsed(Airflow([]), Console(), dead)
