"""The files of the pages: they know the product's own codes, need no other host, and never read text as markup."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from data_api_app.page_routes import FILES, PAGES
from datamart import rules
from datamart.loads import Verdict
from datamart.reader import COLUMN_COUNT, UNCLOSED_QUOTE
from datamart.reasons import EXPECTED
from datamart.validation import UNKNOWN_REFERENCE

SCRIPTS = FILES / "files"
VENDOR = SCRIPTS / "vendor"
OWN = sorted(
    path for path in FILES.rglob("*") if path.suffix in (".html", ".js", ".css", ".svg") and VENDOR not in path.parents
)
NAMES = [str(path.relative_to(FILES)) for path in OWN]

_NAMESPACE = 'xmlns="http://www.w3.org/2000/svg"'
_HOST = re.compile(r"[a-z][a-z0-9+.-]*://|(?<!:)//[a-z0-9\[_$]", re.IGNORECASE)
_READ_AS_CODE = re.compile(
    r"(?:inner|outer)HTML|insertAdjacentHTML|document\s*\.\s*write|\beval\b|\bFunction\s*\(|setHTML|srcdoc|DOMParser"
    r"|createContextualFragment|javascript:|\bset(?:Timeout|Interval)\s*\(\s*[\"'`]",
    re.IGNORECASE,
)
_WINDOWS = re.compile(r"\b(?:alert|confirm|prompt)\s*\(|\bwindow\s*\.\s*open\b")
_MARKUP = re.compile(r"</?[a-z!][^\n]*>", re.IGNORECASE)
_HANDLER_AS_TEXT = re.compile(r"""(?:\bstyle|\bon[a-z]+)["']?\s*[:,]\s*["'`]""")
_IMPORTED = re.compile(r"""(?:\bfrom\s+|\bimport\s*\(?\s*)["']([^"']+)["']""")


class _Document(HTMLParser):
    """What a document brings with it, and what it asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.asked: list[str] = []
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.inline += [name for name, _ in attrs if name == "style" or name.startswith("on")]
        self.asked += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "style" or (tag == "script" and "src" not in dict(attrs)):
            self.inline.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._open = "" if tag == self._open else self._open

    def handle_data(self, data: str) -> None:
        if self._open == "script" and data.strip():
            self.inline.append("script")


def read(text: str) -> _Document:
    document = _Document()
    document.feed(text)
    document.close()
    return document


def other_hosts(text: str) -> list[str]:
    """Addresses of other hosts; that of SVG's own namespace is a name, which nobody asks."""
    return _HOST.findall(text.replace(_NAMESPACE, ""))


def read_as_code(text: str) -> list[str]:
    """Ways by which text becomes markup or a program."""
    return _READ_AS_CODE.findall(text)


def windows(text: str) -> list[str]:
    """Dialogs and windows that are the browser's and not the page's."""
    return _WINDOWS.findall(text)


def written_into(name: str, text: str) -> list[str]:
    """Scripts, styles and handlers within a document, or markup within a script."""
    if name.endswith((".html", ".svg")):
        return read(text).inline
    return _MARKUP.findall(text) + _HANDLER_AS_TEXT.findall(text) if name.endswith(".js") else []


def needed(path: Path) -> Iterator[Path]:
    """The files that a page's file asks for."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        yield from (FILES / address.replace("../page-files/", "files/") for address in read(text).asked)
    elif path.suffix == ".js":
        yield from (path.parent / address for address in _IMPORTED.findall(text))


def wrong_sums(folder: Path) -> list[str]:
    """Libraries that are not what SHA256SUMS says, or are there or listed alone."""
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.js")}
    return sorted(name for name, _ in listed.items() ^ found.items())


def keys_of(script: str, name: str) -> set[str]:
    """The keys of an object that a script declares, one on a line."""
    (body,) = re.findall(rf"const {name} = \{{\n(.*?)^\}};", script, re.DOTALL | re.MULTILINE)
    return set(re.findall(r"^ {2}(\w+): ", body, re.MULTILINE))


def reason_codes() -> set[str]:
    """All that the product gives for rejecting a row."""
    own = {value for name, value in vars(rules).items() if name.isupper() and isinstance(value, str)}
    return own | {COLUMN_COUNT, UNCLOSED_QUOTE, UNKNOWN_REFERENCE}


def test_every_reason_and_every_verdict_has_its_words_and_no_other() -> None:
    script = (SCRIPTS / "reasons.js").read_text(encoding="utf-8")
    assert keys_of(script, "REASONS") == reason_codes()
    assert keys_of(script, "VERDICTS") == {verdict.value for verdict in Verdict}
    assert len(reason_codes()) >= 12
    assert all(form in script for form in EXPECTED.values())


def test_the_filter_offers_every_verdict_that_the_ledger_keeps() -> None:
    (offered,) = re.findall(r"const VERDICTS = \[(.*)\];", (SCRIPTS / "loads.js").read_text(encoding="utf-8"))
    assert set(re.findall(r'"(\w+)"', offered)) == {verdict.value for verdict in Verdict} - {Verdict.DRY_RUN.value}


def test_a_code_without_words_would_be_noticed() -> None:
    script = (
        'const REASONS = {\n  missing: "a: b",\n  too_long: "c",\n};\nconst VERDICTS = {\n  loaded: ["", "x"],\n};\n'
    )
    assert keys_of(script, "REASONS") == {"missing", "too_long"}
    assert keys_of(script, "VERDICTS") == {"loaded"}
    with pytest.raises(ValueError, match="not enough values"):
        keys_of(script, "NOTHING")


def test_libraries_are_those_that_were_taken_and_the_one_that_is_imported() -> None:
    assert wrong_sums(VENDOR) == []
    (library,) = VENDOR.glob("*.js")
    imported = [
        address for path in SCRIPTS.glob("*.js") for address in _IMPORTED.findall(path.read_text(encoding="utf-8"))
    ]
    assert [address for address in imported if "vendor" in address] == [f"./vendor/{library.name}"]
    (version,) = re.findall(r"-(\d+\.\d+\.\d+)\.", library.name)
    assert f'"{version}"' in library.read_text(encoding="utf-8")


def test_a_library_that_is_another_one_would_be_noticed(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(VENDOR, tmp_path / "vendor"))
    (library,) = folder.glob("*.js")
    (folder / "more.js").write_text("1")
    assert wrong_sums(folder) == ["more.js"]
    (folder / "more.js").unlink()
    with library.open("a") as file:
        file.write(" ")
    assert set(wrong_sums(folder)) == {library.name}
    library.unlink()
    assert wrong_sums(folder) == [library.name]


def test_all_files_are_looked_at() -> None:
    assert {f"{page}.html" for page in PAGES} | {"files/charts.js", "files/style.css"} <= set(NAMES)
    assert len(NAMES) > 20
    assert not [name for name in NAMES if "vendor" in name]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_s_file_needs_this_server_alone_and_reads_no_text_as_markup(name: str) -> None:
    text = (FILES / name).read_text(encoding="utf-8")
    assert (other_hosts(text), read_as_code(text), windows(text), written_into(name, text)) == ([], [], [], [])
    assert [str(path) for path in needed(FILES / name) if not path.is_file()] == []


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example/x.js">', "fetch('http://x')", 'import "//cdn.example/x.js";', "url(//x.y/z)",
        "url(HTTPS://x)", "new WebSocket(`wss://x`)", "`//${host}/x`", "'//[::1]/'", 'xmlns="http://www.w3.org/2000/x"',
    ],
)  # fmt: skip
def test_another_host_would_be_noticed(text: str) -> None:
    assert other_hosts(text)


@pytest.mark.parametrize(
    "text", ["// A comment.", "  // another", "/** a */", r"/\/dags\/([^/]+)$/", "../x//", "a / b"]
)
def test_what_names_no_host_is_none(text: str) -> None:
    assert other_hosts(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "a.innerHTML = b", "a.outerHTML += b", "a['innerHTML'] = b", "a.insertAdjacentHTML('x', b)",
        "document.write(b)", "document . writeln(b)", "eval(b)", "(0, eval)(b)", "new Function(b)", "Function (b)",
        "range.createContextualFragment(b)", "new DOMParser()", "a.setHTMLUnsafe(b)", "el('iframe', { srcdoc: b })",
        "location = 'javascript:b'", "setTimeout('b', 1)",
    ],
)  # fmt: skip
def test_text_that_becomes_a_program_would_be_noticed(text: str) -> None:
    assert read_as_code(text)


@pytest.mark.parametrize("text", ["alert('x')", "if (confirm (x))", "prompt(x)", "window.open(x)", "window . open"])
def test_a_window_of_the_browser_would_be_noticed(text: str) -> None:
    assert windows(text)


@pytest.mark.parametrize("text", ['role: "alert"', "confirmation(x)", "function open(event) {}", "retrieval(x)"])
def test_what_only_sounds_like_it_is_none(text: str) -> None:
    assert (read_as_code(text), windows(text)) == ([], [])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.html", "<script>1</script>"), ("x.html", "<SCRIPT TYPE=module>1</SCRIPT>"), ("x.html", "<script></script>"),
        ("x.html", '<script src="x.js">1</script>'), ("x.html", '<p style="color: red">'), ("x.html", "<p STYLE=x>"),
        ("x.html", "<body onload=x()>"), ("x.html", '<a href="#" onclick="x()">'), ("x.html", "<style>p {}</style>"),
        ("x.svg", '<svg onload="x()">'), ("x.svg", "<svg><script>1</script></svg>"), ("x.svg", '<path style="x"/>'),
        ("x.js", "const a = '<b>';"), ("x.js", "`<img src=x onerror=y()>`"), ("x.js", "'</b>'"),
        ("x.js", "'<!-- -->'"), ("x.js", 'el("p", { style: "x" })'), ("x.js", "el('p', { onclick: `x` })"),
        ("x.js", 'a.setAttribute("style", "x")'),
    ],
)  # fmt: skip
def test_what_is_written_into_a_document_would_be_noticed(name: str, text: str) -> None:
    assert written_into(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.html", '<script src="x.js"></script><p data-on="x" class="style">onload=1</p>'), ("x.js", "a < b && c > d"),
        ("x.js", 'const only = "x", once = { lineStyle: { color: "x" } };'), ("x.js", "el('p', { click: () => x })"),
    ],
)  # fmt: skip
def test_what_is_not_written_into_it_is_none(name: str, text: str) -> None:
    assert written_into(name, text) == []


def test_a_file_that_is_not_there_would_be_noticed(tmp_path: Path) -> None:
    page, script = tmp_path / "x.html", tmp_path / "x.js"
    page.write_text('<script src="../page-files/gone.js"></script><link href="../page-files/style.css">')
    script.write_text('import { a } from "./gone.js";\nawait import("./gone_too.js");\nimport "./gone_as_well.js";\n')
    assert [path.name for path in needed(page) if not path.is_file()] == ["gone.js"]
    assert [path.name for path in needed(script)] == ["gone.js", "gone_too.js", "gone_as_well.js"]
