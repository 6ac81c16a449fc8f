"""One look after another for all who wait: quick while it works, and no flood of logins while the warehouse refuses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from data_api_app.waiting import Waiting
from datamart.errors import TransientFault


class Refusing:
    """A warehouse that refuses each session, as after its password was changed."""

    def __init__(self) -> None:
        self.asked = 0

    async def ask(self, _: Any) -> Any:
        self.asked += 1
        raise TransientFault("The warehouse did not answer or gave up (28P01): password authentication failed.")


def test_a_warehouse_that_refuses_is_asked_again_after_a_pause(caplog: pytest.LogCaptureFixture) -> None:
    sources: Any = Refusing()
    airflow: Any = None
    answer = asyncio.run(Waiting(sources, airflow).end_of("ingest_upload", "r", 1, "token", 0.5))
    assert answer is None
    assert sources.asked == 1
    assert "cannot be answered now (TransientFault)" in caplog.text
