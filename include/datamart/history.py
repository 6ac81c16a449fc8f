"""Plans a historic load: which files of a prefix, in which batches, in which order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from datamart.batches import Batch, batch_of
from datamart.errors import ConfigurationError
from datamart.file_names import IGNORED, NO_TABLE, OTHER_TABLE, PARTIAL, LeftOut, is_ignored, is_partial
from datamart.loads import Arrival, Mode, Outcome, Verdict
from datamart.objects import ObjectStore
from datamart.routing import table_for
from datamart.tables import TABLES, Table, load_order, table_named

_ADDRESS = re.compile(
    r"(?:s3[an]?://|arn:aws[a-z-]*:s3:::)(?P<bucket>[^/]*)(?:/(?P<key>.*))?", re.IGNORECASE | re.DOTALL
)
NO_WORD = "Its load task ended by a fault; see the log of that, then clear it."
MAX_BATCHES = 100  # mapped task instances per table; Airflow allows 1024 by default


def plan_history(
    store: ObjectStore,
    prefix: str,
    names: Sequence[str],
    mode: str,
    listed_at: datetime | None = None,
    tables: tuple[Table, ...] = TABLES,
    left_out: LeftOut | None = None,
) -> list[list[Batch]]:
    """Batches by wave; referenced tables come in an earlier wave than those that refer to them.

    ``listed_at`` is the time by the warehouse's clock: with it, the newer of two files wins, whichever is loaded first.
    Files that are not loaded are added to ``left_out``, each with the reason.

    Raises:
        ConfigurationError: the prefix cannot work, a table is unknown, the prefix holds no file, or none for the
            chosen tables.
    """
    left_out = LeftOut() if left_out is None else left_out
    chosen = {table_named(name, tables).name for name in names}
    prefix, listed = _listed(store, prefix)
    if not listed:
        raise ConfigurationError(
            f"There is no file under s3://{store.bucket}/{prefix}. Check the prefix (it usually ends in '/')."
        )
    by_table: dict[str, list[Arrival]] = {}
    for arrival in listed:
        table = table_for(arrival.key, tables)
        if table is not None and table.name in chosen:
            by_table.setdefault(table.name, []).append(replace(arrival, listed_at=listed_at))
        else:
            left_out.add(_why_left_out(arrival.key, table), [arrival.key])
    if not by_table:
        raise ConfigurationError(
            f"None of the {len(listed)} files under s3://{store.bucket}/{prefix} is for {', '.join(sorted(chosen))}. "
            f"A file's name must start with its table's name and end in .csv. {' '.join(left_out.sentences())}"
        )
    found = {one.key: one for one in store.pinned([one for arrivals in by_table.values() for one in arrivals])}
    there = {name: [found[one.key] for one in arrivals if one.key in found] for name, arrivals in by_table.items()}
    return [
        [batch for table in wave for batch in _batches(table.name, there.get(table.name, []), Mode(mode))]
        for wave in load_order(tables)
    ]


def _listed(store: ObjectStore, given: str) -> tuple[str, list[Arrival]]:
    """The prefix and what is there: as it is given where there is a file, since keys may begin with a slash or blank.

    Raises:
        ConfigurationError: nothing is there, and it is no path within the bucket either.
    """
    found = store.list(given) if given.strip().strip("/") else []
    if found:
        return given, found
    prefix = prefix_within(given, store.bucket)
    return prefix, store.list(prefix)


def prefix_within(given: str, bucket: str) -> str:
    """The key, or the beginning of keys, that a person means: ``s3://<bucket>/x/``, ``/x/`` and `` x/ `` are ``x/``.

    Raises:
        ConfigurationError: it names another bucket, no folder, or is no path of S3.
    """
    prefix = given.strip()
    address = _ADDRESS.fullmatch(prefix)
    if address is not None:
        if address["bucket"] != bucket:
            raise ConfigurationError(
                f"The path {given!r} names the bucket {address['bucket']}, but files are loaded from the bucket "
                f"{bucket} only. Copy the files there, or set DATAMART_DATA_BUCKET."
            )
        prefix = address["key"] or ""
    elif "://" in prefix:
        raise ConfigurationError(
            f"The path {given!r} is no address of S3. Give the folder in the bucket {bucket}, such as historic/."
        )
    if "\\" in prefix:
        raise ConfigurationError(
            f"The path {given!r} has a backslash; folders in S3 are separated by a slash. "
            f"Give {prefix.replace(chr(92), '/')!r} if that is the folder."
        )
    prefix = prefix.lstrip("/")
    if not prefix:
        raise ConfigurationError(
            f"The path {given!r} names the whole bucket {bucket}, which holds loaded and refused files too. "
            "Give a folder, such as historic/."
        )
    return prefix


def _why_left_out(key: str, table: Table | None) -> str:
    if table is not None:
        return OTHER_TABLE
    return IGNORED if is_ignored(key) else PARTIAL if is_partial(key) else NO_TABLE


def _batches(table: str, arrivals: list[Arrival], mode: Mode) -> list[Batch]:
    """Tasks beside each other, each with files that follow one another; a replacement is one task's."""
    if not arrivals:
        return []
    size = len(arrivals) if mode is Mode.REPLACE else -(-len(arrivals) // MAX_BATCHES)
    return [batch_of(table, arrivals[start : start + size]) for start in range(0, len(arrivals), size)]


def summary(outcome: Outcome) -> dict[str, Any]:
    """One verdict for the Dag's result: keys and counts, no rows (ids as text: JSON numbers end at 2**53)."""
    counts = outcome.counts
    return {
        "file": outcome.key,
        "table": outcome.table,
        "verdict": outcome.verdict.value,
        "load_id": str(outcome.load_id),
        "rows": counts.read,
        "inserted": counts.inserted,
        "updated": counts.updated,
        "unchanged": counts.unchanged,
        "removed": counts.removed,
        "rejected": counts.rejected,
        "warnings": outcome.warnings,
        "changed": outcome.changed,
        "forecast": outcome.forecast.value if outcome.forecast else None,
        "message": outcome.message,
    }


def judged_files(verdicts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Number of files by verdict; of dry runs also by predicted verdict, as in ``would be rejected``."""
    found = [verdict["verdict"] for verdict in verdicts]
    found += [f"would be {verdict['forecast']}" for verdict in verdicts if verdict.get("forecast")]
    return {verdict: found.count(verdict) for verdict in sorted(set(found))}


def without_verdict(planned: list[list[Batch]], verdicts: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The planned files whose tasks ended without a word in the ledger, in place of their verdicts."""
    answered = {verdict["file"] for verdict in verdicts}
    return [
        {
            "file": listed["key"], "table": batch["table"], "verdict": Verdict.FAILED.value, "load_id": None,
            "rows": 0, "rejected": 0, "message": NO_WORD,
        }
        for wave in planned
        for batch in wave
        for listed in batch["files"]
        if listed["key"] not in answered
    ]  # fmt: skip


def not_loaded(planned: list[list[Batch]], verdicts: list[Mapping[str, Any]]) -> list[str]:
    """A sentence for each planned file that was not loaded."""
    fine = {Verdict.LOADED.value, Verdict.DUPLICATE.value}
    answered = {verdict["file"]: verdict for verdict in verdicts}
    missing = []
    for key in (listed["key"] for wave in planned for batch in wave for listed in batch["files"]):
        verdict = answered.get(key)
        if verdict is None:
            missing.append(f"{key}: failed. {NO_WORD}")
        elif (verdict["forecast"] or verdict["verdict"]) not in fine:
            missing.append(f"{key}: {verdict['verdict']}. {verdict['message']}")
    return missing
