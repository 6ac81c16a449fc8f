"""Ports of a stack's inner doors."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded import ports
from embedded.errors import StackError


@pytest.fixture
def busy() -> Iterator[socket.socket]:
    """A port where somebody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def test_a_taken_port_is_never_chosen_again() -> None:
    among = range(20_000, 20_003)
    assert set(ports.free_ports(2, {20_001}, among)) == {20_000, 20_002}


def test_a_busy_port_is_not_chosen(busy: socket.socket) -> None:
    port = busy.getsockname()[1]
    assert ports.free_ports(1, (), range(port - 1, port + 1)) == [port - 1] or not ports.is_free(port - 1)
    with pytest.raises(StackError, match="Not 1 ports from"):
        ports.free_ports(1, (), range(port, port + 1))


def test_inner_doors_are_none_of_the_public_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports.random.SystemRandom, "sample", lambda _, among, count: list(among)[:count])
    first = next(port for port in ports.CHOICE if ports.is_free(port))
    assert first not in ports.inner_ports(tmp_path / "ports.json", {first}).values()


def test_inner_doors_stay_where_they_were(tmp_path: Path) -> None:
    first = ports.inner_ports(tmp_path / "ports.json", set())
    assert ports.inner_ports(tmp_path / "ports.json", set()) == first
    moved = ports.inner_ports(tmp_path / "ports.json", {first["FILER_PORT"]})
    assert first["FILER_PORT"] not in moved.values()
    assert json.loads((tmp_path / "ports.json").read_text()) == moved
