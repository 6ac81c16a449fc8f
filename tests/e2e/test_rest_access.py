"""Who may do what by REST: every route and mount, as nobody, with wrong credentials, and as each of the users."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.product import Product
from tests.rest import Rest, form
from tests.stack import Stack

FORM, FORM_KIND = form(("file", "jobs.csv", b"x,refused\n"))
LOAD = "/loads/1"
ROUTES: tuple[tuple[str, str], ...] = (
    ("GET", "/health"), ("POST", "/upload"), ("GET", "/upload/0123456789abcdef0123456789abcdef"), ("GET", "/insights"),
    ("GET", "/loads"), ("GET", LOAD), ("GET", f"{LOAD}/rejected.csv"), ("GET", "/docs"), ("GET", "/openapi.json"),
    ("GET", "/docs-assets/swagger-ui.css"), ("GET", "/no/such/page"), ("DELETE", "/loads"), ("PUT", "/upload"),
    ("POST", "/backup"), ("POST", "/restore"), ("GET", "/restore/0123456789abcdef0123456789abcdef"),
    ("GET", "/backups"), ("POST", "/undo"), ("GET", "/undo/0123456789abcdef0123456789abcdef"), ("POST", "/drill"),
    ("GET", "/insights/charts"), ("GET", "/insights/charts/top_jobs.csv"), ("GET", "/loads/days"),
    ("GET", f"{LOAD}/rejected"), ("GET", "/pages/insights"), ("GET", "/pages/loads"), ("GET", "/pages/backups"),
    ("GET", "/page-files/style.css"), ("GET", "/page-files/no_such_file.js"),
    ("HEAD", "/loads"), ("OPTIONS", "/upload"), ("POST", "/"), ("HEAD", "/"),
)  # fmt: skip
TRICKS = ("//loads", "/./loads", "/x/../loads", "/%2e/loads", "/loads;x", "/loads%00", "/%2floads", "/LOADS", "//")


@pytest.fixture(scope="module")
def rest(stack: Stack, product: Product) -> Rest:
    product.known("ingest_upload")
    for dag_id in ("refresh_insights", "backup", "restore", "undo_load", "restore_drill"):
        product.known(dag_id)
    return Rest.of(stack)


@pytest.fixture(scope="module")
def described(rest: Rest) -> dict[str, Any]:
    found: dict[str, Any] = rest.get("/openapi.json").json()
    return found


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def wrong_credentials(rest: Rest) -> Iterator[dict[str, Any]]:
    """What is sent by those who are not known."""
    yield {}
    yield {"headers": {"Authorization": "Bearer wrong"}}
    yield {"headers": {"Authorization": f"Bearer {rest.token[:-4]}AAAA"}}
    yield {"headers": {"Authorization": "Bearer"}}
    yield {"headers": {"Authorization": "Basic !"}}
    yield {"headers": {"Authorization": "Digest x"}}
    yield {"headers": {"Authorization": ""}}
    yield {"headers": basic("nobody", "wrong")}
    yield {"cookies": {"_token": "wrong"}}


def send(rest: Rest, method: str, path: str, **options: Any) -> Any:
    if method in ("POST", "PUT"):
        options["content"] = FORM
        options["headers"] = {"Content-Type": FORM_KIND} | options.get("headers", {})
    return rest.plain(method, path, **options)


def assert_refused(answer: Any, *statuses: int) -> None:
    assert answer.status_code in statuses, (answer.request.method, answer.request.url, answer.text)
    assert "www-authenticate" not in answer.headers
    if answer.request.method != "HEAD":
        assert next(iter(answer.json())) == "error"


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_41_nobody_is_let_in(rest: Rest, method: str, path: str) -> None:
    for options in wrong_credentials(rest):
        assert_refused(send(rest, method, path, **options), 401, 429)


def test_41_every_described_route_is_among_those_that_are_asked(described: dict[str, Any]) -> None:
    asked = {(method, path) for method, path in ROUTES}
    for path, operations in described["paths"].items():
        own = path.replace("{load_id}", "1").replace("{upload_id}", "0123456789abcdef0123456789abcdef")
        for name in ("{restore_id}", "{undo_id}"):
            own = own.replace(name, "0123456789abcdef0123456789abcdef")
        own = own.replace("{chart}", "top_jobs")
        for method in operations:
            assert own == "/" or (method.upper(), own) in asked, f"{method} {path} is asked by no test"


@pytest.mark.parametrize("path", TRICKS)
def test_41_no_spelling_of_a_path_goes_around_the_guard(rest: Rest, path: str) -> None:
    answer = rest.plain("GET", path)
    assert answer.status_code in (200, 400, 401, 404), answer.text
    assert "loads" not in answer.text or answer.status_code == 401 or "<html" in answer.text.lower()


def test_the_greeting_is_open(rest: Rest) -> None:
    for address in ("/data-api", "/data-api/"):
        answer = httpx.get(f"{rest.url}{address}", trust_env=False)
        assert (answer.status_code, list(answer.json())) == (200, ["message"])


@pytest.mark.parametrize("user", ["viewer", "uploader", "operator", "admin"])
@pytest.mark.parametrize(
    "path",
    [
        "/health", "/insights?table=HIRES_DEPARTMENT_JOB", "/loads", "/backups", "/docs", "/openapi.json",
        "/insights/charts", "/insights/charts/top_jobs.csv", "/loads/days", "/pages/insights", "/pages/loads",
        "/pages/backups", "/page-files/style.css",
    ],
)  # fmt: skip
def test_41_who_may_read_airflow_may_read(rest: Rest, user: str, path: str) -> None:
    answer = rest.plain("GET", path, headers=rest.as_(user).bearer)
    assert answer.status_code in (200, 503 if path == "/health" else 200), answer.text


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_41_every_route_knows_who_may_read_and_who_may_load(rest: Rest, method: str, path: str) -> None:
    """What is not there, or wants parameters, is told so; but nobody's rights are wanting, save a viewer's to load."""
    ask = send if path == "/upload" else Rest.plain  # other routes take no form
    answers = {user: ask(rest, method, path, headers=rest.as_(user).bearer) for user in ("viewer", "uploader")}
    starts = (method, path) in (("POST", "/upload"), ("POST", "/backup"), ("POST", "/drill"))
    assert (answers["viewer"].status_code == 403) == starts
    assert answers["uploader"].status_code not in (401, 403)
    assert answers["uploader"].status_code < 500 or path == "/health"


def test_41_a_viewer_may_not_upload(rest: Rest, product: Product) -> None:
    before = product.sql("SELECT count(*) FROM ops.loads")
    listed = product.s3.list_objects_v2(Bucket=product.bucket, Prefix="uploads/").get("KeyCount")
    answer = rest.as_("viewer").upload("jobs.csv", b"1,a\n")
    assert_refused(answer, 403)
    assert product.sql("SELECT count(*) FROM ops.loads") == before
    assert product.s3.list_objects_v2(Bucket=product.bucket, Prefix="uploads/").get("KeyCount") == listed


def test_names_and_passwords_are_taken_as_basic_or_in_the_form(rest: Rest) -> None:
    password = rest.passwords["uploader"]
    own = rest.plain("GET", "/loads", headers=basic("uploader", password))
    assert own.status_code == 200
    body, kind = form(
        ("username", None, b"uploader"), ("password", None, password.encode()), ("file", "jobs.csv", b"x,refused\n")
    )
    answer = rest.plain("POST", "/upload/", content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["nrows_failed"]) == (200, 1), answer.text


def test_41_a_wrong_password_in_the_form(rest: Rest) -> None:
    body, kind = form(("username", None, b"viewer"), ("password", None, b"wrong"), ("file", "jobs.csv", b"1,a\n"))
    assert_refused(rest.plain("POST", "/upload", content=body, headers={"Content-Type": kind}), 401)


def test_guesses_are_slowed_down(rest: Rest) -> None:
    answers = [rest.plain("GET", "/loads", headers=basic("guessed", f"guess {n}")) for n in range(15)]
    assert {answer.status_code for answer in answers} == {401, 429}
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) > 0
    assert rest.plain("GET", "/loads", headers=basic("operator", rest.passwords["operator"])).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
    ids=str,
)
def test_pages_of_other_sites_do_nothing_in_a_users_name(rest: Rest, headers: dict[str, str], status: int) -> None:
    for own in ({"cookies": {"_token": rest.token}}, {"headers": basic("uploader", rest.passwords["uploader"])}):
        if not headers and "headers" in own:
            continue  # no browser sends neither
        options = own | {"headers": {"Content-Type": FORM_KIND} | own.get("headers", {}) | headers}
        answer = rest.plain("POST", "/upload", content=FORM, **options)
        assert answer.status_code == status, answer.text
    allowed = rest.plain("GET", "/loads", cookies={"_token": rest.token}, headers=headers)
    assert allowed.status_code == 200


def test_a_page_of_this_server_may_upload_by_the_cookie(rest: Rest) -> None:
    headers = {"Origin": rest.url, "Content-Type": FORM_KIND}
    answer = rest.plain("POST", "/upload", content=FORM, headers=headers, cookies={"_token": rest.token})
    assert answer.status_code == 200, answer.text


def test_an_explicit_credential_wins_over_the_cookie(rest: Rest) -> None:
    answer = rest.plain("GET", "/loads", headers={"Authorization": "Bearer wrong"}, cookies={"_token": rest.token})
    assert answer.status_code == 401
