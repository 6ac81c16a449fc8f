"""Ports: clear words about busy ones, free ones for the servers' inner doors."""

import json
import random
import socket
from collections.abc import Collection, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from embedded.errors import StackError
from embedded.settings import HOST, Settings

INNER = (
    "MASTER_PORT",
    "MASTER_GRPC_PORT",
    "VOLUME_PORT",
    "VOLUME_GRPC_PORT",
    "FILER_PORT",
    "FILER_GRPC_PORT",
    "S3_GRPC_PORT",
)


CHOICE = range(20_000, 32_000)
"""Below those that Linux gives to connections that leave (ip_local_port_range), so none is lost to one of them."""


def is_free(port: int) -> bool:
    """Say whether a server could listen on this loopback port now."""
    return refusal(port) is None


def refusal(port: int) -> OSError | None:
    """Why no server can listen on this loopback port now; None when one can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error
    return None


def require_free(settings: Settings) -> None:
    """Refuse busy or doubled ports in one line that names the port and the variable to change."""
    wanted = {"POSTGRES_PORT": settings.postgres_port, "S3_PORT": settings.s3_port}
    if settings.airflow:
        wanted["AIRFLOW_PORT"] = settings.airflow_port
    seen: dict[int, str] = {}
    for variable, port in wanted.items():
        if port in seen:
            raise StackError(f"{variable} and {seen[port]} are both {port}: set one of them to another port.")
        seen[port] = variable
        example = f"for example {variable}={port + 1000 if 1024 <= port < 64000 else 20000 + port % 1000} make run"
        why = refusal(port)
        if isinstance(why, PermissionError):
            raise StackError(f"Port {port} is for the administrator only: choose one above 1023, {example}")
        if why is not None:
            raise StackError(f"Port {port} is busy: end what listens there or choose another, {example}")


def remember(settings: Settings) -> None:
    """Keep the ports with the stack, for its next start and for all other commands."""
    draft = settings.ports_file.with_suffix(".draft")
    draft.write_text(json.dumps(settings.ports))
    draft.replace(settings.ports_file)


def free_ports(count: int, taken: Collection[int] = (), among: Sequence[int] = CHOICE) -> list[int]:
    """As many ports that are free now and not among those that are taken, in an order of chance.

    Raises:
        StackError: so many are not free.
    """
    free = (port for port in random.SystemRandom().sample(among, len(among)) if port not in taken and is_free(port))
    found = list(islice(free, count))
    if len(found) < count:
        raise StackError(f"Not {count} ports from {among[0]} to {among[-1]} are free: end what listens there.")
    return found


def recorded(file: Path) -> dict[str, int]:
    """The inner ports of the last start, if there was one."""
    with suppress(FileNotFoundError, ValueError):
        return dict(json.loads(file.read_text()))
    return {}


def inner_ports(file: Path, taken: set[int]) -> dict[str, int]:
    """SeaweedFS's own ports: the same at every start as long as they are free."""
    known = recorded(file)
    if set(known) != set(INNER) or not all(p not in taken and is_free(p) for p in known.values()):
        known = dict(zip(INNER, free_ports(len(INNER), taken), strict=True))
        file.write_text(json.dumps(known))
    return known
