"""The rules for values: one function per reason code, each a whole column at a time.

A rule takes raw values (Arrow binary) and answers which of them it lets pass. Rules do not overlap on missing
values: only ``missing`` objects to an empty field. How rules are put together is ``validation``'s matter.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datamart.reasons import BAD_QUOTE as BAD_QUOTE  # found where records are cut, as the next one
from datamart.reasons import SWALLOWED_LINES as SWALLOWED_LINES
from datamart.utf8 import invalid_positions

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

_MOMENT_BYTES = 20
# The smallest and the largest byte at each place of YYYY-MM-DDTHH:MM:SSZ.
_LOWEST = np.frombuffer(b"0000-00-00T00:00:00Z", np.uint8)
_HIGHEST = np.frombuffer(b"9999-99-99T99:99:99Z", np.uint8)
_DAYS_IN_MONTH = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
# Numbers of so many digits are in range whatever the digits.
_SURELY_IN_RANGE = len(str(MAX_INTEGER)) - 1
_BLANKS = tuple(
    "\t\n\v\f\r \x85\xa0\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u200c"
    "\u200d\u200e\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)
"""Unicode's white space, and what has no width."""
_BLANK_STARTS = np.isin(np.arange(256), [character.encode()[0] for character in _BLANKS])
# Bytes, as Arrow matches binary values; no character's bytes are the beginning of another's.
_BLANK = pc.MatchSubstringOptions(
    r"\A(?:" + "|".join(r"\x" + one.encode().hex(" ").replace(" ", r"\x") for one in _BLANKS) + r")+\z"
)


def present(values: pa.BinaryArray) -> Mask:
    """Not the empty field (``NA`` and ``null`` are text)."""
    return _lengths(values) > 0


def not_blank(values: pa.BinaryArray) -> Mask:
    """Some character that can be seen: neither the empty field nor white space and zero-width characters alone."""
    good = present(values)
    if not good.any():
        return good
    starts = _offsets(values)[:-1] - _begin(values)
    filled = None if good.all() else np.flatnonzero(good)
    first = _bytes(values)[starts if filled is None else starts[filled]]
    likely = np.flatnonzero(_BLANK_STARTS[first])
    likely = likely if filled is None else filled[likely]
    if len(likely):
        blank = pc.match_substring_regex(values.take(pa.array(likely)), options=_BLANK)
        good[likely[blank.to_numpy(zero_copy_only=False)]] = False
    return good


def decodable(values: pa.BinaryArray) -> Mask:
    """Valid UTF-8 (RFC 3629) without NUL, which PostgreSQL text cannot hold."""
    good = np.ones(len(values), np.bool_)
    text = _bytes(values)
    wrong = np.concatenate((np.flatnonzero(text == 0), invalid_positions(text)))
    good[_rows_at(values, wrong)] = False
    # A character cut in two by the end of a value is whole in the buffer: the next value starts with its rest.
    starts = _offsets(values)[:-1]
    filled = np.flatnonzero(present(values))
    first = text[starts[filled] - _begin(values)]
    for place in np.flatnonzero((first >= 0x80) & (first < 0xC0)).tolist():
        for row in filled[max(place - 1, 0) : place + 1].tolist():
            good[row] &= _is_utf8(values[row].as_py())
    return good


def is_integer(values: pa.BinaryArray) -> Mask:
    """ASCII digits only; leading zeros are allowed."""
    good = np.ones(len(values), np.bool_)
    good[_rows_at(values, np.flatnonzero((_bytes(values) - np.uint8(ord("0"))) > 9))] = False
    return good


def in_range(values: pa.BinaryArray) -> Mask:
    """At most 2147483647, for values that are integers at all."""
    good = np.ones(len(values), np.bool_)
    rows = np.flatnonzero(_lengths(values) > _SURELY_IN_RANGE)
    if len(rows):
        long = values.take(pa.array(rows))
        judged = is_integer(long)
        good[rows[judged]] = integers(long.filter(pa.array(judged))) <= MAX_INTEGER
    return good


def is_datetime(values: pa.BinaryArray) -> Mask:
    """Exactly ``YYYY-MM-DDTHH:MM:SSZ``, years 0001-9999, a moment that exists."""
    lengths = _lengths(values)
    shaped = np.flatnonzero(lengths == _MOMENT_BYTES)
    chosen = values if len(shaped) == len(values) else values.take(pa.array(shaped))
    text = _bytes(chosen).reshape(-1, _MOMENT_BYTES)
    exists = _exist(text)
    odd = np.flatnonzero(((text < _LOWEST) | (text > _HIGHEST)).ravel())
    exists[odd // _MOMENT_BYTES] = False
    good: Mask = lengths == 0
    good[shaped] = exists
    return good


def fits_text(values: pa.BinaryArray) -> Mask:
    """At most 256 bytes of UTF-8, so that a row fits both dialects."""
    return _lengths(values) <= MAX_TEXT_BYTES


def integers(values: pa.BinaryArray) -> npt.NDArray[np.int64]:
    """The numbers that digit strings stand for; those past ten significant digits read as 2**62."""
    text = values.cast(pa.string())
    if bool((_lengths(values) > 10).any()):
        short = pc.utf8_ltrim(text, characters="0")
        huge = pc.greater(pc.binary_length(short), 10)
        short = pc.if_else(huge, str(2**62), short)
        text = pc.if_else(pc.equal(short, ""), "0", short)
    return np.asarray(text.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)


def moments(values: pa.BinaryArray) -> npt.NDArray[np.int64]:
    """Microseconds since 1970 of values that ``is_datetime`` lets pass (none of them empty)."""
    parsed = values.cast(pa.string()).cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    return np.asarray(parsed.to_numpy(zero_copy_only=False), np.int64)


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


def _exist(text: npt.NDArray[np.uint8]) -> Mask:
    """Which rows of digits in the right places are moments of years 0001-9999."""
    month, day = _two_digits(text, 5), _two_digits(text, 8)
    hour, minute, second = _two_digits(text, 11), _two_digits(text, 14), _two_digits(text, 17)
    good: Mask = (
        (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31) & (hour <= 23) & (minute <= 59) & (second <= 59)
    )
    late = np.flatnonzero(good & (day > 28))
    year = _two_digits(text[late], 0).astype(np.int64) * 100 + _two_digits(text[late], 2)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    good[late] = day[late] <= _DAYS_IN_MONTH[month[late]] + (leap & (month[late] == 2))
    ancient = np.flatnonzero(text[:, 0] == ord("0"))
    good[ancient] &= (text[ancient, :4] != ord("0")).any(axis=1)
    return good


def _two_digits(text: npt.NDArray[np.uint8], place: int) -> npt.NDArray[np.uint8]:
    zero = np.uint8(ord("0"))
    return (text[:, place] - zero) * np.uint8(10) + (text[:, place + 1] - zero)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _offsets(values: pa.BinaryArray) -> npt.NDArray[np.int32]:
    """Where each value begins in the array's data buffer, and where the last one ends."""
    found = np.frombuffer(values.buffers()[1], np.int32)
    return found[values.offset : values.offset + len(values) + 1]


def _begin(values: pa.BinaryArray) -> int:
    return int(_offsets(values)[0]) if len(values) else 0


def _bytes(values: pa.BinaryArray) -> npt.NDArray[np.uint8]:
    """All values' bytes, one after another."""
    if not len(values) or values.buffers()[2] is None:
        return np.empty(0, np.uint8)
    offsets = _offsets(values)
    return np.frombuffer(values.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]


def _lengths(values: pa.BinaryArray) -> npt.NDArray[np.int32]:
    return np.diff(_offsets(values)) if len(values) else np.empty(0, np.int32)


def _rows_at(values: pa.BinaryArray, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The values that the bytes at these positions (counted from the first value's first byte) belong to."""
    if not len(positions):
        return np.empty(0, np.int64)
    return np.searchsorted(_offsets(values), positions + _begin(values), side="right") - 1
