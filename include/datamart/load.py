"""The one path of every file: read, validate, clean parquet and rejects, stage, merge with history and ledger.

Verdicts are values. Faults (servers away, objects replaced) are exceptions and may be tried again: the load's
id comes from the arrival, so another try finds what was done.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from datamart.clean import write_keys
from datamart.copied_rejects import rejects_again
from datamart.errors import BalanceError, ConfigurationError, FileRejected, TransientFault
from datamart.file_names import is_partial
from datamart.fingerprint import rules_in_force
from datamart.forecast import forecast, replacement_forecast, upsert_forecast
from datamart.late import LateFiles, left_message
from datamart.loads import SUPERSEDED, Arrival, Counts, Mode, Outcome, Verdict
from datamart.missing_rows import FEW_ROWS, MissingRows, all_there
from datamart.objects import ObjectStore, removed_key
from datamart.routing import table_for
from datamart.settings import Settings
from datamart.staging import Preparer, Sink, Staged, Stager, content_digest, unprepared
from datamart.tables import TABLES, Table
from datamart.validation import Validator
from datamart.warehouse.base import Warehouse
from datamart.warehouse.values import Numbers, balanced


@dataclass(frozen=True)
class Loader:
    """Loads files into one warehouse from one bucket; ``run`` names the Dag run for the ledger."""

    warehouse: Warehouse
    store: ObjectStore
    settings: Settings
    run: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[Table, ...] = TABLES
    fill_from_bytes: int = 16 * 1024 * 1024
    """A file at least this large is copied straight into an empty table, holding the table's lock meanwhile."""
    prepared: Preparer = unprepared
    _keys: dict[str, tuple[int, npt.NDArray[np.int64]]] = field(default_factory=dict, init=False, repr=False)

    def load(
        self,
        arrival: Arrival,
        *,
        dry_run: bool = False,
        repairs: int | None = None,
        show: Callable[[Staged], None] | None = None,
        recheck: bool = True,
    ) -> Outcome:
        """Upsert one file; answers from the ledger when this very arrival was loaded before.

        With ``recheck`` that is so for another run only if its rows are there; what is gone is loaded again.

        ``repairs`` is the load whose rejected rows it brings again, where the file does not say so itself. A dry run
        shows what it has read to ``show`` before that is gone.
        """
        started = time.monotonic()
        outcome = self._upsert(arrival, dry_run, repairs, show, recheck)
        return replace(outcome, seconds=time.monotonic() - started)

    def _upsert(
        self,
        arrival: Arrival,
        dry_run: bool,
        repairs: int | None,
        show: Callable[[Staged], None] | None,
        recheck: bool,
    ) -> Outcome:
        table = table_for(arrival.key, self.tables)
        done, load_id = self._before(arrival, table)
        if done is not None:
            return (self._again_if_gone(arrival, table, done, dry_run) if table and recheck else None) or done
        if table is None:
            return self._refuse_name(arrival, load_id, dry_run)
        arrival = self._in_its_turn(arrival)
        whole = repairs is not None or show is not None
        copy = None if whole else self._known_copy(arrival, load_id, table, dry_run)
        if copy is not None:
            return copy
        if not dry_run and not whole and arrival.size >= self.fill_from_bytes and self.warehouse.filler(table):
            filled = self._fill(arrival, load_id, table)
            if filled is not None:
                return filled
        with ExitStack() as resources:
            staged = self._stage(arrival, load_id, table, resources, keep=not dry_run)
            staged.repairs = repairs or staged.repairs
            if dry_run:
                if show is not None:
                    show(staged)
                return upsert_forecast(self.warehouse, staged, self._outcome(staged))
            return self._commit([staged], table, Mode.UPSERT)[0]

    def replace(self, arrivals: Sequence[Arrival], table: Table, *, dry_run: bool = False) -> list[Outcome]:
        """Replace the table's rows by those of all ``arrivals`` (later ones win) in one transaction.

        Refused, leaving the table as it is, when a file was refused or no row would be left.
        """
        if not arrivals:
            raise ConfigurationError(f"There is no file to replace the rows of {table.name} by.")
        started = time.monotonic()
        with ExitStack() as resources:
            # One for all: there may be more files than a process may have open.
            rejects = resources.enter_context(tempfile.TemporaryFile())
            staged = [
                self._stage(one, self._replacement_id(one), table, resources, keep=not dry_run, rejects=rejects)
                for one in arrivals
            ]
            if dry_run:
                return replacement_forecast(self.warehouse, staged, self._outcomes_together(staged))
            *first, last = self._commit(staged, table, Mode.REPLACE)
            return [*first, replace(last, seconds=time.monotonic() - started)]

    def answer(self, arrival: Arrival) -> Outcome | None:
        """What the ledger knows of an arrival that needs no judgement (any more)."""
        return self._before(arrival, table_for(arrival.key, self.tables))[0]

    def is_superseded(self, arrival: Arrival) -> bool:
        """The ledger has a newer version of this object, which shows again because the newer one was deleted."""
        return arrival.version_id is not None and self.warehouse.has_newer_version(arrival)

    def supersede(self, arrival: Arrival) -> Outcome:
        """Record an older version of a file that has arrived again; it is not loaded.

        Returns:
            What the ledger says of this version: its own load, if it was loaded before the newer one came.
        """
        table = table_for(arrival.key, self.tables)
        done, load_id = self._before(arrival, table)
        if done is not None:
            return done
        outcome = self._named(
            Outcome(
                load_id, table.name if table else None, arrival.key, Verdict.REJECTED, code="superseded",
                message="A newer version of this object arrived before this one was loaded, so it was not loaded.",
            )
        )  # fmt: skip
        self._record_unless_known(outcome, arrival, Mode.UPSERT, table)
        return outcome

    def fail(self, arrival: Arrival, mode: Mode, message: str, *, recheck: bool = False) -> Outcome:
        """Record that a fault kept the file from being loaded; a later try that succeeds takes the row's place.

        With ``recheck``, as of ``load``, a load by another run is no answer: whether its rows are there is not known.
        """
        table = table_for(arrival.key, self.tables)
        done, load_id = self._before(arrival, table)
        if mode is Mode.REPLACE:
            load_id = self._replacement_id(arrival)
        elif done is not None and recheck and self._is_of_another_run(done):
            return replace(done, verdict=Verdict.FAILED, code="fault", message=message, counts=Counts())
        elif done is not None:
            return done
        arrival = self._in_its_turn(arrival)
        outcome = self._named(Outcome(load_id, table.name if table else None, arrival.key, Verdict.FAILED))
        outcome = replace(outcome, code="fault", message=message)
        # Under the lock, so that an attempt that succeeds meanwhile neither waits for this row nor meets it.
        self._record_unless_known(outcome, arrival, mode, table)
        return outcome

    @property
    def _run_id(self) -> str | None:
        return self.run.get("run_id")

    def _in_its_turn(self, arrival: Arrival) -> Arrival:
        """The arrival with the place in the order that it had before a fault made it miss it."""
        missed = self.warehouse.missed_turn(arrival.arrival_id)
        return replace(arrival, listed_at=missed, late=True) if missed else arrival

    def _before(self, arrival: Arrival, table: Table | None) -> tuple[Outcome | None, int]:
        """The ledger's answer, when the arrival needs no judgement (any more), and the id of the load otherwise."""
        rules = rules_in_force(table, self.settings)
        found = self.warehouse.loads_of(arrival.arrival_id)
        undone = sum(done.undone_by is not None for done in found)
        load_id = arrival.loaded_again_id(self._run_id or "", undone) if undone else arrival.arrival_id
        own = [done for done in found if done.settled and done.run_id == self._run_id]
        for done in own or found:
            if done.undone_by is not None:
                continue
            if done.settled:
                return self._again(done), load_id
            same_judge = done.rules == rules and self.settings.unknown_reference == "warn"
            if done.run_id == self._run_id or same_judge:
                return done, load_id
            if not undone:
                load_id = arrival.judged_again_id(self._run_id or "")
        return None, load_id

    def _replacement_id(self, arrival: Arrival) -> int:
        """The same for a retry of this run; another one when what it did was undone, and is asked for again."""
        load_id, undone = arrival.replacement_id(self._run_id or ""), 0
        while (done := self.warehouse.find_load(load_id)) is not None and done.undone_by is not None:
            undone += 1
            load_id = arrival.replacement_id(self._run_id or "", undone)
        return load_id

    def _again(self, done: Outcome) -> Outcome:
        """What to answer for an arrival that is in the table: a retry gets its answer, a new run hears so."""
        if done.run_id == self._run_id:
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

    def _again_if_gone(self, arrival: Arrival, table: Table, done: Outcome, dry_run: bool) -> Outcome | None:
        """What becomes of an arrival that another run has loaded and whose rows are gone; None: nothing is to be done.

        Nothing is written, and no lock is taken, unless a row is gone.
        """
        if arrival.upload_id or not self._is_of_another_run(done):
            return None
        known = self.warehouse.find_load(done.load_id)
        if known is None or all_there(self.warehouse, table, known):
            return None
        undone = sum(one.undone_by is not None for one in self.warehouse.loads_of(arrival.arrival_id))
        load_id = arrival.missing_rows_id(self._run_id or "", undone)
        mine = self.warehouse.find_load(load_id)
        if mine is not None:
            return mine
        missing = MissingRows(LateFiles(self.warehouse, self.store), table, known)
        arrival = missing.in_its_place(arrival)
        with ExitStack() as resources:
            looked = self._stage(arrival, load_id, table, resources, keep=False)
            outcome = missing.judge(looked, self._outcome(looked), done)
        if outcome.load_id != load_id:
            return outcome
        if dry_run:
            return forecast(outcome)
        with ExitStack() as resources:
            staged = self._stage(arrival, load_id, table, resources, keep=True)
            return self.warehouse.atomically(lambda: self._merge_missing(missing, staged))

    def _is_of_another_run(self, done: Outcome) -> bool:
        return done.settled and done.run_id != self._run_id

    def _merge_missing(self, missing: MissingRows, staged: Staged) -> Outcome | None:
        table = staged.table
        numbers = self.warehouse.lock(table).next(changed=False)
        done, _ = self._before(staged.arrival, table)
        if done is None or not self._is_of_another_run(done):
            return done
        outcome = missing.merge(staged, self._outcome(staged), done, numbers.commit)
        if outcome.load_id != staged.load_id:
            return outcome
        numbers = numbers.now(changed=outcome.changed).ended(self.warehouse.now())
        self._close(staged, outcome, Mode.UPSERT, numbers)
        self.warehouse.set_sequence(table, numbers)
        return outcome

    def _known_copy(self, arrival: Arrival, load_id: int, table: Table, dry_run: bool) -> Outcome | None:
        """The verdict on a copy of a loaded file that can be known to change nothing, without reading its rows."""
        rules = rules_in_force(table, self.settings)
        likely = self.settings.unknown_reference == "warn" and self.warehouse.has_load_of(
            table, arrival.size, rules, FEW_ROWS
        )
        if not likely:
            return None
        started, changed = time.monotonic(), self.warehouse.changed_number(table)
        sha256 = content_digest(self.store, arrival)
        known = self.warehouse.first_load_of_content(table, sha256, rules)
        if known is None or not all_there(self.warehouse, table, known.last):
            return None

        def copied() -> Outcome | None:
            numbers = self.warehouse.lock(table)
            done, _ = self._before(arrival, table)
            if done is not None:
                return done
            first = self.warehouse.first_load_of_content(table, sha256, rules)
            if first is None or numbers.changed > min(first.newest, changed):
                return None  # rows have changed since, or since it was seen that they are there
            outcome = self._copy_of(first.outcome, arrival, load_id)
            if dry_run:
                return forecast(outcome)
            with ExitStack() as resources:
                rejects = rejects_again(self.warehouse, self.store, first.outcome, load_id, table, resources)
                if rejects is None:
                    return None
                self.warehouse.copy_rejects(load_id, rejects)
            numbers = numbers.next(changed=False).ended(self.warehouse.now())
            outcome = replace(outcome, commit_seq=numbers.commit)
            self._record(outcome, arrival, Mode.UPSERT, started, numbers)
            self.warehouse.set_sequence(table, numbers)
            return outcome

        return self.warehouse.atomically(copied)

    def _copy_of(self, first: Outcome, arrival: Arrival, load_id: int) -> Outcome:
        rows = first.counts
        return self._named(
            replace(
                first,
                load_id=load_id,
                key=arrival.key,
                verdict=Verdict.DUPLICATE,
                duplicate_of=first.load_id,
                repairs=None,
                warnings={},
                clean_parts=0,
                counts=Counts(read=rows.read, rejected=rows.rejected, unchanged=rows.read - rows.rejected),
                message=_copy_message(first.load_id),
                from_ledger=False,
            )
        )

    def _stage(
        self, arrival: Arrival, load_id: int, table: Table, resources: ExitStack, *, keep: bool,
        rejects: BinaryIO | None = None,
    ) -> Staged:  # fmt: skip
        name = f"staging_{load_id}"
        resources.callback(self._drop_staging, name)
        sink: Sink = lambda batches: self.warehouse.stage(table, name, batches)  # noqa: E731
        return self._stager(keep, rejects).stage(arrival, load_id, self._validator(table), sink, resources)

    def _stager(self, keep: bool = True, rejects: BinaryIO | None = None) -> Stager:
        return Stager(self.store, self.settings, keep, self.warehouse.parquet, self.prepared, rejects)

    def _drop_staging(self, name: str) -> None:
        with suppress(TransientFault):  # a session that has ended has taken its temporary tables along
            self.warehouse.drop_staging(name)

    def _validator(self, table: Table) -> Validator:
        known = {column: self._keys_of(self._table(other)) for column, other in table.references.items()}
        return Validator(table, known, reject_unknown=self.settings.unknown_reference == "reject")

    def _keys_of(self, table: Table) -> npt.NDArray[np.int64]:
        """The table's keys, asked for again only when its rows have changed."""
        changed = self.warehouse.changed_number(table)
        known = self._keys.get(table.name)
        if known is None or known[0] != changed:
            known = self._keys[table.name] = (changed, self.warehouse.keys_of(table))
        return known[1]

    def _table(self, name: str) -> Table:
        return next(table for table in self.tables if table.name == name)

    def _fill(self, arrival: Arrival, load_id: int, table: Table) -> Outcome | None:
        """Copy a file straight into an empty table under its lock; None when it is not empty after all.

        Readers go on seeing the empty table until the commit: COPY takes no lock that they wait for.
        """

        def filled() -> Outcome | None:
            numbers = self.warehouse.lock(table)
            done, _ = self._before(arrival, table)
            filler = self.warehouse.filler(table)
            if done is not None or filler is None:
                return done
            sink: Sink = lambda batches: filler.append(table, load_id, batches)  # noqa: E731
            with ExitStack() as resources:
                undo = filler.savepoint()
                # A validator remembers the keys that it has seen: each try has one of its own.
                staged = self._stager().stage(arrival, load_id, self._validator(table), sink, resources)
                if staged.refused:
                    filler.roll_back_to(undo)
                return self._record_filled(staged, numbers)

        return self.warehouse.atomically(filled)

    def _record_filled(self, staged: Staged, numbers: Numbers) -> Outcome:
        table, outcome = staged.table, self._outcome(staged)
        if not staged.refused:
            inserted = self.warehouse.count_of(table, staged.load_id)
            outcome = replace(outcome, counts=replace(outcome.counts, inserted=inserted))
        numbers = numbers.next(changed=outcome.changed).ended(self.warehouse.now())
        outcome = replace(outcome, commit_seq=numbers.commit)
        self._close(staged, outcome, Mode.UPSERT, numbers)
        self.warehouse.set_sequence(table, numbers)
        return outcome

    def _commit(self, files: list[Staged], table: Table, mode: Mode) -> list[Outcome]:
        return self.warehouse.atomically(lambda: self._merge_all(files, table, mode))

    def _merge_all(self, files: list[Staged], table: Table, mode: Mode) -> list[Outcome]:
        """All files of a replacement, or one, within the open transaction."""
        numbers = self.warehouse.lock(table)
        done = self._done_before(files, table, mode)
        if done:
            return done
        outcomes: list[Outcome] = []
        for one, outcome in zip(files, self._outcomes_together(files), strict=True):
            if outcomes:
                self._close(files[len(outcomes) - 1], outcomes[-1], mode, numbers)
            numbers = numbers.next(changed=False)
            if outcome.verdict is Verdict.LOADED:
                outcome = self._merge(one, outcome, numbers, mode)
            numbers = numbers.now(changed=outcome.changed)
            numbers = numbers.ended(self.warehouse.now())
            outcomes.append(replace(outcome, commit_seq=numbers.commit))
        if mode is Mode.REPLACE and not any(one.refused for one in files):
            outcomes[-1] = self._remove_absent(files, outcomes[-1])
            numbers = numbers.now(changed=outcomes[-1].changed).ended(self.warehouse.now())
        self._close(files[-1], outcomes[-1], mode, numbers)
        if len(files) > 1:
            self.warehouse.end_together([one.load_id for one in files], _end(numbers))
        self.warehouse.set_sequence(table, numbers)
        return outcomes

    def _done_before(self, files: list[Staged], table: Table, mode: Mode) -> list[Outcome]:
        """What another attempt has committed while this one was reading."""
        if mode is Mode.UPSERT:
            done, _ = self._before(files[0].arrival, table)
            return [done] if done is not None else []
        found = [self.warehouse.find_load(one.load_id) for one in files]
        return [self._again(outcome) if outcome.settled else outcome for outcome in found if outcome is not None]

    def _remove_absent(self, files: list[Staged], last: Outcome) -> Outcome:
        table, joined = files[0].table, f"keep_{last.load_id}"
        self.warehouse.join_keys(table, [one.staging for one in files], joined)
        removed = self.warehouse.remove_absent(table, joined, last.load_id, last.commit_seq or 0)
        self.warehouse.drop_staging(joined)
        if not removed:
            return last
        gone = self.warehouse.keys_removed_by(table, last.load_id, last.commit_seq or 0)
        write_keys(self.store, removed_key(table.name, last.load_id, last.commit_seq or 0), table, gone)
        counts = replace(last.counts, removed=removed)
        return replace(last, counts=counts, verdict=Verdict.LOADED, duplicate_of=None, message="")

    def _close(self, one: Staged, outcome: Outcome, mode: Mode, numbers: Numbers) -> None:
        """Rejected rows and ledger row join the open transaction."""
        self.warehouse.copy_rejects(one.load_id, one.rejects)
        self._record(outcome, one.arrival, mode, one.started, numbers)

    def _record(self, outcome: Outcome, arrival: Arrival, mode: Mode, started: float, numbers: Numbers) -> None:
        """Add the ledger row; the counts must add up with the rejected rows that the warehouse holds.

        ``started`` is of this process's own clock, and says only how long it took.
        """
        stored = self.warehouse.rejected_count(outcome.load_id)
        if outcome.settled:
            balanced(replace(outcome, counts=replace(outcome.counts, rejected=stored)))
        elif stored != outcome.counts.rejected:
            raise BalanceError(
                f"{outcome.key}: {outcome.counts.rejected} rows rejected, but {stored} kept. Nothing was committed."
            )
        ended = _end(numbers)
        began = ended - timedelta(seconds=time.monotonic() - started)
        self.warehouse.record(outcome, arrival, mode, self.run, (began, ended))

    def _outcomes_together(self, files: Sequence[Staged]) -> list[Outcome]:
        """What is known of each file from reading them: one that is refused refuses the others with it."""
        outcomes = [self._outcome(one) for one in files]
        if not any(one.refused for one in files):
            return outcomes
        other = FileRejected(
            "replacement_refused", "Another file of this replacement was refused; the table is as it was."
        )
        return [_refused(outcome, one.refused or other) for one, outcome in zip(files, outcomes, strict=True)]

    def _named(self, outcome: Outcome) -> Outcome:
        """The outcome as this run's, judged by the rules in force."""
        table = None if outcome.table is None else self._table(outcome.table)
        return replace(outcome, run_id=self._run_id, rules=rules_in_force(table, self.settings))

    def _outcome(self, one: Staged) -> Outcome:
        counts = Counts(read=one.read, rejected=one.rejects.count)
        base = self._named(
            Outcome(
                one.load_id, one.table.name, one.arrival.key, Verdict.LOADED, counts,
                warnings=one.warnings, blank_lines=one.blank,
                lines=one.lines if one.whole else None, sha256=one.sha256, repairs=self._known(one.repairs),
                clean_parts=one.clean_parts,
            )
        )  # fmt: skip
        return base if one.refused is None else _refused(base, one.refused)

    def _known(self, load_id: int | None) -> int | None:
        return load_id if load_id is not None and self.warehouse.find_load(load_id) else None

    def _merge(self, one: Staged, outcome: Outcome, numbers: Numbers, mode: Mode) -> Outcome:
        left = (
            LateFiles(self.warehouse, self.store).give_way(
                one.arrival, (one.load_id, numbers.commit), one.table, one.staging
            )
            if mode is Mode.UPSERT
            else 0
        )
        first = self.warehouse.first_load_of_content(one.table, one.sha256)
        merged = self.warehouse.merge(one.table, one.staging, one.load_id, numbers.commit)
        counts = replace(merged, read=one.read, rejected=one.rejects.count, unchanged=merged.unchanged + left)
        outcome = replace(outcome, counts=counts)
        if left:
            outcome = replace(outcome, warnings={**outcome.warnings, SUPERSEDED: left}, message=left_message(left))
        if first is None or counts.changed:
            return outcome
        same = first.outcome.load_id
        return replace(outcome, verdict=Verdict.DUPLICATE, duplicate_of=same, message=_copy_message(same))

    def _refuse_name(self, arrival: Arrival, load_id: int, dry_run: bool) -> Outcome:
        names = ", ".join(table.name for table in self.tables)
        refused = Outcome(
            load_id, None, arrival.key, Verdict.REJECTED, code="no_table",
            message=f"The name fits no table. It must start with one of {names} and end in .csv.",
        )  # fmt: skip
        if is_partial(arrival.key):
            refused = Outcome(
                load_id, None, arrival.key, Verdict.REJECTED, code="partial_name",
                message="The name says that the file is not complete, and its sender has not renamed it within "
                f"{self.settings.partial_minutes:g} minutes (DATAMART_PARTIAL_MINUTES).",
            )  # fmt: skip
        outcome = self._named(refused)
        if dry_run:
            return forecast(outcome)
        self._record_unless_known(outcome, arrival, Mode.UPSERT, None)
        return outcome

    def _record_unless_known(self, outcome: Outcome, arrival: Arrival, mode: Mode, table: Table | None) -> None:
        """Add a ledger row of a file that brought no rows, in a transaction of its own."""

        def record() -> None:
            # Of a name that fits no table any lock will do: two that say so must not do it at once.
            self.warehouse.lock(table or self.tables[0])
            if self.warehouse.find_load(outcome.load_id) is None:
                now = self.warehouse.now()
                self.warehouse.record(outcome, arrival, mode, self.run, (now, now))

        self.warehouse.atomically(record)


def _end(numbers: Numbers) -> datetime:
    assert numbers.at is not None  # nosec B101  # each commit has its time
    return numbers.at


def _refused(outcome: Outcome, refusal: FileRejected) -> Outcome:
    return replace(outcome, verdict=Verdict.REJECTED, code=refusal.code, message=str(refusal))


def _copy_message(load_id: int) -> str:
    return f"The same bytes were loaded before (load {load_id}); nothing changed."
