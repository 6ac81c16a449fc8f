"""The rules for values: one function per reason code, each a whole column at a time.

A rule takes raw values (Arrow binary) and answers which of them it lets pass. Rules do not overlap on missing
values: only ``missing`` objects to an empty field. How rules are put together is ``validation``'s matter.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

MISSING = "missing"
BAD_ENCODING = "bad_encoding"
NOT_AN_INTEGER = "not_an_integer"
OUT_OF_RANGE = "out_of_range"
NOT_A_DATETIME = "not_a_datetime"
TOO_LONG = "too_long"
DUPLICATE_ID = "duplicate_id"

MAX_INTEGER = 2**31 - 1
MAX_TEXT_BYTES = 256

Mask = npt.NDArray[np.bool_]

_DIGITS = r"\A[0-9]+\z"
_MOMENT = r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\z"
_MOMENT_BYTES = 20
_DAYS_IN_MONTH = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def present(values: pa.BinaryArray) -> Mask:
    """Not the empty field (``NA``, ``null`` and white space are text)."""
    return _numpy(pc.greater(pc.binary_length(values), 0))


def decodable(values: pa.BinaryArray) -> Mask:
    """Valid UTF-8 (RFC 3629) without NUL, which PostgreSQL text cannot hold."""
    good = np.ones(len(values), np.bool_)
    suspicious = np.flatnonzero(_numpy(pc.match_substring_regex(values, pattern=r"[^\x01-\x7f]")))
    for row in suspicious.tolist():
        value = values[row].as_py()
        good[row] = b"\0" not in value and _is_utf8(value)
    return good


def is_integer(values: pa.BinaryArray) -> Mask:
    """ASCII digits only; leading zeros are allowed."""
    return _numpy(pc.match_substring_regex(values, pattern=_DIGITS)) | ~present(values)


def in_range(values: pa.BinaryArray) -> Mask:
    """At most 2147483647, for values that are integers at all."""
    judged = _numpy(pc.match_substring_regex(values, pattern=_DIGITS))
    good = np.ones(len(values), np.bool_)
    if judged.any():
        numbers = integers(values if judged.all() else values.filter(pa.array(judged)))
        good[judged] = numbers <= MAX_INTEGER
    return good


def is_datetime(values: pa.BinaryArray) -> Mask:
    """Exactly ``YYYY-MM-DDTHH:MM:SSZ``, years 0001-9999, a moment that exists."""
    good = _numpy(pc.match_substring_regex(values, pattern=_MOMENT))
    if good.any():
        parts = _moment_parts(values if good.all() else values.filter(pa.array(good)))
        good[good] = _exists(*parts)
    return good | ~present(values)


def fits_text(values: pa.BinaryArray) -> Mask:
    """At most 256 bytes of UTF-8, so that a row fits both dialects."""
    return _numpy(pc.less_equal(pc.binary_length(values), MAX_TEXT_BYTES))


def integers(values: pa.BinaryArray) -> npt.NDArray[np.int64]:
    """The numbers that digit strings stand for; those past ten significant digits read as 2**62."""
    text = values.cast(pa.string())
    long = _numpy(pc.greater(pc.binary_length(text), 10))
    if long.any():
        short = pc.utf8_ltrim(text, characters="0")
        huge = _numpy(pc.greater(pc.binary_length(short), 10))
        short = pc.if_else(pa.array(huge), str(2**62), short)
        text = pc.if_else(pc.equal(short, ""), "0", short)
    return np.asarray(text.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)


def moments(values: pa.BinaryArray) -> npt.NDArray[np.int64]:
    """Microseconds since 1970 of values that ``is_datetime`` lets pass (none of them empty)."""
    year, month, day, hour, minute, second = _moment_parts(values)
    months = (year - 1970) * 12 + (month - 1)
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + (day - 1)
    seconds: npt.NDArray[np.int64] = ((days * 24 + hour) * 60 + minute) * 60 + second
    return seconds * 1_000_000


class FirstSeen:
    """Remembers every key of a file: one bit each, in pages that the system hands out as they are touched."""

    def __init__(self) -> None:
        self._bits = np.zeros((MAX_INTEGER + 1) // 8, np.uint8)

    def fresh(self, keys: npt.NDArray[np.int64]) -> Mask:
        """Which keys were not seen before, neither earlier in ``keys`` nor in an earlier call; remembers them."""
        byte, bit = keys >> 3, (np.uint8(1) << (keys & 7).astype(np.uint8))
        fresh: Mask = (self._bits[byte] & bit) == 0
        if len(keys) > 1 and not bool(np.all(keys[1:] > keys[:-1])):
            first = np.zeros(len(keys), np.bool_)
            first[np.unique(keys, return_index=True)[1]] = True
            fresh &= first
        np.bitwise_or.at(self._bits, byte, bit)
        return fresh


def _exists(
    year: npt.NDArray[np.int64],
    month: npt.NDArray[np.int64],
    day: npt.NDArray[np.int64],
    hour: npt.NDArray[np.int64],
    minute: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
) -> Mask:
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    known = (month >= 1) & (month <= 12)
    last = _DAYS_IN_MONTH[np.where(known, month, 0)] + (leap & (month == 2))
    date: Mask = (year >= 1) & known & (day >= 1) & (day <= last)
    return date & (hour <= 23) & (minute <= 59) & (second <= 59)


def _moment_parts(values: pa.BinaryArray) -> tuple[npt.NDArray[np.int64], ...]:
    """Year, month, day, hour, minute, second of values of exactly twenty bytes."""
    packed = values.cast(pa.binary(_MOMENT_BYTES))
    buffer = np.frombuffer(packed.buffers()[1], np.uint8, len(packed) * _MOMENT_BYTES, packed.offset * _MOMENT_BYTES)
    digits = (buffer.reshape(-1, _MOMENT_BYTES) - np.uint8(ord("0"))).astype(np.int64)

    def number(*places: int) -> npt.NDArray[np.int64]:
        result: npt.NDArray[np.int64] = digits[:, places[0]]
        for place in places[1:]:
            result = result * 10 + digits[:, place]
        return result

    return number(0, 1, 2, 3), number(5, 6), number(8, 9), number(11, 12), number(14, 15), number(17, 18)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _numpy(mask: pa.BooleanArray) -> Mask:
    return np.array(mask.to_numpy(zero_copy_only=False), np.bool_)
