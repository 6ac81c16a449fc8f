"""Rejected rows on their way out: spooled to disk, then written as a CSV that can be repaired and sent again."""

from __future__ import annotations

import io
import pickle
import tempfile
from collections.abc import Iterable, Iterator

from datamart.validation import Reject


class RejectSpool:
    """Rejects of one file in file order, on disk, so that a file of only bad rows needs no more memory."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the spool
        self.count = 0

    def add(self, rejects: Iterable[Reject]) -> None:
        """Append rejects."""
        for reject in rejects:
            pickle.dump(reject, self._file)
            self.count += 1

    def __iter__(self) -> Iterator[Reject]:
        self._file.seek(0)
        for _ in range(self.count):
            yield pickle.load(self._file)

    def close(self) -> None:
        """Free the disk."""
        self._file.close()


def rejects_csv(rejects: Iterable[Reject], load_id: int, names: tuple[str, ...]) -> io.BytesIO:
    """The rows that fit the columns, verbatim, behind ``_line``, ``_reasons`` and ``_load_id``.

    ``names`` is the file's own column order, so that the bytes need no change.
    """
    out = io.BytesIO()
    out.write(",".join(("_line", "_reasons", "_load_id", *names)).encode() + b"\r\n")
    for reject in rejects:
        if reject.fits_columns:
            reasons = ";".join(map(str, reject.reasons))
            out.write(f"{reject.line},{reasons},{load_id},".encode() + reject.raw + b"\r\n")
    out.seek(0)
    return out


def rejects_raw(rejects: Iterable[Reject]) -> io.BytesIO:
    """Records that fit no columns, one after another, verbatim; empty when there are none."""
    out = io.BytesIO()
    for reject in rejects:
        if not reject.fits_columns:
            out.write(reject.raw + b"\r\n")
    out.seek(0)
    return out
