"""Every error this project raises on purpose, as one tree.

    DatamartError
    ├── ConfigurationError   a setting, parameter or name that cannot work; say it before any work starts
    │   └── ImpossibleRequest    what the caller asked for does not exist or cannot be done; nothing is broken
    ├── FileRejected         a file that breaks a rule as a whole; a verdict, never retried
    ├── SourceChanged        an object is not the one that was listed; the next listing sees the new one
    ├── BalanceError         independent counts disagree; the transaction rolls back
    ├── BackupDamaged        a backup's bytes are not those that were written, or are no backup; another one may do
    ├── ChangeRefused        a restore, undo or load of gone rows that would lose rows or cannot be exact
    ├── TerminalFault        a server refused for good (rights, syntax, missing object); retrying is useless
    └── TransientFault       a server was busy, slow or gone; the whole step may be tried again
        └── Conflict         another transaction was in the way of this one, which may be tried again at once

Messages name the file, row or table and what to do. They never hold secrets or the contents of rows.
"""

from __future__ import annotations

import traceback


class DatamartError(Exception):
    """Root of all errors raised on purpose."""


class ConfigurationError(DatamartError):
    """A setting, parameter or name that cannot work."""


class ImpossibleRequest(ConfigurationError):
    """What the caller asked for does not exist or cannot be done; nothing is broken, another request can succeed."""


class FileRejected(DatamartError):
    """A whole file breaks a rule: ``code`` is stable for programs, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SourceChanged(DatamartError):
    """The object was replaced or removed after it was listed."""


class BalanceError(DatamartError):
    """Rows read do not equal rows inserted, updated, unchanged and rejected."""


class BackupDamaged(DatamartError):
    """Files of a backup are missing, changed or not what their manifest says."""


class ChangeRefused(DatamartError):
    """A restore, an undo or a load of gone rows that would lose rows, or that cannot be exact; nothing was touched."""


class TerminalFault(DatamartError):
    """A fault that a retry cannot mend."""


class TransientFault(DatamartError):
    """A fault that a retry of the whole step may mend."""


class Conflict(TransientFault):
    """A transaction that could not be done beside another one; nothing of it was committed."""


def sentence(error: Exception) -> str:
    """The message of our own errors; of others only the kind and place, as their messages may quote a row."""
    if isinstance(error, DatamartError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"The machine of this task refused: {error.strerror} ({type(error).__name__})."
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"An unexpected {type(error).__name__} in {where.name} (line {where.lineno}): please report it."
