"""Brings the warehouse behind Airflow's connections to the schema this version needs.

    python -m datamart_airflow.migrate

Needed once for each version, before its Dags run; again it changes nothing. Who logs in by ``warehouse_read`` may read
afterwards, and the login that ``DATAMART_ANALYST_ROLE`` names may read what is meant for people.
"""

from __future__ import annotations

import sys

from datamart.errors import DatamartError
from datamart.migrations import migrate
from datamart.settings import load_settings
from datamart_airflow import clients
from datamart_airflow.airflow_state import become_server_process


def main() -> int:
    """Migrate and say what was done; 1 when it could not be."""
    become_server_process()  # connections in Airflow's database are not shown to others
    try:
        reader = clients.login_of("warehouse_read")
        with clients.warehouse() as warehouse:
            applied = migrate(warehouse, reader_role=reader, analyst_role=load_settings().analyst_role)
    except DatamartError as error:
        print(error, file=sys.stderr)
        return 1
    if reader is None:
        print("warehouse_read names no user: grant who uses it SELECT on the tables yourself.", file=sys.stderr)
    print("\n".join(f"applied {name}" for name in applied) or "The warehouse is up to date.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
