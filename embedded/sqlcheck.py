"""Check the grammar of sql/ with sqlfluff: common statements in both dialects, the others in their own.

Identifiers are filled in from the dictionary's widest table, bound values become literals; what is linted is what
a server would be sent. ``PYTHONPATH=include python -m embedded.sqlcheck``; ``make check`` does so.
"""

import re
import sys
from collections.abc import Mapping

import sqlfluff

from datamart.statements import WORDS, table_names
from datamart.tables import table_named
from datamart.warehouse.redshift import distribution
from embedded.settings import REPOSITORY

DIALECTS = {"common": ("postgres", "redshift"), "postgres": ("postgres",), "redshift": ("redshift",)}
# Rules on layout see rendered text, and the product's own columns have names that dialects reserve elsewhere.
EXCLUDED = ["layout", "RF04", "RF03", "AL03", "AM04", "ST06", "CP05", "CV11", "RF02", "RF06"]
_TEXTS = {"manifest": "'s3://bucket/manifest.json'", "place": "'s3://bucket/part-'", "query": "'SELECT 1'"}


def filled(text: str, dialect: str, table: str = "hired_employees", own: Mapping[str, str] | None = None) -> str:
    """The statement with identifiers filled in, those of ``own`` before others; values are still to be bound."""
    named = table_named(table)
    names = table_names(named, "staging_1", blanks_count=dialect == "postgres") | WORDS[dialect]
    names |= {"difference": "difference_1", "partly": "partly_1", "filled_columns": 'partly."id"'}
    names |= {"newer": "newer_1", "table_name": "hired_employees", "column_name": "job_id"}
    names |= {"source": "public.hires", "conditions": "1 = 1"}
    names |= {"referenced": "public.jobs", "referenced_key": '"id"'}
    names |= {"distribution": distribution(named), "relation": "staging_1", "role": "DEFAULT"}
    return text.format(**(names | dict(own or {})))


def rendered(text: str, dialect: str) -> str:
    """The statement as a server would see it."""
    own = {"columns": "load_id", "values": "%(load_id)s"} if "({values})" in text else {}
    return re.sub(r"%\((\w+)\)s", lambda found: _TEXTS.get(found[1], "1"), filled(text, dialect, own=own))


def main() -> int:
    """Return 0 when every statement parses in each dialect it is meant for; say where one does not."""
    faults, seen = 0, 0
    for folder, dialects in DIALECTS.items():
        for path in sorted((REPOSITORY / "sql" / folder).glob("*.sql")):
            for dialect in dialects:
                seen += 1
                text = rendered(path.read_text(encoding="utf-8"), dialect)
                for found in sqlfluff.lint(text, dialect=dialect, exclude_rules=EXCLUDED):
                    if found["code"] == "LT12":
                        continue
                    faults += 1
                    print(f"sql/{folder}/{path.name} ({dialect}): {found['code']} {found['description']}")
    print(f"{seen} statements checked, {faults} faults")
    return 1 if faults or not seen else 0


if __name__ == "__main__":
    sys.exit(main())
