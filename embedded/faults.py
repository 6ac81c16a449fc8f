"""Faults of the machine and of the stack's servers, each as one sentence for the user."""

from __future__ import annotations

import errno

import psycopg2
from botocore.exceptions import BotoCoreError, ClientError

from embedded.airflow_api import ApiError
from embedded.errors import StackError

REPORTED = (StackError, OSError, psycopg2.Error, BotoCoreError, ClientError, ApiError)
"""What a command of the stack reports in one sentence; anything else is a defect and keeps its traceback."""
_ADVICE = {
    errno.ENOSPC: "Free some space there, or set STACK_DIR to a folder on another disk.",
    errno.EDQUOT: "Free some space there, or set STACK_DIR to a folder on another disk.",
    errno.EROFS: "Set STACK_DIR to a folder that you can write to.",
    errno.EACCES: "Run the command as the user that started the stack, or set STACK_DIR to another folder.",
    errno.EPERM: "Run the command as the user that started the stack, or set STACK_DIR to another folder.",
    errno.ENAMETOOLONG: "Set STACK_DIR to a shorter path.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
}


def sentence(error: BaseException) -> str:
    """What happened, to what, and what to do."""
    if isinstance(error, StackError):
        return str(error)
    if isinstance(error, OSError):
        place = f": {error.filename}" if error.filename else ""
        advice = _ADVICE.get(error.errno or 0, "See the logs in the stack's folder.")
        return f"{error.strerror or _one_line(error)}{place}. {advice}"
    server = "PostgreSQL" if isinstance(error, psycopg2.Error) else "Airflow" if isinstance(error, ApiError) else "S3"
    return f"{server} reports: {_one_line(error).rstrip('.')}. See the logs in the stack's folder."


def exit_code(error: BaseException) -> int:
    """The exit code of a command that ended with this error."""
    return error.exit_code if isinstance(error, StackError) else 1


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
