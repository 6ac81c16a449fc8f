"""The steps of a load as they are seen on the wire to the warehouse."""

from __future__ import annotations

from tests.faults.files import Sent
from tests.faults.wire import CLIENT, SERVER, Fault, Rule

_DONE = rb"\AC.{4}"  # the server's word that a statement is done


def copying(sent: Sent, fault: Fault) -> Rule:
    """Rows are on their way to the staging; the first piece is only the format's header."""
    return Rule(CLIENT, rb"\Ad", fault, after=rb"COPY \S*%d" % sent.load_id, skip=1)


def staged(sent: Sent, fault: Fault) -> Rule:
    """All rows are in the staging."""
    return Rule(SERVER, _DONE + rb"COPY", fault, after=rb"COPY \S*%d" % sent.load_id)


def merged(sent: Sent, fault: Fault) -> Rule:
    """The rows are in the table; the transaction is open and holds the table's lock."""
    return Rule(SERVER, _DONE + rb"INSERT", fault, after=rb"INSERT INTO public\.hired_employees.*%d" % sent.load_id)


def recorded(sent: Sent, fault: Fault) -> Rule:
    """The ledger's row is there; the transaction is open."""
    return Rule(SERVER, _DONE + rb"INSERT", fault, after=_ledger(sent))


def committing(sent: Sent, fault: Fault) -> Rule:
    """The client asks for the commit."""
    return Rule(CLIENT, rb"\AQ.{4}COMMIT", fault, after=_ledger(sent))


def committed(sent: Sent, fault: Fault) -> Rule:
    """The commit is done; the client does not know it yet."""
    return Rule(SERVER, _DONE + rb"COMMIT", fault, after=_ledger(sent))


def _ledger(sent: Sent) -> bytes:
    return rb"INSERT INTO ops\.loads.*%d" % sent.load_id
