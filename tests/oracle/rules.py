"""Which rows of a CSV file may be loaded, judged a second time and independently of the product.

Nothing here imports the product, pandas, pandera, pyarrow or even `csv`: a fault shared with the code under
test would hide itself. The judge works on bytes, because invalid UTF-8 and NUL must survive, and on whole
files, because it only ever sees test data.

The tolerance around RFC 4180
-----------------------------
* A byte order mark at the start of the file is skipped; it belongs to no record. Marks at the start of another
  line that begins a record, or a blank one, are left out too and counted: one for each such line.
* A record ends with LF; any CRs directly before it, or before the end of the file, belong to the line end. Any other
  CR is data. The last record needs no terminator.
* Ctrl-Z (0x1A) at the end of the last line, mixed with CRs or not, is left out; a last line of nothing else is
  *ignored*, which is neither a record nor blank.
* A quote opens a quoted field only as the field's first byte; anywhere else it is a literal quote. Inside,
  `""` is a quote, and commas and newlines are data. The closing quote is followed by a comma or the line end.
* Where anything else follows it, the record is its first physical line alone: one rejected row, `bad_quote`, and
  nothing else is said about it. The next record starts on the next physical line. If what follows the quote stands
  more than 1 MiB behind the record's start, the file is rejected as one with a record that is too long.
* A record still inside quotes at the end of the file is one rejected row, `unclosed_quote`, and nothing
  else is said about it; its raw text is everything up to the end of the file.
* A blank line has no bytes between two terminators, or commas alone (at most 1 MiB of them). It is counted and is
  not a row. White space is bytes.
* A quoted value with newlines *swallows lines* when a line of it between its first and its last has as many fields
  as the table or the file has columns (commas plus one; commas alone are no record), and, if these are two, digits
  where the id is; or when its last line has, and digits where the id is; or when its first and its last line complete
  two records: as many commas as there are columns behind its own and before it, and digits for the id in the one of
  them that has it: the last line if the id comes before the column, else the first. `swallowed_lines` is a reason of
  its column, beside others; of a value beyond the columns or in a `_` column it is one of the row. Where the number
  of values is wrong too, it stands in place of `column_count`.
* A record of more than 1 MiB (raw bytes, its terminator excluded) rejects the file.
* Line numbers are physical and start at 1: every LF counts, also the quoted ones and those of blank lines.

Headers
-------
The first record (blank lines aside) is a header when its fields are, ASCII case folded and otherwise
untouched, a permutation of the table's columns, columns that start with `_` set aside; then fields map by
name and the `_` columns are ignored whatever they hold. A first record that is no header but has a field
that equals a column's name or starts with `_` is a *wrong header*, and the file is rejected. Anything else
is a row. An unclosed first record is never a header. One with text behind a closing quote is none either, but where
its first line, cut at every comma, has a piece that is a column's name or starts with `_` - blanks, tabs, CRs, quotes
and semicolons around it and ASCII case set aside - it is a wrong header; else it is a row.

Rows
----
`missing` is the empty field, quoted or not, and a text of white space and zero-width characters alone; it
silences the column's other reasons but `swallowed_lines`; so does `bad_encoding` (NUL, or anything strict UTF-8
refuses: surrogates, overlong forms). `column_count` stands alone for a ragged record, counted against the header's
width where there is one. `duplicate_id` needs an otherwise valid row and an earlier otherwise valid row of the same
file with an equal id (by value: 007 is 7). Reasons that concern no single column carry the empty string as their
column.

Files
-----
In this order: `record_too_long`, `empty` (no record at all), `wrong_header`, `header_only`, `all_rows_bad`.
Only `all_rows_bad` comes with rows; the earlier ones leave the counts of rows at zero, because no row was
judged.

Lines
-----
Every physical line belongs to exactly one accepted record, rejected record, header, blank or ignored line. A line
ends with LF or with the file.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

Value = int | str | datetime
Row = tuple[Value, ...]
Reason = tuple[str, str]

COLUMNS: dict[str, dict[str, str]] = {
    "departments": {"id": "integer", "department": "text"},
    "jobs": {"id": "integer", "job": "text"},
    "hired_employees": {
        "id": "integer",
        "name": "text",
        "datetime": "datetime",
        "department_id": "integer",
        "job_id": "integer",
    },
}

BOM = b"\xef\xbb\xbf"
END_MARK = b"\x1a"
UNSEEN = "\t\n\v\f\r\x85\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
MAX_RECORD = 1024 * 1024
MAX_TEXT = 256
MAX_INTEGER = 2**31 - 1

_MOMENT = re.compile(rb"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z")
_DIGITS = re.compile(rb"[0-9]+")
_AROUND = re.compile(rb'\A[ \t\r";]+|[ \t\r";]+\Z')
_STOP = re.compile(rb"[,\n]")


@dataclass(frozen=True)
class Record:
    """One record as it stands in the file; `fields` is None when its quotes have a `fault`."""

    line: int
    raw: bytes
    fields: tuple[bytes, ...] | None
    lines: int = 1
    fault: str = ""


@dataclass(frozen=True)
class Rejected:
    """A row that may not be loaded, verbatim, with every (column, reason) that speaks against it."""

    line: int
    raw: bytes
    reasons: frozenset[Reason]


@dataclass(frozen=True)
class Verdict:
    """What a correct load makes of one file; `file_reason` is set when the whole file is refused."""

    rows_read: int = 0
    accepted: list[Row] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    file_reason: str | None = None
    blank_lines: int = 0
    marks: int = 0
    """Lines other than the file's first that began with a byte order mark."""
    lines: dict[str, int] = field(default_factory=dict)
    """Physical lines of the file by what they belong to; empty where no row was judged."""


class _TooLong(Exception):
    """A record that rejects the file."""


@dataclass
class Cut:
    """A file cut into records."""

    records: list[Record] = field(default_factory=list)
    blank: int = 0
    ignored: int = 0
    marks: int = 0


def judge(table: str, data: bytes) -> Verdict:
    """The verdict on a file of `table`; accepted rows are typed, in the dictionary's column order."""
    columns = COLUMNS[table]
    try:
        cut = cut_file(data)
    except _TooLong:
        return Verdict(file_reason="record_too_long")
    records, blank_lines = cut.records, cut.blank
    if any(len(record.raw) > MAX_RECORD for record in records):
        return Verdict(file_reason="record_too_long", blank_lines=blank_lines)
    if not records:
        return Verdict(file_reason="empty", blank_lines=blank_lines)
    header = _header(records[0], columns)
    if header == []:
        return Verdict(file_reason="wrong_header", blank_lines=blank_lines)
    rows = records[1:] if header else records
    if not rows:
        return Verdict(file_reason="header_only", blank_lines=blank_lines)
    accepted, rejected = _judge_rows(rows, header or list(columns), columns)
    reason = None if accepted else "all_rows_bad"
    refused = {row.line for row in rejected}
    lines = {
        "header": sum(record.lines for record in records) - sum(record.lines for record in rows),
        "accepted": sum(record.lines for record in rows if record.line not in refused),
        "rejected": sum(record.lines for record in rows if record.line in refused),
        "blank": blank_lines,
        "ignored": cut.ignored,
    }
    return Verdict(len(rows), accepted, rejected, reason, blank_lines, cut.marks, lines)


def physical_lines(data: bytes) -> int:
    """How many lines a file has, seen from its bytes alone."""
    return len(data.split(b"\n")) - (data.endswith(b"\n") or not data)


def unknown_references(rows: Iterable[Row], known: Mapping[str, set[int]]) -> dict[str, int]:
    """How many accepted hires point, per column of `known`, at an id that is not among the known ones."""
    positions = {name: list(COLUMNS["hired_employees"]).index(name) for name in known}
    counts = dict.fromkeys(known, 0)
    for row in rows:
        for name, position in positions.items():
            counts[name] += row[position] not in known[name]
    return counts


def reason_counts(verdict: Verdict) -> dict[str, int]:
    """Each reason of a verdict with the number of (row, column) places it was given for."""
    reasons = Counter(reason for row in verdict.rejected for _, reason in row.reasons)
    return dict(sorted(reasons.items()))


def split_records(data: bytes) -> tuple[list[Record], int]:
    """All records of a file with their physical line numbers, and the number of blank lines."""
    found = cut_file(data)
    return found.records, found.blank


def cut_file(data: bytes) -> Cut:
    """All records of a file with their physical line numbers, and what its other lines are."""
    cut = Cut()
    data, cut.ignored = _without_end_mark(data.removeprefix(BOM))
    position, line = 0, 1
    while position < len(data):
        start = position
        while data.startswith(BOM, start):
            start += len(BOM)
        cut.marks += start > position
        fields, fault, end, following = _read_record(data, start)
        raw = data[start:end]
        lines = data.count(b"\n", position, following) or 1
        if following == len(data) and not data.endswith(b"\n"):
            lines = data.count(b"\n", position) + 1
        if not raw.strip(b",") and len(raw) <= MAX_RECORD:
            cut.blank += lines
        else:
            cut.records.append(Record(line, raw, fields, lines, fault))
        line += lines
        position = following
    return cut


def _without_end_mark(data: bytes) -> tuple[bytes, int]:
    """Ctrl-Z left out of the last line, and whether nothing else was in it."""
    above, newline, last = data.rpartition(b"\n")
    end = b""
    if newline and not last:
        above, newline, last = above.rpartition(b"\n")
        end = b"\n"
    if END_MARK not in last:
        return data, 0
    text = last
    while text and text[-1:] in (END_MARK, b"\r"):
        text = text[:-1]
    if END_MARK not in last[len(text) :]:
        return data, 0
    return (above + newline + text + end, 0) if text else (above + newline, 1)


def _read_record(data: bytes, start: int) -> tuple[tuple[bytes, ...] | None, str, int, int]:
    """The fields of the record at `start` or its fault, where its bytes end and where the next record starts."""
    fields: list[bytes] = []
    position = start
    while True:
        opened = data[position : position + 1] == b'"'
        quoted, position = _read_quoted(data, position)
        if quoted is None:
            return None, "unclosed_quote", len(data), len(data)
        plain, end, following, last = _read_plain(data, position)
        if opened and plain:
            while data[position : position + 1] == b"\r":
                position += 1
            if position - start > MAX_RECORD:
                raise _TooLong
            return None, "bad_quote", *_first_line(data, start)
        fields.append(quoted + plain)
        if last:
            return tuple(fields), "", end, following
        position = following


def _first_line(data: bytes, start: int) -> tuple[int, int]:
    """Where the physical line's text ends, and where the next line starts."""
    stop = data.find(b"\n", start)
    following = len(data) if stop < 0 else stop + 1
    return start + len(data[start : following - (stop >= 0)].rstrip(b"\r")), following


def _read_quoted(data: bytes, start: int) -> tuple[bytes | None, int]:
    """The quoted part a field starts with (empty if none, None if never closed) and where it ends."""
    if data[start : start + 1] != b'"':
        return b"", start
    position = start + 1
    while True:
        quote = data.find(b'"', position)
        if quote < 0:
            return None, len(data)
        if data[quote + 1 : quote + 2] != b'"':
            return data[start + 1 : quote].replace(b'""', b'"'), quote + 1
        position = quote + 2


def _read_plain(data: bytes, start: int) -> tuple[bytes, int, int, bool]:
    """Literal bytes up to a comma, a line end or the end: them, their end, the next start, record over?"""
    stop = _STOP.search(data, start)
    if stop is None:
        text = data[start:].rstrip(b"\r")
        return text, start + len(text), len(data), True
    end = stop.start()
    if stop.group() == b",":
        return data[start:end], end, end + 1, False
    while end > start and data[end - 1 : end] == b"\r":
        end -= 1
    return data[start:end], end, stop.end(), True


def _header(record: Record, columns: Mapping[str, str]) -> list[str] | None:
    """The column names of a header, an empty list for a wrong one, None when the record is a row."""
    if record.fault == "bad_quote":
        pieces = [_AROUND.sub(b"", piece).lower() for piece in record.raw.split(b",")]
        named = [piece for piece in pieces if piece[:1] == b"_" or piece.decode("latin-1") in columns]
        return [] if named else None
    if record.fields is None:
        return None
    names = [name.lower() for name in record.fields]
    wanted = sorted(name.encode() for name in columns)
    if sorted(name for name in names if not name.startswith(b"_")) == wanted:
        return [name.decode("utf-8", "replace") for name in names]
    if any(name in wanted or name.startswith(b"_") for name in names):
        return []
    return None


def _judge_rows(
    records: list[Record], header: list[str], columns: Mapping[str, str]
) -> tuple[list[Row], list[Rejected]]:
    accepted: list[Row] = []
    rejected: list[Rejected] = []
    seen: set[Value] = set()
    for record in records:
        values, reasons = _judge_record(record, header, columns)
        if not reasons and values["id"] in seen:
            reasons.add(("id", "duplicate_id"))
        if reasons:
            rejected.append(Rejected(record.line, record.raw, frozenset(reasons)))
        else:
            seen.add(values["id"])
            accepted.append(tuple(values[name] for name in columns))
    return accepted, rejected


def _judge_record(
    record: Record, header: list[str], columns: Mapping[str, str]
) -> tuple[dict[str, Value], set[Reason]]:
    if record.fields is None:
        return {}, {("", record.fault)}
    swallowing = _swallowing(record.fields, header, columns)
    if len(record.fields) != len(header):
        return {}, {("", "swallowed_lines" if swallowing else "column_count")}
    values: dict[str, Value] = {}
    reasons: set[Reason] = {(name if name in columns else "", "swallowed_lines") for name in swallowing}
    for name, raw in zip(header, record.fields, strict=True):
        if name in columns:
            outcome = _judge_value(columns[name], raw)
            if isinstance(outcome, _Fault):
                reasons.add((name, outcome.reason))
            else:
                values[name] = outcome
    return values, reasons


def _swallowing(fields: tuple[bytes, ...], header: list[str], columns: Mapping[str, str]) -> set[str]:
    """The columns whose value holds lines that look like records."""
    own = [name for name in header if name in columns]
    found = set()
    for number, value in enumerate(fields):
        name = header[number] if number < len(header) else ""
        top, *between = [text.split(b",") for text in value.split(b"\n")]
        if not between:
            continue
        bottom = between.pop()
        alike = any(
            len(text) in (len(own), len(header)) and len(text) > 2 and any(one.strip(b"\r") for one in text)
            for text in between
        )
        if len(own) == 2:
            alike = alike or any(len(text) == 2 and _like_an_id(text[own.index("id")]) for text in between)
        for names in (own, header):
            alike = alike or (len(bottom) == len(names) and _like_an_id(bottom[names.index("id")]))
        if name in own:
            before = own[: own.index(name)]
            joined = len(top) == len(own) - len(before) and len(bottom) == len(before) + 1
            if joined:
                whole = bottom if "id" in before else [b""] * len(before) + top
                alike = alike or _like_an_id(whole[own.index("id")])
        if alike:
            found.add(name)
    return found


def _like_an_id(text: bytes) -> bool:
    return bool(_DIGITS.fullmatch(text.strip(b'" \r')))


@dataclass(frozen=True)
class _Fault:
    """Why a value is refused; a class of its own, because a reason and a text are both strings."""

    reason: str


def _judge_value(kind: str, raw: bytes) -> Value | _Fault:
    if raw == b"":
        return _Fault("missing")
    text = _decode(raw)
    if text is None:
        return _Fault("bad_encoding")
    if kind == "integer":
        return _integer(raw)
    if kind == "datetime":
        return _moment(raw)
    if all(one in UNSEEN or unicodedata.category(one) in ("Zs", "Zl", "Zp") for one in text):
        return _Fault("missing")
    return text if len(raw) <= MAX_TEXT else _Fault("too_long")


def _decode(raw: bytes) -> str | None:
    if b"\x00" in raw:
        return None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _integer(raw: bytes) -> int | _Fault:
    if not _DIGITS.fullmatch(raw):
        return _Fault("not_an_integer")
    significant = raw.lstrip(b"0")
    # int() refuses more than 4300 digits, so length decides before value does.
    if len(significant) > len(str(MAX_INTEGER)) or int(significant or b"0") > MAX_INTEGER:
        return _Fault("out_of_range")
    return int(significant or b"0")


def _moment(raw: bytes) -> datetime | _Fault:
    match = _MOMENT.fullmatch(raw)
    if match is None:
        return _Fault("not_a_datetime")
    year, month, day, hour, minute, second = (int(part) for part in match.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return _Fault("not_a_datetime")
