"""Which function has raised an error of the warehouse, by the error's context: its message may quote a row."""

from __future__ import annotations

import pytest

from datamart.warehouse.sqlstates import raising_function


@pytest.mark.parametrize(
    ("context", "function"),
    [
        ("PL/pgSQL function check_salary() line 3 at RAISE", "check_salary"),
        ("PL/pgSQL function hr.check_salary(integer,text) line 3 at RAISE\nCOPY jobs, line 1", "hr.check_salary"),
        ('PL/pgSQL function "Check ""it"""() line 1 at RAISE', '"Check ""it"""'),
        ('PL/Python function "check_salary"', '"check_salary"'),
        ('SQL statement "INSERT INTO x VALUES (1)"\nPL/pgSQL function f() line 3 at SQL statement', None),
        ("PL/pgSQL function inline_code_block line 1 at RAISE", None),
        ('COPY jobs, line 1, column id: "x"', None),
        ('SQL function "f" statement 1', None),
        ("", None),
        (None, None),
    ],
)
def test_the_function_is_named_by_the_first_line(context: str | None, function: str | None) -> None:
    assert raising_function(context) == function
