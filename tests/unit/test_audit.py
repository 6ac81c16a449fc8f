"""A known vulnerability fails the check, one that is ignored has a reason, and who cannot be asked is told.

pip-audit itself asks, of a server here that knows what the test wants it to.
"""

from __future__ import annotations

import json
import re
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from embedded import audit
from embedded.settings import REPOSITORY

OLD = "jinja2"
"""The package whose vulnerabilities every service knows."""


@contextmanager
def service(*vulnerable: str) -> Iterator[audit.Service]:
    """A service in OSV's manner that knows one vulnerability of each of these packages."""

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
            body = json.dumps({"vulns": [known(asked)]} if asked in vulnerable else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield ("--vulnerability-service", "osv", "--osv-url", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def known(name: str) -> dict[str, Any]:
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9.9"}]}]
    return {
        "id": f"PYSEC-2026-{len(name)}", "aliases": [f"CVE-2026-{len(name)}"], "summary": "s", "details": "d",
        "affected": [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": ranges}],
    }  # fmt: skip


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    file = tmp_path / "pins.txt"
    file.write_text("good==1.0\nspoiled==2.0\n")
    return file


def ignoring(folder: Path, text: str) -> Path:
    file = folder / "ignored.txt"
    file.write_text(text)
    return file


@pytest.fixture(autouse=True)
def uncached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is between pip-audit and the server of the test."""
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_a_known_vulnerability_fails_and_is_told_with_what_mends_it(
    tmp_path: Path, pins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with service(OLD, "spoiled") as asked:
        assert audit.main([asked], pins, ignoring(tmp_path, "")) == 1
    told = capsys.readouterr()
    assert "VULNERABLE spoiled 2.0: CVE-2026-7 = PYSEC-2026-7, mended in 9.9.9" in told.err
    assert "2 pinned packages, 1 known vulnerabilities" in told.out


def test_nothing_known_is_well(tmp_path: Path, pins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with service(OLD) as asked:
        assert audit.main([asked], pins, ignoring(tmp_path, "")) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out == "2 pinned packages, 0 known vulnerabilities (osv)\n"


@pytest.mark.parametrize("name", ["PYSEC-2026-7", "CVE-2026-7"])
def test_one_is_ignored_by_any_of_its_ids_and_its_reason_is_told(
    tmp_path: Path, pins: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text = f"{name} the function is never called here\nCVE-2020-1 went away a while ago\n"
    with service(OLD, "spoiled") as asked:
        assert audit.main([asked], pins, ignoring(tmp_path, text)) == 0
    told = capsys.readouterr().out
    assert "mended in 9.9.9. the function is never called here" in told
    assert "No longer found, to be taken out of ignored-vulnerabilities.txt: CVE-2020-1." in told


@pytest.mark.parametrize("text", ["CVE-2026-7", "CVE-2026-7 wontfix", "CVE-2026-7 # no harm", "spoiled is not used"])
def test_what_is_ignored_without_a_reason_fails(tmp_path: Path, pins: Path, text: str) -> None:
    with service(OLD, "spoiled") as asked:
        assert audit.main([asked], pins, ignoring(tmp_path, f"# comment\n\n{text}\n")) == 1


def test_what_the_product_ignores_has_its_reasons() -> None:
    audit.reasons_to_ignore(audit.IGNORED.read_text(encoding="utf-8"))


def test_who_knows_nothing_or_is_away_is_told_and_no_failure(
    tmp_path: Path, pins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    away = ("--vulnerability-service", "osv", "--osv-url", "http://127.0.0.1:9")
    with service("spoiled") as ignorant:
        assert audit.main([away, ignorant], pins, ignoring(tmp_path, "")) == 0
    told = capsys.readouterr().out
    assert told.startswith("NOT AUDITED: no service of known vulnerabilities can be asked from here.")
    assert "it knows nothing of jinja2" in told
    assert "pip-audit gave no report" in told


def test_the_first_service_that_can_be_asked_is(tmp_path: Path, pins: Path) -> None:
    away = ("--vulnerability-service", "osv", "--osv-url", "http://127.0.0.1:9")
    with service(OLD, "spoiled") as asked:
        assert audit.main([away, asked], pins, ignoring(tmp_path, "")) == 1


def test_pins_that_cannot_be_read_fail(tmp_path: Path, pins: Path) -> None:
    pins.write_text("good==1.0\nnot a pin\n")
    with service(OLD) as asked:
        assert audit.main([asked], pins, ignoring(tmp_path, "")) == 1


def test_every_requirement_is_among_the_pins() -> None:
    pinned = set(audit.PINS.read_text(encoding="utf-8").splitlines())
    required = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert {re.sub(r"\[.*\]", "", line.split()[0]) for line in required if line[:1].isalpha()} <= pinned


def test_what_bandit_leaves_to_ruff_ruff_looks_for() -> None:
    tools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    left = {f"S{check[1:]}" for check in tools["bandit"]["skips"]} - {"S404"}
    assert left == {"S608"}
    assert left <= set(tools["ruff"]["lint"]["select"])


def test_what_bandit_is_told_to_pass_over_is_one_check_with_a_reason() -> None:
    files = [
        file for folder in ("include", "plugins", "dags", "embedded") for file in (REPOSITORY / folder).rglob("*.py")
    ]
    marked = [line for file in files for line in file.read_text(encoding="utf-8").splitlines() if "# nosec" in line]
    assert len(marked) > 10
    assert [line for line in marked if not re.search(r"  # nosec B\d{3}( B\d{3})*  # \w.{3,}$", line)] == []
