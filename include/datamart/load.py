"""The one path of every file: read, validate, clean parquet and rejects, stage, merge with history and ledger.

Verdicts are values. Faults (servers away, objects replaced) are exceptions and may be tried again: the load's
id comes from the arrival, so another try finds what was done.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import parquet

from datamart.errors import FileRejected
from datamart.loads import Arrival, Counts, Mode, Outcome, Verdict
from datamart.objects import ObjectStore, clean_key, rejected_key
from datamart.reader import Reader
from datamart.rejects import RejectSpool, rejects_csv, rejects_raw
from datamart.routing import table_for
from datamart.settings import Settings
from datamart.tables import TABLES, Table
from datamart.validation import Validator
from datamart.warehouse.base import Warehouse, balanced


class _Hashing(io.BytesIO):
    """Bytes on their way to the reader, with their SHA-256."""

    def __init__(self, source: BinaryIO) -> None:
        super().__init__()
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int | None = -1) -> bytes:
        data = self._source.read(-1 if size is None else size)
        self.digest.update(data)
        return data


@dataclass
class _Staged:
    """A file that was read to its end: rows in temporary table ``name``, rejects in ``rejects``."""

    arrival: Arrival
    load_id: int
    table: Table
    name: str
    rejects: RejectSpool
    started: datetime
    read: int = 0
    accepted: int = 0
    blank: int = 0
    sha256: str = ""
    names: tuple[str, ...] = ()
    warnings: dict[str, int] = field(default_factory=dict)
    refused: FileRejected | None = None
    repairs: int | None = None


@dataclass(frozen=True)
class Loader:
    """Loads files into one warehouse from one bucket; ``run`` names the Dag run for the ledger."""

    warehouse: Warehouse
    store: ObjectStore
    settings: Settings
    run: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[Table, ...] = TABLES

    def load(self, arrival: Arrival, *, dry_run: bool = False) -> Outcome:
        """Upsert one file; answers from the ledger when this very arrival was loaded before."""
        done = self.warehouse.find_load(arrival.load_id)
        if done is not None:
            return self._again(done)
        table = table_for(arrival.key, self.tables)
        if table is None:
            return self._refuse_name(arrival, dry_run)
        with ExitStack() as stack:
            staged = self._stage(arrival, table, arrival.load_id, stack, keep=not dry_run)
            if dry_run:
                return self._dry_run(staged)
            return self._commit([staged], table, Mode.UPSERT)[0]

    def replace(self, arrivals: Sequence[Arrival], table: Table, *, dry_run: bool = False) -> list[Outcome]:
        """Replace the table's rows by those of all ``arrivals`` (later ones win) in one transaction.

        Refused, leaving the table as it is, when a file was refused or no row would be left.
        """
        with ExitStack() as stack:
            run_id = self.run.get("run_id", "")
            staged = [self._stage(one, table, one.replacement_id(run_id), stack, keep=not dry_run) for one in arrivals]
            if dry_run:
                return [self._dry_run(one) for one in staged]
            return self._commit(staged, table, Mode.REPLACE)

    def _again(self, done: Outcome) -> Outcome:
        """What to answer for an arrival that the ledger knows: a retry gets its answer, a new run hears so."""
        if done.run_id == self.run.get("run_id") or done.verdict is Verdict.REJECTED:
            return done
        return replace(
            done,
            verdict=Verdict.DUPLICATE,
            duplicate_of=done.duplicate_of or done.load_id,
            counts=replace(
                done.counts, inserted=0, updated=0, removed=0, unchanged=done.counts.read - done.counts.rejected
            ),
            message=f"This very file was loaded before (load {done.load_id}); nothing changed.",
        )

    def _stage(self, arrival: Arrival, table: Table, load_id: int, stack: ExitStack, *, keep: bool) -> _Staged:
        name = f"staging_{load_id}"
        rejects = RejectSpool()
        stack.callback(rejects.close)
        staged = _Staged(arrival, load_id, table, name, rejects, datetime.now(UTC))
        known = {column: self.warehouse.keys_of(self._table(other)) for column, other in table.references.items()}
        validator = Validator(table, known, reject_unknown=self.settings.unknown_reference == "reject")
        self.warehouse.drop_staging(name)
        stack.callback(self.warehouse.drop_staging, name)
        with self.store.read(arrival) as body:
            source = _Hashing(body)
            reader = Reader(source, table, self.settings.chunk_bytes)
            batches = self._batches(reader, validator, staged)
            try:
                self.warehouse.stage(table, name, self._kept_clean(batches, staged) if keep else batches)
            except FileRejected as error:
                staged.refused = error
                while source.read(1 << 20):  # the rest counts for the file's identity
                    pass
        staged.sha256, staged.read, staged.blank = source.digest.hexdigest(), reader.rows, reader.blank
        staged.repairs = self._known_load(reader.repairs)
        staged.names = reader.layout.names if reader.layout else table.names
        staged.refused = staged.refused or self._over_threshold(staged)
        if keep:
            self._keep_rejects(staged)
        return staged

    def _known_load(self, load_id: int | None) -> int | None:
        return load_id if load_id is not None and self.warehouse.find_load(load_id) else None

    def _table(self, name: str) -> Table:
        return next(table for table in self.tables if table.name == name)

    def _batches(self, reader: Reader, validator: Validator, staged: _Staged) -> Iterator[pa.RecordBatch]:
        for chunk in reader:
            judged = validator.judge(chunk)
            staged.rejects.add(judged.rejects)
            staged.accepted += judged.accepted.num_rows
            for column, count in judged.warnings.items():
                staged.warnings[column] = staged.warnings.get(column, 0) + count
            if judged.accepted.num_rows:
                yield judged.accepted

    def _kept_clean(self, batches: Iterator[pa.RecordBatch], staged: _Staged) -> Iterator[pa.RecordBatch]:
        """Pass batches on and write them to clean parquet, in parts of bounded size."""
        part, rows, writer, file = 0, 0, None, None
        for batch in batches:
            if writer is None:
                file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the part is sent
                writer = parquet.ParquetWriter(file, staged.table.arrow_schema, compression="zstd")
            writer.write_batch(batch)
            rows += batch.num_rows
            yield batch
            if rows >= self.settings.part_rows:
                self._send_part(writer, file, staged, part)
                part, rows, writer = part + 1, 0, None
        if writer is not None:
            self._send_part(writer, file, staged, part)

    def _send_part(self, writer: Any, file: Any, staged: _Staged, part: int) -> None:
        writer.close()
        file.seek(0)
        self.store.write(clean_key(staged.table.name, staged.load_id, part), file)
        file.close()

    def _keep_rejects(self, staged: _Staged) -> None:
        if not staged.rejects.count:
            return
        table, load_id = staged.table, staged.load_id
        self.store.write(rejected_key(table.name, load_id), rejects_csv(staged.rejects, load_id, staged.names))
        raw = rejects_raw(staged.rejects)
        if raw.getbuffer().nbytes:
            self.store.write(rejected_key(table.name, load_id, "raw"), raw)

    def _over_threshold(self, staged: _Staged) -> FileRejected | None:
        if staged.rejects.count == staged.read:
            return FileRejected(
                "all_rows_bad", f"All {staged.read} rows are bad. See the rejected rows for the reasons of each."
            )
        limit = self.settings.reject_threshold
        share = staged.rejects.count / staged.read
        if limit is None or share <= limit:
            return None
        return FileRejected(
            "over_threshold",
            f"{staged.rejects.count} of {staged.read} rows are bad ({share:.1%}; allowed: {limit:.1%}). Repair the "
            "rejected rows or raise DATAMART_REJECT_THRESHOLD.",
        )

    def _commit(self, files: list[_Staged], table: Table, mode: Mode) -> list[Outcome]:
        with self.warehouse.transaction():
            commit_seq, changed_seq = self.warehouse.lock(table)
            done = [self.warehouse.find_load(one.load_id) for one in files]
            if any(done):
                return [self._again(outcome) for outcome in done if outcome]
            refused = mode is Mode.REPLACE and any(one.refused for one in files)
            outcomes = []
            for one in files:
                commit_seq += 1
                outcome = self._refused_with_others(one) if refused else self._outcome(one)
                if outcome.verdict is Verdict.LOADED:
                    outcome = self._merge(one, outcome, commit_seq, changed_seq)
                if outcome.changed:
                    changed_seq = commit_seq
                outcomes.append(replace(outcome, commit_seq=commit_seq))
            if mode is Mode.REPLACE and not refused:
                outcomes[-1] = self._remove_absent(files, outcomes[-1])
                changed_seq = commit_seq if outcomes[-1].changed else changed_seq
            for one, outcome in zip(files, outcomes, strict=True):
                self._record(one, outcome, mode)
            self.warehouse.set_sequence(table, commit_seq, changed_seq)
        return outcomes

    def _remove_absent(self, files: list[_Staged], last: Outcome) -> Outcome:
        table, joined = files[0].table, f"keep_{last.load_id}"
        self.warehouse.join_keys(table, [one.name for one in files], joined)
        removed = self.warehouse.remove_absent(table, joined, last.load_id, last.commit_seq or 0)
        self.warehouse.drop_staging(joined)
        if not removed:
            return last
        counts = replace(last.counts, removed=removed)
        return replace(last, counts=counts, verdict=Verdict.LOADED, duplicate_of=None, message="")

    def _record(self, one: _Staged, outcome: Outcome, mode: Mode) -> None:
        """Rejected rows and ledger row join the open transaction; the counts must add up."""
        self.warehouse.copy_rejects(one.load_id, one.rejects)
        stored = self.warehouse.rejected_count(one.load_id)
        if outcome.verdict in (Verdict.LOADED, Verdict.DUPLICATE):
            balanced(replace(outcome, counts=replace(outcome.counts, rejected=stored)))
        self.warehouse.record(outcome, one.arrival, mode, self.run, (one.started, datetime.now(UTC)))

    def _refused_with_others(self, one: _Staged) -> Outcome:
        refusal = one.refused or FileRejected(
            "replacement_refused", "Another file of this replacement was refused; the table is as it was."
        )
        return replace(self._outcome(one), verdict=Verdict.REJECTED, code=refusal.code, message=str(refusal))

    def _outcome(self, one: _Staged) -> Outcome:
        counts = Counts(read=one.read, rejected=one.rejects.count)
        base = Outcome(
            one.load_id, one.table.name, one.arrival.key, Verdict.LOADED, counts,
            warnings=one.warnings, blank_lines=one.blank, sha256=one.sha256, run_id=self.run.get("run_id"),
            repairs=one.repairs,
        )  # fmt: skip
        if one.refused is None:
            return base
        return replace(base, verdict=Verdict.REJECTED, code=one.refused.code, message=str(one.refused))

    def _merge(self, one: _Staged, outcome: Outcome, commit_seq: int, changed_seq: int) -> Outcome:
        first = self.warehouse.first_load_of_content(one.table, one.sha256)
        if first is not None and changed_seq <= first[1]:
            merged = Counts(unchanged=one.accepted)
        else:
            merged = self.warehouse.merge(one.table, one.name, one.load_id, commit_seq)
        counts = replace(merged, read=one.read, rejected=one.rejects.count)
        outcome = replace(outcome, counts=counts)
        if first is not None and not counts.changed:
            return replace(
                outcome, verdict=Verdict.DUPLICATE, duplicate_of=first[0],
                message=f"The same bytes were loaded before (load {first[0]}); nothing changed.",
            )  # fmt: skip
        return outcome

    def _dry_run(self, one: _Staged) -> Outcome:
        outcome = self._outcome(one)
        message = outcome.message or f"Dry run: {one.accepted} rows would be loaded, {one.rejects.count} rejected."
        return replace(outcome, verdict=Verdict.DRY_RUN, message=message)

    def _refuse_name(self, arrival: Arrival, dry_run: bool) -> Outcome:
        names = ", ".join(table.name for table in self.tables)
        outcome = Outcome(
            arrival.load_id, None, arrival.key, Verdict.REJECTED, code="no_table",
            message=f"The name fits no table. It must start with one of {names} and end in .csv.",
            run_id=self.run.get("run_id"),
        )  # fmt: skip
        now = datetime.now(UTC)
        if not dry_run:
            with self.warehouse.transaction():
                if self.warehouse.find_load(arrival.load_id) is None:
                    self.warehouse.record(outcome, arrival, Mode.UPSERT, self.run, (now, now))
        return outcome
