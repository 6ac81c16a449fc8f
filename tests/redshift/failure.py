"""How the stand-in says no, in the server's own words where Redshift has words for it."""

from __future__ import annotations


class Failure(Exception):
    """An error that the client is told; the transaction it happened in is lost."""

    def __init__(self, code: str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.detail = code, message, detail


class Dropped(Exception):
    """The connection ends at once, without an answer."""


def refused(what: str) -> Failure:
    """The statement is none that the stand-in emulates; ``what`` is the first thing it does not know."""
    return Failure("0A000", f"The stand-in does not emulate: {what}")


def conflict() -> Failure:
    """Redshift's answer to the transaction that would break serializable isolation."""
    detail = "Serializable isolation violation on table - 100123, transactions forming the cycle are: 1, 2 (pid:3)"
    return Failure("XX000", "1023", detail)


def too_long() -> Failure:
    """Redshift's answer to a value of more bytes than its column has."""
    return Failure("22001", "Value too long for character type")
