"""SQL as files: finds a statement by its name, the dialect's own before the common one, and fills in identifiers.

Values never pass through here: they are bound by the driver. Identifiers come from the data dictionary, which
allows only ``a-z``, ``0-9`` and ``_``.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from datamart.errors import ConfigurationError
from datamart.tables import Table, Type

WORDS = {"postgres": {"bytewise": ' COLLATE "C"'}, "redshift": {"bytewise": ""}}
"""What a statement that dialects share calls differently: text in the order of its bytes, which is Redshift's own."""

SQL = Path(__file__).resolve().parents[2] / "sql"


@lru_cache(maxsize=256)
def statement(dialect: str, name: str) -> str:
    """The text of ``sql/<dialect>/<name>.sql`` or else of ``sql/common/<name>.sql``."""
    for folder in (dialect, "common"):
        path = SQL / folder / f"{name}.sql"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise ConfigurationError(f"There is no statement '{name}' for {dialect} under {SQL.name}/.")


def table_names(table: Table, staging: str, target: str | None = None, *, blanks_count: bool = True) -> dict[str, str]:
    """What the statements about one table and its staging call things; all made from dictionary names.

    ``target`` is another table of the same columns in the place of the table itself. ``blanks_count`` is False for a
    server that finds texts equal when only blanks at their end differ: then their lengths are compared too.
    """
    # Quoted, because a column may carry a type's name (datetime), which Redshift's grammar takes for the type.
    key = f'"{table.key}"'
    columns = [f'"{name}"' for name in table.names]
    values = [name for name in columns if name != key]

    def differs(target: str, source: str = "staging") -> str:
        unlike = [f"{target}.{name} <> {source}.{name}" for name in values]
        if not blanks_count:
            texts = [f'"{column.name}"' for column in table.columns if column.type is Type.TEXT]
            unlike += [f"OCTET_LENGTH({target}.{name}) <> OCTET_LENGTH({source}.{name})" for name in texts]
        return " OR ".join(unlike) or "1 = 0"

    def assignments(source: str) -> str:
        return ", ".join(f"{name} = {source}.{name}" for name in values) or f"{key} = {source}.{key}"

    target = target or f"public.{table.name}"
    row = target.rpartition(".")[2]
    return {
        "table": table.name,
        "target": target,
        "target_row": row,
        "history": f"{table.name}_history",
        "staging": staging,
        "key": key,
        "columns": ", ".join(columns),
        "target_columns": ", ".join(f"target.{name}" for name in columns),
        "staging_columns": ", ".join(f"staging.{name}" for name in columns),
        "old_columns": ", ".join(f"old.{name}" for name in columns),
        "merged_columns": ", ".join(f"merged.{name}" for name in columns),
        "assignments": assignments("staging"),
        "excluded_assignments": assignments("excluded"),
        "differs": differs("target"),
        "target_differs": differs(row),
        "excluded_differs": differs("target", "excluded"),
        "coalesced_key": f"COALESCE(staging.{key}, target.{key})",
        "staged_values": "".join(f"staging.{name}, " for name in values),
        "target_values": "".join(f"target.{name}, " for name in values),
        "deeper_assignments": ", ".join(f"{name} = was.{name}" for name in values) or f"{key} = was.{key}",
        "before_values": "".join(f"was.{name}, " for name in values),
        "definitions": ",\n    ".join(f'"{column.name}" {column.type.sql} NOT NULL' for column in table.columns),
    }
