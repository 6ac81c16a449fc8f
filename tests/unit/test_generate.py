"""The committed samples are what the generator makes, and hold what they promise; the oracle counts."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from data import generate
from tests.oracle.rules import Verdict, judge, reason_counts, unknown_references

DATA = Path(generate.__file__).parent


def sample(table: str) -> Verdict:
    """The oracle's verdict on a committed sample."""
    return judge(table, (DATA / f"{table}.csv").read_bytes())


def bench(rows: int = 1000, bad: float = 0.0, seed: int = 1, start_id: int = 1) -> tuple[bytes, int]:
    """A benchmark file and the number of bad rows the generator says it has."""
    out = io.BytesIO()
    spoiled = generate.write_bench(out, rows, bad, seed, start_id)
    return out.getvalue(), spoiled


def test_the_committed_files_are_the_generated_ones(tmp_path: Path) -> None:
    generate.write_samples(tmp_path)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.csv")}
    committed = {path.relative_to(DATA): path.read_bytes() for path in DATA.rglob("*.csv")}
    assert made.keys() == committed.keys()
    assert [path for path in made if made[path] != committed[path]] == []


@pytest.mark.parametrize(("table", "rows"), [("departments", 12), ("jobs", 182)])
def test_departments_and_jobs_are_all_good(table: str, rows: int) -> None:
    verdict = sample(table)
    assert (verdict.rows_read, len(verdict.accepted), verdict.file_reason) == (rows, rows, None)
    assert [row[0] for row in verdict.accepted] == list(range(1, rows + 1))


def test_some_jobs_share_a_name() -> None:
    names = [row[1] for row in sample("jobs").accepted]
    assert len(names) - len(set(names)) == 2


def test_hires_hold_every_reason() -> None:
    verdict = sample("hired_employees")
    assert (verdict.rows_read, len(verdict.accepted), len(verdict.rejected)) == (2000, 1929, 71)
    assert reason_counts(verdict) == {
        "bad_encoding": 5,
        "column_count": 4,
        "duplicate_id": 4,
        "missing": 20,
        "not_a_datetime": 20,
        "not_an_integer": 18,
        "out_of_range": 7,
        "too_long": 3,
    }
    assert sum(len(row.reasons) > 1 for row in verdict.rejected) == 5
    assert {row[2].year for row in verdict.accepted} == {2021, 2022}  # type: ignore[union-attr]


def test_a_few_hires_point_nowhere() -> None:
    known = {"department_id": set(range(1, 13)), "job_id": set(range(1, 183))}
    assert unknown_references(sample("hired_employees").accepted, known) == {"department_id": 3, "job_id": 3}


@pytest.mark.parametrize("odd", [",", '"', "é", "Ł"])
def test_good_names_hold_what_parsers_trip_over(odd: str) -> None:
    assert any(odd in str(row[1]) for row in sample("hired_employees").accepted)


def test_every_line_ends_in_crlf() -> None:
    for table in ("departments", "jobs", "hired_employees"):
        data = (DATA / f"{table}.csv").read_bytes()
        assert data.endswith(b"\r\n")
        assert data.count(b"\n") == data.count(b"\r\n")


@pytest.mark.parametrize("kind", [kind for kind in generate.BAD_ROWS if kind != "several"])
def test_a_bad_row_has_its_reason_alone(kind: str) -> None:
    good = generate.Hire("8", 'Ada "Ann", Jr.', "2021-03-04T05:06:07Z", "1", "2")
    for variant in generate.BAD_ROWS[kind]:
        text = generate.line(good._replace(id="7")) + variant(good, "7")
        (row,) = judge("hired_employees", generate.encode(text)).rejected
        assert {reason for _, reason in row.reasons} == {kind}


@pytest.mark.parametrize(
    ("name", "reason", "rejected"),
    [
        ("departments_empty.csv", "empty", 0),
        ("departments_wrong_header.csv", "wrong_header", 0),
        ("hired_employees_all_rows_bad.csv", "all_rows_bad", 41),
        ("hired_employees_latin1.csv", None, 3),
        ("jobs_header_only.csv", "header_only", 0),
        ("jobs_unclosed_quote.csv", None, 1),
    ],
)
def test_bad_files(name: str, reason: str | None, rejected: int) -> None:
    table = next(table for table in ("departments", "hired_employees", "jobs") if name.startswith(table))
    verdict = judge(table, (DATA / "bad" / name).read_bytes())
    assert (verdict.file_reason, len(verdict.rejected)) == (reason, rejected)


def test_bad_files_are_all_known() -> None:
    assert len(list((DATA / "bad").iterdir())) == 6


def test_a_clean_benchmark_file() -> None:
    data, spoiled = bench(rows=3000, start_id=500)
    verdict = judge("hired_employees", data)
    assert spoiled == 0
    assert [row[0] for row in verdict.accepted] == list(range(500, 3500))


def test_a_benchmark_file_spans_chunks_and_counts_its_bad_rows() -> None:
    rows = generate.CHUNK + 1000
    data, spoiled = bench(rows=rows, bad=0.02, seed=7)
    verdict = judge("hired_employees", data)
    assert (verdict.rows_read, len(verdict.rejected)) == (rows, spoiled)
    assert 0.015 < spoiled / rows < 0.025
    assert len(reason_counts(verdict)) == 8


def test_a_benchmark_file_follows_its_seed() -> None:
    assert bench(bad=0.1, seed=3) == bench(bad=0.1, seed=3)
    assert bench(bad=0.1, seed=3) != bench(bad=0.1, seed=4)
    assert bench(rows=0) == (b"", 0)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--rows", "-1"],
        ["--bad", "1.5"],
        ["--start-id", "2147483647", "--rows", "2"],
        ["--bench", "salaries"],
    ],
)
def test_wrong_arguments_are_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit):
        generate.arguments(wrong)


def test_the_command_streams_to_standard_output() -> None:
    command = [sys.executable, str(DATA / "generate.py"), "--bench", "hired_employees", "--rows", "10"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == bench(rows=10)[0]
    assert done.stderr == b"10 rows, 0 of them bad\n"
