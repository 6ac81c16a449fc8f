"""Answers that are no success: always JSON ``{"error": ...}`` with a sentence that says what to do, never a trace."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from datamart.errors import ConfigurationError, DatamartError, FileRejected, TransientFault

log = logging.getLogger(__name__)

_FILE_STATUS = {"too_large": 413, "not_csv": 415}
_WORDS = {
    404: "There is no such page here. See docs for the routes there are.",
    405: "This method is not allowed here. See docs for the routes there are.",
}


class Refused(HTTPException):
    """An answer with a status, a sentence, and what else belongs to it."""

    def __init__(
        self, status: int, message: str, *, headers: Mapping[str, str] | None = None, **fields: object
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.fields = fields

    def response(self) -> JSONResponse:
        """What is sent."""
        return JSONResponse({"error": self.detail, **self.fields}, self.status_code, self.headers)


def install(app: FastAPI) -> None:
    """Answer every error of the application in this way."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _wrong_parameters)
    app.add_exception_handler(DatamartError, _ours)


def of_file(refusal: FileRejected) -> Refused:
    """A file that may not be uploaded."""
    return Refused(_FILE_STATUS.get(refusal.code, 400), str(refusal), code=refusal.code)


def of_fault(error: DatamartError) -> Refused:
    """A server that this one needs."""
    if isinstance(error, FileRejected):
        return of_file(error)
    if isinstance(error, TransientFault):
        return Refused(503, f"{error} Try again in a moment.", headers={"Retry-After": "5"})
    return Refused(500, f"{error}")


def unavailable(message: str) -> Refused:
    """Airflow does not do what it is asked to."""
    return Refused(503, message, headers={"Retry-After": "30"})


async def _http(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, Refused):
        return error.response()
    assert isinstance(error, HTTPException)  # nosec B101  # registered for this kind alone
    message = _WORDS.get(error.status_code, str(error.detail))
    return JSONResponse({"error": message}, error.status_code, error.headers)


async def _wrong_parameters(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # nosec B101  # registered for this kind alone
    return JSONResponse({"error": " ".join(map(_wrong, error.errors()))}, 400)


def _wrong(one: Mapping[str, Any]) -> str:
    """One parameter that cannot work; its value is not repeated."""
    name = str(one["loc"][-1])
    return f"{name}: {one['msg'][:1].lower()}{one['msg'][1:]}."


async def _ours(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DatamartError)  # nosec B101  # registered for this kind alone
    return of_fault(error).response()


def unexpected(method: str, error: Exception) -> Refused:
    """Something that nobody has foreseen; only its kind and place are logged, as its message may quote a row."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
    log.error("%s: an unexpected %s at %s", method, type(error).__name__, place)
    return Refused(500, "Something went wrong here. Try again; if it stays so, report what you sent and when.")


@contextmanager
def parameter() -> Iterator[None]:
    """What cannot work within is what the client has sent."""
    try:
        yield
    except ConfigurationError as error:
        raise Refused(400, str(error)) from None
