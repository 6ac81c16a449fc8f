"""Ids of the Dags that the product consists of.

The health check compares them with the Dags that Airflow can run. Airflow's database cannot say which are expected: it
forgets a Dag whose file is gone, and marks one whose file cannot be imported as stale.
"""

from __future__ import annotations

BACKUP = "backup"

EXPECTED_DAGS = frozenset(
    {
        "adopt_backup",
        BACKUP,
        "historic_load",
        "ingest_landing",
        "ingest_upload",
        "maintenance",
        "refresh_insights",
        "restore",
        "restore_drill",
        "undo_load",
    }
)
