"""Pages of other sites do nothing in the name of who is signed in."""

from __future__ import annotations

import pytest

from tests.plugin.guarded import (
    HOST,
    WRITES,
    World,
    basic,
    cookie,
    posted,
)
from tests.plugin.test_guard_credentials import EXPLICIT

BROWSER = {"cookie": cookie("ann-token"), "basic": {"Authorization": basic()}}
OWN = f"http://{HOST}"
SITES: list[tuple[dict[str, str], int]] = [
    ({"Sec-Fetch-Site": "same-origin"}, 200),
    ({"Sec-Fetch-Site": "same-origin", "Origin": OWN}, 200),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "none"}, 403),
    ({"Sec-Fetch-Site": ""}, 403),
    ({"Sec-Fetch-Site": "cross-site", "Origin": OWN}, 403),
    ({"Origin": OWN}, 200),
    ({"Origin": f"https://{HOST}"}, 200),
    ({"Origin": "http://airflow.example"}, 403),
    ({"Origin": "http://airflow.example:8081"}, 403),
    ({"Origin": "https://evil.example"}, 403),
    ({"Origin": f"http://{HOST}.evil.example"}, 403),
    ({"Origin": f"http://evil.example/{HOST}"}, 403),
    ({"Origin": f"http://{HOST}@evil.example"}, 403),
    ({"Origin": f"http://evil.example?{HOST}"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": ""}, 403),
    ({"Origin": HOST}, 403),
]


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("by", BROWSER)
@pytest.mark.parametrize(("site", "status"), SITES)
def test_what_a_browser_sends_by_itself_must_come_from_an_own_page(
    world: World, site: dict[str, str], status: int, by: str, method: str
) -> None:
    answer = world.ask(method, "/who", BROWSER[by] | site)
    assert answer.status == status
    assert ("error" in answer.json) == (status == 403)
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("method", WRITES)
def test_a_program_with_a_password_says_of_no_page_that_it_comes_from(world: World, method: str) -> None:
    assert world.ask(method, "/who", BROWSER["basic"]).status == 200


@pytest.mark.parametrize("method", WRITES)
def test_a_cookie_alone_is_not_enough_to_write(world: World, method: str) -> None:
    answer = world.ask(method, "/who", BROWSER["cookie"])
    assert answer.status == 403
    assert "another site" in answer.json["error"]


@pytest.mark.parametrize("kind", ["bearer", "form", "multipart"])
@pytest.mark.parametrize("site", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
def test_what_no_browser_sends_by_itself_may_come_from_anywhere(world: World, kind: str, site: dict[str, str]) -> None:
    request = posted(**EXPLICIT[kind])
    headers = [(name, value) for name, value in request.headers.items() if name != "host"]
    assert world.ask("POST", "/who", [*headers, *site.items()], [request.read()]).status == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://data.example", 200), ("https://data.example:444", 403), (OWN, 200), ("https://x.data.example", 403)],
)
@pytest.mark.parametrize("by", BROWSER)
def test_the_address_that_airflow_is_known_under_is_an_own_one(
    world: World, monkeypatch: pytest.MonkeyPatch, by: str, origin: str, status: int
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://data.example/airflow")
    assert world.ask("POST", "/who", BROWSER[by] | {"Origin": origin}).status == status


@pytest.mark.parametrize("origin", ["http://[", "http://[x]"])
def test_an_origin_that_is_no_address_is_another_site(world: World, origin: str) -> None:
    assert world.ask("POST", "/who", BROWSER["cookie"] | {"Origin": origin}).status == 403
