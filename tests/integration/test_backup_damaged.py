"""A backup that is not what was written is never restored: each damage is named, and nothing is touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from datamart.errors import BackupDamaged, ConfigurationError, DatamartError
from datamart.recovery.manifest import Manifest, manifest_key
from datamart.recovery.point import Wanted
from datamart.warehouse import postgres
from tests.integration.vault import Vault

Damage = Callable[[Vault, Manifest], None]
MANY = b"".join(b"%d,job %d\n" % (key, key) for key in range(1, 601))


def part(manifest: Manifest, number: int = 0) -> str:
    return manifest.tables["jobs"].parts[number].key


def changed(change: Callable[[bytes], bytes], number: int = 0) -> Damage:
    def damage(vault: Vault, manifest: Manifest) -> None:
        key = part(manifest, number)
        vault.corrupt(key, change(vault.body(key)))

    return damage


def flipped(place: float) -> Callable[[bytes], bytes]:
    def flip(body: bytes) -> bytes:
        at = int(len(body) * place)
        return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]

    return flip


def missing(vault: Vault, manifest: Manifest) -> None:
    vault.store.remove([part(manifest, 1)])


def swapped(vault: Vault, manifest: Manifest) -> None:
    first, second = vault.body(part(manifest)), vault.body(part(manifest, 1))
    vault.corrupt(part(manifest), second)
    vault.corrupt(part(manifest, 1), first)


def of_another(vault: Vault, manifest: Manifest) -> None:
    other = vault.backup()
    vault.corrupt(manifest_key(manifest.backup_id), vault.body(manifest_key(other.backup_id)))
    vault.store.remove([manifest_key(other.backup_id)])


def edited(change: Callable[[bytes], bytes]) -> Damage:
    def damage(vault: Vault, manifest: Manifest) -> None:
        key = manifest_key(manifest.backup_id)
        vault.corrupt(key, change(vault.body(key)))

    return damage


def forged(**changes: Any) -> Damage:
    """A manifest that is sealed, and says of jobs what is not so."""

    def damage(vault: Vault, manifest: Manifest) -> None:
        jobs = replace(manifest.tables["jobs"], **changes)
        told = replace(manifest, tables={**manifest.tables, "jobs": jobs})
        vault.corrupt(manifest_key(manifest.backup_id), told.encoded())

    return damage


def without_a_part(vault: Vault, manifest: Manifest) -> None:
    parts = manifest.tables["jobs"].parts
    forged(parts=parts[1:])(vault, manifest)


def one_part_twice(vault: Vault, manifest: Manifest) -> None:
    parts = manifest.tables["jobs"].parts
    rows = sum(one.rows for one in parts) + parts[0].rows
    forged(parts=(*parts, parts[0]), rows=rows, digest=None)(vault, manifest)


def part_of_other_rows(vault: Vault, manifest: Manifest) -> None:
    """Another table's part, with its own size and SHA-256."""
    other = manifest.tables["departments"].parts[0]
    vault.corrupt(part(manifest), vault.body(other.key))
    told = replace(other, key=part(manifest))
    forged(parts=(told, *manifest.tables["jobs"].parts[1:]))(vault, manifest)


DAMAGES: dict[str, tuple[Damage, str]] = {
    "a bit flipped in the header": (changed(flipped(0.001)), r"Part .*/jobs/part-00000.avro .* was changed after"),
    "a bit flipped in the rows": (changed(flipped(0.5)), r"Part .*/jobs/part-00000.avro .* was changed after"),
    "a bit flipped at the end": (changed(flipped(0.9999), 1), r"Part .*/jobs/part-00001.avro .* was changed after"),
    "a part truncated": (changed(lambda body: body[:-100], 2), r"Part .*-00002.avro .* does not have the \d+ bytes"),
    "a part emptied": (changed(lambda _: b""), r"Part .*/part-00000.avro .* does not have the \d+ bytes"),
    "a part grown": (changed(lambda body: body + b"x"), r"Part .*/part-00000.avro .* does not have the \d+ bytes"),
    "a part missing": (missing, r"Part .*/jobs/part-00001.avro of backup \S+ is missing"),
    "two parts swapped": (swapped, r"Part .*/jobs/part-0000\d.avro .* (was changed after|does not have the)"),
    "the manifest of another": (of_another, r"The manifest of backup \S+ is that of another one"),
    "a manifest changed": (edited(lambda body: body.replace(b'"rows": 600', b'"rows": 601')), "is not the one that"),
    "a manifest truncated": (edited(lambda body: body[:-3]), r"The manifest of backup \S+ cannot be read"),
    "a manifest emptied": (edited(lambda _: b""), r"The manifest of backup \S+ cannot be read"),
    "a manifest that is a list": (edited(lambda _: b"[1]"), r"The manifest of backup \S+ cannot be read"),
    "a manifest that is no text": (edited(lambda _: b"\xff\xfe"), r"The manifest of backup \S+ cannot be read"),
    "a digest that lies": (forged(digest="0" * 16), r"Backup \S+ of jobs "),
    "a number of rows that lies": (forged(rows=599), r"Backup \S+ of jobs "),
    "a part left out": (without_a_part, r"Backup \S+ of jobs "),
    "a part twice": (one_part_twice, r"Backup \S+ of jobs .* row's too|refused \(23505\)"),
    "a part of another table": (part_of_other_rows, r"Part .*/jobs/part-00000.avro .* no field job"),
}  # fmt: skip


@pytest.fixture
def manifest(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """A backup of several parts and a load after it."""
    monkeypatch.setattr(postgres, "_PAGES_AT_ONCE", 1)
    vault.world.load("jobs.csv", MANY)
    vault.world.load("departments.csv", b"1,Engineering\n")
    found = vault.backup(part_rows=1)
    assert len(found.tables["jobs"].parts) > 2
    vault.world.load("jobs_2.csv", b"1,other\n1000,more\n")
    return found


def assert_refused(vault: Vault, manifest: Manifest, sentence: str) -> None:
    """Whoever asks for the backup is told what is wrong with it, and nothing has changed."""
    at = vault.now()
    asked: list[Callable[[], object]] = [
        lambda: vault.restore("jobs", backup_id=manifest.backup_id),
        lambda: vault.restore("jobs"),
        lambda: vault.restore("jobs", dry_run=True),
        lambda: vault.restore("jobs", at=at),
        lambda: vault.restore("jobs", into="jobs_of_then"),
        lambda: vault.drill(manifest.backup_id),
        lambda: vault.drill(),
    ]
    for ask in asked:
        with vault.untouched(), pytest.raises(DatamartError, match=sentence):
            ask()
    assert vault.world.sql("SELECT to_regclass('public.jobs_of_then')") == [(None,)]
    assert vault.world.sql("SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'drill%'") == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_named_and_nothing_is_touched(vault: Vault, manifest: Manifest, damage: str) -> None:
    act, sentence = DAMAGES[damage]
    act(vault, manifest)
    assert_refused(vault, manifest, sentence)


def test_a_backup_without_its_manifest_is_none(vault: Vault, manifest: Manifest) -> None:
    vault.store.remove([manifest_key(manifest.backup_id)])
    at = vault.now()
    with vault.untouched():
        with pytest.raises(ConfigurationError, match=f"There is no backup {manifest.backup_id}"):
            vault.restore("jobs", backup_id=manifest.backup_id)
        with pytest.raises(ConfigurationError, match=r"There is no backup of jobs\. Run the Dag"):
            vault.restore("jobs")
        with pytest.raises(ConfigurationError, match="There is no backup of jobs from before"):
            vault.restore("jobs", at=at)
        with pytest.raises(ConfigurationError, match="There is no backup to drill with"):
            vault.drill()


@pytest.mark.usefixtures("manifest")
def test_the_newest_that_is_damaged_is_not_silently_passed_over(vault: Vault) -> None:
    """Who asks for the newest and gets an older one has to hear of it, by a refusal or a note."""
    newest = vault.backup()
    vault.corrupt(manifest_key(newest.backup_id), b"{}")
    with vault.untouched():
        try:
            change = vault.restore("jobs", dry_run=True)
            told = " ".join((change.message, *change.notes))
        except BackupDamaged as error:
            told = str(error)
    assert newest.backup_id in told


def test_a_moment_is_reached_from_an_older_backup_when_the_newest_is_damaged(vault: Vault, manifest: Manifest) -> None:
    expected, newest = vault.table("jobs"), vault.backup()
    vault.world.load("jobs_3.csv", b"1,later\n")
    at, wanted = vault.now(), vault.table("jobs")
    vault.world.load("jobs_4.csv", b"1,latest\n")
    vault.corrupt(manifest_key(newest.backup_id), b"{}")
    change = vault.restore("jobs", at=at)
    assert (change.backup_id, vault.table("jobs")) == (manifest.backup_id, wanted)
    assert expected != wanted


def test_damage_that_comes_after_the_check_does_not_count(vault: Vault, manifest: Manifest) -> None:
    """What was fetched and checked is what is restored, whatever happens to the objects meanwhile."""
    wanted = vault.held(manifest, "jobs")
    restorer = vault.restorer()
    staged = restorer.warehouse.stage_kept

    def damaged(*args: Any) -> int:
        for one in manifest.tables["jobs"].parts:
            vault.corrupt(one.key, b"")
        return staged(*args)

    restorer.warehouse.stage_kept = damaged  # type: ignore[method-assign]
    try:
        restorer.restore(Wanted("jobs"))
    finally:
        del restorer.warehouse.stage_kept  # type: ignore[method-assign]
    assert vault.table("jobs") == wanted


def test_an_untouched_backup_is_restored(vault: Vault, manifest: Manifest) -> None:
    """The same questions, without damage."""
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        assert_refused(vault, manifest, "whatever")
