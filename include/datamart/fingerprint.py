"""Which rules are in force, as a short text: equal text, equal judgement of equal bytes.

A file that was refused is judged again only when this differs from what the ledger kept with the refusal, and a
copy of a loaded file is known to change nothing only when it does not.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from datamart import reader, records, rules, tables, validation
from datamart.settings import Settings
from datamart.tables import Table


def rules_in_force(table: Table | None, settings: Settings) -> str:
    """Sixteen hexadecimal digits that stand for the code of the rules, the table and the settings that judge.

    A table that is None stands for names that fit no table.
    """
    judged_by = f"{_code()}|{table!r}|{settings.unknown_reference}|{settings.reject_threshold}"
    return hashlib.sha256(judged_by.encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def _code() -> str:
    found = hashlib.sha256()
    for module in (reader, records, rules, tables, validation):
        found.update(Path(str(module.__file__)).read_bytes())
    return found.hexdigest()
