"""Input files, made once by the project's generator and kept under ``bench/out/``.

The clean twin of a file with bad rows comes from the generator too: it writes the same file, but nothing where a bad
row would be. So what is bad is not this project's own validation's word, and the two files agree byte for byte in
all rows that a loader must accept.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import OUT, REPOSITORY

BAD = 0.02
SEED = 7
_GENERATOR = REPOSITORY / "data" / "generate.py"


@dataclass(frozen=True)
class Input:
    """A file with its numbers of rows."""

    path: Path
    rows: int
    bad: int

    @property
    def good(self) -> int:
        """Rows that must be accepted."""
        return self.rows - self.bad


def dirty(rows: int) -> Input:
    """A file of ``rows`` rows, 2 % of them bad in every way that the generator knows."""
    return _made(f"dirty_{rows}", lambda: _chunks(rows, BAD, SEED), rows)


def cleaned(rows: int) -> Input:
    """The good rows of ``dirty(rows)``, byte for byte."""
    twin = dirty(rows)
    made = _made(f"cleaned_{rows}", lambda: ((chunk, 0) for chunk, _ in _chunks(rows, BAD, SEED, drop_bad=True)))
    if made.rows != twin.good:
        raise AssertionError(f"{made.path} has {made.rows} rows; {twin.path} has {twin.good} good ones")
    return made


def clean(rows: int) -> Input:
    """A file of ``rows`` rows without a bad one; its ids are 1 to ``rows``."""
    return _made(f"clean_{rows}", lambda: _chunks(rows, 0.0, SEED))


def changes(base: int, rows: int) -> Input:
    """``rows`` rows for a table filled from ``clean(base)``: every second one changes a row, the others are new.

    The changed rows are spread evenly over the whole table.
    """
    step = base // (rows // 2)
    return _made(f"changes_{base}_{rows}", lambda: _rekeyed(_chunks(rows, 0.0, SEED + 1), base, step))


def small_files(count: int, rows: int, first: int) -> tuple[bytes, ...]:
    """The bytes of ``count`` files of ``rows`` rows each without a bad one; their ids are ``first`` and those after it.

    Files of other ids have other rows.
    """
    pieces = _generator().bench_chunks(count * rows, 0.0, SEED + first, first)
    lines = b"".join(chunk for chunk, _ in pieces).splitlines(keepends=True)
    return tuple(b"".join(lines[start : start + rows]) for start in range(0, len(lines), rows))


def _rekeyed(chunks: Iterable[tuple[bytes, int]], base: int, step: int) -> Iterator[tuple[bytes, int]]:
    number = 0
    for chunk, bad in chunks:
        lines = []
        for line in chunk.splitlines(keepends=True):
            half = number // 2
            key = base + 1 + half if number % 2 else 1 + half * step
            lines.append(b"%d,%b" % (key, line.split(b",", 1)[1]))
            number += 1
        yield b"".join(lines), bad


def _chunks(rows: int, bad: float, seed: int, *, drop_bad: bool = False) -> Iterator[tuple[bytes, int]]:
    generator = _generator()
    if drop_bad:
        generator.VARIANTS = tuple(lambda _hire, _earlier: "" for _ in generator.VARIANTS)
    yield from generator.bench_chunks(rows, bad, seed, 1)


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location("bench_generator", _GENERATOR)
    if spec is None or spec.loader is None:
        raise ImportError(f"{_GENERATOR} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _made(name: str, chunks: Callable[[], Iterable[tuple[bytes, int]]], rows: int | None = None) -> Input:
    """The cached file of that name, or a new one; a changed generator makes new ones.

    ``rows`` is given where lines are not rows: bad rows may hold line ends.
    """
    version = hashlib.sha256(_GENERATOR.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:10]
    folder = OUT / "inputs"
    folder.mkdir(parents=True, exist_ok=True)
    path, about = folder / f"hired_employees_{name}_{version}.csv", folder / f"{name}_{version}.json"
    if about.exists() and path.exists():
        known = json.loads(about.read_text())
        return Input(path, known["rows"], known["bad"])
    draft = path.with_suffix(".draft")
    lines = bad = 0
    with draft.open("wb") as out:
        for chunk, spoiled in chunks():
            out.write(chunk)
            bad += spoiled
            lines += chunk.count(b"\n")
    draft.replace(path)
    made = Input(path, lines if rows is None else rows, bad)
    about.write_text(json.dumps({"rows": made.rows, "bad": made.bad}))
    return made
