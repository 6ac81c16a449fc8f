"""Every validation carries rows that are known to be bad: a check that does not judge them lets nothing in."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from threading import Barrier
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandera.config import config_context

from datamart import canary, validation
from datamart.errors import TerminalFault
from datamart.pandera_settings import pandera
from datamart.reader import Reader
from datamart.reasons import Reason
from datamart.tables import TABLES, Table, table_named
from datamart.validation import Validator
from tests.unit.test_every_check_counts import CHECKS, traps
from tests.unit.test_validation_agrees_with_oracle import judged_by, theirs

JOBS = table_named("jobs")
GOOD, BAD = b"1,a\n2,b\n", b"1,a\nx,\n2,\xff\n1,b\n3,c\n"
MANY = b"".join(b"%d,job %d\n" % (number, number) for number in range(1, 10_000)) + BAD


@contextmanager
def validate_is(other: Callable[[Any, Any], Any]) -> Iterator[None]:
    """pandera's ``validate`` replaced by ``other``, which is given the real one and what it is asked for."""
    patch = pytest.MonkeyPatch()
    real = pandera.DataFrameSchema.validate
    patch.setattr(
        pandera.DataFrameSchema, "validate", lambda self, frame, **how: other(lambda f: real(self, f, **how), frame)
    )
    try:
        yield
    finally:
        patch.undo()


def without_the_last(validate: Callable[[pd.DataFrame], Any], frame: pd.DataFrame) -> Any:
    """A report that leaves out what one check has found."""
    try:
        return validate(frame)
    except pandera.errors.SchemaErrors as found:
        del found.schema_errors[-1]
        raise


PLANTED: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "switched off": lambda: config_context(validation_enabled=False),
    "schema only": lambda: config_context(validation_depth="SCHEMA_ONLY"),
    "nothing is validated": lambda: validate_is(lambda _, frame: frame),
    "the first rows are validated": lambda: validate_is(lambda validate, frame: validate(frame.head(1))),
    "the last rows are validated": lambda: validate_is(lambda validate, frame: validate(frame.tail(1))),
}


@pytest.mark.parametrize("data", [GOOD, BAD, MANY], ids=["good", "bad", "many"])
@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_rows_that_were_not_judged_are_not_accepted(
    plant: Callable[[], AbstractContextManager[object]], data: bytes
) -> None:
    with plant(), pytest.raises(TerminalFault, match=r"did not reject a row that is known to be bad: .*job:missing"):
        judged_by(Validator(JOBS), data)
    assert judged_by(Validator(JOBS), data) == theirs("jobs", data)


def test_a_failure_that_is_not_reported_is_a_fault() -> None:
    with validate_is(without_the_last), pytest.raises(TerminalFault, match="did not report what these checks found"):
        judged_by(Validator(JOBS), BAD)


@pytest.mark.parametrize(("table", "column", "code"), CHECKS, ids=lambda value: getattr(value, "name", value))
@pytest.mark.parametrize("rows", [1, 100], ids=["few rows", "many rows"])
def test_each_check_has_its_canary(table: Table, column: str, code: str, rows: int) -> None:
    """A check that lets everything pass is told by its name, whatever the file holds."""
    validator = Validator(table)
    checks = [
        pandera.Check(lambda values: values.isna() | True, name=code, error=code, ignore_na=False)
        if check.name == code
        else check
        for check in validator.schema.columns[column].checks
    ]
    validator.schema = validator.schema.update_column(column, checks=checks)
    with pytest.raises(TerminalFault, match=f"known to be bad: {column}:{code}\\."):
        judged_by(validator, traps(table, column) * rows, 1 << 24)


def test_the_check_of_keys_has_its_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation.rules.FirstSeen, "fresh", lambda _, keys: np.ones(len(keys), np.bool_))
    with pytest.raises(TerminalFault, match=r"known to be bad: id:duplicate_id\."):
        judged_by(Validator(JOBS), GOOD)


@pytest.mark.parametrize("ids", [[], [0], [1], [0, 1, 2, 4], [0, 0, 1], [2**31 - 1]], ids=str)
def test_the_check_of_references_has_its_canary(ids: list[int]) -> None:
    table = table_named("hired_employees")
    known = {"department_id": np.array(ids, np.int64), "job_id": np.array([1], np.int64)}
    data = b"1,Ann,2021-01-01T00:00:00Z,%d,1\n2,Bo,2021-01-01T00:00:00Z,3,1\n" % (ids[0] if ids else 9)
    accepted = judged_by(Validator(table, known, reject_unknown=True), data)[0]
    assert [row[0] for row in accepted] == ([1] if ids else [])
    validator = Validator(table, known, reject_unknown=True)
    checks = validator.schema.columns["department_id"].checks
    blind = pandera.Check(lambda values: values.isna() | True, name=checks[-1].name, ignore_na=False)
    validator.schema = validator.schema.update_column("department_id", checks=[*checks[:-1], blind])
    with pytest.raises(TerminalFault, match=r"known to be bad: department_id:unknown_reference\."):
        judged_by(validator, data)


def test_each_rule_has_a_value_that_it_rejects() -> None:
    found = {code for _, _, code in CHECKS}
    assert set(canary.KNOWN_BAD) == found


def test_eight_threads_judge_as_one_does() -> None:
    """Also beside threads that have switched validation off for themselves."""
    files = {table: traps(table, table.names[-1]) for table in TABLES}
    wanted = {table: theirs(table.name, data) for table, data in files.items()}
    begin = Barrier(8)

    def judge(number: int) -> None:
        begin.wait()
        for turn in range(12):
            table = TABLES[(number + turn) % len(TABLES)]
            if number % 4 == 3:
                with config_context(validation_enabled=False), pytest.raises(TerminalFault):
                    judged_by(Validator(table), files[table])
            assert judged_by(Validator(table), files[table], 64 << (turn % 3) * 8) == wanted[table]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(judge, range(8)))


def test_what_one_check_found_is_of_its_own_validation_alone() -> None:
    """Two files that are judged in turn by one thread do not share what they have seen."""
    first, second = Validator(JOBS), Validator(JOBS)
    for _ in range(2):
        for validator in (first, second):
            (chunk,) = Reader(io.BytesIO(b"7,a\n"), JOBS, 100)
            rejects = validator.judge(chunk).rejects
            assert [reject.reasons for reject in rejects] == ([(Reason("id", "duplicate_id"),)] if _ else [])
