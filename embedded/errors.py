"""What the stack tells its user when it cannot go on."""


class StackError(Exception):
    """A sentence for a person: what is wrong and what to do; shown without a traceback."""
