"""Row by row: the csv module, a pydantic model with this project's rules, psycopg2's ``execute_values``.

The one peer that is given the file with bad rows: it sorts out the same ones as this project, but keeps no reasons.
"""

import csv
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import psycopg2
from psycopg2.extras import execute_values
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError

from bench.contenders import COLUMNS, Clock, job

PAGE_ROWS = 10_000
_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)


def _digits(value: str) -> int:
    if not _DIGITS.fullmatch(value):
        raise ValueError("not an integer")
    return int(value)


def _moment(value: str) -> datetime:
    if not _MOMENT.fullmatch(value):
        raise ValueError("not a datetime")
    return datetime.strptime(value[:-1], "%Y-%m-%dT%H:%M:%S") if value[11:13] == "24" else datetime.fromisoformat(value)


def _text(value: str) -> str:
    # Bytes that are no UTF-8 were read as surrogates, which do not encode.
    if "\0" in value or not 0 < len(value.encode()) <= 256:
        raise ValueError("no text that fits")
    return value


Integer = Annotated[int, BeforeValidator(_digits), Field(ge=0, le=2**31 - 1)]


class Hire(BaseModel):
    """One row."""

    id: Integer
    name: Annotated[str, AfterValidator(_text)]
    datetime: Annotated[datetime, BeforeValidator(_moment)]
    department_id: Integer
    job_id: Integer


class Reader:
    """Good rows of a file; counts the others."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: set[int] = set()
        self.rejected = 0

    def __iter__(self) -> Iterator[tuple[object, ...]]:
        with open(self._path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            for values in csv.reader(file):
                if not values:
                    continue
                hire = self._hire(values)
                if hire is None or hire.id in self._seen:
                    self.rejected += 1
                    continue
                self._seen.add(hire.id)
                yield hire.id, hire.name, hire.datetime.replace(tzinfo=None), hire.department_id, hire.job_id

    @staticmethod
    def _hire(values: list[str]) -> Hire | None:
        if len(values) != len(COLUMNS):
            return None
        try:
            return Hire(**dict(zip(COLUMNS, values, strict=True)))  # type: ignore[arg-type]
        except ValidationError:
            return None


def main() -> None:
    """Insert the good rows of the job's ``file`` into ``public.hired_employees``."""
    wanted = job()
    clock = Clock()
    rows = Reader(wanted["file"])
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    connection = psycopg2.connect(wanted["dsn"])
    with connection, connection.cursor() as cursor:
        statement = f"INSERT INTO public.hired_employees ({names}) VALUES %s"  # noqa: S608 - constants
        execute_values(cursor, statement, rows, page_size=PAGE_ROWS)
    connection.close()
    clock.finish(rejected=rows.rejected)


if __name__ == "__main__":
    main()
