"""Policies for every Dag, held against what Airflow itself parses; no server, no network."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from datamart.dag_ids import EXPECTED_DAGS
from tests.dags import parse

REPOSITORY = Path(__file__).resolve().parents[2]
DAGS = REPOSITORY / "dags"
FILES = sorted(DAGS.rglob("*.py"))
DAG_IDS = {
    "adopt_backup", "backup", "historic_load", "ingest_landing", "ingest_upload", "maintenance", "refresh_insights",
    "restore", "restore_drill", "undo_load",
}  # fmt: skip
MOST_LINES = 130

each_dag = pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The answer of ``parse`` for the project's Dags."""
    return parse_folder(DAGS, tmp_path_factory.mktemp("airflow"))


def parse_folder(dags: Path, home: Path) -> dict[str, Any]:
    """The answer of ``parse`` for a folder, by a process of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "DATAMART_"))}
    env = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "plugins"),
        "PYTHONPATH": str(REPOSITORY / "include"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-P", parse.__file__, str(dags), str(REPOSITORY / "include")],
        cwd=home,
        env=clean | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def dag_functions(file: Path) -> list[str]:
    """Names of the functions that ``@dag`` decorates in a file."""
    return [
        node.name
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator) == "dag"
    ]


def test_every_file_parses(parsed: dict[str, Any]) -> None:
    assert parsed["import_errors"] == {}


def test_no_file_warns(parsed: dict[str, Any]) -> None:
    assert parsed["warnings"] == {}


def test_the_dags_are_exactly_these(parsed: dict[str, Any]) -> None:
    assert set(parsed["dags"]) == DAG_IDS
    assert DAG_IDS == EXPECTED_DAGS, "the health check reports those that are missing"


@each_file
def test_file_function_and_dag_share_one_name(parsed: dict[str, Any], file: Path) -> None:
    in_file = [dag_id for dag_id, dag in parsed["dags"].items() if dag["file"] == file.name]
    assert (in_file, dag_functions(file)) == ([file.stem], [file.stem])


@each_file
def test_a_file_is_wiring_that_can_be_read_at_once(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= MOST_LINES


@each_dag
def test_someone_owns_it(parsed: dict[str, Any], dag_id: str) -> None:
    assert parsed["dags"][dag_id]["owners"] == ["datamart"]


@each_dag
def test_it_has_tags(parsed: dict[str, Any], dag_id: str) -> None:
    assert parsed["dags"][dag_id]["tags"]


@each_dag
def test_its_documentation_starts_with_a_heading_and_says_something(parsed: dict[str, Any], dag_id: str) -> None:
    heading, *text = (parsed["dags"][dag_id]["doc"] or "").strip().splitlines() or [""]
    assert heading.startswith("### ")
    assert "".join(text).strip()


@each_dag
def test_its_tasks_are_retried_by_default(parsed: dict[str, Any], dag_id: str) -> None:
    assert (parsed["dags"][dag_id]["retries"] or 0) >= 1


@each_dag
def test_it_does_not_catch_up(parsed: dict[str, Any], dag_id: str) -> None:
    assert parsed["dags"][dag_id]["catchup"] is False


@each_dag
def test_it_runs_once_at_a_time(parsed: dict[str, Any], dag_id: str) -> None:
    # Uploads meet at their table's lock only; a client waits for each of them.
    assert parsed["dags"][dag_id]["max_active_runs"] == (64 if dag_id == "ingest_upload" else 1)


@each_dag
def test_the_form_can_check_and_explain_every_param(parsed: dict[str, Any], dag_id: str) -> None:
    params = parsed["dags"][dag_id]["params"]
    assert [name for name, schema in params.items() if not {"type", "enum"} & set(schema)] == []
    assert [name for name, schema in params.items() if not schema["description"]] == []


@each_dag
def test_no_task_of_it_starts_when_its_run_has_conf_that_it_does_not_know(parsed: dict[str, Any], dag_id: str) -> None:
    assert parsed["dags"][dag_id]["unchecked"] == []


def test_a_task_that_checks_no_conf_would_be_noticed(tmp_path: Path) -> None:
    (tmp_path / "careless.py").write_text(
        "from airflow.sdk import dag, task\n"
        "from datamart_airflow.dag_defaults import DEFAULT_ARGS\n"
        "@dag(schedule=None, default_args=DEFAULT_ARGS)\n"
        "def careless():\n"
        "    @task\n"
        "    def careful(): return [1]\n"
        "    @task(pre_execute=None)\n"
        "    def hasty(one): ...\n"
        "    careful()\n"
        "    hasty.expand(one=careful.override(task_id='first')())\n"
        "careless()\n"
    )
    assert parse_folder(tmp_path, tmp_path)["dags"]["careless"]["unchecked"] == ["hasty"]


def test_parsing_imports_nothing_heavy(parsed: dict[str, Any]) -> None:
    assert parsed["known_before"] == [], "Airflow itself has imported these, so this test would not notice"
    assert parsed["heavy"] == {}, "\n".join(line for chain in parsed["heavy"].values() for line in chain)


def test_parsing_asks_neither_clock_nor_variable_nor_connection_nor_network(parsed: dict[str, Any]) -> None:
    assert parsed["asked"] == []
