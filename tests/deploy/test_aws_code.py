"""What AWS is given of this repository: the processes of a host, and the bucket of an environment of Amazon MWAA."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from datamart.settings import load_settings
from embedded.settings import REPOSITORY
from tests.deploy.template import FOLDER

STAND_INS = {
    "aws": '#!/bin/sh\necho "the-bucket"\n',
    "python": f'#!/bin/sh\n[ "$2" = pip ] && exit 0\nexec {sys.executable} "$@"\n',
}
"""Nothing is asked of AWS, and no wheels are fetched."""


def test_each_process_of_airflow_on_a_host_has_the_connections_of_aws() -> None:
    stack = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text(encoding="utf-8"))
    changed = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    airflow = {name for name, one in stack["services"].items() if "AIRFLOW__CORE__EXECUTOR" in one["environment"]}
    assert airflow
    assert changed["services"] == {name: {"environment": changed["x-aws"]} for name in airflow}
    known = {name: value for name, value in changed["x-aws"].items() if name.startswith("DATAMART_")}
    load_settings(known)


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as they would be put into the bucket."""
    tools, folder = tmp_path_factory.mktemp("tools"), tmp_path_factory.mktemp("code")
    for name, text in STAND_INS.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHON": os.path.relpath(tools / "python", REPOSITORY),
    }
    told = [str(FOLDER / "mwaa_code.sh"), "hiring", str(folder)]
    subprocess.run(told, cwd=REPOSITORY, env=environment, check=True, timeout=60)
    return folder


def test_an_environment_gets_the_dags_and_what_they_need(laid: Path) -> None:
    assert {one.name for one in (laid / "dags").iterdir()} == {one.name for one in (REPOSITORY / "dags").glob("*.py")}
    with zipfile.ZipFile(laid / "plugins.zip") as plugins:
        names = set(plugins.namelist())
        ignored = plugins.read(".airflowignore").decode().split()
    assert {"data_api.py", "data_api_app/factory.py", "include/datamart/load.py", "constraints.txt"} <= names
    assert any(name.startswith("sql/redshift/") for name in names)
    assert not any("__pycache__" in name for name in names)
    outside = {one for one in names if one.endswith(".py") and not one.startswith(tuple(ignored))}
    assert outside == {"data_api.py"}, "Airflow runs each of the others"


def test_an_environment_is_told_buckets_and_installs_from_its_plugins(laid: Path) -> None:
    told = dict(re.findall(r"(?m)^export (\w+)=(.*)$", (laid / "startup.sh").read_text()))
    settings = load_settings({name: value for name, value in told.items() if name.startswith("DATAMART_")})
    assert (settings.data_bucket, settings.backup_bucket) == ("the-bucket", "the-bucket")
    assert told["PYTHONPATH"] == "/usr/local/airflow/plugins/include"
    lines = (laid / "requirements.txt").read_text().splitlines()
    assert lines[0] == "--no-index"
    assert any(line.startswith("apache-airflow==") for line in lines)
