"""docker-compose.yaml's services, started as processes: FAB's users, Celery's workers, and the death of one of them."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import alive, needs
from tests.deploy.composefile import REPOSITORY
from tests.deploy.processes import Composed
from tests.deploy.test_compose_file import MAKE_SECRETS
from tests.product import Product
from tests.rest import Rest

pytestmark = [
    pytest.mark.slow,
    needs.installed("redis-server"),
]
ROWS = 300_000
RANGE_BYTES = 2 * 1024 * 1024
FIRST_ID = 1_000_000
DEATH_SECONDS = 150
USERS = ("admin", "operator", "uploader", "viewer")


@pytest.fixture(scope="module")
def composed() -> Iterator[Composed]:
    """All services with two workers; nothing of them is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="composed-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        folder.chmod(0o711)  # PostgreSQL's own user, should root run this, must reach what is below
        MAKE_SECRETS.make(folder / "env")
        values = dict(line.split("=", 1) for line in (folder / "env").read_text().splitlines())
        found = Composed(folder, values | {"DATAMART_RANGE_BYTES": str(RANGE_BYTES)}, workers=2)
        try:
            found.start()
            yield found
        finally:
            found.stop()
        end = time.monotonic() + 15  # children of children end a moment later
        while leftovers(folder) and time.monotonic() < end:
            time.sleep(0.2)
        assert leftovers(folder) == []


def leftovers(folder: Path) -> list[str]:
    """Processes whose environment or command names the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            places, name = [*process.environ().values(), *process.cmdline()], process.name()
        except psutil.Error:
            continue
        if any(str(folder) in place for place in places):
            found.append(f"{process.pid} {name}")
    return found


@pytest.fixture(scope="module")
def product(composed: Composed) -> Product:
    own = Product(composed)  # type: ignore[arg-type]
    for dag_id in ("historic_load", "ingest_upload", "backup", "restore", "refresh_insights"):
        own.known(dag_id)
    return own


@pytest.fixture(scope="module")
def rest(composed: Composed) -> Rest:
    passwords = {user: composed.values[f"SECRET_PASSWORD_{user.upper()}"] for user in USERS}
    return Rest(composed.url, passwords, "uploader")


def balanced(product: Product) -> bool:
    """Whether the ledger's counts add up for every load, and the rows are those that it says."""
    wrong = product.sql(
        "SELECT load_id FROM ops.loads WHERE rows_read <> rows_inserted + rows_updated + rows_unchanged + rows_rejected"
    )
    return wrong == []


def count(product: Product, table: str, where: str = "true") -> tuple[int, int]:
    """Rows and different ids."""
    (found,) = product.sql(f"SELECT count(*), count(DISTINCT id) FROM public.{table} WHERE {where}")
    return int(found[0]), int(found[1])


def test_the_historic_load(product: Product) -> None:
    for name in ("departments.csv", "jobs.csv", "hired_employees.csv"):
        product.put("historic/", name, (REPOSITORY / "data" / name).read_bytes())
    state, verdicts, _ = product.run("historic/")
    assert (state, {one["verdict"] for one in verdicts}) == ("success", {"loaded"})
    for table in ("departments", "jobs", "hired_employees"):
        read = product.sql(
            "SELECT rows_inserted FROM ops.loads WHERE source_key = %s AND verdict = 'loaded'", f"historic/{table}.csv"
        )
        assert [(rows[0], rows[0]) for rows in read] == [count(product, table)]
    assert balanced(product)


def test_who_may_do_what(rest: Rest) -> None:
    assert rest.plain("GET", "/loads").status_code == 401
    assert rest.as_("viewer").get("/loads").status_code == 200
    assert rest.as_("viewer").upload("jobs.csv", b"9001,Nobody\n").status_code == 403
    assert rest.plain("POST", "/restore", params={"table": "jobs"}, headers=rest.bearer).status_code == 403


def test_uploads_at_once(rest: Rest, product: Product) -> None:
    def upload(number: int) -> Any:
        rows = "".join(f"{20000 + number * 100 + row},Job {number}.{row}\n" for row in range(50))
        return rest.upload(f"jobs_{number}.csv", rows.encode())

    assert rest.token
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(upload, range(8)))
    assert [(one.status_code, one.json()["verdict"]) for one in answers] == [(200, "loaded")] * 8
    assert count(product, "jobs", "id BETWEEN 20000 AND 20799") == (400, 400)
    assert balanced(product)


def test_a_dropped_file_is_loaded(product: Product) -> None:
    product.put("landing/", "departments_dropped.csv", b"9001,Dropped\n")
    end = time.monotonic() + 90
    while count(product, "departments", "id = 9001") != (1, 1):
        assert time.monotonic() < end, "the file in landing/ was not loaded"
        time.sleep(0.5)


def test_a_backup_and_a_restore(rest: Rest, product: Product) -> None:
    admin = rest.as_("operator")
    before = product.sql("SELECT id, job FROM jobs ORDER BY id")
    started = admin.plain("POST", "/backup", headers=admin.bearer)
    assert started.status_code == 200, started.text
    end = time.monotonic() + 120
    while not admin.get("/backups").json()["backups"]:
        assert time.monotonic() < end, "no backup came"
        time.sleep(0.5)
    product.do("DELETE FROM jobs WHERE id >= 20400")
    product.do("UPDATE jobs SET job = 'Damaged' WHERE id = 20001")
    restored = admin.plain("POST", "/restore", params={"table": "jobs", "wait": 120}, headers=admin.bearer)
    assert (restored.status_code, restored.json().get("result")) == (200, "Table jobs restored from backup.")
    assert product.sql("SELECT id, job FROM jobs ORDER BY id") == before


def big_file() -> bytes:
    return "".join(f"{FIRST_ID + row},Somebody {row},2021-03-04T05:06:07Z,1,1\n" for row in range(ROWS)).encode()


def holder(composed: Composed, ti_id: str) -> str:
    """The worker in which a task runs; its process is titled by the task's id."""
    for name in composed.workers:
        if any(ti_id in title for _, title in alive.ask(composed.below(name), alive.title)):
            return name
    raise LookupError(f"no worker runs {ti_id}")


def waits_for_the_lock(product: Product) -> bool:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%ops.tables%%'"
    return product.sql(asked)[0][0] > 0


def wait_until(what: Any, seconds: float, why: str) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, why
        time.sleep(0.2)


def test_the_death_of_a_worker_loses_and_doubles_nothing(composed: Composed, product: Product, rest: Rest) -> None:
    key = "crash/hired_employees_big.csv"
    product.put("crash/", "hired_employees_big.csv", big_file())
    body = {"logical_date": None, "conf": {"prefix": "crash/"}}
    with product.session() as session, session.cursor() as cursor:
        cursor.execute("SELECT 1 FROM ops.tables WHERE table_name = 'hired_employees' FOR UPDATE")
        run = product.api.post("/dags/historic_load/dagRuns", body)["dag_run_id"]
        wait_until(lambda: waits_for_the_lock(product), 90, "the load did not come to its merge")
        (task,) = (t for t in tasks(product, run) if t["task_id"] == "load_2")
        dead = holder(composed, task["id"])
        composed.kill(dead)
        died = time.monotonic()
        session.rollback()
    # The other one goes on meanwhile.
    for number in range(3):
        answer = rest.upload(f"departments_{number}.csv", f"{9100 + number},Alive {number}\n".encode())
        assert (answer.status_code, answer.json()["verdict"]) == (200, "loaded")
    assert count(product, "hired_employees", f"id >= {FIRST_ID}") == (0, 0), "the dead one's work is not there"

    def ended() -> bool:
        return product.api.get(f"/dags/historic_load/dagRuns/{run}")["state"] in ("success", "failed")

    wait_until(ended, DEATH_SECONDS, "the load was not done again")
    print(f"\n{dead} died; {time.monotonic() - died:.0f} s later its load was done by the other")
    assert product.api.get(f"/dags/historic_load/dagRuns/{run}")["state"] == "success"
    (again,) = (t for t in tasks(product, run) if t["task_id"] == "load_2")
    assert again["try_number"] == 2
    cleaned = [t for t in tasks(product, run) if t["task_id"] == "ranges_2.clean"]
    assert {t["state"] for t in cleaned} == {"success"}
    assert len(cleaned) == -(-len(big_file()) // RANGE_BYTES)
    assert all(any(did(composed, name, t) for t in cleaned) for name in composed.workers), "one has cleaned all ranges"
    log = product.api.get(f"/dags/historic_load/dagRuns/{run}/taskInstances/load_2/logs/2", map_index=0)
    assert "read whole" not in str(log)
    ledger = product.sql("SELECT verdict, rows_read, rows_inserted FROM ops.loads WHERE source_key = %s", key)
    assert ledger == [("loaded", ROWS, ROWS)]
    assert count(product, "hired_employees", f"id >= {FIRST_ID}") == (ROWS, ROWS)
    assert balanced(product)
    assert [table for table, rows, ids in whole(product) if rows != ids] == []


def tasks(product: Product, run: str) -> list[dict[str, Any]]:
    where = f"/dags/historic_load/dagRuns/{run}/taskInstances"
    found: list[dict[str, Any]] = product.api.get(where, limit=100)["task_instances"]
    return found


def did(composed: Composed, name: str, task: dict[str, Any]) -> bool:
    """Whether a task ran on a worker, by the log of that."""
    return task["id"] in (composed.folder / "logs" / f"{name}.log").read_text()


def whole(product: Product) -> list[tuple[str, int, int]]:
    return [(table, *count(product, table)) for table in ("departments", "jobs", "hired_employees")]


def test_the_log_of_a_task_is_read_whoever_wrote_it(product: Product) -> None:
    run = product.api.get("/dags/historic_load/dagRuns", order_by="run_after", limit=1)["dag_runs"][0]["dag_run_id"]
    log = product.api.get(f"/dags/historic_load/dagRuns/{run}/taskInstances/plan/logs/1", map_index=-1)
    assert any("plan" in str(line) or "Task" in str(line) for line in log["content"])


def test_all_that_lives_is_healthy_and_prepare_can_run_again(composed: Composed, product: Product) -> None:
    said = composed.run("init")
    assert "The warehouse is up to date." in said
    alive = [name for name in composed.processes if name in composed.supervisor.children]
    assert len(alive) == len(composed.processes) - 1
    assert [name for name in alive if not composed.healthy(name)] == []
    assert balanced(product)


def test_airflows_database_is_backed_up_as_the_page_says(composed: Composed) -> None:
    page = (REPOSITORY / "docs" / "production.md").read_text(encoding="utf-8")
    said = re.findall(r"postgres sh -c '([^']*pg_dump[^']*)'", page)
    env = composed.processes["postgres"].env | {"PGPORT": str(composed.port("postgres", 5432))}
    done = subprocess.run(["/bin/sh", "-c", said[0]], env=env, capture_output=True, timeout=120, check=True)
    assert done.stdout.startswith(b"PGDMP")


def test_nothing_was_written_but_into_volumes_and_memory(composed: Composed) -> None:
    homes = composed.folder / "homes"
    assert {file.name for file in homes.rglob("*") if file.is_file()} == {"airflow.cfg"}
    assert all((home / "airflow.cfg").stat().st_size == 0 for home in homes.iterdir())
