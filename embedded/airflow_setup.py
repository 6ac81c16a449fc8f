"""Run as a process of its own: bring Airflow's metadata database and its connections up to date.

Reads the connections as JSON from standard input: {"warehouse": {"conn_type": ..., ...}, ...}.
"""

import json
import sys


def main() -> None:
    """Migrate, then replace the connections that differ."""
    from airflow.models.connection import Connection  # noqa: TID251 - this process is Airflow's
    from airflow.utils import db  # noqa: TID251
    from airflow.utils.session import create_session  # noqa: TID251

    wanted: dict[str, dict[str, object]] = json.load(sys.stdin)
    db.upgradedb()
    with create_session() as session:
        for conn_id, fields in wanted.items():
            old = session.query(Connection).filter(Connection.conn_id == conn_id).one_or_none()
            if old is not None:
                session.delete(old)
                session.flush()
            session.add(Connection(conn_id=conn_id, **fields))


if __name__ == "__main__":
    main()
