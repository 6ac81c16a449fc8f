"""Expected Dags that Airflow cannot run: import errors, files that are gone, files that were never parsed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from datamart.dag_ids import EXPECTED_DAGS
from datamart_airflow.airflow_state import FIRST_PARSE, KnownDag, missing_dags, unparsed_dags

ACTIVE = {one: KnownDag(stale=False, owners="datamart", file=f"{one}.py") for one in EXPECTED_DAGS}
TRACE = """Traceback (most recent call last):
  File "/opt/dags/backup.py", line 12, in <module>
    import secret_module
some.package.ModuleNotFoundError: No module named 'secret_module'
of: course
"""


def test_where_every_dag_is_there_none_is_missing() -> None:
    assert missing_dags(ACTIVE, {}) == {}
    assert missing_dags(ACTIVE | {"elsewhere": KnownDag(stale=True)}, {"elsewhere.py": TRACE}) == {}


def test_a_dag_that_was_never_parsed_is_missing() -> None:
    found = missing_dags({one: dag for one, dag in ACTIVE.items() if one != "backup"}, {})
    assert found == {"backup": "Airflow has never found it in the Dag folder."}


def test_a_stale_dag_is_missing() -> None:
    found = missing_dags(ACTIVE | {"restore": KnownDag(stale=True, file="restore.py")}, {})
    assert found == {"restore": "Airflow knew it, but does not find it in the Dag folder any more."}


def test_an_import_error_is_named_and_its_message_is_not_repeated() -> None:
    told = "Airflow cannot import sub/backup.py (ModuleNotFoundError); the page Dags in Airflow shows the stack trace."
    stale = ACTIVE | {"backup": KnownDag(stale=True, file="sub/backup.py")}
    assert missing_dags(stale, {"sub/backup.py": TRACE}) == {"backup": told}
    never = {one: dag for one, dag in ACTIVE.items() if one != "backup"}
    assert missing_dags(never, {"sub/backup.py": TRACE}) == {"backup": told}
    assert "(import error)" in missing_dags(never, {"backup.py": ""})["backup"]


NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
SOON, LATER = NOW - timedelta(seconds=30), NOW - FIRST_PARSE - timedelta(seconds=1)


@pytest.mark.parametrize("started", [SOON, None])
def test_dags_that_airflow_cannot_have_read_yet_are_not_missing(started: datetime | None) -> None:
    assert unparsed_dags({}, {}, started, NOW) == EXPECTED_DAGS
    some = {one: dag for one, dag in ACTIVE.items() if one > "maintenance"}
    assert unparsed_dags(some, {}, started, NOW) == EXPECTED_DAGS - set(some)


def test_dags_that_airflow_has_never_read_are_missing_after_some_minutes() -> None:
    assert unparsed_dags({}, {}, LATER, NOW) == frozenset()


def test_a_dag_that_airflow_knew_or_cannot_import_is_never_unparsed() -> None:
    stale = {"restore": KnownDag(stale=True, file="restore.py")}
    assert unparsed_dags(stale, {"sub/backup.py": TRACE}, SOON, NOW) == EXPECTED_DAGS - {"restore", "backup"}
    assert set(missing_dags(stale, {"sub/backup.py": TRACE}, {"restore", "backup"})) == {"restore", "backup"}
    assert unparsed_dags(ACTIVE, {}, SOON, NOW) == frozenset()


def test_without_any_dag_all_are_missing() -> None:
    assert set(missing_dags({}, {})) == EXPECTED_DAGS
