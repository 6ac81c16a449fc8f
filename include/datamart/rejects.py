"""Rejected rows on their way out: spooled to disk, then written as a CSV that can be repaired and sent again."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from datamart.reasons import Reject, reasons_in, reasons_text
from datamart.records import fields_of, physical_lines

_FRAME = struct.Struct("<qII?")


class RejectSpool:
    """Rejects of one file in file order, on disk, so that a file of only bad rows needs no more memory.

    ``file`` holds those of another spool, and is this one's from now on. ``shared`` is the file of many spools, which
    are filled one after another: each has its part of it, and leaves it open.
    """

    def __init__(
        self, file: BinaryIO | None = None, count: int = 0, ragged: int = 0, *, shared: BinaryIO | None = None
    ) -> None:
        self._own = file
        self._shared = shared
        self._start = shared.seek(0, os.SEEK_END) if shared else 0
        self.count = count
        self.ragged = ragged
        """How many of them fit no columns."""
        self.lines = 0
        """How many physical lines those have that were added."""

    def add(self, rejects: Iterable[Reject]) -> None:
        """Append rejects."""
        file = self._file
        for reject in rejects:
            reasons = reasons_text(reject.reasons).encode()
            file.write(_FRAME.pack(reject.line, len(reasons), len(reject.raw), reject.fits_columns))
            file.write(reasons)
            file.write(reject.raw)
            self.count += 1
            self.ragged += not reject.fits_columns
            self.lines += physical_lines(reject.raw)

    def __iter__(self) -> Iterator[Reject]:
        if not self.count:
            return
        file = self._file
        file.seek(self._start)
        for _ in range(self.count):
            line, reasons, raw, fits = _FRAME.unpack(file.read(_FRAME.size))
            why = reasons_in(file.read(reasons).decode())
            yield Reject(line, file.read(raw), why, fits)

    @property
    def file(self) -> BinaryIO:
        """All of them from the first, as bytes that another spool can be made of."""
        self._file.seek(self._start)
        return self._file

    def close(self) -> None:
        """Free the disk."""
        if self._own is not None:
            self._own.close()

    @property
    def _file(self) -> BinaryIO:
        """Made when the first reject comes: of most files there is none."""
        if self._shared is not None:
            return self._shared
        if self._own is None:
            self._own = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the spool
        return self._own


def kept_reject(line: int, reasons: str, raw: bytes) -> Reject:
    """A reject as the warehouse keeps it."""
    why = reasons_in(reasons)
    return Reject(line, raw, why, fits_columns=all(reason.column for reason in why))


def names_in(rejects_header: bytes) -> tuple[str, ...] | None:
    """The file's own column order, from the first line of its rejects CSV; None when a name has a line end in it."""
    try:
        names = fields_of(rejects_header.rstrip(b"\r\n"))
    except ValueError:
        return None
    return tuple(name.decode() for name in names[3:])


def rejects_csv(rejects: Iterable[Reject], load_id: int, names: tuple[str, ...]) -> BinaryIO:
    """The rows that fit the columns, verbatim, behind ``_line``, ``_reasons`` and ``_load_id``; a file on disk.

    ``names`` is the file's own column order, so that the bytes need no change.
    """
    out = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's to close
    out.write(",".join(("_line", "_reasons", "_load_id", *map(_quoted, names))).encode() + b"\r\n")
    for reject in rejects:
        if reject.fits_columns:
            front = f"{reject.line},{reasons_text(reject.reasons)},{load_id},"
            out.write(front.encode() + reject.raw + b"\r\n")
    out.seek(0)
    return out


def _quoted(name: str) -> str:
    """A header's field; an ignored column may have any name."""
    return '"' + name.replace('"', '""') + '"' if set(name) & set(',"\r\n') else name


def rejects_raw(rejects: Iterable[Reject]) -> BinaryIO:
    """Records that fit no columns, one after another, verbatim; a file on disk."""
    out = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's to close
    for reject in rejects:
        if not reject.fits_columns:
            out.write(reject.raw + b"\r\n")
    out.seek(0)
    return out
