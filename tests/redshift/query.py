"""What a query may hold: words, functions, operators and their places are on lists, all else is refused."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.redshift import words
from tests.redshift.failure import Failure, refused
from tests.redshift.lexer import Kind, Statement, Token
from tests.redshift.reader import Reader
from tests.redshift.types import cast_type

# Where a word may stand: what must come before it, and what must come after. "" is the statement's beginning.
_BEFORE = {
    "all": {"union"},
    "by": {"group", "order", "partition"},
    "insert": {""},
    "update": {""},
    "delete": {""},
    "into": {"insert"},
    "select": {"", "(", ")", "all", "union", "except", "intersect"},
    "distinct": {"select", "("},
    "partition": {"("},
    "values": set[str](),
    "set": set[str](),
    "default": {"(", ",", "="},
    "join": {"inner", "left", "right", "full", "outer", "cross"},
    "outer": {"left", "right", "full"},
}
_AFTER = {
    "group": {"by"},
    "order": {"by"},
    "partition": {"by"},
    "is": {"null", "not", "true", "false", "unknown"},
    "nulls": {"first", "last"},
    "inner": {"join"},
    "cross": {"join"},
    "left": {"join", "outer"},
    "right": {"join", "outer"},
    "full": {"join", "outer"},
    "outer": {"join"},
    "exists": {"("},
    "in": {"("},
    "using": {"("},
}
_STRINGS = "interval timestamp date timestamptz zone and or not like ilike between in when then else select by values"
_STARTS = "select from where group having order limit union except intersect set values"
_BEFORE_STRING = frozenset(_STRINGS.split())
_CLAUSES = frozenset(_STARTS.split())


@dataclass
class _Level:
    """What a parenthesis holds: a call's arguments when ``call`` names one."""

    call: str = ""
    clause: str = ""


@dataclass
class Query:
    """A checked query."""

    statement: Statement
    relations: list[str] = field(default_factory=list)
    calls: set[str] = field(default_factory=set)
    outer_limit: bool = False

    @property
    def asks_counts(self) -> bool:
        """Whether it asks how many rows the last COPY or UNLOAD had."""
        return bool(self.calls & words.LAST_COUNTS)


class _Walk:
    """One pass over a query's tokens."""

    def __init__(self, statement: Statement, parameters: bool) -> None:
        self.query, self.tokens, self.parameters = Query(statement), statement.tokens, parameters
        self.levels = [_Level()]
        self.places: set[int] = set()
        """Tokens that `_opening` has judged: names of tables and columns, and words that only stand there."""
        self.ctes: set[str] = set()

    def run(self) -> Query:
        self._opening()
        at = 0
        while at < len(self.tokens):
            at = self._step(at)
        if len(self.levels) > 1:
            raise Failure("42601", "syntax error at end of input")
        self._relations()
        return self.query

    def _text(self, at: int) -> str:
        """The word or operator there; nothing outside, and '_' for other things."""
        if not 0 <= at < len(self.tokens):
            return ""
        token = self.tokens[at]
        return token.value if token.kind in (Kind.WORD, Kind.OPERATOR) else "_"

    def _raw(self, token: Token) -> str:
        return self.query.statement.text[token.start : token.end]

    def _opening(self) -> None:
        """The form of INSERT, UPDATE and DELETE up to where expressions begin."""
        reader = Reader(self.query.statement)
        match reader.choice("select", "with", "insert", "update", "delete"):
            case "insert":
                reader.expect("into")
                self.query.relations.append(reader.name())
                if reader.accept("("):
                    reader.at -= 1
                    if self._text(reader.at + 1) not in ("select", "with"):
                        reader.columns()
                if self._text(reader.at) not in ("values", "select", "with", "("):
                    raise reader.unexpected()
                self.places = set(range(reader.at)) | ({reader.at} if self._text(reader.at) != "(" else set())
            case "update":
                self.query.relations.append(reader.name())
                reader.expect("set")
                self.places = set(range(reader.at))
                reader.column()
            case "delete":
                reader.expect("from")
                self.query.relations.append(reader.name())
                if self._text(reader.at) not in ("", "using", "where"):
                    raise reader.unexpected()
                self.places = set(range(reader.at))

    def _step(self, at: int) -> int:
        token = self.tokens[at]
        if at in self.places:
            self._placed(token)
        elif token.kind is Kind.WORD:
            return self._word(at, token)
        elif token.kind is Kind.OPERATOR:
            return self._operator(at, token)
        elif token.kind is Kind.STRING:
            self._string(at)
        elif token.kind is Kind.PARAMETER and not self.parameters:
            raise refused(f"parameter {token.value} here")
        elif token.kind is Kind.QUOTED and self._text(at + 1) == "(":
            raise refused(f"{self._raw(token)}(")
        return at + 1

    def _placed(self, token: Token) -> None:
        if token.kind is Kind.WORD and token.value in words.UNKNOWN:
            raise refused(token.value.upper())
        if token.means("values", "set", "select"):
            self.levels[-1].clause = token.value

    def _operator(self, at: int, token: Token) -> int:
        if token.value == "(":
            self._open(at)
        elif token.value == ")":
            self._close()
        elif token.value == "::":
            return self._type(at + 1)
        elif token.value == "," and self.levels[-1].clause == "from" and not self.levels[-1].call:
            return self._relation(at + 1)
        return at + 1

    def _open(self, at: int) -> None:
        before = self.tokens[at - 1] if at else None
        call = before.value if before is not None and before.kind is Kind.WORD else ""
        self.levels.append(_Level(call if call in words.FUNCTIONS else ""))

    def _close(self) -> None:
        if len(self.levels) == 1:
            raise Failure("42601", 'syntax error at or near ")"')
        self.levels.pop()

    def _string(self, at: int) -> None:
        before = self.tokens[at - 1]
        if before.kind is Kind.STRING or before.kind is Kind.QUOTED:
            raise refused("a string directly after another token")
        if before.kind is Kind.WORD and before.value not in _BEFORE_STRING:
            raise refused(f"{before.value.upper()} '..'")

    def _type(self, at: int) -> int:
        reader = Reader(self.query.statement, at)
        cast_type(reader)
        return reader.at

    def _word(self, at: int, token: Token) -> int:
        word, before, after = token.value, self._text(at - 1), self._text(at + 1)
        if word in words.UNKNOWN:
            raise refused(word.upper())
        if word == "datetime" and before != ".":
            raise refused("DATETIME without a table or quotes, which Redshift takes for the type")
        if word in _BEFORE and before not in _BEFORE[word] and not (word == "join" and self._joins(at)):
            raise refused(f"{before.upper()} {word.upper()}".strip())
        if word in _AFTER and after not in _AFTER[word] and not self._deletes_using(word):
            raise refused(f"{word.upper()} {after.upper()}".strip())
        if after == "(":
            self._called(at, word)
        return self._clause(at, word, before, after)

    def _deletes_using(self, word: str) -> bool:
        """Whether it is the USING of a DELETE, which names relations."""
        return word == "using" and self._text(0) == "delete" and len(self.levels) == 1

    def _joins(self, at: int) -> bool:
        """Whether a bare JOIN follows a relation, its alias or a condition."""
        return self.tokens[at - 1].is_name or self._text(at - 1) in (")", "_")

    def _called(self, at: int, word: str) -> None:
        if word in words.FUNCTIONS:
            if self._text(at - 1) == ".":
                raise refused(f"a schema before {word.upper()}(")
            self.query.calls.add(word)
            self._arguments(at, word)
        elif word not in words.GROUPING:
            raise refused(f"{self._raw(self.tokens[at])}(")

    def _arguments(self, at: int, word: str) -> None:
        ahead = [self._text(one) for one in range(at, at + 12)]
        if word == "row_number" and ahead[1:5] != ["(", ")", "over", "("]:
            raise refused("ROW_NUMBER other than ROW_NUMBER() OVER (..)")
        if word == "extract" and (ahead[2] not in words.EXTRACTED or ahead[3] != "from"):
            raise refused(f"EXTRACT({ahead[2].upper()} ..")
        if word == "avg" and not self._averages_double(at):
            raise refused("AVG of anything but CAST(.. AS DOUBLE PRECISION): of integers it is an integer")
        if word in words.LAST_COUNTS and ahead[1:3] != ["(", ")"]:
            raise refused(f"{word.upper()} with arguments")

    def _averages_double(self, at: int) -> bool:
        """Whether AVG's argument is a single cast to DOUBLE PRECISION."""
        if [self._text(one) for one in range(at + 1, at + 4)] != ["(", "cast", "("]:
            return False
        depth, one = 1, at + 3
        while depth and one + 1 < len(self.tokens):
            one += 1
            depth += {"(": 1, ")": -1}.get(self._text(one), 0)
        ending = [self._text(near) for near in range(one - 3, one + 2)]
        return ending == ["as", "double", "precision", ")", ")"]

    def _clause(self, at: int, word: str, before: str, after: str) -> int:
        level = self.levels[-1]
        if level.call:
            return self._in_call(at, word, level)
        if word == "with" and before not in ("", "("):
            raise refused(f"{before.upper()} WITH")
        if word == "distinct" and (before != "select" or after == "on"):
            raise refused(f"{before.upper()} DISTINCT {after.upper()}")
        if word == "over" and not self._after_row_number(at):
            raise refused("OVER of another function than ROW_NUMBER")
        if word == "at":
            return self._zone(at)
        if word in ("limit", "offset") and len(self.levels) == 1:
            self.query.outer_limit = True
        if word in _CLAUSES:
            level.clause = word
        if word == "as" and after == "(" and self.tokens[at - 1].is_name:
            self._cte(at)
        if word in ("from", "join") or self._deletes_using(word):
            level.clause = "from"
            return self._relation(at + 1)
        return at + 1

    def _in_call(self, at: int, word: str, level: _Level) -> int:
        """Words that stand directly in a call's arguments."""
        if word == "as" and level.call == "cast":
            end = self._type(at + 1)
            if self._text(end) != ")":
                raise refused(f"CAST(.. {self._text(end)}")
            return end
        if word == "at":
            return self._zone(at)
        if word == "from" and level.call == "extract":
            return at + 1
        if word == "distinct" and level.call == "count" and self._text(at - 1) == "(":
            return at + 1
        if word in _CLAUSES | {"as", "distinct", "using", "with", "join", "partition", "on"}:
            raise refused(f"{word.upper()} in {level.call.upper()}(..)")
        return at + 1

    def _after_row_number(self, at: int) -> bool:
        return [self._text(one) for one in range(at - 3, at)] == ["row_number", "(", ")"]

    def _zone(self, at: int) -> int:
        """AT TIME ZONE 'UTC', the only zone."""
        ahead = self.tokens[at + 1 : at + 4]
        if len(ahead) < 3 or not (ahead[0].means("time") and ahead[1].means("zone") and ahead[2].value == "UTC"):
            raise refused("AT other than AT TIME ZONE 'UTC'")
        return at + 4

    def _cte(self, at: int) -> None:
        if self._text(at + 2) not in ("select", "with"):
            raise refused(f"AS ({self._text(at + 2).upper()} ..")
        self.ctes.add(self.tokens[at - 1].value)

    def _relation(self, at: int) -> int:
        """What a FROM, a JOIN or a comma between relations names."""
        if self._text(at) == "(":
            if self._text(at + 1) not in ("select", "with", "("):
                raise refused(f"FROM ({self._text(at + 1).upper()}")
            return at
        reader = Reader(self.query.statement, at)
        first = reader.next
        if first is not None and first.kind is Kind.WORD and first.value in words.UNKNOWN | words.KEYWORDS:
            raise reader.unexpected()
        self.query.relations.append(reader.name().replace('"', "").lower())
        if self._text(reader.at) in ("(", "."):
            raise reader.unexpected()
        return reader.at

    def _relations(self) -> None:
        """The leader node's relations and functions do not go together with tables."""
        others, leader = [], False
        for name in self.query.relations:
            schema, _, relation = name.rpartition(".")
            if schema == "information_schema" and relation in words.CATALOG:
                leader = True
            elif schema == "information_schema" or _is_system(name):
                raise refused(name)
            elif schema or name not in self.ctes:
                others.append(name)
        if others and (leader or self.query.asks_counts):
            raise refused("a leader node's relation or function together with a table")


def _is_system(name: str) -> bool:
    systems = ("pg_", "svv_", "svl_", "stl_", "stv_", "sys_", "svcs_")
    return name.startswith(systems)


def checked(statement: Statement, *, parameters: bool = False) -> Query:
    """The query, once nothing in it is unknown.

    Raises:
        Failure: it holds something that is not emulated; the message names it.
    """
    return _Walk(statement, parameters).run()
