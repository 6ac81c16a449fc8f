"""Brings a warehouse to the schema this version needs; running it again changes nothing."""

from __future__ import annotations

from datetime import datetime

from datamart.errors import ConfigurationError
from datamart.insights import INSIGHTS
from datamart.statements import SQL
from datamart.tables import TABLES, Table
from datamart.warehouse.base import Warehouse

ANALYST_OPS = tuple(
    f"ops.{name}" for name in ("loads", "warnings", "backups", "restores", "drills", "insight_refreshes")
)
"""What analysts read of ``ops``: counts, times and names of files. A new table is not theirs until it is named here."""


def migrate(
    warehouse: Warehouse,
    reader_role: str | None = None,
    tables: tuple[Table, ...] = TABLES,
    analyst_role: str | None = None,
) -> list[str]:
    """Apply migrations that were not applied yet, create the dictionary's tables, and let the two roles read.

    ``reader_role`` is the product's own and reads all; ``analyst_role`` is of people, for whom rejected rows and
    removed ones are not. Returns the names of migrations applied now. All in one transaction, one process at a time.

    Raises:
        ConfigurationError: the analysts would have the rights of the product.
    """
    if analyst_role is not None and analyst_role == reader_role:
        raise ConfigurationError(
            f"The analysts' role {analyst_role} is that of warehouse_read, which reads rejected rows. Name another one."
        )
    applied = []
    with warehouse.migrating():
        done = set()
        if warehouse.exists("ops.migrations"):
            done = {row[0] for row in warehouse.query("SELECT name FROM ops.migrations")}
        for path in sorted((SQL / warehouse.dialect).glob("migrate_*.sql")):
            if path.stem not in done:
                row = {"name": path.stem, "now": warehouse.now()}
                warehouse.execute(path.read_text(encoding="utf-8"), row)
                warehouse.execute("INSERT INTO ops.migrations (name, applied_at) VALUES (%(name)s, %(now)s)", row)
                applied.append(path.stem)
        for table in tables:
            warehouse.create_table(table)
            warehouse.execute(warehouse.sql("insert_table"), {"table": table.name})
        _create_warnings(warehouse, tables)
        if reader_role:
            _grant(warehouse, reader_role, tables, ("ALL TABLES IN SCHEMA ops",))
        if analyst_role:
            _grant(warehouse, analyst_role, tables, ANALYST_OPS)
    return applied


def applied_at(warehouse: Warehouse, name: str) -> datetime | None:
    """When the migration ``migrate_<number>_<name>`` was applied here; its number differs by dialect."""
    found = warehouse.query("SELECT name, applied_at FROM ops.migrations")
    return next((moment for stem, moment in found if stem.split("_", 2)[-1] == name), None)


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


def _grant(warehouse: Warehouse, role: str, tables: tuple[Table, ...], ops: tuple[str, ...]) -> None:
    """Let a role read what is this project's; others may have tables of their own in ``public``."""
    quoted = '"' + role.replace('"', '""') + '"'
    for schema in ("public", "ops"):
        warehouse.execute(f"GRANT USAGE ON SCHEMA {schema} TO {quoted}")
    own = (*(table.name for table in tables), *(insight.name for insight in INSIGHTS))
    for name in (*ops, *(f"public.{name}" for name in own)):
        warehouse.execute(f"GRANT SELECT ON {name} TO {quoted}")
