"""Each pandera check is needed: without it the validator and the independent judge no longer agree."""

from __future__ import annotations

from typing import Any

import pytest

from datamart.tables import TABLES, Table
from datamart.validation import Validator, raw_schema
from tests.oracle import rules as oracle
from tests.unit.test_validation_agrees_with_oracle import NASTY, judged_by, theirs

PLAIN = {"integer": b"5", "text": b"x", "datetime": b"2021-01-01T00:00:00Z"}
CHECKS = [
    (table, name, str(check.name))
    for table in TABLES
    for name, column in raw_schema(table).columns.items()
    for check in column.checks
]


def traps(table: Table, column: str) -> bytes:
    """A good row, then one for each trap value in one column."""
    rows = [b",".join(PLAIN[c.type.value] for c in table.columns)]
    for number, value in enumerate(NASTY, 100):
        cells = [b"%d" % number if c.name == table.key else PLAIN[c.type.value] for c in table.columns]
        cells[table.names.index(column)] = value
        rows.append(b",".join(cells))
    return b"\n".join(rows) + b"\n"


def without(validator: Validator, column: str, code: str) -> Validator:
    """The validator, one check short."""
    left = [check for check in validator.schema.columns[column].checks if check.name != code]
    validator.schema = validator.schema.update_column(column, checks=left)
    return validator


def verdicts(validator: Validator, data: bytes) -> Any:
    """What the validator says of a file, a crash included."""
    try:
        return judged_by(validator, data)
    except (ValueError, OverflowError) as crash:
        return type(crash)


@pytest.mark.parametrize(("table", "column", "code"), CHECKS, ids=lambda value: getattr(value, "name", value))
def test_a_missing_check_is_noticed(table: Table, column: str, code: str) -> None:
    data = traps(table, column)
    assert verdicts(Validator(table), data) == theirs(table.name, data)
    assert verdicts(without(Validator(table), column, code), data) != theirs(table.name, data)


def test_every_reason_of_the_judge_has_its_check() -> None:
    known = {code for _, _, code in CHECKS} | {"duplicate_id", "column_count", "unclosed_quote"}
    known |= {"bad_quote", "swallowed_lines"}
    data = b"".join(traps(table, column) for table, column, _ in CHECKS if table.name == "hired_employees")
    assert set(oracle.reason_counts(oracle.judge("hired_employees", data))) <= known
