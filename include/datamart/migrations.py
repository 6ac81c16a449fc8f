"""Brings a warehouse to the schema this version needs; running it again changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from datamart.insights import INSIGHTS
from datamart.statements import SQL
from datamart.tables import TABLES, Table
from datamart.warehouse.base import Warehouse


def migrate(warehouse: Warehouse, reader_role: str | None = None, tables: tuple[Table, ...] = TABLES) -> list[str]:
    """Apply migrations that were not applied yet, create the dictionary's tables, and let ``reader_role`` read.

    Returns the names of migrations applied now. All in one transaction, one process at a time.
    """
    applied = []
    with warehouse.migrating():
        done = set()
        if warehouse.exists("ops.migrations"):
            done = {row[0] for row in warehouse.query("SELECT name FROM ops.migrations")}
        for path in sorted((SQL / warehouse.dialect).glob("migrate_*.sql")):
            if path.stem not in done:
                warehouse.execute(path.read_text(encoding="utf-8"))
                row = {"name": path.stem, "now": datetime.now(UTC)}
                warehouse.execute("INSERT INTO ops.migrations (name, applied_at) VALUES (%(name)s, %(now)s)", row)
                applied.append(path.stem)
        for table in tables:
            warehouse.create_table(table)
            warehouse.execute(warehouse.sql("insert_table"), {"table": table.name})
        _create_warnings(warehouse, tables)
        if reader_role:
            _grant(warehouse, reader_role, tables)
    return applied


def _create_warnings(warehouse: Warehouse, tables: tuple[Table, ...]) -> None:
    """Views of the rows that refer to nothing (yet), for every reference of the dictionary."""
    keys = {table.name: table.key for table in tables}
    references = [
        {
            "table_name": table.name, "target": f"public.{table.name}", "column_name": column,
            "referenced": f"public.{other}", "referenced_key": f'"{keys[other]}"',
        }
        for table in tables
        for column, other in table.references.items()
    ]  # fmt: skip
    if not references:
        return
    for view in ("open_references", "warned_references"):
        parts = " UNION ALL ".join(warehouse.sql(view, **one) for one in references)
        warehouse.execute(f"CREATE OR REPLACE VIEW ops.{view} AS {parts}")
    warehouse.execute(warehouse.sql("create_warnings"))


def _grant(warehouse: Warehouse, role: str, tables: tuple[Table, ...]) -> None:
    """Let a role read what is this project's; others may have tables of their own in ``public``."""
    quoted = '"' + role.replace('"', '""') + '"'
    for schema in ("public", "ops"):
        warehouse.execute(f"GRANT USAGE ON SCHEMA {schema} TO {quoted}")
    warehouse.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA ops TO {quoted}")
    for name in (*(table.name for table in tables), *(insight.name for insight in INSIGHTS)):
        warehouse.execute(f"GRANT SELECT ON public.{name} TO {quoted}")
