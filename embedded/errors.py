"""Errors that the stack reports to its user."""


class StackError(Exception):
    """One sentence for a person: what is wrong and what to do. It is shown without a traceback."""

    exit_code = 1


class SettingError(StackError):
    """A variable has a value that cannot work."""

    exit_code = 2
