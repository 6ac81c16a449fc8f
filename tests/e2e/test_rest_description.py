"""The API does what its description says, asked with values that nobody has thought of (schemathesis)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)

from tests.product import Product
from tests.rest import Rest
from tests.stack import Stack

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 15
STARTS = {"/backup": 4, "/drill": 4}
"""Examples for routes that start runs which go on afterwards."""


@pytest.fixture(scope="module")
def rest(stack: Stack, product: Product) -> Iterator[Rest]:
    """Nobody here looks at the insights, so that they need not be computed anew for each upload."""
    product.known("ingest_upload")
    with product.paused("refresh_insights"):
        yield Rest.of(stack)


@pytest.fixture(scope="module")
def description(rest: Rest) -> Any:
    found = schemathesis.openapi.from_dict(rest.get("/openapi.json").json())
    found.config.update(base_url=f"{rest.url}/data-api")
    return found


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_answers_are_those_of_the_description(description: Any, rest: Rest, mode: GenerationMode) -> None:
    """Values that the description allows, and those that it does not."""
    asked = []
    for found in description.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.POSITIVE or operation.path_parameters or operation.query:
            ask(operation, rest, mode)
            asked.append(operation.label)
    assert len(asked) >= 6, asked


def ask(operation: Any, rest: Rest, mode: GenerationMode) -> None:
    examples = STARTS.get(operation.path, EXAMPLES)

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answered(case: Any) -> None:
        # An address with a line end is none of a mounted application: Airflow itself answers.
        assume(not any("\n" in unquote(str(value)) for value in (case.path_parameters or {}).values()))
        if case.operation.path == "/upload" and mode is GenerationMode.POSITIVE:
            case.query = {**(case.query or {}), "wait": 0}
        case.call_and_validate(headers=rest.bearer, checks=CHECKS, timeout=60)

    answered()


def test_every_route_has_words_and_answers(rest: Rest) -> None:
    described = rest.get("/openapi.json").json()
    assert described["openapi"].startswith("3.")
    for path, operations in described["paths"].items():
        for method, one in operations.items():
            where = f"{method} {path}"
            assert one["summary"], where
            assert one.get("description"), where
            assert all(answer["description"] for answer in one["responses"].values()), where
            assert all("description" in parameter for parameter in one.get("parameters", [])), where
