"""Since when the conf of runs is checked, as the warehouse knows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from datamart.migrations import applied_at, migrate
from datamart_airflow.run_conf import MIGRATION
from tests.integration.world import World


def test_the_check_begins_when_its_migration_is_applied(spoiled: World) -> None:
    assert applied_at(spoiled.warehouse, "nothing_of_this_name") is None
    spoiled.sql("DELETE FROM ops.migrations WHERE name LIKE %s", f"%{MIGRATION}")
    assert applied_at(spoiled.warehouse, MIGRATION) is None
    before = datetime.now(UTC)
    (applied,) = migrate(spoiled.warehouse, reader_role="datamart_read")
    assert applied.endswith(MIGRATION)
    since = applied_at(spoiled.warehouse, MIGRATION)
    assert since is not None
    assert timedelta(0) <= since - before < timedelta(minutes=1)
    assert migrate(spoiled.warehouse, reader_role="datamart_read") == []
    assert applied_at(spoiled.warehouse, MIGRATION) == since
