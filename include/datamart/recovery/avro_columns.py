"""The rows of many AVRO blocks as columns: blocks are read side by side, so that whole vectors are worked on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datamart.errors import BackupDamaged
from datamart.recovery.avro_container import LONGEST, Block
from datamart.warehouse.binaryread import texts

Positions = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


class SideBySide:
    """Blocks of rows of a known kind, read side by side: the first row of every block, then every second one.

    Rows have no marks between them; but the last byte of a number is one below 128, so the end of any number of
    neighbouring numbers is found by counting such bytes. Only a text between them has to be stepped over.
    """

    def __init__(self, stored: pa.Schema, blocks: list[Block]) -> None:
        self._runs = _Run.all_of(stored)
        self._counts = np.array([block.rows for block in blocks])
        # Zeros behind the data end every number, however many are still looked for.
        padding = bytes(len(stored) + 2 * LONGEST)
        self._data = b"".join([*(block.data for block in blocks), padding])
        self._ends = np.cumsum([len(block.data) for block in blocks])
        self._bytes = np.frombuffer(self._data, np.uint8)
        self._words: Words = np.ndarray((len(self._data) - 7,), "<u8", self._data, strides=(1,))
        stops = self._bytes < 0x80
        self._stops = np.flatnonzero(stops)
        self._before = np.zeros(len(stops) + 1, np.int32)
        np.cumsum(stops, out=self._before[1:])

    def columns(self, names: list[str]) -> dict[str, pa.Array]:
        """The columns of these names."""
        columns: dict[str, pa.Array] = {}
        for run, starts in zip(self._runs, self._run_starts(), strict=True):
            numbers, after = self._run_numbers(run, starts)
            fixed = run.fields if run.text is None else run.fields[:-1]
            columns |= {field.name: _fixed(field, numbers[n]) for n, field in enumerate(fixed) if field.name in names}
            if run.text is not None:
                columns[run.text] = self._texts(run.text, after, _signed(numbers[-1]))
        return columns

    def _run_numbers(self, run: _Run, starts: Positions) -> tuple[list[Words], Positions]:
        """The numbers of a run, a column each, and where they end."""
        columns = []
        first = self._before[starts]
        for place in range(len(run.fields)):
            ends = self._stops[first + place]
            columns.append(self._numbers(starts, ends))
            starts = ends + 1
        return columns, starts

    def _run_starts(self) -> list[Positions]:
        """Where each run of each row starts, rows in the file's order."""
        order = np.argsort(-self._counts, kind="stable")
        # Blocks with many rows first: those that still have rows are then neighbours at each step.
        active = len(order) - np.searchsorted(np.sort(self._counts), np.arange(self._counts.max()), side="right")
        found = [np.empty(self._counts.sum(), np.int64) for _ in self._runs]
        at = np.concatenate((np.zeros(1, np.int64), self._ends))[:-1][order]
        base = 0
        for blocks in active.tolist():
            places = at[:blocks]
            for run, starts in zip(self._runs, found, strict=True):
                starts[base : base + blocks] = places
                places = self._after(run, places)
            at[:blocks] = places
            base += blocks
        if (at != self._ends[order]).any():
            raise BackupDamaged("The AVRO file is damaged: the rows of a block do not end where it does.")
        rows = self._in_order(order, active)
        return [starts[rows] for starts in found]

    def _in_order(self, order: Positions, active: Positions) -> Positions:
        """For each row, in the file's order: its place among the rows in the order of the walk."""
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        row = np.arange(self._counts.sum()) - np.repeat(np.cumsum(self._counts) - self._counts, self._counts)
        places: Positions = (np.cumsum(active) - active)[row] + np.repeat(rank, self._counts)
        return places

    def _after(self, run: _Run, places: Positions) -> Positions:
        """Where the next run starts; one place behind all data for rows that lead out of it."""
        first = self._before[places]
        ends = self._stops[first + (len(run.fields) - 1)]
        after = ends + 1
        if run.text is not None:
            starts = self._stops[first + (len(run.fields) - 2)] + 1 if len(run.fields) > 1 else places
            after += self._lengths(starts, ends)
        # As a number without a sign, a place before the data is far behind it.
        unsigned = after.view(np.uint64)
        np.minimum(unsigned, np.uint64(self._ends[-1] + 1), out=unsigned)
        return after

    def _lengths(self, starts: Positions, ends: Positions) -> Positions:
        lengths = self._bytes[starts]
        # Nearly always none is negative or longer than 63 bytes: then each is one byte, and its own half.
        if np.bitwise_or.reduce(lengths) & 0x81:
            return _signed(self._numbers(starts, ends))
        return (lengths >> 1).astype(np.int64)

    def _numbers(self, starts: Positions, ends: Positions) -> Words:
        """The zigzagged numbers between two places each."""
        widths = ends - starts + 1
        longest = int(widths.max())
        if longest > LONGEST:
            raise BackupDamaged("The AVRO file is damaged: a number in it is too long.")
        if longest == 1:
            return self._bytes[starts].astype(np.uint64)
        numbers = _packed(self._words[starts] & _KEPT[np.minimum(widths, 8)], longest)
        for place in range(8, longest):
            long = np.flatnonzero(widths > place)
            byte = self._bytes[starts[long] + place].astype(np.uint64)
            if place == LONGEST - 1 and (byte > 1).any():
                raise BackupDamaged("The AVRO file is damaged: a number in it is too large.")
            numbers[long] |= (byte & np.uint64(0x7F)) << np.uint64(7 * place)
        return numbers

    def _texts(self, name: str, starts: Positions, lengths: Positions) -> pa.Array:
        # A negative length would have led the walk back, so what it found would mean nothing.
        if (lengths.view(np.uint64) > len(self._data)).any():
            raise BackupDamaged(f"The AVRO file is damaged: a text of field {name} has an impossible length.")
        found = texts(self._data, starts, starts + lengths)
        try:
            found.validate(full=True)
        except pa.ArrowInvalid:
            raise BackupDamaged(f"The AVRO file is damaged: a text of field {name} is not UTF-8.") from None
        return found


@dataclass(frozen=True)
class _Run:
    """Neighbouring fields whose numbers follow each other; the last may be the length of the ``text`` behind them."""

    fields: list[pa.Field]
    text: str | None

    @staticmethod
    def all_of(schema: pa.Schema) -> list[_Run]:
        """A row as runs."""
        runs: list[_Run] = []
        fields: list[pa.Field] = []
        for field in schema:
            fields.append(field)
            if pa.types.is_string(field.type):
                runs.append(_Run(fields, field.name))
                fields = []
        return [*runs, _Run(fields, None)] if fields else runs


# By number of bytes: the bits that so many bytes of a word take, without those that say whether more follow.
_KEPT = np.array([0x7F7F7F7F7F7F7F7F & ((1 << 8 * width) - 1) for width in range(9)], np.uint64)


def _packed(words: Words, longest: int) -> Words:
    """Seven bits of each byte, side by side, by halves: pairs of bytes, then of pairs, then of fours."""
    out: Words = (words & _EVEN[0]) | ((words & _ODD[0]) >> np.uint64(1))
    if longest > 2:
        out = (out & _EVEN[1]) | ((out & _ODD[1]) >> np.uint64(2))
    if longest > 4:
        out = (out & _EVEN[2]) | ((out & _ODD[2]) >> np.uint64(4))
    return out


_EVEN = np.array([0x007F007F007F007F, 0x00003FFF00003FFF, 0x000000000FFFFFFF], np.uint64)


_ODD = np.array([0x7F007F007F007F00, 0x3FFF00003FFF0000, 0x0FFFFFFF00000000], np.uint64)


def _signed(numbers: Words) -> Positions:
    """Zigzagged numbers as they are."""
    signed: Positions = ((numbers >> np.uint64(1)) ^ -(numbers & np.uint64(1))).view(np.int64)
    return signed


def _fixed(field: pa.Field, numbers: Words) -> pa.Array:
    if field.type != pa.int32():
        return pa.array(_signed(numbers)).view(field.type)
    if (numbers > np.uint64(0xFFFFFFFF)).any():
        raise BackupDamaged(unfit(field))
    return pa.array(_signed(numbers).astype(np.int32))


def unfit(field: pa.Field) -> str:
    return f"Field {field.name} of the AVRO file has a value that is no {field.type}."
