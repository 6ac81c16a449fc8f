"""Brings a warehouse to the schema this version needs; running it again changes nothing."""

from __future__ import annotations

from datamart.statements import SQL, table_names
from datamart.tables import TABLES, Table
from datamart.warehouse.postgres import PostgresWarehouse

_ADVISORY_LOCK = 4_207_849_484


def migrate(dsn: str, reader_role: str | None = None, tables: tuple[Table, ...] = TABLES) -> list[str]:
    """Apply migrations that were not applied yet, create the dictionary's tables, and let ``reader_role`` read.

    Returns the names of migrations applied now. All in one transaction, one process at a time.
    """
    warehouse = PostgresWarehouse(dsn)
    applied = []
    try:
        with warehouse.transaction():
            warehouse.execute("SELECT pg_advisory_xact_lock(%(key)s)", {"key": _ADVISORY_LOCK})
            exists = warehouse.query("SELECT to_regclass('ops.migrations')")[0][0]
            done = {row[0] for row in warehouse.query("SELECT name FROM ops.migrations")} if exists else set()
            for path in sorted((SQL / warehouse.dialect).glob("migrate_*.sql")):
                if path.stem not in done:
                    warehouse.execute(path.read_text(encoding="utf-8"))
                    warehouse.execute("INSERT INTO ops.migrations (name) VALUES (%(name)s)", {"name": path.stem})
                    applied.append(path.stem)
            for table in tables:
                warehouse.execute(warehouse.sql("create_table", **table_names(table, "")))
                warehouse.execute(
                    "INSERT INTO ops.tables (table_name) VALUES (%(table)s) ON CONFLICT DO NOTHING",
                    {"table": table.name},
                )
            _create_warnings(warehouse, tables)
            if reader_role:
                _grant(warehouse, reader_role)
    finally:
        warehouse.close()
    return applied


def _create_warnings(warehouse: PostgresWarehouse, tables: tuple[Table, ...]) -> None:
    """Views of the rows that refer to nothing (yet), for every reference of the dictionary."""
    keys = {table.name: table.key for table in tables}
    parts = [
        warehouse.sql(
            "open_references",
            table_name=table.name, target=f"public.{table.name}", column_name=column,
            referenced=f"public.{other}", referenced_key=f'"{keys[other]}"',
        )
        for table in tables
        for column, other in table.references.items()
    ]  # fmt: skip
    if parts:
        warehouse.execute(f"CREATE OR REPLACE VIEW ops.open_references AS {' UNION ALL '.join(parts)}")
        warehouse.execute(warehouse.sql("create_warnings"))


def _grant(warehouse: PostgresWarehouse, role: str) -> None:
    quoted = '"' + role.replace('"', '""') + '"'
    for schema in ("public", "ops"):
        warehouse.execute(f"GRANT USAGE ON SCHEMA {schema} TO {quoted}")
        warehouse.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {quoted}")
