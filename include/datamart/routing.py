"""Which table a file is for: decided by its name alone. Contents are judged elsewhere."""

from __future__ import annotations

from datamart.file_names import is_ignored, is_partial
from datamart.tables import TABLES, Table


def table_for(name: str, tables: tuple[Table, ...] = TABLES) -> Table | None:
    """The table that a file of this name (or S3 key) loads, or None when the name fits no table.

    The name starts with the table's name, not followed by a letter, and ends in ``.csv``; case does not
    matter. The longest table name wins, so that a table ``jobs_old`` is not taken for ``jobs``. Files that are no data
    or not complete by their name or folder are for no table.
    """
    base = name.rsplit("/", 1)[-1].lower()
    if not base.endswith(".csv") or is_ignored(name) or is_partial(name):
        return None
    return table_beginning(base, tables)


def table_beginning(path: str, tables: tuple[Table, ...] = TABLES) -> Table | None:
    """The table whose name a path begins with, not followed by a letter, or None; case does not matter."""
    lower = path.lower()
    fitting = [
        table
        for table in tables
        if lower.startswith(table.name) and not lower[len(table.name) : len(table.name) + 1].isalpha()
    ]
    return max(fitting, key=lambda table: len(table.name), default=None)
