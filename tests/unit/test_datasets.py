"""What was read and written has the names that OpenLineage's specification gives it, and no secrets in them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from openlineage.client.naming import dataset as spec

from datamart import datasets
from datamart.datasets import MOST_FILES, Dataset, Flow, Places, server_name
from datamart.errors import ConfigurationError
from datamart.loads import Counts, Outcome, Verdict
from datamart.recovery.ledger import Change
from tests.unit.test_measures import manifest

POSTGRES = Places("postgres://db.example:5432", "warehouse", "data", "backup")


def test_tables_of_postgresql_are_named_as_the_specification_says() -> None:
    expected = spec.Postgres("db.example", "5432", "warehouse", "public", "jobs")
    table = replace(POSTGRES, server=server_name("postgres", "db.example", None)).table("jobs")
    assert (table.namespace, table.name) == (expected.get_namespace(), expected.get_name())
    assert POSTGRES.table("ops.jobs_history").name == "warehouse.ops.jobs_history"


@pytest.mark.parametrize(
    ("host", "cluster", "region"),
    [
        ("hires.abc123xyz.eu-west-1.redshift.amazonaws.com", "hires", "eu-west-1"),
        ("hires.abc123xyz.cn-north-1.redshift.amazonaws.com.cn", "hires", "cn-north-1"),
        ("group.123456789012.eu-west-1.redshift-serverless.amazonaws.com", "group.123456789012", "eu-west-1"),
    ],
)
def test_tables_of_redshift_are_named_as_the_specification_says(host: str, cluster: str, region: str) -> None:
    expected = spec.Redshift(cluster, region, "5439", "warehouse", "public", "jobs")
    table = replace(POSTGRES, server=server_name("redshift", host, None)).table("jobs")
    assert (table.namespace, table.name) == (expected.get_namespace(), expected.get_name())


def test_a_redshift_behind_another_name_keeps_it() -> None:
    assert server_name("redshift", "127.0.0.1", 5440) == "redshift://127.0.0.1:5440"


def test_a_warehouse_of_another_kind_has_no_name() -> None:
    with pytest.raises(ConfigurationError, match="mysql"):
        server_name("mysql", "h", 1)


def test_objects_are_named_as_the_specification_says() -> None:
    expected = spec.S3("data", "landing/jobs.csv")
    found = POSTGRES.file("landing/jobs.csv")
    assert (found.namespace, found.name) == (expected.get_namespace(), expected.get_name())


def outcome(key: str, verdict: Verdict, inserted: int = 0, updated: int = 0) -> Outcome:
    return Outcome(1, "jobs", key, verdict, Counts(read=9, inserted=inserted, updated=updated))


def test_loads_read_files_and_write_tables() -> None:
    found = datasets.of_loads(
        [
            outcome("landing/jobs.csv", Verdict.LOADED, 3, 1),
            outcome("landing/jobs2.csv", Verdict.LOADED, 2),
            outcome("landing/jobs3.csv", Verdict.REJECTED),
            outcome("landing/jobs4.csv", Verdict.FAILED),
            outcome("landing/jobs5.csv", Verdict.DRY_RUN),
        ],
        POSTGRES,
    )
    assert [one.name for one in found.read] == ["landing/jobs.csv", "landing/jobs2.csv", "landing/jobs3.csv"]
    assert found.written == (Dataset("postgres://db.example:5432", "warehouse.public.jobs", rows=6),)


def test_what_another_try_did_is_named_but_not_numbered_again() -> None:
    """A batch of one file that was loaded and one that failed, whose next try finds the first in the ledger."""
    first = outcome("landing/jobs.csv", Verdict.LOADED, 3, 1)
    known = replace(first, from_ledger=True)
    told = datasets.of_loads([first, outcome("landing/jobs2.csv", Verdict.FAILED)], POSTGRES)
    assert [one.rows for one in (*told.read, *told.written)] == [9, 4]
    again = datasets.of_loads([known, outcome("landing/jobs2.csv", Verdict.LOADED, 2)], POSTGRES)
    assert [(one.name, one.rows) for one in again.read] == [("landing/jobs.csv", None), ("landing/jobs2.csv", 9)]
    assert [one.rows for one in again.written] == [2]
    only = datasets.of_loads([known], POSTGRES)
    assert [(one.name, one.rows) for one in only.written] == [("warehouse.public.jobs", None)]


def test_what_was_only_judged_has_written_nothing() -> None:
    assert datasets.of_loads([outcome("jobs.csv", Verdict.REJECTED)], POSTGRES).written == ()
    assert datasets.of_loads([outcome("jobs.csv", Verdict.DUPLICATE)], POSTGRES).written == ()


def test_an_event_names_no_more_files_than_a_server_takes() -> None:
    many = [outcome(f"landing/jobs{number}.csv", Verdict.LOADED, 1) for number in range(MOST_FILES + 5)]
    found = datasets.of_loads(many, POSTGRES)
    assert len(found.read) == MOST_FILES
    assert found.written[0].rows == MOST_FILES + 5


def test_a_backup_reads_tables_and_writes_a_folder_for_each() -> None:
    table = Dataset("postgres://db.example:5432", "warehouse.public.jobs", 5)
    folder = Dataset("s3://backup", "a/jobs", 5, 42)
    assert datasets.of_backup(manifest(), POSTGRES) == Flow((table,), (folder,))
    adopted = datasets.of_adoption("foreign/", manifest(), POSTGRES)
    assert adopted == Flow((Dataset("s3://backup", "foreign", 5),), (folder,))


def test_a_restore_reads_the_backup_and_writes_the_table() -> None:
    change = Change(1, "jobs", "restore", rows=5, backup_id="a")
    table = Dataset("postgres://db.example:5432", "warehouse.public.jobs", 5)
    assert datasets.of_change(change, POSTGRES) == Flow((Dataset("s3://backup", "a/jobs"),), (table,))
    assert datasets.of_change(replace(change, into="may"), POSTGRES).written[0].name == "warehouse.public.may"
    assert datasets.of_change(replace(change, dry_run=True), POSTGRES) == Flow()
    undone = datasets.of_change(replace(change, kind="undo", backup_id=None), POSTGRES)
    assert undone.read[0].name == "warehouse.ops.jobs_history"


def test_a_drill_only_reads() -> None:
    evidence = {"backup_id": "a", "tables": {"jobs": {}}}
    assert datasets.of_drill(evidence, POSTGRES) == Flow((Dataset("s3://backup", "a/jobs"),))


def test_a_refresh_reads_all_tables_and_writes_all_insights() -> None:
    found = datasets.of_refresh({"hires_department_job": 4, "departments_hired_above_mean": 2}, POSTGRES)
    assert [one.name for one in found.read] == [
        "warehouse.public.departments", "warehouse.public.jobs", "warehouse.public.hired_employees",
    ]  # fmt: skip
    assert [(one.name, one.rows) for one in found.written] == [
        ("warehouse.public.hires_department_job", 4), ("warehouse.public.departments_hired_above_mean", 2),
    ]  # fmt: skip
