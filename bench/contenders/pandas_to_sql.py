"""pandas: ``read_csv`` and ``DataFrame.to_sql`` through SQLAlchemy, the way most scripts load a file."""

import pandas as pd
import sqlalchemy

from bench.contenders import COLUMNS, Clock, job


def main() -> None:
    """Append the job's ``file`` to ``public.hired_employees``."""
    wanted = job()
    clock = Clock()
    frame = pd.read_csv(wanted["file"], header=None, names=list(COLUMNS), keep_default_na=False)
    frame["datetime"] = pd.to_datetime(frame["datetime"], format="%Y-%m-%dT%H:%M:%SZ")
    engine = sqlalchemy.create_engine(wanted["dsn"].replace("postgresql://", "postgresql+psycopg2://"))
    with engine.begin() as connection:
        frame.to_sql("hired_employees", connection, schema="public", if_exists="append", index=False, chunksize=10_000)
    clock.finish()


if __name__ == "__main__":
    main()
