"""Makes this project's data: the committed samples, and benchmark files of any size.

    python data/generate.py                                     writes the samples beside this file
    python data/generate.py --bench hired_employees --rows N    streams a file of N rows to standard output

The samples need only the standard library and come out the same on every machine; a test holds the committed
files to that. The benchmark stream needs numpy and is the same for equal arguments and an equal numpy.
All people are invented.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

SEED = 20210101
SAMPLE_ROWS = 2000
MAX_ID = 2**31 - 1
CHUNK = 65_536
ORPHANS = 6

T = TypeVar("T")

DEPARTMENTS = {
    "Accounting": 2,
    "Customer Care": 9,
    "Data & Insight": 4,
    "Engineering": 14,
    "Facilities": 1,
    "Legal": 1,
    "Logistics": 7,
    "Marketing": 5,
    "People": 3,
    "Production": 12,
    "Research and Development": 6,
    "Sales": 11,
}

ROLES = (
    "Accountant", "Account Manager", "Analyst", "Architect, Cloud", "Assembler", "Auditor", "Biostatistician",
    "Buyer", "Chargé d'affaires", "Chemist", "Controller", "Copywriter", "Counsel", "Data Engineer",
    "Data Scientist", "Database Administrator", "Designer", "Developer", "Dispatcher", "Electrician",
    "Engineer, Field", "Engineer, Quality", "Executive Assistant", "Geologist", "Librarian", "Machinist",
    "Mechanic", "Network Engineer", "Nurse", "Operator \"Night Shift\"", "Paralegal", "Planner", "Programmer",
    "Project Manager", "Recruiter", "Régisseur", "Researcher", "Safety Officer", "Sales Representative",
    "Statistician", "Support Agent", "Teacher", "Technical Writer", "Tester", "Translator",
)  # fmt: skip
GRADES = ("I", "II", "III", "IV")
# Two ids may share one job's name: reports group by name.
SHARED_NAMES = ("Analyst I", "Developer II")

# What a department hires most, as departments do: every third of its hires.
USUAL_JOBS = {
    "Accounting": ("Accountant II", "Account Manager I"),
    "Customer Care": ("Support Agent I", "Support Agent II"),
    "Data & Insight": ("Data Engineer II", "Researcher I"),
    "Engineering": ("Data Engineer I", "Network Engineer II", "Mechanic I"),
    "Facilities": ("Mechanic II",),
    "Legal": ("Paralegal I", "Paralegal II"),
    "Logistics": ("Mechanic III", "Support Agent III"),
    "Marketing": ("Copywriter I", "Researcher III"),
    "People": ("Recruiter I", "Recruiter II"),
    "Production": ("Assembler I", "Mechanic I", "Mechanic II"),
    "Research and Development": ("Researcher I", "Researcher II", "Geologist I"),
    "Sales": ("Sales Representative I", "Sales Representative II", "Account Manager II"),
}
USUAL_EVERY = 3

FIRST = (
    "Ada", "Agnès", "Ahmed", "Aiko", "Alan", "Amélie", "Ana", "Andrés", "Anna", "Arjun", "Åsa", "Beatriz",
    "Björn", "Carla", "Chidi", "Chloé", "Daniel", "Deniz", "Dora", "Edgar", "Elena", "Emre", "Eva",
    "Farah", "Felipe", "François", "Grace", "Hana", "Hugo", "Ines", "Ivan", "Jana", "João", "José",
    "Julia", "Kwame", "Lars", "Leila", "Lin", "Lucía", "Łukasz", "Magda", "Marco", "María", "Mei",
    "Nadia", "Nils", "Noor", "Olga", "Omar", "Paula", "Pedro", "Priya", "Quentin", "Rosa", "Samuel",
    "Sara", "Søren", "Tomás", "Uma", "Víctor", "Wei", "Yara", "Zoë",
)  # fmt: skip
LAST = (
    "Abara", "Almeida", "Andersen", "Bauer", "Bianchi", "Brown", "Castillo", "Chen", "Costa", "Dąbrowski",
    "Dubois", "Eriksson", "Fernández", "Fischer", "García", "Gómez", "Haddad", "Hansen", "Horváth",
    "Ibrahim", "Ito", "Jansen", "Johnson", "Kaya", "Kim", "Kowalska", "Kumar", "Larsen", "Lefèvre", "Li",
    "López", "Martin", "Meyer", "Moreau", "Müller", "Muñoz", "Nakamura", "Ncube", "Novák", "Núñez",
    "O'Brien", "Okafor", "Oliveira", "Öztürk", "Park", "Patel", "Peña", "Quispe", "Ramírez", "Rossi",
    "Santos", "Schmidt", "Silva", "Singh", "Smith", "Suárez", "Tanaka", "Torres", "Varga", "Weber",
    "Yılmaz", "Zhang", "Ziegler", "Zúñiga",
)  # fmt: skip


class Hire(NamedTuple):
    """The raw text of a hire's fields. A byte that is no UTF-8 is carried as a surrogate escape."""

    id: str
    name: str
    datetime: str
    department_id: str
    job_id: str


BadRow = Callable[[Hire, str], str]


def encode(text: str) -> bytes:
    """The bytes of generated text, bad ones included."""
    return text.encode("utf-8", "surrogateescape")


def quote(value: str) -> str:
    """A CSV field, quoted only where RFC 4180 asks for it."""
    if any(character in value for character in '",\r\n'):
        return '"' + value.replace('"', '""') + '"'
    return value


def line(fields: Sequence[str]) -> str:
    """One record with its terminator."""
    return ",".join(map(quote, fields)) + "\r\n"


# Each takes a good hire and the id of an earlier good one and gives the record that must be rejected.
BAD_ROWS: dict[str, tuple[BadRow, ...]] = {
    "missing": (
        lambda hire, _: line(hire._replace(id="")),
        lambda hire, _: line(hire._replace(name="")),
        lambda hire, _: line(hire._replace(datetime="")),
        lambda hire, _: line(hire._replace(department_id="")),
        lambda hire, _: line(hire._replace(job_id="")),
        lambda hire, _: line(hire).replace(quote(hire.name), '""', 1),
    ),
    "not_an_integer": (
        lambda hire, _: line(hire._replace(id="+" + hire.id)),
        lambda hire, _: line(hire._replace(id=hire.id + ".0")),
        lambda hire, _: line(hire._replace(department_id=" " + hire.department_id)),
        lambda hire, _: line(hire._replace(department_id="-1")),
        lambda hire, _: line(hire._replace(department_id="null")),
        lambda hire, _: line(hire._replace(job_id="1_8")),
        lambda hire, _: line(hire._replace(job_id="٣")),
        lambda hire, _: line(hire._replace(job_id="0x1F")),
    ),
    "out_of_range": (
        lambda hire, _: line(hire._replace(id="2147483648")),
        lambda hire, _: line(hire._replace(department_id="99999999999")),
        lambda hire, _: line(hire._replace(job_id="18446744073709551617")),
    ),
    "not_a_datetime": (
        lambda hire, _: line(hire._replace(datetime="2021-02-30T09:00:00Z")),
        lambda hire, _: line(hire._replace(datetime=hire.datetime.replace("T", " "))),
        lambda hire, _: line(hire._replace(datetime="2021-06-31T24:00:00Z")),
        lambda hire, _: line(hire._replace(datetime="2021-12-31T23:59:60Z")),
        lambda hire, _: line(hire._replace(datetime="2022-2-8T10:00:00Z")),
        lambda hire, _: line(hire._replace(datetime=hire.datetime.lower())),
        lambda hire, _: line(hire._replace(datetime=hire.datetime.replace("Z", "+02:00"))),
        lambda hire, _: line(hire._replace(datetime=hire.datetime.replace("Z", ".500Z"))),
        lambda hire, _: line(hire._replace(datetime=hire.datetime + "\r\n")),
    ),
    "too_long": (
        lambda hire, _: line(hire._replace(name=(hire.name + " ") * 80)),
        lambda hire, _: line(hire._replace(name="é" * 129)),
    ),
    "bad_encoding": (
        lambda hire, _: line(hire._replace(name="Jos\udce9 P\udce9rez")),
        lambda hire, _: line(hire._replace(name=hire.name + "\x00")),
        lambda hire, _: line(hire._replace(name="\udced\udca0\udc80")),
        lambda hire, _: line(hire._replace(datetime=hire.datetime + "\udcff")),
    ),
    "column_count": (
        lambda hire, _: line(hire[:4]),
        lambda hire, _: line((*hire, "")),
        lambda hire, _: line((hire.id, "Ruiz", *hire[1:])),
        lambda hire, _: line(hire[:1]),
    ),
    "duplicate_id": (
        lambda hire, earlier: line(hire._replace(id=earlier)),
        lambda hire, earlier: line(hire._replace(id="00" + earlier)),
    ),
    "several": (
        lambda hire, _: line(hire._replace(name="", datetime="yesterday", job_id="-5")),
        lambda _hire, _: '"",,,,\r\n',  # commas alone would be a blank line
        lambda hire, _: line(hire._replace(id="x", datetime="", department_id="3000000000")),
        lambda hire, _: line(hire._replace(name="Andr\udce9", job_id="")),
        lambda hire, _: line(hire._replace(name="N" * 300, datetime="2021-13-01T00:00:00Z")),
    ),
}
VARIANTS: tuple[BadRow, ...] = tuple(variant for variants in BAD_ROWS.values() for variant in variants)


class Dice:
    """Choices from one seed through `random()` alone, whose sequence Python promises to keep."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def below(self, limit: int) -> int:
        """A number from 0 up to, but without, `limit`."""
        return int(self._random() * limit)

    def one_of(self, choices: Sequence[T]) -> T:
        """One of the choices, all equally likely."""
        return choices[self.below(len(choices))]

    def some_of(self, choices: Sequence[T], count: int) -> list[T]:
        """`count` different choices, in random order."""
        left = list(choices)
        return [left.pop(self.below(len(left))) for _ in range(count)]


def department_names() -> list[str]:
    """The departments; a department's id is its place, counted from 1."""
    return list(DEPARTMENTS)


def job_names() -> list[str]:
    """The jobs; a job's id is its place, counted from 1. The last ones share names with others."""
    return [f"{role} {grade}" for role in ROLES for grade in GRADES] + list(SHARED_NAMES)


def name(first: str, last: str, style: int) -> str:
    """A person's name; some styles hold what CSV must quote."""
    return {
        0: f"{last}, {first}",
        1: f'{first} "{last[:3]}" {last}',
        2: f"{first} {last}, Jr.",
    }.get(style, f"{first} {last}")


def sample_hire(dice: Dice, number: int) -> Hire:
    """A good hire of 2021 or 2022, departments weighted so that some stand out."""
    weighted = [place for place, weight in enumerate(DEPARTMENTS.values(), 1) for _ in range(weight)]
    day = date(2021, 1, 1) + timedelta(days=dice.below(730))
    time = f"{dice.below(24):02}:{dice.below(60):02}:{dice.below(60):02}"
    hire = Hire(
        id=str(number),
        name=name(dice.one_of(FIRST), dice.one_of(LAST), dice.below(40)),
        datetime=f"{day}T{time}Z",
        department_id=str(dice.one_of(weighted)),
        job_id=str(1 + dice.below(len(job_names()))),
    )
    turn, other = divmod(number, USUAL_EVERY)
    if other:
        return hire
    usual = USUAL_JOBS[list(DEPARTMENTS)[int(hire.department_id) - 1]]
    return hire._replace(job_id=str(1 + job_names().index(usual[turn % len(usual)])))


def sample_hires() -> str:
    """The sample of hires: every bad row at least once, and a few unknown references."""
    dice = Dice(SEED)
    hires = [sample_hire(dice, number) for number in range(1, SAMPLE_ROWS + 1)]
    common = ("missing", "not_an_integer", "out_of_range", "not_a_datetime", "duplicate_id")
    variants = [*VARIANTS, *(variant for kind in common for variant in BAD_ROWS[kind])]
    # The first ten rows stay good: a first look at the file shows hires, and duplicates repeat their ids.
    chosen = dice.some_of(range(10, SAMPLE_ROWS), len(variants) + ORPHANS)
    bad = dict(zip(chosen, variants, strict=False))
    for turn, place in enumerate(chosen[len(variants) :]):
        unknown = {"department_id": "99"} if turn % 2 else {"job_id": "999"}
        hires[place] = hires[place]._replace(**unknown)
    return "".join(
        bad[place](hire, hires[dice.below(10)].id) if place in bad else line(hire) for place, hire in enumerate(hires)
    )


def bad_files() -> dict[str, bytes]:
    """Small files with one fault of the whole file each, named so that they reach a table."""
    good = Hire("900001", "Ada Castillo", "2021-03-04T05:06:07Z", "4", "1")
    accented = [("900011", "Agnès"), ("900012", "Andrés"), ("900013", "Anna"), ("900014", "Zoë")]
    latin1 = "".join(line(good._replace(id=number, name=first)) for number, first in accented)
    return {
        "departments_empty.csv": b"",
        "departments_wrong_header.csv": encode("id,department,floor\r\n901,Archive,2\r\n"),
        "hired_employees_all_rows_bad.csv": encode(
            "".join(variant(good, good.id) for variant in VARIANTS if variant not in BAD_ROWS["duplicate_id"])
        ),
        "hired_employees_latin1.csv": latin1.encode("latin-1"),
        "jobs_header_only.csv": encode("id,job\r\n"),
        "jobs_unclosed_quote.csv": encode('901,Archivist I\r\n902,"Archivist II\r\n903,Archivist III\r\n'),
    }


def samples() -> dict[str, bytes]:
    """Every committed file, by its path below this folder."""
    tables = {
        "departments.csv": encode("".join(line((str(k), v)) for k, v in enumerate(department_names(), 1))),
        "jobs.csv": encode("".join(line((str(k), v)) for k, v in enumerate(job_names(), 1))),
        "hired_employees.csv": encode(sample_hires()),
    }
    return tables | {f"bad/{file}": content for file, content in bad_files().items()}


def write_samples(folder: Path) -> None:
    """Write every sample below `folder`."""
    for path, content in samples().items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


class Pools(NamedTuple):
    """Ready-made pieces of benchmark rows: joining strings is the fastest thing Python does with them."""

    names: list[str]
    days: list[str]
    times: list[str]
    references: list[str]


def pools() -> Pools:
    """The pieces of a row after its id, separators included."""
    start = date(2021, 1, 1)
    people = [(first, last) for first in FIRST for last in LAST]
    return Pools(
        names=[f",{quote(name(*person, place % 40))}," for place, person in enumerate(people)],
        days=[f"{start + timedelta(days=day)}T" for day in range(730)],
        times=[f"{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}Z," for s in range(86_400)],
        references=[
            f"{department},{job}\r\n"
            for department in range(1, len(DEPARTMENTS) + 1)
            for job in range(1, len(job_names()) + 1)
        ],
    )


def bench_chunks(rows: int, bad: float, seed: int, start_id: int) -> Iterator[tuple[bytes, int]]:
    """The file in pieces of equal row counts, each with its number of bad rows."""
    import numpy

    rng = numpy.random.Generator(numpy.random.PCG64(seed))
    pieces = pools()
    for done in range(0, rows, CHUNK):
        count = min(CHUNK, rows - done)
        first = start_id + done
        columns = [[pool[i] for i in rng.integers(len(pool), size=count).tolist()] for pool in pieces]
        ids = map(str, range(first, first + count))
        lines = [a + b + c + d + e for a, b, c, d, e in zip(ids, *columns, strict=True)]
        # A chunk's first row stays good: it is the one that duplicates repeat.
        spoiled = (1 + numpy.flatnonzero(rng.random(count)[1:] < bad)).tolist()
        kinds = rng.integers(len(VARIANTS), size=len(spoiled)).tolist()
        for place, kind in zip(spoiled, kinds, strict=True):
            hire = _pooled_hire(first + place, [column[place] for column in columns])
            lines[place] = VARIANTS[kind](hire, str(first))
        yield encode("".join(lines)), len(spoiled)


def _pooled_hire(number: int, pieces: list[str]) -> Hire:
    """The hire that pieces of the pools make; its name is plain text again."""
    person, day, time, references = pieces
    plain = person[1:-1].strip('"').replace('""', '"')
    department_id, job_id = references.rstrip().split(",")
    return Hire(str(number), plain, day + time[:-1], department_id, job_id)


def write_bench(out: BinaryIO, rows: int, bad: float, seed: int, start_id: int) -> int:
    """Stream a benchmark file of hires and give the number of bad rows in it."""
    spoiled = 0
    for chunk, count in bench_chunks(rows, bad, seed, start_id):
        out.write(chunk)
        spoiled += count
    out.flush()
    return spoiled


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description="Write the sample files, or stream a benchmark file.")
    parser.add_argument("--bench", choices=["hired_employees"], help="stream this table to standard output")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the benchmark file")
    parser.add_argument("--bad", type=float, default=0.0, help="share of bad rows, 0 to 1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start-id", type=int, default=1, help="id of the first row")
    options = parser.parse_args(argv)
    if options.rows < 0 or options.start_id < 0 or options.start_id + options.rows - 1 > MAX_ID:
        parser.error(f"ids must lie between 0 and {MAX_ID}")
    if not 0 <= options.bad <= 1:
        parser.error("--bad is a share between 0 and 1")
    return options


def main() -> None:
    """Do what the command line asks for."""
    options = arguments()
    if options.bench is None:
        write_samples(Path(__file__).parent)
        return
    spoiled = write_bench(sys.stdout.buffer, options.rows, options.bad, options.seed, options.start_id)
    print(f"{options.rows} rows, {spoiled} of them bad", file=sys.stderr)


if __name__ == "__main__":
    main()
