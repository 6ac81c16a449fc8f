"""Print all SQL of a dialect as one script, from tables to procedures, for whoever looks after the database.

    PYTHONPATH=include python -m embedded.sqlscript redshift

``:name`` stands for a value that is bound; what is shown of a table is shown of the widest one.
"""

import re
import sys

from datamart.statements import statement
from datamart.tables import TABLES
from embedded.settings import REPOSITORY
from embedded.sqlcheck import DIALECTS, filled

PROCEDURES = {
    "Find what a listed file needs": ("newer_loads", "read_holds", "put_hold", "forget_hold", "insert_hold"),
    "Stage rows": ("create_staging", "create_staging_kept", "copy", "unload"),
    "Merge staged rows, under the table's lock": (
        "left_to_newer", "leave_to_newer", "merge_at_once", "merge_sizes", "merge_matched", "merge_history",
        "merge_update", "merge_insert", "merge_unchanged", "merge_preview",
        "rows_as_loaded", "staged_and_differing",
        "replaced_since",
    ),
    "Replace a table, under its lock": ("replace_preview", "replace_history", "replace_delete", "removed_keys"),
    "Write the ledger, in the same transaction": ("forget_failed_load", "insert_load"),
    "Back up, drill": ("insert_backup", "create_scratch", "insert_drill"),
    "Restore, and undo a load": (
        "live_columns", "relation_exists", "fill_columns", "restore_difference", "compared_difference",
        "undo_difference", "undo_deeper", "undo_nothing_before", "undo_touched", "undo_later_loads", "apply_history",
        "apply_delete", "apply_update", "apply_insert", "create_copy", "past_changes", "mark_done_again",
        "mark_one_undone", "mark_undone", "insert_restore", "read_restore",
    ),
    "Go back to any moment": (
        "first_commit_after", "events_between", "replay_load", "replay_change", "replay_delete", "replay_insert",
    ),
    "Refresh and read insights": (
        "hires_department_job", "departments_hired_above_mean", "insert_insight_refresh", "newest_insight_refresh",
        "read_hires_department_job", "read_departments_hired_above_mean", "chart_hires_by_department_job",
        "chart_top_jobs", "chart_departments_by_quarter", "chart_departments_above_mean", "newest_load_up_to",
    ),
    "Read the ledger": (
        "read_loads", "loads_by_day", "read_rejects_page", "oldest_change_after", "newest_changes",
    ),
    "Let go of what is old": ("due_clean", "due_rejects"),
}  # fmt: skip
"""The statements of each thing that is done, in their order; a dialect may have no use for some."""
FIRST = ("begin_migrations",)
SCHEMA = ("create_table", "insert_table")
VIEWS = ("open_references", "warned_references")
OTHER = ("create_warnings", "airflow_unfinished_runs")


def script(dialect: str) -> str:
    """The whole text."""
    out = [
        f"-- All SQL of this project in the dialect {dialect}: schema, then what is done, statement by statement.",
        "-- :name is a bound value. Staging tables are temporary. Short counts and look-ups are in the code beside.",
    ]
    out.append(_title("Schema"))
    out += [_shown(dialect, name) for name in FIRST if _exists(dialect, name)]
    out += [_shown(dialect, path.stem) for path in sorted((REPOSITORY / "sql" / dialect).glob("migrate_*.sql"))]
    out += [_shown(dialect, name, table.name) for table in TABLES for name in SCHEMA]
    for view in VIEWS:
        parts = [
            _text(dialect, view, table.name, column, other)
            for table in TABLES
            for column, other in table.references.items()
        ]
        out.append(f"-- {view}\nCREATE OR REPLACE VIEW ops.{view} AS\n" + "\nUNION ALL\n".join(parts) + ";")
    out.append(_shown(dialect, "create_warnings"))
    for procedure, names in PROCEDURES.items():
        shown = [_shown(dialect, name) for name in names if _exists(dialect, name)]
        out += [_title(procedure), *shown]
    return "\n\n".join(out) + "\n"


def _title(text: str) -> str:
    return f"-- {'=' * len(text)}\n-- {text}\n-- {'=' * len(text)}"


def _exists(dialect: str, name: str) -> bool:
    return any((REPOSITORY / "sql" / folder / f"{name}.sql").is_file() for folder in (dialect, "common"))


def _text(dialect: str, name: str, table: str = "hired_employees", column: str = "job_id", other: str = "jobs") -> str:
    own = {"table_name": table, "column_name": column, "referenced": f"public.{other}"}
    if name == "insert_load":
        own |= {"columns": "load_id, ...", "values": ":load_id, ..."}
    text = filled(statement(dialect, name), dialect, table, own)
    return re.sub(r"%\((\w+)\)s", r":\1", text).strip().removesuffix(";")


def _shown(dialect: str, name: str, table: str = "hired_employees") -> str:
    return f"-- {name}\n{_text(dialect, name, table)};"


def main(arguments: list[str]) -> int:
    """Print the script of the dialect that is named."""
    dialects = [name for name in DIALECTS if name != "common"]
    if len(arguments) != 1 or arguments[0] not in dialects:
        print(f"usage: python -m embedded.sqlscript {' | '.join(dialects)}", file=sys.stderr)
        return 2
    print(script(arguments[0]), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
