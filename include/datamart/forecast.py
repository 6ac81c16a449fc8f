"""What a dry run answers: the verdicts that staged files would get now, and the rows that would change.

Nothing is written here; what is staged is only looked at (``warehouse.preview``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from datamart.loads import Outcome, Verdict
from datamart.staging import Staged
from datamart.warehouse.base import Warehouse


def forecast(outcome: Outcome) -> Outcome:
    """The outcome as a forecast: verdict ``dry_run``, the would-be verdict beside it, and a sentence."""
    counts = outcome.counts
    rows = (
        f"{counts.inserted} rows inserted, {counts.updated} updated, {counts.unchanged} unchanged, "
        f"{counts.removed} removed, {counts.rejected} rejected"
    )
    reason = f" {outcome.message}" if outcome.verdict is Verdict.REJECTED else ""
    message = f"Dry run: would be {outcome.verdict.value}; {rows}.{reason}"
    return replace(outcome, verdict=Verdict.DRY_RUN, forecast=outcome.verdict, message=message)


def upsert_forecast(warehouse: Warehouse, staged: Staged, outcome: Outcome) -> Outcome:
    """What an upsert of a staged file would do; ``outcome`` is what is known from reading it."""
    if outcome.verdict is Verdict.REJECTED:
        return forecast(outcome)
    counts = warehouse.preview(staged.table, staged.staging)
    outcome = replace(outcome, counts=replace(counts, read=staged.read, rejected=staged.rejects.count))
    first = warehouse.first_load_of_content(staged.table, staged.sha256)
    if first is not None and not counts.changed:
        outcome = replace(outcome, verdict=Verdict.DUPLICATE, duplicate_of=first.outcome.load_id)
    return forecast(outcome)


def replacement_forecast(warehouse: Warehouse, files: Sequence[Staged], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """What a replacement would do; each file is held against the table as it is, not against the others."""
    told = [upsert_forecast(warehouse, one, outcome) for one, outcome in zip(files, outcomes, strict=True)]
    if any(outcome.verdict is Verdict.REJECTED for outcome in outcomes):
        return told
    table, joined = files[0].table, f"keep_{files[-1].load_id}"
    warehouse.join_keys(table, [one.staging for one in files], joined)
    removed = warehouse.count_absent(table, joined)
    warehouse.drop_staging(joined)
    if removed:
        last = replace(told[-1], verdict=Verdict.LOADED, counts=replace(told[-1].counts, removed=removed))
        told[-1] = forecast(last)
    return told
