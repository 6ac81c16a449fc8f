"""Servers that take metrics as StatsD and OpenTelemetry's collector do, and keep them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.free_ports import free_ports


@dataclass
class Lines:
    """Lines of StatsD in the order in which they came."""

    port: int
    lines: list[str] = field(default_factory=list)

    @property
    def own(self) -> list[str]:
        """Those of the product, and not of Airflow."""
        return [line for line in list(self.lines) if line.startswith("airflow.datamart.")]


@contextmanager
def statsd() -> Iterator[Lines]:
    """A StatsD server for as long as the block lasts."""
    found = Lines(free_ports(1)[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        server.bind(("127.0.0.1", found.port))
        server.settimeout(0.2)
        ended = threading.Event()

        def take() -> None:
            while True:
                try:
                    found.lines.extend(server.recv(65536).decode().splitlines())
                except TimeoutError:
                    if ended.is_set():
                        return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            ended.set()
            thread.join()


@dataclass
class Collected:
    """What an OpenTelemetry collector was sent: name, tags, value; of a timer its sum."""

    port: int
    metrics: list[tuple[str, dict[str, str], float]] = field(default_factory=list)
    deltas: list[bool] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for metric in (one for scope in resource.scope_metrics for one in scope.metrics):
                self._take(metric)

    def _take(self, metric: object) -> None:
        kind = metric.WhichOneof("data")  # type: ignore[attr-defined]
        data = getattr(metric, kind)
        if kind == "sum":
            self.deltas.append(data.aggregation_temporality == 1)
        for point in data.data_points:
            tags = {one.key: one.value.string_value for one in point.attributes}
            value = point.sum if "histogram" in kind else point.as_double or point.as_int
            self.metrics.append((metric.name, tags, float(value)))  # type: ignore[attr-defined]


@contextmanager
def collector() -> Iterator[Collected]:
    """An OpenTelemetry collector for as long as the block lasts."""
    found = Collected(free_ports(1)[0])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", found.port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
