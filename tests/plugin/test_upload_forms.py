"""Uploads in the shapes that real clients send: what is read, and what is refused with the way out."""

from __future__ import annotations

import base64
import gzip
import quopri
import zlib
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount

from data_api_app import refusals
from data_api_app.guard import MOST_BODY, Guard
from data_api_app.parameters import require_known
from data_api_app.passwords import Passwords
from data_api_app.upload_routes import _file_in
from datamart.uploads import MOST_BYTES
from tests.plugin.guarded import LOGIN, Answer, World, posted
from tests.rest import form

BEARER = {"Authorization": "Bearer ann-token"}
BODY = "1,Bäcker\r\n2,Smith = Söhne\r\n".encode()
EXAMPLE = 'curl -H "Authorization: Bearer $token" -F file=@jobs.csv "$AIRFLOW_URL/data-api/upload"'


@pytest.fixture
def world() -> World:
    """The envelope of an upload behind the guard: name and bytes of the file, as the route reads them."""
    app = FastAPI(redirect_slashes=False, dependencies=[Depends(require_known)])

    @app.post("/upload", openapi_extra={"requestBody": {"content": {"x": {"schema": {"properties": {"file": {}}}}}}})
    async def upload(request: Request) -> JSONResponse:
        name, body = await _file_in(request)
        return JSONResponse({"name": name, "body": body.decode("latin-1")})

    refusals.install(app)
    found = World(prefix="/data-api")
    app.add_middleware(Guard, passwords=Passwords(found.checker), open_paths=())
    found.app = Starlette(routes=[Mount(found.prefix, app=app)])
    return found


def assert_read(answer: Answer, name: str = "jobs.csv", body: bytes = BODY) -> None:
    assert answer.status == 200, answer.json
    assert (answer.json["name"], answer.json["body"].encode("latin-1")) == (name, body)


def assert_refused(answer: Answer, status: int, *words: str) -> None:
    assert (answer.status, next(iter(answer.json))) == (status, "error")
    for one in words:
        assert one in answer.json["error"], answer.json["error"]


def part(headers: str, body: bytes, *, edge: str = "edge") -> tuple[dict[str, str], bytes]:
    """A form of one part with these headers."""
    content = f"--{edge}\r\n{headers}\r\n\r\n".encode() + body + f"\r\n--{edge}--\r\n".encode()
    return BEARER | {"Content-Type": f"multipart/form-data; boundary={edge}"}, content


def send(world: World, headers: dict[str, str], body: bytes) -> Answer:
    return world.send(posted("/upload", headers=headers, content=body))


# The field's name


@pytest.mark.parametrize("field", ["files", "file[]", "csv", "File", "upload", "x" * 100, "é"])
def test_a_file_under_another_name_is_told_both_names(world: World, field: str) -> None:
    answer = world.send(posted("/upload", headers=BEARER, files={field: ("jobs.csv", BODY)}))
    shown = field if field.isascii() and len(field) < 60 else field[:60].encode("ascii", "backslashreplace").decode()
    assert_refused(answer, 400, shown.replace("\\", "/"), "must be named 'file'", EXAMPLE)
    assert "holds 1" not in answer.json["error"]


def test_forms_that_hold_no_file_or_several(world: World) -> None:
    two = [("file", ("jobs.csv", BODY)), ("csv", ("jobs.csv", BODY))]
    assert_refused(world.send(posted("/upload", headers=BEARER, files=two)), 400, "2 files, in 'file', 'csv'")
    none, kind = form(("comment", None, b"1"))
    assert_refused(send(world, BEARER | {"Content-Type": kind}, none), 400, "holds no file", EXAMPLE)
    text, kind = form(("file", None, b"1,a\n"))
    assert_refused(send(world, BEARER | {"Content-Type": kind}, text), 400, "is text", EXAMPLE)


# Bodies that are no form


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (None, "no Content-Type"),
        ("application/json", "JSON"),
        ("application/vnd.api+json", "JSON"),
        ("application/x-www-form-urlencoded", "curl -d"),
        ("text/csv", "'text/csv', not a form"),
        ("application/octet-stream", "--data-binary"),
        ("multipart/mixed; boundary=x", "'multipart/mixed', not a form"),
    ],
)
def test_a_body_that_is_no_form_is_told_how_to_send_one(world: World, kind: str | None, words: str) -> None:
    answer = send(world, BEARER | ({"Content-Type": kind} if kind else {}), b"1,a\n")
    assert_refused(answer, 415, words, EXAMPLE)


def test_a_large_file_as_curl_sends_it_without_a_form_is_told_how_to_send_it(world: World) -> None:
    for body in (b"1,Baker\n" * 200_000, b"dry_run=true&" * 200):
        answer = send(world, BEARER | {"Content-Type": "application/x-www-form-urlencoded"}, body)
        assert_refused(answer, 415, "--data-binary", EXAMPLE)


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; x=y"])
@pytest.mark.parametrize("known", [True, False])
def test_a_form_without_a_boundary(world: World, kind: str, known: bool) -> None:
    _, body = part('Content-Disposition: form-data; name="file"; filename="jobs.csv"', BODY)
    answer = send(world, (BEARER if known else {}) | {"Content-Type": kind}, body)
    assert_refused(answer, 400, "has no boundary", "Do not set this header yourself")


@pytest.mark.parametrize("known", [True, False])
def test_an_empty_body_is_no_form_and_needs_no_boundary(world: World, known: bool) -> None:
    answer = send(world, (BEARER if known else {}) | {"Content-Type": "multipart/form-data"}, b"")
    assert_refused(answer, *((400, "holds no file") if known else (401, "Who are you?")))


def test_a_form_that_is_nonsense(world: World) -> None:
    assert_refused(send(world, BEARER | {"Content-Type": "multipart/form-data; boundary=x"}, b"garbage"), 400, "form")


# Names of files


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ("filename*=UTF-8''jobs.csv", "jobs.csv"),
        ("filename*=utf-8'en'jobs%20%C3%A9%22%5C.csv", 'jobs é"\\.csv'),
        ("filename*=iso-8859-1''jobs%E9.csv", "jobsé.csv"),
        ("filename*=\"UTF-8''jobs.csv\"", "jobs.csv"),
        ("FILENAME*=UTF-8''jobs.csv", "jobs.csv"),
        ("filename*0*=UTF-8''jo; filename*1=bs.csv", "jobs.csv"),
        ("filename=jobs.csv; filename*=UTF-8''other.csv", "jobs.csv"),
        ('filename="jobs*.csv"', "jobs*.csv"),
    ],
)
def test_the_name_may_be_an_extended_one(world: World, parameters: str, name: str) -> None:
    assert_read(send(world, *part(f'Content-Disposition: form-data; name="file"; {parameters}', BODY)), name)


@pytest.mark.parametrize("value", ["nothing''jobs.csv", "UTF-8''%FF.csv", "idna''%FF"])
def test_an_extended_name_that_cannot_be_read(world: World, value: str) -> None:
    sent = part(f'Content-Disposition: form-data; name="file"; filename*={value}', BODY)
    assert_refused(send(world, *sent), 400, "filename*")


# Transfer encodings


def encoded(encoding: str, body: bytes) -> tuple[dict[str, str], bytes]:
    names = 'Content-Disposition: form-data; name="file"; filename="jobs.csv"'
    return part(f"{names}\r\nContent-Transfer-Encoding: {encoding}", body)


@pytest.mark.parametrize(
    "encoding", ["7bit", "8bit", "binary", "Binary", "", "8-bit", "7-Bit", "UTF-8", "utf8", "none", "identity"]
)
def test_a_part_that_says_it_is_as_it_is(world: World, encoding: str) -> None:
    assert_read(send(world, *encoded(encoding, BODY)))


@pytest.mark.parametrize("encoding", ["base64", "BASE64"])
def test_a_part_in_base64(world: World, encoding: str) -> None:
    assert_read(send(world, *encoded(encoding, base64.encodebytes(BODY))))
    assert_read(send(world, *encoded(encoding, base64.b64encode(BODY))))


def test_a_part_in_quoted_printable(world: World) -> None:
    assert_read(send(world, *encoded("quoted-printable", quopri.encodestring(BODY))))
    soft = b"1,B=C3=A4c=\r\nker\r\n2,Smith =3D S=C3=B6hne\r\n"
    assert_read(send(world, *encoded("Quoted-Printable", soft)))


@pytest.mark.parametrize(
    ("encoding", "body", "words"),
    [
        ("base64", b"1,Baker\n", "base64"),
        ("base64", b"AAA", "base64"),
        ("quoted-printable", b"1,a=b\n", "quoted-printable"),
        ("uuencode", b"begin 644 x\n", "'uuencode'"),
        ("x-unheard-of", b"1,a\n", "'x-unheard-of'"),
    ],
)
def test_a_part_that_cannot_be_decoded(world: World, encoding: str, body: bytes, words: str) -> None:
    assert_refused(send(world, *encoded(encoding, body)), 400, words)


def test_a_name_and_a_password_in_encoded_parts(world: World) -> None:
    parts = b"".join(
        f"--edge\r\nContent-Disposition: form-data; name={name}\r\nContent-Transfer-Encoding: base64\r\n\r\n".encode()
        + base64.b64encode(value.encode()) + b"\r\n"
        for name, value in LOGIN.items()
    )  # fmt: skip
    _, file = part('Content-Disposition: form-data; name="file"; filename="jobs.csv"', BODY)
    assert_read(send(world, {"Content-Type": "multipart/form-data; boundary=edge"}, parts + file))


# Packed bodies


def gzipped_form(world: World, file: bytes = BODY, encoding: str = "gzip") -> Answer:
    names = 'Content-Disposition: form-data; name="file"; filename="jobs.csv"'
    headers, body = part(names, file)
    return send(world, headers | {"Content-Encoding": encoding}, gzip.compress(body))


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", "identity, gzip"])
def test_a_gzip_body_is_read(world: World, encoding: str) -> None:
    assert_read(gzipped_form(world, encoding=encoding))


def test_a_gzip_body_of_several_members_is_read(world: World) -> None:
    headers, body = part('Content-Disposition: form-data; name="file"; filename="jobs.csv"', BODY)
    members = gzip.compress(body[:50]) + gzip.compress(body[50:])
    assert_read(send(world, headers | {"Content-Encoding": "gzip"}, members))


def test_name_and_password_in_a_gzip_body_are_read(world: World) -> None:
    plain = posted("/upload", data=LOGIN, files={"file": ("jobs.csv", BODY)})
    headers = {"Content-Type": plain.headers["content-type"], "Content-Encoding": "gzip"}
    assert_read(send(world, headers, gzip.compress(plain.read())))


def test_the_largest_file_may_be_packed_and_one_that_is_larger_is_refused(world: World) -> None:
    assert_read(gzipped_form(world, b"x" * MOST_BYTES), body=b"x" * MOST_BYTES)
    assert_refused(gzipped_form(world, b"x" * (MOST_BODY + 1)), 413, "larger than 2 MiB")


def test_a_bomb_is_refused_before_it_has_gone_off(world: World) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(128)) + packer.flush()
    assert len(bomb) < MOST_BODY
    headers, _ = part("", b"")
    answer = send(world, headers | {"Content-Encoding": "gzip"}, bomb)
    assert_refused(answer, 413, "larger than 2 MiB")


@pytest.mark.parametrize(
    "damaged",
    [
        lambda whole: whole[:-9],
        lambda whole: whole[:20],
        lambda whole: whole[:0],
        lambda whole: whole[:0] + b"1,a\n",
        lambda whole: whole + b"more",
        lambda whole: whole[:40] + bytes([whole[40] ^ 255]) + whole[41:],
        lambda whole: whole + gzip.compress(b"") * 100_000,
    ],
    ids=["cut", "begun", "empty", "plain", "trailing", "changed", "members"],
)
def test_a_gzip_body_that_is_damaged(world: World, damaged: Any) -> None:
    headers, body = part('Content-Disposition: form-data; name="file"; filename="jobs.csv"', BODY)
    answer = send(world, headers | {"Content-Encoding": "gzip"}, damaged(gzip.compress(body)))
    assert answer.status in (400, 413), answer.json
    if len(damaged(gzip.compress(body))) < MOST_BODY:
        assert_refused(answer, 400, "not the gzip data")


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "gzip, br", "nonsense"])
def test_other_encodings_are_told_which_there_are(world: World, encoding: str) -> None:
    answer = gzipped_form(world, encoding=encoding)
    assert_refused(answer, 415, f"'{encoding}'", "Send one of: gzip, identity.")
    assert answer.headers["accept-encoding"] == "gzip, identity"


def test_identity_is_no_encoding(world: World) -> None:
    headers, body = part('Content-Disposition: form-data; name="file"; filename="jobs.csv"', BODY)
    assert_read(send(world, headers | {"Content-Encoding": "identity"}, body))
