"""Airflow's connections, led through proxies for a while."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.faults.framing import HTTP, POSTGRES
from tests.faults.runs import Airflow
from tests.faults.wire import Proxy
from tests.stack import Stack

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Wires:
    """The wire to the warehouse and the one to S3."""

    warehouse: Proxy
    s3: Proxy


@contextmanager
def detour(stack: Stack, airflow: Airflow) -> Iterator[Wires]:
    """Both proxies, in the way of every task; afterwards the connections are as they were."""
    ports = {name: int(stack.variables[f"{name}_PORT"]) for name in ("POSTGRES", "S3")}
    found = Wires(Proxy((HOST, ports["POSTGRES"]), POSTGRES), Proxy((HOST, ports["S3"]), HTTP))
    before = json.loads(airflow.api.get("/connections/object_store")["extra"])
    extra = json.dumps(before | {"endpoint_url": f"http://{HOST}:{found.s3.port}"})
    try:
        with (
            airflow.connection("warehouse", host=HOST, port=found.warehouse.port),
            airflow.connection("object_store", extra=extra),
        ):
            yield found
    finally:
        found.warehouse.close()
        found.s3.close()
