"""What programs and people read about the routes: answers with examples, the description of all, the page ``/docs``."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse, JSONResponse
from starlette.staticfiles import StaticFiles

from data_api_app.answers import (
    Backups,
    BackupStarted,
    Charts,
    Days,
    Error,
    Health,
    Load,
    Loads,
    Pending,
    RejectedRows,
    Restored,
    Restoring,
    Undoing,
    Undone,
    UploadAnswer,
)
from datamart.uploads import MOST_BYTES, MOST_ROWS

_ASSETS = str(files("fastapi_offline") / "static")

Responses = dict[int | str, dict[str, Any]]

MOST_SECONDS = 300.0
WaitSeconds = Annotated[
    float,
    Query(
        ge=0, le=MOST_SECONDS, allow_inf_nan=False, description="Seconds to wait for the end; then the answer is 202."
    ),
]

DESCRIPTION = """
Upload hires, departments and jobs, read the insights and the ledger, back tables up and bring them back.

Everything but the greeting asks who you are: send a token of Airflow (`Authorization: Bearer ...`, from its
`POST /auth/token`), a user's name and password (HTTP Basic, or the form fields `username` and `password`), or be logged
in to Airflow in this browser. What you may do in Airflow you may do here.

Parameters that a route does not know are refused; `POST /upload` and `GET /insights` let those pass that resemble no
known name, and name them in the header `Warning`. Bodies may be packed with gzip (`Content-Encoding: gzip`).

Errors are JSON, `{"error": "what happened and what to do"}`. Routes are the same with and without a slash at the end.
"""


def _json(model: Any, description: str, example: Any = None) -> dict[str, Any]:
    answer: dict[str, Any] = {"model": model, "description": description}
    if example is not None:
        answer["content"] = {"application/json": {"example": example}}
    return answer


def _error(description: str, example: str) -> dict[str, Any]:
    return _json(Error, description, {"error": example})


_UNKNOWN: Responses = {
    401: _error("Nobody, or a wrong token or password.", "The token is not valid (any more)."),
    429: _error("Too many wrong passwords.", "Too many wrong passwords for this name. Try again in 60 s."),
    500: _error("A fault of this server.", "Something went wrong here."),
    503: _error("Airflow, the warehouse or S3 does not answer.", "The Dag ingest_upload is paused."),
}
_GUARDED: Responses = _UNKNOWN | {
    400: _error(
        "A parameter that cannot work, or that is not known.", "There is no parameter 'dryRun'. Did you mean 'dry_run'?"
    ),
    403: _error("You may not do this.", "You may not see the Dag refresh_insights."),
}
OPEN: Responses = {200: {"description": "A greeting."}}

_UPLOAD_EXAMPLE = {
    "file": "hired_employees.csv", "type": "hired_employees",
    "columns": ["id", "name", "datetime", "department_id", "job_id"], "rows": 2,
    "result": "Errors founded on records failed, successfully uploaded 1 registers", "nrows_inserted": 1,
    "rows_failed": [
        {"id": "2", "name": "Ty Hofer", "datetime": "2021-05-30T05:43:46Z", "department_id": "8", "job_id": ""}
    ],
    "nrows_failed": 1, "duration(s)": 1.04, "verdict": "loaded", "code": None, "dry_run": False,
    "load_id": "4611686018427387904", "duplicate_of": None, "repairs": None,
    "counts": {"inserted": 1, "updated": 0, "unchanged": 0, "rejected": 1}, "warnings": {},
    "errors": [{"line": 2, "column": "job_id", "reason": "missing"}],
    "upload_id": "0123456789abcdef0123456789abcdef",
    "links": {
        "status": "/data-api/upload/0123456789abcdef0123456789abcdef",
        "run": "/dags/ingest_upload/runs/upload__0123456789abcdef0123456789abcdef",
        "load": "/data-api/loads/4611686018427387904",
        "rejected": "/data-api/loads/4611686018427387904/rejected.csv",
    },
}  # fmt: skip

_ENDS: Responses = {
    200: _json(UploadAnswer, "The file was judged row by row; `verdict` says what became of it.", _UPLOAD_EXAMPLE),
    202: _json(Pending, "It takes longer; ask again at the address in `Location`."),
    422: _error("The file was refused as a whole.", "The first line looks like a header of jobs but is not."),
}
_ENDS |= {410: _error("The answer of a dry run was not kept any longer.", "The answer was not kept any longer.")}
UPLOAD: Responses = (
    _GUARDED
    | _ENDS
    | {
        400: _error(
            "The form, the file's name or its number of rows.", "The file has 1001 rows; at most 1000 are allowed."
        ),
        409: _error("The Idempotency-Key stands for another file.", "This Idempotency-Key was used for another file."),
        413: _error("The file is too large.", "The file is larger than 2 MiB."),
        415: _error(
            "No form, no CSV, or a Content-Encoding that is not known.",
            "The file is a PDF, whatever its name. Send CSV in UTF-8.",
        ),
    }
)
UPLOAD_STATUS: Responses = _GUARDED | _ENDS | {404: _error("There is none.", "There is no such upload.")}
# The form's fields for name and password are not in it: pages that are made of it would send examples of them.
UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": f"CSV in UTF-8, 1 to {MOST_ROWS} rows, at most {MOST_BYTES // 1024**2} MiB.",
                        },
                    },
                }
            }
        },
    }
}

INSIGHTS: Responses = _GUARDED | {
    200: {
        "description": "Records in the report's order.",
        "headers": {
            "Data-Refreshed-At": {"schema": {"type": "string"}, "description": "When they were computed."},
            "Data-Complete-Up-To": {
                "schema": {"type": "string"},
                "description": "JSON: the number of the newest commit of each table that is in them.",
            },
            "Data-Behind": {"schema": {"type": "string"}, "description": "true: a table has changed since."},
            "Warning": {"schema": {"type": "string"}, "description": "Names of parameters that were ignored, if any."},
        },
        "content": {
            "application/json": {
                "schema": {"type": "array", "items": {"type": "object"}},
                "example": [{"department": "Accounting", "job": "Actuary", "q1": 0, "q2": 3, "q3": 0, "q4": 0}],
            },
            "text/csv": {"schema": {"type": "string"}},
        },
    }
}
LOADS: Responses = _GUARDED | {200: _json(Loads, "A page of loads.")}
LOAD: Responses = _GUARDED | {
    200: _json(Load, "The load."),
    404: _error("There is none.", "There is no load 1. See loads for those there are."),
}
REJECTED: Responses = _GUARDED | {
    200: {"description": "The rows.", "content": {"text/csv": {"schema": {"type": "string"}}}},
    404: _error("There is no such load, or it has none.", "Load 1 has no rejected rows."),
    410: _error("They were not kept any longer.", "The rejected rows of load 1 were kept until 2026-01-01."),
}
REJECTED_PAGE: Responses = REJECTED | {200: _json(RejectedRows, "The rows.")}
LOAD_DAYS: Responses = _GUARDED | {200: _json(Days, "The days, newest first.")}
CHARTS: Responses = _GUARDED | {200: _json(Charts, "All charts.")}
CHART: Responses = _GUARDED | {
    200: {"description": "The records.", "content": {"text/csv": {"schema": {"type": "string"}}}}
}
BACKUP: Responses = _GUARDED | {200: _json(BackupStarted, "It was started.")}
_NO_BACKUP: Responses = {404: _error("There is no such backup.", "There is no backup x. The newest are: y.")}
DRILL: Responses = (
    BACKUP
    | _NO_BACKUP
    | {409: _error("The backup is damaged, or there is none.", "The manifest of backup x is not what was written.")}
)
RESTORE_STATUS: Responses = _GUARDED | {
    200: _json(Restored, "The table is as it was then; of a dry run, what would change."),
    202: _json(Restoring, "It takes longer; ask again at the address in `Location`."),
    404: _error("There is none.", "There is no such restore."),
    409: _error("It cannot be done; nothing was touched.", "Part jobs/part-0 of backup x was changed (SHA-256)."),
}
RESTORE: Responses = (
    RESTORE_STATUS
    | _NO_BACKUP
    | {422: _error("The moment cannot be reached.", "There is no backup of jobs from before 2001-01-01T00:00:00Z.")}
)
UNDO_STATUS: Responses = _GUARDED | {
    200: _json(Undone, "The load's rows are what they were before it; of a dry run, what would change."),
    202: _json(Undoing, "It takes longer; ask again at the address in `Location`."),
    404: _error("There is none.", "There is no such undo."),
    409: _error(
        "Later loads have the same rows, or there is nothing to undo; nothing was touched.", "Load 1 is undone already."
    ),
}
UNDO: Responses = UNDO_STATUS | {404: _error("There is no such load.", "load_id: there is no load 1 of a table.")}
BACKUPS: Responses = _GUARDED | {200: _json(Backups, "The backups, newest first.")}
HEALTH: Responses = _GUARDED | {
    200: _json(Health, "All is well, or nothing critical is found.", {"healthy": True, "findings": []}),
    503: _json(Health, "Something critical is found, or who knows cannot be asked."),
}


def install(app: FastAPI) -> None:
    """Add the description and the page that shows it, both for those who are known."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _description(app)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]

    @app.get("/openapi.json", include_in_schema=False)
    async def description(request: Request) -> JSONResponse:
        return JSONResponse(described() | {"servers": [{"url": request.scope.get("root_path", "") or "/"}]})

    @app.get("/docs", include_in_schema=False)
    async def page(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        return get_swagger_ui_html(
            openapi_url=f"{root}/openapi.json",
            title="Hiring data",
            swagger_js_url=f"{root}/docs-assets/swagger-ui-bundle.js",
            swagger_css_url=f"{root}/docs-assets/swagger-ui.css",
            swagger_favicon_url=f"{root}/docs-assets/favicon.png",
        )

    app.mount("/docs-assets", StaticFiles(directory=_ASSETS), name="docs-assets")


def _description(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schema["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "From Airflow's POST /auth/token."},
        "password": {"type": "http", "scheme": "basic"},
        "session": {"type": "apiKey", "in": "cookie", "name": "_token", "description": "Airflow's own login."},
    }
    schema["security"] = [{"token": []}, {"password": []}, {"session": []}]
    # Parameters that cannot work are answered with 400, not with the framework's 422.
    for path in schema["paths"].values():
        for operation in path.values():
            declared = operation["responses"].get("422", {})
            if "HTTPValidationError" in str(declared.get("content")):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
    return schema
