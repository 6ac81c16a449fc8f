"""Invalid UTF-8 is found where Python's strict decoder finds it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from datamart.rules import decodable
from datamart.utf8 import invalid_positions

EDGES = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEE, 0xEF]
EDGES += [0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]
text = st.lists(st.sampled_from(EDGES), max_size=12).map(bytes)


def is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(text)
@example("a\u00e9\u20ac\U0001f600".encode())
@example(b"\xed\xa0\x80")
@example(b"\xf4\x90\x80\x80")
def test_a_buffer_has_invalid_places_when_it_does_not_decode(value: bytes) -> None:
    assert (len(invalid_positions(np.frombuffer(value, np.uint8))) == 0) == is_utf8(value)


@given(st.lists(text, max_size=6))
@example(["é".encode()[:1], "é".encode()[1:]])
@example([b"", b"\xe2", b"\x82", b"\xac", b"ok"])
def test_each_value_is_judged_for_itself(values: list[bytes]) -> None:
    expected = [is_utf8(value) and b"\0" not in value for value in values]
    assert decodable(pa.array(values, pa.binary())).tolist() == expected
    padded = pa.array([b"\xff", *values, b"\x80"], pa.binary()).slice(1, len(values))
    assert decodable(padded).tolist() == expected
