"""Form bodies as real clients write them: file names by RFC 8187, parts in base64 or quoted-printable, gzip bodies."""

from __future__ import annotations

import base64
import quopri
import re
import zlib
from email.message import Message

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import Request

from data_api_app.refusals import Refused, of_file
from datamart.parameter_names import shown_name
from datamart.uploads import too_large

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
MAX_FILES = 10
MAX_FIELDS = 100
CONTENT_ENCODINGS = ("gzip", "identity")
"""What a body may be packed with."""

_MAX_GZIP_MEMBERS = 16
_GZIP = 16 + zlib.MAX_WBITS
_AS_IT_IS = ("", "7bit", "8bit", "binary", "7-bit", "8-bit", "utf-8", "utf8", "none", "identity")
"""Transfer encodings that change nothing, as clients write them: the last six are not in RFC 2045."""
_BAD_QUOTED_PRINTABLE = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*(?:\r?\n|$))")


def media_type(request: Request) -> str:
    """The body's media type, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_form(request: Request) -> FormData:
    """The fields and files of a form; none when the body is no form. The caller closes it.

    Raises:
        Refused: 400, when it cannot be read.
    """
    kind = media_type(request)
    try:
        if kind == MULTIPART:
            if not _has_boundary(request):
                await _require_empty(request)
                return FormData()
            stream = request.stream()
            parser = _Parser(request.headers, stream, max_files=MAX_FILES, max_fields=MAX_FIELDS)
            return await parser.parse()
        if kind == URLENCODED:
            return await FormParser(request.headers, request.stream(), max_fields=MAX_FIELDS).parse()
    except MultiPartException as error:
        raise Refused(400, f"The form cannot be read. {error.message}") from None
    except (LookupError, ValueError):  # charsets that do not exist, or that decode nothing
        raise Refused(400, "The form cannot be read. Send it as multipart/form-data in UTF-8.") from None
    return FormData()


async def file_content(part: UploadFile) -> bytes:
    """The bytes of a file, decoded when its part says that they are encoded.

    Raises:
        Refused: 400, when they are not what their encoding makes.
    """
    body = await part.read()
    try:
        return _decoded(body, _transfer_encoding(part.headers))
    except ValueError as error:
        raise Refused(400, f"The file in the form cannot be read. {error}") from None


def unpacked(headers: Headers, body: bytes, max_bytes: int) -> bytes:
    """A body without the Content-Encoding that it was sent with.

    Raises:
        Refused: 413 when it has more than ``max_bytes``, 400 when it is damaged, 415 when the encoding is not known.
    """
    listed = ",".join(headers.getlist("content-encoding")).split(",")
    encodings = [one for name in listed if (one := name.strip().lower()) not in ("", "identity")]
    if not encodings:
        return body
    if encodings not in (["gzip"], ["x-gzip"]):
        raise Refused(
            415,
            f"The Content-Encoding {shown_name(', '.join(encodings))} is not known. Send one of: "
            f"{', '.join(CONTENT_ENCODINGS)}.",
            headers={"Accept-Encoding": ", ".join(CONTENT_ENCODINGS)},
        )
    try:
        return _gunzipped(body, max_bytes)
    except (zlib.error, ValueError):
        raise Refused(
            400, "The body is not the gzip data that its Content-Encoding says. Pack it again, or send it unpacked."
        ) from None


def _gunzipped(body: bytes, max_bytes: int) -> bytes:
    """All members of a gzip body; those of more than ``max_bytes`` are not unpacked any further."""
    found = bytearray()
    for _ in range(_MAX_GZIP_MEMBERS):
        member = zlib.decompressobj(_GZIP)
        found += member.decompress(body, max_bytes + 1 - len(found))
        if len(found) > max_bytes:
            raise of_file(too_large())
        if not member.eof:
            raise ValueError("It ends too early.")
        body = member.unused_data.lstrip(b"\0")
        if not body:
            return bytes(found)
    raise ValueError("It has too many members.")


class _Parser(MultiPartParser):
    """Starlette's parser, which knows neither ``filename*`` nor Content-Transfer-Encoding."""

    def on_headers_finished(self) -> None:
        """A part begins: its name, and whether it is a file."""
        part = self._current_part
        disposition = (part.content_disposition or b"").decode("latin-1")
        if "*" in disposition:
            name = _extended_name(disposition)
            if name is not None:
                quoted = name.replace("\\", "\\\\").replace('"', '\\"')
                own = quoted.encode(self._charset, "replace")
                part.content_disposition = disposition.encode("latin-1") + b'; filename="' + own + b'"'
        encoding = _transfer_encoding(Headers(raw=part.item_headers))
        if encoding not in (*_AS_IT_IS, "base64", "quoted-printable"):
            raise MultiPartException(
                f"A part has the Content-Transfer-Encoding {shown_name(encoding)}. Send it as it is (binary), in "
                "base64 or in quoted-printable."
            )
        super().on_headers_finished()

    def on_part_end(self) -> None:
        """A part ends; the value of a field is decoded."""
        part = self._current_part
        if part.file is None:
            try:
                part.data = bytearray(_decoded(bytes(part.data), _transfer_encoding(Headers(raw=part.item_headers))))
            except ValueError as error:
                raise MultiPartException(str(error)) from None
        super().on_part_end()


def _extended_name(disposition: str) -> str | None:
    """The file name of a part that has it as ``filename*`` only."""
    message = Message()
    message["Content-Disposition"] = disposition
    values = [value for name, value in message.get_params([], "Content-Disposition") if name == "filename"]
    if not values or any(isinstance(value, str) for value in values):  # a plain name goes before
        return None
    charset, _, text = map(str, values[0])
    try:
        return text.encode("latin-1").decode(charset)
    except (LookupError, ValueError):
        raise MultiPartException(
            'The file name (filename*) of a part cannot be read. Send it as filename="jobs.csv".'
        ) from None


def _transfer_encoding(headers: Headers) -> str:
    return headers.get("content-transfer-encoding", "").strip().lower()


def _decoded(body: bytes, encoding: str) -> bytes:
    """A part's bytes without its transfer encoding.

    Raises:
        ValueError: they are not what it makes.
    """
    if encoding == "base64":
        try:
            return base64.b64decode(b"".join(body.split()), validate=True)
        except ValueError:
            raise ValueError("It is not the base64 that its Content-Transfer-Encoding says.") from None
    if encoding == "quoted-printable":
        if _BAD_QUOTED_PRINTABLE.search(body):
            raise ValueError("It is not the quoted-printable text that its Content-Transfer-Encoding says.")
        return quopri.decodestring(body)
    return body


def _has_boundary(request: Request) -> bool:
    message = Message()
    message["Content-Type"] = request.headers.get("content-type", "")
    return bool(message.get_boundary())


async def _require_empty(request: Request) -> None:
    """A form without a boundary has no body: some clients declare a form and send none."""
    if await request.body():
        raise Refused(
            400,
            "The header Content-Type has no boundary, so the form cannot be split into parts. Do not set this "
            "header yourself; curl -F and the form functions of HTTP libraries do.",
        )
