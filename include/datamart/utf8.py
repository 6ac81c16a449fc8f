"""Where bytes are no valid UTF-8 (RFC 3629, table 3-7 of the Unicode standard), found for a whole buffer at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]

_FOLLOWERS = np.zeros(256, np.int64)
_FOLLOWERS[0xC2:0xE0] = 1
_FOLLOWERS[0xE0:0xF0] = 2
_FOLLOWERS[0xF0:0xF5] = 3
# What the first byte after a leading one may be: narrower after four of them (overlong forms, surrogates, too large).
_LOWEST = np.full(256, 0x80, np.uint8)
_LOWEST[[0xE0, 0xF0]] = 0xA0, 0x90
_HIGHEST = np.full(256, 0xBF, np.uint8)
_HIGHEST[[0xED, 0xF4]] = 0x9F, 0x8F


def invalid_positions(text: npt.NDArray[np.uint8]) -> Positions:
    """Places of bytes that belong to no valid character, in no particular order; empty for valid text."""
    high = np.flatnonzero(text >= 0x80)
    if not len(high):
        return high
    values = text[high]
    leading = values >= 0xC0
    leads, followers = high[leading], _FOLLOWERS[values[leading]]
    good = _complete(text, leads, followers)
    leads, followers, wrong = leads[good], followers[good], leads[~good]
    covered = np.concatenate([leads[followers >= step] + step for step in (1, 2, 3)])
    rest = high[~leading]
    if len(covered) != len(rest):
        wrong = np.concatenate((wrong, np.setdiff1d(rest, covered, assume_unique=True)))
    return wrong


def _complete(text: npt.NDArray[np.uint8], leads: Positions, followers: Positions) -> npt.NDArray[np.bool_]:
    """Which leading bytes are followed by what they ask for."""
    good = followers > 0
    last = len(text) - 1
    for step in (1, 2, 3):
        needed = followers >= step
        at = leads[needed] + step
        byte = text[np.minimum(at, last)]
        fits = (at <= last) & (byte >= 0x80) & (byte <= 0xBF)
        if step == 1:
            lead = text[leads[needed]]
            fits &= (byte >= _LOWEST[lead]) & (byte <= _HIGHEST[lead])
        good[needed] &= fits
    return good
