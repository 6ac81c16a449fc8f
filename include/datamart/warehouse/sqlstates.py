"""What to do about an error of the warehouse, by its SQLSTATE: one table for both dialects.

Source of codes: https://www.postgresql.org/docs/18/errcodes-appendix.html. Redshift uses the same codes where it has
any of its own, and XX000 for nearly everything else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What the caller does after an error."""

    RETRY_TRANSACTION = "retry the transaction at once"
    """``Conflict``: the same session tries the whole transaction again, some times."""
    WAIT = "wait and retry"
    """``TransientFault``: Airflow retries the task, or the landed file is on hold; each with a new session."""
    GIVE_UP = "give up"
    """``TerminalFault``: a retry cannot fix it; a person must."""


@dataclass(frozen=True)
class Rule:
    """One row: errors with this SQLSTATE, or of this class (its first two characters); of any, where it is empty."""

    code: str
    action: Action
    remedy: str
    """Cause and remedy, as sentences that follow the server's message."""
    text: re.Pattern[str] | None = None
    """The row is only for messages that match."""
    quotes_values: bool = False
    """The server's message may quote a value of a row: only one that names a constraint or column is repeated."""


def _containing(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_RETRY, _WAIT, _GIVE_UP = Action.RETRY_TRANSACTION, Action.WAIT, Action.GIVE_UP

_CONFLICT = "The two transactions cannot both be done; this one is tried again."
_CONNECTION = "Check the server and the network between."
_LOGIN = (
    "Correct login and password in the Airflow connection: each new session reads them from there. A password that was "
    "just changed is picked up by the retry."
)
_READ_ONLY = (
    "The server only reads: it is a standby, or a failover is under way. Check that the Airflow connection leads to "
    "the primary, and default_transaction_read_only."
)
_STATEMENT_TIMEOUT = (
    "A limit of the server ended the statement. If it happens again, raise statement_timeout for the product's login, "
    "or look for what blocks or slows it."
)
_CANCELED = (
    "A person or a program canceled the statement, so the task does not retry it. Start the work again when it may "
    "run; a landed file is tried again after its hold."
)
_SPACE = "Free or add resources on the server (disk, memory, connections)."
_LOCKED = (
    "Another session holds a lock. Look in pg_stat_activity for the session that blocks, and end it if it is stuck."
)
_RIGHTS = "Grant the right to the product's login, or connect with the login that owns the tables."
_SCHEMA = (
    "The warehouse does not have what this version needs: run its migrations (python -m datamart_airflow.migrate), and "
    "undo changes that were made by hand."
)
_VALUE = "A value does not fit its column. The server's own message is left out, as it may quote a row."
_CONSTRAINT = "A rule of the table refuses the rows. Look at constraints and triggers that were added by hand."
_DAMAGED = (
    "The server reports damaged data. Do not go on loading: check its disks, and restore the tables from a backup."
)
_REPORT = "A retry cannot fix this. Please report it with the task's log."

RULES: tuple[Rule, ...] = (
    # Class 08: connection exceptions.
    Rule("08", _WAIT, _CONNECTION),
    # Class 0A: features that are not supported.
    Rule("0A", _GIVE_UP, "The server does not support the statement. Check that its version is a supported one."),
    # Classes 22 and 23: values and constraints.
    Rule("22", _GIVE_UP, _VALUE, quotes_values=True),
    Rule("23", _GIVE_UP, _CONSTRAINT, quotes_values=True),
    # Class 25: invalid transaction state.
    Rule("25", _GIVE_UP, _REPORT),
    Rule("25006", _WAIT, _READ_ONLY),
    Rule(
        "25P03", _WAIT, "The session was idle within a transaction for too long, most often because S3 or the machine "
        "was slow. If it happens again, raise idle_in_transaction_session_timeout for the product's login.",
    ),
    Rule(
        "25P04", _WAIT, "The transaction took longer than the server allows. If it happens again, raise "
        "transaction_timeout for the product's login, or send smaller files.",
    ),
    # Class 28: invalid authorization.
    Rule("28", _WAIT, _LOGIN),
    # Class 3D: the database's name.
    Rule("3D", _GIVE_UP, "Correct the database's name in the Airflow connection, or create the database."),
    # Class 40: transaction rollback.
    Rule("40", _RETRY, _CONFLICT),
    # Class 42: syntax errors and access rules.
    Rule("42", _GIVE_UP, _SCHEMA),
    Rule("42501", _GIVE_UP, _RIGHTS),
    # Class 53: insufficient resources.
    Rule("53", _WAIT, _SPACE),
    Rule("53400", _GIVE_UP, "A limit of the server (such as temp_file_limit) ended the statement: raise it."),
    # Class 54: limits of the program.
    Rule("54", _GIVE_UP, _REPORT),
    # Class 55: an object is not in the state that is needed.
    Rule("55", _WAIT, _LOCKED),
    # Class 57: operator intervention.
    Rule("57", _WAIT, "The server was stopped or restarted, or its administrator ended the session."),
    Rule("57014", _WAIT, _STATEMENT_TIMEOUT),
    Rule("57014", _GIVE_UP, _CANCELED, _containing(r"due to user request")),
    Rule("57P04", _GIVE_UP, "The database was dropped. See what docs/operations.md says of a warehouse that is gone."),
    # Class 58: system errors outside of the server.
    Rule("58", _WAIT, "The machine of the server reports an error: check its disks and its log."),
    # Class P0: errors that functions raise.
    Rule(
        "P0", _GIVE_UP, "A trigger or function in the warehouse refused it. Look at those that were added by hand. Its "
        "own message is left out, as it may quote a row.", quotes_values=True,
    ),
    # Class XX: internal errors.
    Rule("XX", _GIVE_UP, _REPORT),
    Rule("XX001", _GIVE_UP, _DAMAGED),
    Rule("XX002", _GIVE_UP, _DAMAGED),
)  # fmt: skip
"""Of both dialects. A code goes before its class, and a later row before an earlier one of the same code."""

REDSHIFT_RULES: tuple[Rule, ...] = (
    *RULES,
    # Queues and query monitoring rules cancel with the words that are used when a person does.
    Rule("57014", _WAIT, "A queue, a query monitoring rule or a person canceled the statement. See SYS_QUERY_HISTORY."),
    Rule("XX000", _WAIT, "Redshift's code for most errors, such as S3 being busy, a full disk or a restart."),
    Rule(
        "XX000", _GIVE_UP, "Redshift cannot load the rows of a file. See SYS_LOAD_ERROR_DETAIL.",
        _containing(r"load_error|Load into table"),
    ),
    Rule(
        "XX000", _GIVE_UP, "Redshift Spectrum cannot read the parquet file: its columns are not those of the table.",
        _containing(r"Spectrum Scan Error[\s\S]*\b15007\b|incompatible Parquet schema"),
    ),
    # 1023: https://docs.aws.amazon.com/redshift/latest/dg/error-1023.html
    # 1018: a relation that another transaction has just made.
    Rule("", _RETRY, _CONFLICT, re.compile(r"\A(1018|1023)\b")),
)  # fmt: skip
"""Of Redshift."""

_RAISED_IN = re.compile(r'\APL/\w+ function ((?:"(?:[^"]|"")+"|[\w$.])+)')
_OWN_BLOCK = "inline_code_block"
"""What PostgreSQL calls the code of a DO statement."""

_UNREACHABLE = Rule("", _WAIT, _CONNECTION)
_UNKNOWN = Rule("", _GIVE_UP, _REPORT)

_FATAL_MESSAGES = (
    ("25P03", _containing(r"idle-in-transaction timeout")),
    ("25P04", _containing(r"transaction timeout")),
    ("28P01", _containing(r"password authentication failed|no password supplied")),
    ("28000", _containing(r"pg_hba\.conf|authentication failed|not permitted to log in|role .+ does not exist")),
    ("3D000", _containing(r"database .+ does not exist")),
    ("42501", _containing(r"permission denied")),
    ("53300", _containing(r"too many (clients|connections)|connection slots are reserved|connection limit")),
    ("57P01", _containing(r"administrator command")),
    ("57P03", _containing(r"database system is (starting|shutting|not yet|in recovery|not accepting)")),
    ("57P05", _containing(r"idle-session timeout")),
)


def code_of_fatal_message(message: str) -> str | None:
    """The SQLSTATE of a connection that the server refused or ended.

    The driver gives no code for these, only the server's sentence; None when the sentence is not known or is of a
    server that speaks another language.
    """
    return next((code for code, pattern in _FATAL_MESSAGES if pattern.search(message)), None)


def raising_function(context: str | None) -> str | None:
    """The function that has raised an error, by the first line of the error's context; None for the server's own.

    That line names the innermost place: for an error of a statement within a function it is the statement. The code of
    a DO statement is no function.
    """
    found = _RAISED_IN.match(context or "")
    return found[1] if found and found[1] != _OWN_BLOCK else None


def rule_for(code: str | None, text: str, rules: tuple[Rule, ...] = RULES) -> Rule:
    """The row for an error; ``text`` is all that the server said. Without a code the connection was lost."""
    for wanted in ("", code, (code or "")[:2]):
        for rule in reversed(rules):
            if rule.code == wanted and (rule.text is None or rule.text.search(text)):
                return rule
    return _UNREACHABLE if code is None else _UNKNOWN
