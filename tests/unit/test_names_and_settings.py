"""Routing by name, the dictionary's own checks, load order and settings."""

from __future__ import annotations

import pytest

from datamart.errors import ConfigurationError
from datamart.routing import table_for
from datamart.settings import load_settings
from datamart.tables import TABLES, Column, Table, Type, load_order, table_named


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("hired_employees.csv", "hired_employees"),
        ("hired_employees_20221130.csv", "hired_employees"),
        ("landing/jobs_prod.csv", "jobs"),
        ("hired_employees copy.csv", "hired_employees"),
        ("JOBS.CSV", "jobs"),
        ("jobs2.csv", "jobs"),
        ("20221120_hired_employees.csv", None),
        ("myowntable.csv", None),
        ("jobsearch.csv", None),
        ("jobsé.csv", None),
        ("jobs.csv.gz", None),
        ("jobs/", None),
        ("", None),
    ],
)
def test_a_file_is_routed_by_its_name(name: str, table: str | None) -> None:
    found = table_for(name)
    assert (found.name if found else None) == table


def test_the_longest_table_name_wins() -> None:
    old = Table("jobs_old", (Column("id", Type.INTEGER),))
    assert table_for("jobs_old.csv", (*TABLES, old)) is old


def test_a_table_is_loaded_after_those_it_references() -> None:
    assert [[table.name for table in wave] for wave in load_order(TABLES)] == [
        ["departments", "jobs"],
        ["hired_employees"],
    ]


@pytest.mark.parametrize("name", ["Jobs", "jobs;drop", "1jobs", "", "a" * 64, 'x"'])
def test_an_identifier_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        Table(name, (Column("id", Type.INTEGER),))


def test_an_unknown_table_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match="departments, jobs, hired_employees"):
        table_named("job")


def test_the_environment_does_not_add_to_settings_that_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAMART_LATE_MINUTES", "5")
    assert load_settings({}).late_minutes == 15
    assert load_settings().late_minutes == 5
    monkeypatch.setenv("DATAMART_LATE_MINUTES", "")
    assert load_settings({}).late_minutes == 15


def test_settings_refuse_what_they_do_not_know() -> None:
    assert load_settings({"DATAMART_REJECT_THRESHOLD": "0.1", "OTHER": "x"}).reject_threshold == 0.1
    with pytest.raises(ConfigurationError, match="DATAMART_REJECT_TRESHOLD"):
        load_settings({"DATAMART_REJECT_TRESHOLD": "0.1"})
    with pytest.raises(ConfigurationError, match="DATAMART_REJECT_THRESHOLD"):
        load_settings({"DATAMART_REJECT_THRESHOLD": "7"})


def test_an_empty_setting_is_none() -> None:
    off = load_settings({"DATAMART_BACKUP_HOURS": "", "DATAMART_ALERT_EMAIL": ""})
    assert (off.backup_hours, off.alert_email) == (None, None)
    assert load_settings({}).backup_hours == 26
    with pytest.raises(ConfigurationError, match="DATAMART_DATA_BUCKET"):
        load_settings({"DATAMART_DATA_BUCKET": ""})
