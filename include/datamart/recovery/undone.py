"""Which loads are undone, and so count as new when their files come again: what a restore must write into the ledger.

A table that is brought to a commit holds what the loads up to it did, as far as these were not undone by then. That is
found by walking back: up to the last restore before that commit everything counts; that restore itself brought the
table to an earlier commit, so the walk goes on from there, and what lies between is undone by it. Undos on the way take
single loads out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datamart.recovery.ledger import Change
from datamart.tables import Table
from datamart.warehouse.base import Warehouse

_BEGINNING = -1


@dataclass(frozen=True)
class Past:
    """A restore or an undo that was done: its commit, and what it brought back or took away."""

    change_id: int
    kind: str
    commit_seq: int
    target_seq: int | None
    """Of a restore; None: a backup of another ledger, with none of this one's loads in it."""
    undone_load_id: int | None


@dataclass(frozen=True)
class Flags:
    """What to write: commits whose loads count, those between which a change undid all, and single loads it undid."""

    counted: tuple[tuple[int, int], ...]
    """From after the first commit up to the second."""
    undone: tuple[tuple[int, int, Past], ...]
    singles: tuple[Past, ...]


def flags_at(commit_seq: int, past: Sequence[Past]) -> Flags:
    """The flags of a table's loads up to a commit; ``past`` is in the order of commits."""
    counted, undone, singles = [], [], []
    until, left = commit_seq, [one for one in past if one.commit_seq <= commit_seq]
    while left:
        last = left.pop()
        if last.commit_seq > until:
            continue
        if last.kind == "undo":
            singles.append(last)
            continue
        target = _BEGINNING if last.target_seq is None else last.target_seq
        counted.append((last.commit_seq, until))
        undone.append((target, last.commit_seq, last))
        until = target
    counted.append((_BEGINNING, until))
    return Flags(tuple(counted), tuple(undone), tuple(singles))


def mark_loads(warehouse: Warehouse, table: Table, change: Change) -> None:
    """Write the flags that a restore brings about, within its transaction."""
    # Of a backup of another ledger nobody knows which loads are in it: each file is judged anew when it comes again.
    target = _BEGINNING if change.target_seq is None else change.target_seq
    found = warehouse.query(warehouse.sql("past_changes"), {"table": table.name})
    flags = flags_at(target, [Past(*row) for row in found])
    for after, until in flags.counted:
        warehouse.execute(warehouse.sql("mark_done_again"), {"table": table.name, "after": after, "until": until})
    for after, until, undone_by in flags.undone:
        _mark(warehouse, table, undone_by.change_id, undone_by.commit_seq, after, until)
    for one in flags.singles:
        values = {"change_id": one.change_id, "commit_seq": one.commit_seq, "load_id": one.undone_load_id}
        warehouse.execute(warehouse.sql("mark_one_undone"), values)
    _mark(warehouse, table, change.change_id, change.commit_seq, target, change.commit_seq)


def _mark(warehouse: Warehouse, table: Table, change_id: int, commit_seq: int, after: int, until: int) -> None:
    values = {
        "table": table.name, "change_id": change_id, "commit_seq": commit_seq, "after": after, "until": until
    }  # fmt: skip
    warehouse.execute(warehouse.sql("mark_undone"), values)
