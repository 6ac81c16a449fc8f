"""The checks of backups and what is made of them are checked: a product that does the wrong thing is seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from datamart.errors import DatamartError
from datamart.recovery import (
    adopt,
    backup,
    catalogue,
    drill,
    expiry,
    fitting,
    manifest,
    moment,
    parts,
    point,
    restore,
    undo,
)
from datamart.recovery.difference import Difference
from datamart.recovery.manifest import Manifest
from datamart.tables import LOAD_ID
from datamart.warehouse import postgres
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration import (
    test_adopt,
    test_backup,
    test_backup_damaged,
    test_backup_expiry,
    test_drill,
    test_restore,
    test_restore_fitting,
    test_restore_moment,
    test_undo,
)
from tests.integration.sound import assert_sound
from tests.integration.test_restore_fitting import avro, pairs
from tests.integration.vault import Vault

Patch = pytest.MonkeyPatch
Wrong = Callable[..., Any]
SEEN = (AssertionError, pytest.fail.Exception, DatamartError)
"""How a test says that something is wrong; a refusal of the product's own is one where nothing was to be refused."""


def patched(target: Any, name: str, wrong: Wrong) -> Callable[[Patch], None]:
    """Put ``wrong`` in the place of a function; its first argument is the right one."""

    def plant(monkeypatch: Patch) -> None:
        right = getattr(target, name)
        monkeypatch.setattr(target, name, lambda *args, **names: wrong(right, *args, **names))

    return plant


def nothing(_right: Wrong, *_args: Any, **_names: Any) -> None:
    """Not done at all."""


def many(vault: Vault, monkeypatch: Patch) -> Manifest:
    """A backup of several parts and a load after it."""
    monkeypatch.setattr(postgres, "_PAGES_AT_ONCE", 1)
    vault.world.load("jobs.csv", test_backup.MANY)
    found = vault.backup(part_rows=1)
    vault.world.load("jobs_2.csv", b"1,other\n1000,more\n")
    return found


def damaged(name: str) -> Callable[[Vault, Patch], None]:
    """One of the damages, and that it is refused."""

    def scenario(vault: Vault, monkeypatch: Patch) -> None:
        found = many(vault, monkeypatch)
        act, sentence = test_backup_damaged.DAMAGES[name]
        act(vault, found)
        test_backup_damaged.assert_refused(vault, found, sentence)

    return scenario


def backed_up(vault: Vault, monkeypatch: Patch) -> None:
    monkeypatch.setattr(postgres, "_PAGES_AT_ONCE", 1)
    test_backup.some(vault)
    expected = test_backup.truth(vault)
    test_backup.assert_backup(vault, vault.backup(part_rows=1), expected)


def plainly(test: Callable[..., None], *args: Any) -> Callable[[Vault, Patch], None]:
    """A test that asks for the vault alone."""
    return lambda vault, _: test(vault, *args)


def by_page(test: Callable[..., None], *args: Any) -> Callable[[Vault, Patch], None]:
    """A test that reads tables a page at a time."""

    def scenario(vault: Vault, monkeypatch: Patch) -> None:
        monkeypatch.setattr(postgres, "_PAGES_AT_ONCE", 1)
        test(vault, *args)

    return scenario


def soundly(act: Callable[[Vault], object]) -> Callable[[Vault, Patch], None]:
    """Do something, and look whether rows, history and ledger still agree."""

    def scenario(vault: Vault, _: Patch) -> None:
        act(vault)
        assert_sound(vault.world)

    return scenario


def restored(vault: Vault) -> None:
    test_restore.changed_since(vault)
    vault.restore("jobs")


def undone(vault: Vault) -> None:
    vault.world.load("jobs.csv", b"1,a\n2,a\n")
    vault.undo(vault.world.load("jobs_2.csv", b"1,b\n3,b\n").load_id)


@contextmanager
def no_moment(_right: Wrong, _self: Any, _relations: Any) -> Iterator[None]:
    yield


def without_last(right: Wrong, self: Any, batches: Any) -> Any:
    found = list(batches)
    yield from right(self, iter(found[:-1]))


def nobodys(right: Wrong, self: Any, table: Any, relation: str, batches: Any) -> Any:
    def theirs() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            place = batch.schema.get_field_index(LOAD_ID)
            zeros = pa.array(np.zeros(batch.num_rows, np.int64))
            yield batch.set_column(place, batch.schema.field(LOAD_ID), zeros)

    return right(self, table, relation, theirs())


def unchecked(_right: Wrong, store: Any, _backup_id: str, part: Any, file: Any) -> None:
    """Whatever lies there is taken."""
    body = store.fetch(part.key) or b""
    file.write(body)
    file.seek(0)


def sealed(_right: Wrong, backup_id: str, body: bytes) -> Manifest:
    """Whatever it is, it counts as what was written."""
    content = json.loads(body)
    content.pop("sha256")
    content.pop("format")
    return replace(manifest._manifest(content), backup_id=backup_id)


def without(kind: str) -> Wrong:
    return lambda right, *args: [event for event in right(*args) if event.kind != kind]


def added_only(right: Wrong, self: Difference, change_id: int, commit_seq: int) -> Any:
    self.warehouse.execute(f"DELETE FROM {self.name} WHERE _change = 'removed'")
    return right(self, change_id, commit_seq)


def one_more(right: Wrong, self: Difference, change_id: int, commit_seq: int) -> Any:
    found = right(self, change_id, commit_seq)
    self.warehouse.execute("UPDATE public.jobs SET job = 'wrong' WHERE id = (SELECT min(id) FROM public.jobs)")
    return found


def without_history(right: Wrong, self: Difference, change_id: int, commit_seq: int) -> Any:
    found = right(self, change_id, commit_seq)
    self.warehouse.execute("DELETE FROM ops.jobs_history WHERE _replaced_by = %(id)s", {"id": change_id})
    return found


def keeping_only(*kinds: int) -> Wrong:
    """Of the reasons for which a backup is kept: the newest, the proven, the one that the oldest moment needs."""

    def kept(_right: Wrong, self: Any, known: list[Manifest], before: Any, proven: set[str]) -> Iterator[str]:
        for table in {name for one in known for name in one.tables}:
            mine = [one for one in known if table in one.tables]
            reasons = (
                mine[: self.settings.backup_keep_count],
                [one for one in mine if one.backup_id in proven][:1],
                [one for one in mine if one.taken_at < before][:1],
            )
            for kind in kinds:
                yield from (one.backup_id for one in reasons[kind])

    return kept


def impatient(monkeypatch: Patch) -> None:
    monkeypatch.setattr(expiry, "ORPHAN_AGE", expiry.ORPHAN_AGE - 3 * test_backup_expiry.DAY)


def any_kind(monkeypatch: Patch) -> None:
    monkeypatch.setattr(expiry, "ADOPTED", "none")


def without_left(monkeypatch: Patch) -> None:
    monkeypatch.setattr(moment.Replay, "_left", lambda *_: None)


def late_again(vault: Vault, _: Patch) -> None:
    test_restore_moment.test_a_late_file_whose_rows_gave_way_does_the_same_again(test_restore_moment.Past(vault))


def each_moment(vault: Vault, _: Patch) -> None:
    test_restore_moment.test_each_moment_after_a_backup_can_be_reached(test_restore_moment.Past(vault))


def atomic(vault: Vault, _: Patch) -> None:
    test_restore_moment.test_a_replacement_by_several_files_is_whole_at_every_moment(test_restore_moment.Past(vault))


def manifest_of(vault: Vault) -> Manifest:
    vault.world.load("departments.csv", b"1,Engineering\n")
    vault.world.load("jobs.csv", b"1,a\n2,b\n")
    return vault.backup()


def drilled(failure: str) -> Callable[[Vault, Patch], None]:
    return lambda vault, _: test_drill.test_a_backup_that_does_not_restore_is_told_and_kept_so(
        vault, manifest_of(vault), failure, True
    )


def foreign_twice(vault: Vault, _: Patch) -> None:
    vault.corrupt("x/jobs.avro", avro(pairs(1, 2, 1)))
    with pytest.raises(DatamartError, match="have the id of another row"):
        vault.adopt("x")


@dataclass(frozen=True)
class Defect:
    """What is wrong, the scenario that must see it, and what is then said."""

    plant: Callable[[Patch], None]
    scenario: Callable[[Vault, Patch], None]
    said: str


DEFECTS: dict[str, Defect] = {
    "a backup of no one moment": Defect(
        patched(PostgresWarehouse, "one_moment", no_moment),
        by_page(test_backup.test_loads_meanwhile_are_not_in_it),
        "other rows are in the parts|rows read, ",
    ),
    "a backup that loses rows": Defect(
        patched(parts.PartsWriter, "write", without_last), backed_up, "other rows are in the parts|rows read, "
    ),
    "a backup with a wrong digest": Defect(
        lambda m: m.setattr(backup.Digest, "value", property(lambda _: "0" * 16)), backed_up, "another digest"
    ),
    "a backup that forgets load ids": Defect(
        patched(postgres, "decoded", lambda right, schema, rows: zeroed(right(schema, rows))),
        backed_up,
        "other rows are in the parts",
    ),
    "a failed backup that leaves its parts": Defect(
        patched(backup, "remove_quietly", nothing),
        plainly(test_backup.test_a_backup_that_cannot_be_written_is_none, 2),
        "parts were left",
    ),
    "parts that are not checked": Defect(
        patched(parts, "_download", unchecked), damaged("a bit flipped in the header"), "DID NOT RAISE|not match"
    ),
    "sizes that are not checked": Defect(patched(parts, "_download", unchecked), damaged("a part grown"), "not match"),
    "manifests that are not checked": Defect(
        patched(catalogue, "decoded", sealed), damaged("the manifest of another"), "DID NOT RAISE|not match"
    ),
    "manifests whose seal is not checked": Defect(
        patched(catalogue, "decoded", sealed), damaged("a manifest changed"), "not match"
    ),
    "a restore that forgets load ids": Defect(
        patched(PostgresWarehouse, "append_kept", nobodys),
        plainly(test_restore.test_the_table_is_as_it_was_with_the_load_of_each_row),
        "assert|would have|does not hold",
    ),
    "a restore that leaves rows that were not there": Defect(
        patched(Difference, "apply", added_only),
        plainly(test_restore.test_the_table_is_as_it_was_with_the_load_of_each_row),
        "would have 5 rows",
    ),
    "a restore that changes a row too many": Defect(
        patched(Difference, "apply", one_more),
        plainly(test_restore.test_the_table_is_as_it_was_with_the_load_of_each_row),
        "wrong",
    ),
    "a restore that keeps no history": Defect(
        patched(Difference, "apply", without_history), soundly(restored), "replaced and removed rows are in the history"
    ),
    "a restore that nobody notes": Defect(
        patched(restore, "record_change", nothing), soundly(restored), "commit numbers"
    ),
    "a restore that forgets its number": Defect(
        patched(
            PostgresWarehouse,
            "set_sequence",
            lambda right, self, table, numbers: right(self, table, replace(numbers, commit=numbers.commit - 1)),
        ),
        soundly(restored),
        "the table knows its last commit number|commit numbers rise by one",
    ),
    "a retry that does it again": Defect(
        patched(restore, "find_change", nothing),
        plainly(test_restore.test_a_retry_of_the_same_run_does_nothing_and_says_the_same, {}),
        "refused|assert",
    ),
    "files that stay known": Defect(
        patched(restore, "mark_loads", nothing),
        plainly(test_restore_moment.test_a_file_that_a_restore_undid_is_new_when_it_comes_again, "the same arrival"),
        "assert",
    ),
    "flags that are never taken back": Defect(
        patched(
            PostgresWarehouse,
            "execute",
            lambda right, self, text, values=None: 0 if "undone_by = NULL" in text else right(self, text, values),
        ),
        plainly(test_restore_moment.test_forward_again_its_files_are_known_again),
        "assert",
    ),
    "restores that no moment has": Defect(
        patched(point, "events_between", without("restore")), each_moment, "was not reached|would have"
    ),
    "undos that no moment has": Defect(
        patched(point, "events_between", without("undo")), each_moment, "was not reached|would have"
    ),
    "removals that no moment has": Defect(
        patched(moment.Replay, "_remove", lambda *_: 0), each_moment, "was not reached|would have"
    ),
    "rows that gave way, put all the same": Defect(without_left, late_again, "was not reached"),
    "a replacement in pieces": Defect(patched(PostgresWarehouse, "end_together", nothing), atomic, "assert"),
    "another table under any name": Defect(
        patched(restore, "require_free_name", nothing),
        plainly(test_restore.test_another_table_takes_no_name_that_is_live_taken_or_odd, "jobs"),
        "DID NOT RAISE|already exists|as another",
    ),
    "rows without the values that a column asks for": Defect(
        patched(fitting.Fit, "require_insertable", nothing),
        plainly(test_restore_fitting.test_a_column_that_asks_for_a_value_lets_rows_change_and_go_but_not_come),
        "null value",
    ),
    "an undo that overlooks later changes": Defect(
        patched(undo.Undo, "_touched", lambda *_: []),
        plainly(test_undo.test_it_is_refused_where_something_later_touched_its_rows, "changed"),
        "DID NOT RAISE",
    ),
    "an undo that overlooks equal rows": Defect(
        patched(undo.Undo, "_found_equal", lambda *_: ([], np.empty(0, np.int64))),
        plainly(test_undo.test_it_is_refused_where_something_later_touched_its_rows, "brought the same"),
        "DID NOT RAISE",
    ),
    "an undo that does not leave rows": Defect(
        patched(Difference, "leave", nothing),
        plainly(test_undo.test_the_rows_that_something_later_touched_may_stay, "brought the same"),
        "assert",
    ),
    "an undo that keeps no history": Defect(
        patched(Difference, "apply", without_history), soundly(undone), "replaced and removed rows are in the history"
    ),
    "an undo that nobody notes": Defect(
        patched(undo, "record_change", nothing), soundly(undone), "what is undone names what undid it"
    ),
    "a drill that compares nothing": Defect(
        patched(drill.Drill, "_one", lambda *_: {}),
        drilled("a digest that lies"),
        "DID NOT RAISE",
    ),
    "a drill that is not noted": Defect(
        patched(drill, "record_drill", nothing), drilled("a damaged part"), "no drill is noted"
    ),
    "expiry without the newest": Defect(
        patched(expiry.Expiry, "_kept", keeping_only(1, 2)),
        plainly(test_backup_expiry.test_so_many_of_the_newest_stay_however_old),
        "assert",
    ),
    "expiry without the proven": Defect(
        patched(expiry.Expiry, "_kept", keeping_only(0, 2)),
        plainly(test_backup_expiry.test_the_newest_that_was_proven_stays),
        "assert",
    ),
    "expiry without what moments need": Defect(
        patched(expiry.Expiry, "_kept", keeping_only(0, 1)), plainly(test_backup_expiry.test_age_and_number), "assert"
    ),
    "expiry of adopted files": Defect(
        any_kind,
        plainly(test_backup_expiry.test_adopted_ones_never_go_and_do_not_keep_others_from_staying),
        "assert|There is no backup",
    ),
    "expiry of what is being written": Defect(
        impatient, plainly(test_backup_expiry.test_what_a_killed_backup_left_goes_when_it_is_old), "assert"
    ),
    "expiry that does not ask the bucket": Defect(
        patched(expiry.Expiry, "_agree", nothing),
        plainly(test_backup_expiry.test_a_backup_whose_manifest_somebody_removed_is_over),
        "assert",
    ),
    "adopted files that are not counted": Defect(
        lambda m: m.setattr(adopt.Adopt, "_checked", trusting(adopt.Adopt._checked)),
        foreign_twice,
        "DID NOT RAISE|not match",
    ),
    "adopted files whose load ids count": Defect(
        patched(parts, "of_nobody", lambda _, batch: batch),
        plainly(test_adopt.test_their_load_ids_mean_nothing_here),
        "assert|does not hold",
    ),
}


def zeroed(batch: pa.RecordBatch) -> pa.RecordBatch:
    place = batch.schema.get_field_index(LOAD_ID)
    return batch.set_column(place, batch.schema.field(LOAD_ID), pa.array(np.zeros(batch.num_rows, np.int64)))


def trusting(right: Wrong) -> Wrong:
    def checked(self: Any, table: Any, files: Any) -> Any:
        try:
            return right(self, table, files)
        except DatamartError:
            return manifest.TableBackup({"id": "int", "job": "string"}, 3, None, None, ())

    return checked


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_seen(vault: Vault, monkeypatch: Patch, name: str) -> None:
    defect = DEFECTS[name]
    try:
        defect.plant(monkeypatch)
        with pytest.raises(SEEN, match=defect.said):
            defect.scenario(vault, monkeypatch)
    finally:
        monkeypatch.undo()
        vault.world.sql("ALTER TABLE public.jobs DROP COLUMN IF EXISTS note")
        vault.world.database.empty()


@pytest.mark.parametrize("scenario", [backed_up, soundly(restored), soundly(undone)], ids=["backup", "restore", "undo"])
def test_without_a_planted_defect_nothing_is_seen(
    vault: Vault, monkeypatch: Patch, scenario: Callable[[Vault, Patch], None]
) -> None:
    """The scenarios of this file; all others are tests of their own."""
    scenario(vault, monkeypatch)
