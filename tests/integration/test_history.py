"""History, provenance and commit numbers: every state that a table ever had can be told from its rows."""

from __future__ import annotations

import pytest

from datamart.loads import Outcome, Verdict
from datamart.warehouse.base import Warehouse
from datamart.warehouse.postgres import PostgresWarehouse
from tests.integration.world import Row, World, upserted


def as_of(world: World, commit_seq: int) -> list[Row]:
    """The rows of ``jobs`` after that commit: live ones that were there, and old ones that still were."""
    return world.sql(
        "SELECT id, job FROM jobs JOIN ops.loads ON load_id = _load_id WHERE commit_seq <= %s UNION ALL "
        "SELECT id, job FROM ops.jobs_history WHERE _commit_seq <= %s AND %s < _replaced_seq ORDER BY id",
        commit_seq, commit_seq, commit_seq,
    )  # fmt: skip


def test_a_merge_keeps_the_old_values_with_both_commit_numbers(world: World) -> None:
    files = [b"1,a\n2,a\n3,a\n", b"2,b\n3,a\n4,b\n", b"2,c\n4,c\n"]
    first, second, third = (world.load(f"jobs_{n}.csv", body).load_id for n, body in enumerate(files))
    kept = world.sql(
        "SELECT id, job, _load_id, _commit_seq, _replaced_by, _replaced_seq FROM ops.jobs_history"
        " ORDER BY _replaced_seq, id"
    )
    assert kept == [(2, "a", first, 1, second, 2), (2, "b", second, 2, third, 3), (4, "b", second, 2, third, 3)]


def test_history_keeps_every_column(world: World) -> None:
    old = b"1,Ann,2021-01-02T03:04:05Z,2,3\n"
    changes = [b"1,Anna,2021-01-02T03:04:05Z,2,3\n", b"1,Anna,2022-01-02T03:04:05Z,2,3\n",
               b"1,Anna,2022-01-02T03:04:05Z,9,3\n", b"1,Anna,2022-01-02T03:04:05Z,9,8\n"]  # fmt: skip
    files = [old, *changes]
    for number, body in enumerate(files):
        world.load(f"hired_employees_{number}.csv", body)
    columns = "id, name, \"datetime\" AT TIME ZONE 'UTC', department_id, job_id"
    kept = world.sql(f"SELECT {columns} FROM ops.hired_employees_history ORDER BY _replaced_seq")
    assert kept == [upserted("hired_employees", body)[0] for body in files[:-1]]


def test_every_state_of_a_table_can_be_told(world: World) -> None:
    states: list[list[Row]] = [[]]
    steps: list[tuple[str, bytes]] = [
        ("upsert", b"1,a\n2,a\n3,a\n"),
        ("upsert", b"2,b\n4,b\n"),
        ("upsert", b"x,bad\n"),
        ("upsert", b"1,a\n2,a\n3,a\n"),
        ("replace", b"3,r\n4,b\n5,r\n"),
        ("upsert", b"3,r\n4,b\n5,r\n"),
        ("upsert", b"1,back\n"),
        ("replace", b"1,back\n"),
    ]
    for number, (mode, body) in enumerate(steps):
        arrival = world.put(f"jobs_{number}.csv", body)
        if mode == "replace":
            world.replace("jobs", arrival)
        else:
            world.judge(arrival)
        states.append(world.rows("jobs"))
    assert states[5:] == [[(3, "r"), (4, "b"), (5, "r")]] * 2 + [[(1, "back"), (3, "r"), (4, "b"), (5, "r")],
                                                                 [(1, "back")]]  # fmt: skip
    assert [as_of(world, number) for number in range(len(states))] == states


@pytest.mark.parametrize("table", ["departments", "jobs"])
def test_every_row_says_which_load_brought_it(world: World, table: str) -> None:
    first = world.load(f"{table}_1.csv", b"1,a\n2,a\n3,a\n")
    second = world.load(f"{table}_2.csv", b"2,b\n3,a\n4,b\nx,bad\n")
    assert world.sql(f"SELECT id, _load_id FROM {table} ORDER BY id") == [
        (1, first.load_id), (2, second.load_id), (3, first.load_id), (4, second.load_id)
    ]  # fmt: skip


def test_commit_numbers_rise_by_one_per_load_and_table(world: World) -> None:
    def load(name: str, body: bytes) -> Outcome:
        return world.load(name, body)

    jobs = [load("jobs_1.csv", b"1,a\n"), load("jobs_2.csv", b"1,a\n"), load("jobs_3.csv", b"x,bad\n")]
    departments = [load("departments_1.csv", b"1,a\n")]
    jobs += [load("jobs_4.csv", b"1,b\n"), load("jobs_5.csv", b""), load("jobs_6.csv", b"2,c\n")]
    departments += [load("departments_2.csv", b"1,b\n")]
    assert [outcome.verdict for outcome in jobs] == [
        Verdict.LOADED, Verdict.DUPLICATE, Verdict.REJECTED, Verdict.LOADED, Verdict.REJECTED, Verdict.LOADED
    ]  # fmt: skip
    assert [world.ledger(outcome.load_id, "commit_seq")[0] for outcome in jobs] == [1, 2, 3, 4, 5, 6]
    assert [outcome.commit_seq for outcome in jobs] == [1, 2, 3, 4, 5, 6]
    assert [world.ledger(outcome.load_id, "commit_seq")[0] for outcome in departments] == [1, 2]
    assert world.sql("SELECT table_name, commit_seq, changed_seq FROM ops.tables ORDER BY 1") == [
        ("departments", 2, 2), ("hired_employees", 0, 0), ("jobs", 6, 6)
    ]  # fmt: skip


def test_the_ledger_names_source_content_and_run(world: World) -> None:
    body = b"1,a\n\nx,b\n"
    arrival = world.put("jobs.csv", body)
    outcome = world.judge(arrival, run="tonight")
    columns = "source_bucket", "source_key", "source_version", "bytes", "blank_lines", "dag_id", "run_id", "mode"
    assert world.ledger(outcome.load_id, *columns) == (
        arrival.bucket, arrival.key, arrival.version, len(body), 1, "integration", "tonight", "upsert"
    )  # fmt: skip
    assert world.ledger(
        outcome.load_id,
        "sha256 = encode(sha256('\\x312c610a0a782c620a'::bytea), 'hex')",
        "started_at <= finished_at",
        "arrival_id = load_id",
    ) == (True, True, True)


class StepByStep(PostgresWarehouse):
    """PostgreSQL before 18, which cannot give back the rows that a statement replaces."""

    _merge_rows = Warehouse._merge_rows


def test_both_ways_of_merging_leave_the_same_rows_history_and_counts(world: World) -> None:
    bodies = (b"1,a\n2,b\n3,c\n", b"2,b\n3,changed\n4,new\n", b"1,a\n2,b\n", b"5,e\n6,f\n")
    seen = []
    for kind in (PostgresWarehouse, StepByStep):
        with world.connected(kind) as warehouse:
            counts = [
                world.loader(warehouse=warehouse).load(world.put(f"jobs_{number}.csv", body)).counts
                for number, body in enumerate(bodies)
            ]
        history = world.sql(
            "SELECT id, job, _commit_seq, _replaced_seq FROM ops.jobs_history ORDER BY _replaced_seq, id"
        )
        seen.append((counts, world.rows("jobs"), history))
        world.database.empty()
    assert seen[0] == seen[1]
    assert [(c.inserted, c.updated, c.unchanged) for c in seen[0][0]] == [(3, 0, 0), (1, 1, 1), (0, 0, 2), (2, 0, 0)]
