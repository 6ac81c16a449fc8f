"""31, 32: disks that are full, on the worker and in the warehouse, and memory smaller than the file.

The file is loaded by a process of its own or right here: these limits do not need Airflow around them.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from datamart.errors import TransientFault
from datamart.loads import Verdict
from embedded.postgres import OWNER, SYSTEM_USER
from tests import needs
from tests.faults.admin import Admin
from tests.faults.files import TABLE, Sent, held, hires, send
from tests.faults.mart import Mart
from tests.faults.sound import assert_converged, assert_kept, assert_sound
from tests.stack import Stack

MEMORY = 550 << 20
PADDING = 6_000


@contextmanager
def small_disk(size: str, owner: str | None = None) -> Iterator[Path]:
    """A file system of that size, empty; `grow` it by mounting it again."""
    folder = Path(tempfile.mkdtemp(prefix="small-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        if owner:
            shutil.chown(folder, owner)
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


def grow(folder: Path, size: str) -> None:
    """Somebody makes room."""
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)


def assert_refused_for_lack_of_room(mart: Mart, sent: Sent, said: str, words: str) -> None:
    """The load says why it failed, and has left nothing."""
    assert words in said, said
    assert held(mart, sent) == (0, 0, [])


@needs.AS_ROOT
def test_31_a_stack_on_a_full_disk_says_so_and_leaves_nothing_running() -> None:
    with small_disk("2m") as folder:
        folder.chmod(0o755)
        servers = Stack(folder / "stack", airflow=False)
        refused = servers.command("up")
        assert servers.left_after() == []
    assert refused.returncode == 1
    said = refused.stderr.strip()
    assert len(said.splitlines()) == 1
    assert said.endswith("Free some space, or set STACK_DIR to a folder on another disk.")


@needs.AS_ROOT
def test_the_worker_s_disk_is_full(mart: Mart, prefix: str) -> None:
    sent = send(mart, f"{prefix}worker/", "worker")["worker"]
    with small_disk("16k") as folder:
        process = mart.start_loading(sent.arrival, env={"TMPDIR": str(folder)})
        said, _ = process.communicate(timeout=60)
        assert process.returncode != 0
        assert_refused_for_lack_of_room(mart, sent, said, "No space left on device")
        grow(folder, "16m")
        process = mart.start_loading(sent.arrival, env={"TMPDIR": str(folder)})
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert_sound(mart, sent)


def test_the_worker_may_write_no_more(mart: Mart, prefix: str) -> None:
    sent = send(mart, f"{prefix}quota/", "quota")["quota"]
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))"
    process = mart.start_loading(sent.arrival, before=limit)
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert_refused_for_lack_of_room(mart, sent, said, "File too large")
    mart.load(sent.arrival)
    assert_sound(mart, sent)


@contextmanager
def on_small_disk(admin: Admin, mart: Mart, place: str, folder: Path) -> Iterator[Mart]:
    """A warehouse whose staging or whose table of hires lies on a disk of its own."""
    admin.do(f"CREATE TABLESPACE small LOCATION '{folder}'", f"GRANT CREATE ON TABLESPACE small TO {OWNER}")
    try:
        with admin.database(mart) as fresh:
            if place == "staging":
                admin.do(f"ALTER ROLE {OWNER} IN DATABASE {fresh.database} SET temp_tablespaces = small")
            else:
                fresh.run(f"ALTER TABLE public.{TABLE} SET TABLESPACE small")
            yield fresh
    finally:
        admin.do("DROP TABLESPACE small")


@needs.AS_ROOT
@pytest.mark.parametrize("place", ["staging", "table", "empty table"])
def test_the_warehouse_s_disk_is_full(place: str, mart: Mart, admin: Admin, prefix: str) -> None:
    folder = f"{prefix}{place.replace(' ', '-')}/"
    with small_disk("600k", SYSTEM_USER) as disk, on_small_disk(admin, mart, place, disk) as fresh:
        if place != "empty table":
            first = send(fresh, f"{folder}first/", "first", bodies={"first": hires(500)})["first"]
            assert fresh.load(first.arrival).verdict is Verdict.LOADED
        sent = send(fresh, folder, "full", bodies={"full": hires(12_000)})["full"]
        with pytest.raises(TransientFault, match=r"53100.*No space left") as refused:
            fresh.load(sent.arrival)
        assert_refused_for_lack_of_room(fresh, sent, str(refused.value), "No space left")
        grow(disk, "64m")
        assert fresh.load(sent.arrival).verdict is Verdict.LOADED
        assert_sound(fresh, sent)


def padded(mart: Mart, key: str, rows: int) -> bytes:
    """A file whose lines carry an ignored column that makes it bigger than memory; what is left without it."""
    header, body = b"id,name,datetime,department_id,job_id", hires(rows, bad=0)
    with tempfile.TemporaryFile() as out:
        out.write(header + b",_note\r\n")
        for line in body.splitlines():
            out.write(line + b"," + b"x" * PADDING + b"\r\n")
        assert out.tell() > MEMORY
        out.seek(0)
        mart.store.write(key, out)
    return header + b"\r\n" + body


def test_memory_smaller_than_the_file(mart: Mart, prefix: str) -> None:
    folder = f"{prefix}memory/"
    body = padded(mart, f"{folder}{TABLE}_big.csv", rows=100_000)
    sent = send(mart, folder, bodies={"big": body})["big"]
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_DATA, ({MEMORY}, {MEMORY}))"
    # The limit counts what is reserved, also by libraries for threads and arenas: two settings let go of some.
    sparing = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "DATAMART_CHUNK_BYTES": str(2 << 20)}
    process = mart.start_loading(sent.arrival, env=sparing, before=limit)
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 0, said
    assert_kept(mart.sql, sent)
    assert_converged(mart.sql, sent, mart.load)
