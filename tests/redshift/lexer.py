"""Redshift's tokens: enough to cut statements apart and to say of every token what it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from tests.redshift.failure import Failure, refused


class Kind(Enum):
    """What a token is."""

    WORD = "word"
    QUOTED = "quoted identifier"
    STRING = "string"
    NUMBER = "number"
    PARAMETER = "parameter"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Token:
    """A token; ``value`` is the lower case word, the identifier, the decoded string or the operator itself."""

    kind: Kind
    value: str
    start: int
    end: int

    @property
    def is_name(self) -> bool:
        return self.kind in (Kind.WORD, Kind.QUOTED)

    def means(self, *symbols: str) -> bool:
        """Whether it is one of these words or operators."""
        return self.kind in (Kind.WORD, Kind.OPERATOR) and self.value in symbols


@dataclass(frozen=True)
class Statement:
    """One statement as it was sent."""

    text: str
    tokens: tuple[Token, ...]


_BLANK = re.compile(r"(?:\s+|--[^\n]*)+")
_PATTERNS = (
    (Kind.WORD, re.compile(r"[A-Za-z_][A-Za-z0-9_]*")),
    (Kind.NUMBER, re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![A-Za-z0-9_])")),
    (Kind.PARAMETER, re.compile(r"\$\d+")),
    (Kind.QUOTED, re.compile(r'"(?:[^"\0]|"")+"')),
    (Kind.STRING, re.compile(r"'(?:[^'\\\0]|''|\\.)*'", re.DOTALL)),
    (Kind.OPERATOR, re.compile(r"::|<>|!=|<=|>=|\|\||[-+*/%=<>.,();]")),
)
# Two of these side by side are one operator to PostgreSQL.
_GLUED = re.compile(r"[-+*/<>=~!@#%^&|`?:]{2,}")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _unescaped(match: re.Match[str]) -> str:
    if match[0] == "''":
        return "'"
    if match[1].isdigit() or match[1] in "xuU":
        raise refused(f"escape \\{match[1]}")
    return _ESCAPES.get(match[1], match[1])


def _value(kind: Kind, raw: str) -> str:
    if kind is Kind.WORD:
        return raw.lower()
    if kind is Kind.QUOTED:
        name = raw[1:-1].replace('""', '"')
        if name != name.lower():
            raise refused(f"identifier {raw}, whose case Redshift folds")
        return name
    if kind is Kind.STRING:
        return re.sub(r"''|\\(.)", _unescaped, raw[1:-1], flags=re.DOTALL)
    return raw


def _after_comment(text: str, start: int) -> int:
    """Where a comment that may hold others ends."""
    depth = 0
    for mark in re.finditer(r"/\*|\*/", text[start:]):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return start + mark.end()
    raise Failure("42601", "unterminated /* comment")


def _next(text: str, at: int) -> Token:
    for kind, pattern in _PATTERNS:
        found = pattern.match(text, at)
        if not found:
            continue
        glued = _GLUED.match(text, at) if kind is Kind.OPERATOR else None
        # A sign, a comment or a star may follow an operator without a space.
        if glued and not re.fullmatch(r"(::|<>|!=|<=|>=|\|\||[-+*/%=<>])(-|\+|--.*|/\*.*)?", glued[0]):
            raise refused(f"operator {glued[0]}")
        return Token(kind, _value(kind, found[0]), at, found.end())
    raise refused(f"'{text[at : at + 12]}'")


def tokens(text: str) -> tuple[Token, ...]:
    """Every token of a text; comments and blanks are none.

    Raises:
        Failure: something in it is no token that the stand-in knows.
    """
    found: list[Token] = []
    at = 0
    while at < len(text):
        if blank := _BLANK.match(text, at):
            at = blank.end()
        elif text.startswith("/*", at):
            at = _after_comment(text, at)
        else:
            token = _next(text, at)
            if found and found[-1].kind is Kind.WORD and found[-1].end == at and token.kind is Kind.STRING:
                raise refused(f"prefix {found[-1].value}'..'")
            found.append(token)
            at = token.end
    return tuple(found)


def statements(text: str) -> list[Statement]:
    """The statements of one message, without the semicolons between them."""
    cut: list[list[Token]] = [[]]
    for token in tokens(text):
        if token.means(";"):
            cut.append([])
        else:
            cut[-1].append(token)
    return [_statement(text, part) for part in cut if part]


def _statement(text: str, part: list[Token]) -> Statement:
    start = part[0].start
    moved = tuple(Token(one.kind, one.value, one.start - start, one.end - start) for one in part)
    return Statement(text[start : part[-1].end], moved)
