"""Names of parameters that callers send: which known name an unknown one is probably meant to be.

An unknown name is never ignored in silence where it may have been meant to restrain what is done, as ``dryRun`` is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

MAX_SHOWN_LENGTH = 60
_MIN_PREFIX_LENGTH = 3
_MIN_CONTAINED_LENGTH = 6
_MAX_SUFFIX_LENGTH = 2
_MAX_COMPARED_LENGTH = 40
_SEPARATORS = re.compile(r"[^0-9a-z]+")
_HTML_ESCAPE = re.compile(r"\A(?:amp;)+", re.IGNORECASE)


def nearest_name(name: str, known: Iterable[str], whole: Collection[str] = ()) -> str | None:
    """The known name that ``name`` is a spelling of or a typing error in; None when it resembles none of them.

    ``dryRun``, ``dry-run``, ``DRY_RUN``, ``file[]`` and ``dry`` are spellings; ``yaer`` is a typing error. One letter
    may be wrong, missing, added, or two may be swapped; in names of six letters or more, two. A name may also have up
    to two letters more at its end (``years``), or contain a known name of six letters or more (``only_dry_run``).
    ``amp;`` at the beginning is left out: it comes from a URL that was copied from HTML.

    Names in ``whole`` are compared as a whole: part of one, or a name that contains one, does not resemble it.
    """
    plain = _plain(_HTML_ESCAPE.sub("", name))
    found = [
        (distance, one)
        for one in known
        if (distance := _distance(plain, _plain(one), is_whole=one in whole)) is not None
    ]
    return min(found)[1] if found else None


def shown_name(name: str) -> str:
    """A name as a message quotes it: printable, in ASCII, not too long."""
    text = name.encode("ascii", "backslashreplace").decode()
    text = "".join(one if one.isprintable() else "?" for one in text).replace('"', "'").replace("\\", "/")
    return f"'{text[:MAX_SHOWN_LENGTH]}'" + ("..." if len(text) > MAX_SHOWN_LENGTH else "")


def unknown_name(name: str, known: Iterable[str], kind: str = "parameter") -> str:
    """The sentences that refuse an unknown name: the nearest known one, or else all of them."""
    names = sorted(known)
    nearest = nearest_name(name, names)
    if nearest is not None:
        return f"There is no {kind} {shown_name(name)}. Did you mean '{nearest}'?"
    return f"There is no {kind} {shown_name(name)}. " + (
        f"Known: {', '.join(names)}." if names else f"No {kind} is accepted here."
    )


def _plain(name: str) -> str:
    return _SEPARATORS.sub("", name.lower())


def _distance(name: str, known: str, *, is_whole: bool) -> int | None:
    """Typing errors between two plain names; None when they are too many."""
    if name == known:
        return 0
    if not is_whole and _is_part(name, known):
        return 1
    if len(name) > _MAX_COMPARED_LENGTH:
        return None
    most = 1 if len(known) < 6 else 2
    distance = _edits(name, known)
    return distance if distance <= most else None


def _is_part(name: str, known: str) -> bool:
    """Whether one of two plain names is so large a part of the other that it may have been meant."""
    if len(name) >= _MIN_PREFIX_LENGTH and known.startswith(name):
        return True
    if len(known) >= _MIN_CONTAINED_LENGTH:
        return known in name
    return name.startswith(known) and len(name) - len(known) <= _MAX_SUFFIX_LENGTH


def _edits(one: str, other: str) -> int:
    """Letters to insert, remove, replace or swap with the next one (optimal string alignment)."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        this = [row]
        for column, wanted in enumerate(other, 1):
            cost = min(last[column] + 1, this[-1] + 1, last[column - 1] + (letter != wanted))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == wanted:
                cost = min(cost, before[column - 2] + 1)
            this.append(cost)
        before, last = last, this
    return last[-1]
