"""Bring the stack up, keep it up, take it down."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from embedded import (
    dags,
    environment,
    faults,
    leftovers,
    objectstore,
    pidfile,
    ports,
    postgres,
    provision,
    stacksecrets,
)
from embedded.airflow_api import AirflowApi, healthy
from embedded.console import Console
from embedded.demo import Demo
from embedded.errors import StackError
from embedded.pidfile import State
from embedded.settings import HOST, REPOSITORY, Settings, unusable_folder
from embedded.supervisor import StopRequested, Supervisor

AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")
WATCH = "watch"


def up(settings: Settings) -> int:
    """Start everything and stay until it is told to end; return the exit code."""
    console = Console()
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = environment.base(settings)["NO_PROXY"]
    _make_folders(settings)
    with _only_one(settings):
        ended = leftovers.end_all(settings)
        if ended:
            console.say(f"Ended {len(ended)} processes left by an earlier start that was killed")
        ports.require_free(settings)
        environment.require_valid(settings)
        ports.remember(settings)
        if notice := environment.reuse_notice(settings):
            console.say(notice)
        return _run(settings, console)


def _run(settings: Settings, console: Console) -> int:
    supervisor = Supervisor(REPOSITORY / "Procfile", settings.logs, settings.work_dir)
    sockets = Path(tempfile.mkdtemp(prefix="stack-", dir=environment.temporary_folder()))
    code = 0
    supervisor.listen()
    try:
        _record(settings, State.STARTING)
        _start(settings, console, supervisor, sockets)
        _record(settings, State.UP)
        supervisor.watch()
    except StopRequested:
        console.say("Stopping (a second Ctrl-C is quicker)")
    except faults.REPORTED as error:
        console.warn(f"\n{faults.sentence(error)}\n")
        code = faults.exit_code(error)
    finally:
        supervisor.stopping = True
        with suppress(OSError):  # a full disk must not keep the processes from being ended
            _record(settings, State.STOPPING)
        _stop(settings, console, supervisor)
        shutil.rmtree(sockets, ignore_errors=True)
        objectstore.remove_sockets(ports.recorded(settings.stack_dir / "ports.json"))
        settings.pid_file.unlink(missing_ok=True)
    return code


def _record(settings: Settings, state: State) -> None:
    """Write down what other commands ask: that this process runs the stack, its state, and its ports."""
    facts = {"ready": state is State.UP, "state": state.value, "airflow": settings.airflow, **settings.ports}
    pidfile.write(settings.pid_file, **facts)


def _make_folders(settings: Settings) -> None:
    """Make the folders of a stack.

    Raises:
        SettingError: the system refuses one of them.
    """
    try:
        settings.stack_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.secrets_dir.mkdir(mode=0o700, exist_ok=True)
        for folder in (settings.logs, settings.work_dir, settings.postgres_dir, settings.s3_dir):
            folder.mkdir(exist_ok=True)
        settings.airflow_home.mkdir(exist_ok=True)
        (settings.stack_dir / "lock").touch()
    except OSError as error:
        raise unusable_folder(settings.stack_dir, error) from error


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    with (settings.stack_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StackError(
                f"This stack ({settings.stack_dir}) runs already. See make status; to start it anew or on other "
                "ports, end it with make down first."
            ) from error
        yield


def _start(settings: Settings, console: Console, supervisor: Supervisor, sockets: Path) -> None:
    secrets = stacksecrets.load(settings.secrets_dir)
    passwords = stacksecrets.load_airflow_passwords(settings.passwords_file)
    public = {settings.airflow_port, settings.s3_port, settings.postgres_port}
    inner = ports.inner_ports(settings.stack_dir / "ports.json", public)
    identities = objectstore.write_identities(settings, secrets)
    server_env = environment.servers(settings, inner, identities, sockets)

    supervisor.start("s3", server_env)
    user = postgres.system_user(settings, console)
    postgres.init_cluster(settings, secrets, user)
    supervisor.start("postgres", server_env, user)
    supervisor.wait("PostgreSQL", lambda: postgres.is_ready(settings, secrets), 60)
    postgres.ensure_databases(settings, secrets)
    console.say(f"PostgreSQL ready on {HOST}:{settings.postgres_port}")
    with ThreadPoolExecutor() as pool:
        metadata = pool.submit(provision.migrate_airflow, settings, secrets) if settings.airflow else None
        supervisor.wait("S3", lambda: objectstore.is_ready(settings), 60)
        objectstore.ensure_buckets(settings, secrets)
        console.say(f"S3 ready on {settings.s3_url}")
        provision.migrate_warehouse(settings, secrets)
        console.say("Warehouse ready")
        if metadata is None:
            environment.remember(settings)
            return
        supervisor.wait("Airflow's database", metadata.done, 300)
        if metadata.result():
            console.say("Airflow's database is up to date")
        if provision.migrate_own_warehouse(settings, secrets):
            console.say("Your own warehouse is up to date")
    environment.remember(settings)
    _start_airflow(settings, console, supervisor, secrets)
    api = AirflowApi(settings.airflow_url, "admin", passwords["admin"])
    if settings.demo:
        Demo(settings, secrets, api, console, supervisor.check).run()
    supervisor.start(WATCH, environment.airflow(settings, secrets))
    # The Dag processor reads them meanwhile: after a demo it has read them all.
    dags.wait_until_parsed(api, console, supervisor.check)
    console.plain(
        f"Airflow's pages: {settings.airflow_url}   user: admin   password: in {settings.passwords_file}\n"
        'Clients: eval "$(make -s env)".  Logs: '
        f"{settings.logs}.  Ctrl-C ends everything; so does make down."
    )


def _start_airflow(settings: Settings, console: Console, supervisor: Supervisor, secrets: stacksecrets.Secrets) -> None:
    env = environment.airflow(settings, secrets)
    for name in AIRFLOW:
        supervisor.start(name, env)
    supervisor.wait("Airflow", lambda: healthy(settings.airflow_url), 240)
    console.say(f"Airflow ready on {settings.airflow_url}")


def _stop(settings: Settings, console: Console, supervisor: Supervisor) -> None:
    """Airflow first, its database last."""
    started = time.monotonic()
    supervisor.stop((*AIRFLOW, WATCH), grace=10)
    # SeaweedFS waits up to 25 s for its own streams; it is killed sooner.
    supervisor.stop(["s3"], grace=2)
    _end_stragglers(settings, supervisor)
    supervisor.stop(["postgres"], grace=20)
    leftovers.end_all(settings, grace=2)
    console.say(f"Everything ended ({time.monotonic() - started:.1f} s)")


def _end_stragglers(settings: Settings, supervisor: Supervisor) -> None:
    """Kill what has left its process group, so that PostgreSQL loses no client by surprise."""
    child = supervisor.children.get("postgres")
    for process in leftovers.find(settings):
        if child is None or child.process.pid not in (process.pid, process.ppid()):
            leftovers.kill(process)
