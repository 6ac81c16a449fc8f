"""A number that tells whether two lots of rows are the same, whatever their order."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Numbers = npt.NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_BASE = 0x5851F42D4C957F2D
_ALL = (1 << 64) - 1
# So many rows that all that is made of them stays in the processor's cache.
_SLICE_ROWS = 8192


class Digest:
    """The sum of a number for each row: equal for equal rows, however they are ordered and batched.

    All numbers are unsigned and of 64 bits (modulo 2**64). With
    ``mix(x)``: ``x ^= x >> 30; x *= 0xBF58476D1CE4E5B9; x ^= x >> 27; x *= 0x94D049BB133111EB; x ^= x >> 31``:

    - the value of column c (the first of their names in order is 1) counts ``mix(v + mix(c * 0x9E3779B97F4A7C15))``;
    - v of an integer is the integer, v of a moment its microseconds since 1970 (negative ones modulo 2**64);
    - v of a text of n UTF-8 bytes b[0] ... b[n - 1] is the sum of all ``b[i] * 0x5851F42D4C957F2D ** i``, plus
      ``n * 0x9E3779B97F4A7C15``;
    - a row counts ``mix`` of the sum of its values' numbers, so that values cannot move between rows;
    - the digest is the sum of its rows' numbers: a sum and no XOR, so that doubled rows show.

    It finds mistakes; it is no proof against someone who looks for two lots of rows with one digest.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    @property
    def value(self) -> str:
        """The sum as 16 hexadecimal digits."""
        return f"{self._sum:016x}"

    def add(self, batch: pa.RecordBatch) -> None:
        """Count rows of int32, int64, string and timestamp[us] columns without nulls."""
        self.count(row_numbers(batch))

    def count(self, numbers: Numbers) -> None:
        """Count rows whose numbers are known."""
        self._sum = (self._sum + int(numbers.sum())) & _ALL
        self.rows += len(numbers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Digest):
            return NotImplemented
        return (self.rows, self._sum) == (other.rows, other._sum)

    def __repr__(self) -> str:
        return f"Digest(rows={self.rows}, value={self.value})"


def row_numbers(batch: pa.RecordBatch) -> Numbers:
    """The number of each row; equal for equal rows, in whatever order their columns are."""
    batch = batch.select(sorted(batch.schema.names))
    slices = [batch.slice(start, _SLICE_ROWS) for start in range(0, batch.num_rows, _SLICE_ROWS)]
    return np.concatenate([_numbers_of(one) for one in slices]) if slices else np.zeros(0, np.uint64)


def _numbers_of(batch: pa.RecordBatch) -> Numbers:
    rows = np.zeros(batch.num_rows, np.uint64)
    for place, column in enumerate(batch.columns):
        numbers = _text_numbers(column) if pa.types.is_string(column.type) else _fixed_numbers(column)
        numbers += np.uint64(_seed(place))
        rows += _mixed(numbers)
    return _mixed(rows)


def _seed(place: int) -> int:
    return int(_mixed(np.array([(place + 1) * _GOLDEN & _ALL], np.uint64))[0])


def _mixed(numbers: Numbers) -> Numbers:
    """splitmix64's finaliser, in place."""
    numbers ^= numbers >> np.uint64(30)
    numbers *= np.uint64(0xBF58476D1CE4E5B9)
    numbers ^= numbers >> np.uint64(27)
    numbers *= np.uint64(0x94D049BB133111EB)
    numbers ^= numbers >> np.uint64(31)
    return numbers


def _fixed_numbers(column: pa.Array) -> Numbers:
    plain = column.view(pa.int64()) if pa.types.is_timestamp(column.type) else column
    return np.array(plain.to_numpy(zero_copy_only=False), np.int64).view(np.uint64)


def _text_numbers(column: pa.StringArray) -> Numbers:
    _, offsets_buffer, data = column.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[column.offset :][: len(column) + 1].astype(np.int64)
    lengths = np.diff(offsets)
    text = np.frombuffer(data or b"", np.uint8)[offsets[0] : offsets[-1]]
    places = offsets - offsets[0]
    # One running sum for all texts; what it counts within a text is that text's sum, too large by a power.
    powers, inverses = _powers(1 << len(text).bit_length())
    sums = np.zeros(len(text) + 1, np.uint64)
    np.cumsum(text * powers[: len(text)], out=sums[1:])
    numbers: Numbers = np.diff(sums[places]) * inverses[places[:-1]]
    numbers += lengths.view(np.uint64) * np.uint64(_GOLDEN)
    return numbers


@lru_cache(8)
def _powers(size: int) -> tuple[Numbers, Numbers]:
    """The first ``size`` powers of the texts' base, and of its inverse modulo 2**64."""
    return _powers_of(_BASE, size), _powers_of(pow(_BASE, -1, 1 << 64), size)


def _powers_of(base: int, size: int) -> Numbers:
    powers = np.ones(1, np.uint64)
    while len(powers) < size:
        powers = np.concatenate((powers, powers * np.uint64(pow(base, len(powers), 1 << 64))))
    return powers
