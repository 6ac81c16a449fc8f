"""Reads a statement from left to right; whatever is not expected is refused by name."""

from __future__ import annotations

from tests.redshift.failure import Failure, refused
from tests.redshift.lexer import Kind, Statement, Token


class Reader:
    """A place in a statement."""

    def __init__(self, statement: Statement, at: int = 0) -> None:
        self.statement, self.at = statement, at

    @property
    def next(self) -> Token | None:
        tokens = self.statement.tokens
        return tokens[self.at] if self.at < len(tokens) else None

    def unexpected(self) -> Failure:
        """The refusal of whatever is next."""
        if self.next is None:
            return refused("a statement that ends here")
        return refused(self.statement.text[self.next.start : self.next.end])

    def token(self, *kinds: Kind) -> Token:
        """The next token, of one of these kinds."""
        token = self.next
        if token is None or token.kind not in kinds:
            raise self.unexpected()
        self.at += 1
        return token

    def accept(self, *words: str) -> bool:
        """Pass over these words or operators when all of them are next."""
        ahead = self.statement.tokens[self.at : self.at + len(words)]
        if len(ahead) < len(words) or not all(token.means(word) for token, word in zip(ahead, words, strict=True)):
            return False
        self.at += len(words)
        return True

    def expect(self, *words: str) -> None:
        """Pass over these words or operators."""
        for word in words:
            if not self.accept(word):
                raise self.unexpected()

    def choice(self, *words: str) -> str:
        """The next word, one of these."""
        for word in words:
            if self.accept(word):
                return word
        raise self.unexpected()

    def column(self) -> str:
        """An identifier of one part."""
        return self.token(Kind.WORD, Kind.QUOTED).value

    def name(self) -> str:
        """A name of one or two parts, as it was written."""
        first = self.token(Kind.WORD, Kind.QUOTED)
        last = self.token(Kind.WORD, Kind.QUOTED) if self.accept(".") else first
        return self.statement.text[first.start : last.end]

    def columns(self) -> list[str]:
        """Identifiers in parentheses."""
        self.expect("(")
        found = [self.column()]
        while self.accept(","):
            found.append(self.column())
        self.expect(")")
        return found

    def whole(self, most: int) -> int:
        """A whole number from 1 to ``most``."""
        token = self.token(Kind.NUMBER)
        if not token.value.isdigit() or not 1 <= int(token.value) <= most:
            raise refused(f"{token.value} (1 to {most} is possible)")
        return int(token.value)

    def end(self) -> None:
        """Nothing may follow."""
        if self.next is not None:
            raise self.unexpected()

    def rest(self) -> Statement:
        """What is left, as a statement of its own; nothing is left here."""
        left = self.statement.tokens[self.at :]
        if not left:
            raise self.unexpected()
        self.at = len(self.statement.tokens)
        start = left[0].start
        moved = tuple(Token(one.kind, one.value, one.start - start, one.end - start) for one in left)
        return Statement(self.statement.text[start : left[-1].end], moved)
